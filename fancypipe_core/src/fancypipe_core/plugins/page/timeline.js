// Who ran what, when: a lane for each task that a worker runs at the same time.

const LANE = 18;
const LANES_LEFT = 150; // pixels for the names of workers
const LOAD = 56; // pixels for how many ran at the same time

/**
 * Say when each attempt of a worker ran.  The journal knows when the client learned of an end, and
 * a worker tells several at once; where it runs one at a time, each ended before the next began.
 */
function place(attempts, alone, now) {
  for (const attempt of attempts) {
    attempt.from = attempt.began;
    attempt.to = attempt.ended ?? now;
  }
  attempts.sort((one, other) => one.to - other.to || one.from - other.from);
  for (let index = attempts.length - 2; alone && index >= 0; index -= 1) {
    const late = attempts[index].to - attempts[index + 1].from;
    if (late <= 0) continue;
    attempts[index].to -= late;
    if (attempts[index].seconds) attempts[index].from -= late;
  }
  attempts.sort((one, other) => one.from - other.from);
}

/** Put attempts that overlap into lanes of their own, worker by worker. */
function lanesOf(model) {
  const byWorker = new Map();
  const now = model.now;
  for (const task of model.order) {
    for (const attempt of task.attempts ?? []) {
      if (attempt.began === undefined) continue;
      const worker = attempt.worker ?? "";
      if (!byWorker.has(worker)) byWorker.set(worker, []);
      byWorker.get(worker).push(attempt);
    }
  }
  const lanes = [];
  for (const worker of [...byWorker.keys()].sort()) {
    const attempts = byWorker.get(worker);
    place(attempts, model.run.unit === "worker" && worker, now);
    const own = [];
    for (const attempt of attempts) {
      // A frame's clock is read once for all in it: a millisecond is no overlap.
      let lane = own.find((one) => one.until <= attempt.from + 0.001);
      if (!lane) {
        lane = { worker, first: !own.length, attempts: [], until: 0 };
        own.push(lane);
      }
      lane.attempts.push(attempt);
      lane.until = attempt.to;
    }
    lanes.push(...own);
  }
  return lanes;
}

/** How many attempts ran in each of a number of slices of time, on average. */
function loadOf(lanes, from, to, slices) {
  const load = new Float64Array(slices);
  const wide = (to - from) / slices;
  for (const lane of lanes) {
    for (const attempt of lane.attempts) {
      const begin = Math.max(attempt.from, from);
      const end = Math.min(attempt.to, to);
      if (end <= begin) continue;
      const first = Math.min(slices - 1, Math.floor((begin - from) / wide));
      const last = Math.min(slices - 1, Math.floor((end - from) / wide));
      for (let slice = first; slice <= last; slice += 1) {
        const low = from + slice * wide;
        load[slice] += (Math.min(end, low + wide) - Math.max(begin, low)) / wide;
      }
    }
  }
  return load;
}

class Timeline {
  constructor(app) {
    this.app = app;
    this.range = null; // what is looked at; null for the whole run
  }

  mount(host) {
    this.load = el("canvas", "load");
    this.load.setAttribute("aria-label", "Tasks that ran at the same time");
    const hint = el("p", "hint", "Wheel, + and −: zoom · drag, ← and →: move · double click, 0: the whole run · click: the task");
    this.canvas = el("canvas", "lanes");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "What each worker ran, by time");
    this.box = el("div", "lanebox scrolls", this.canvas);
    this.legend = el("div", "legend");
    host.append(this.legend, this.load, this.box, hint);
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.box);
    for (const canvas of [this.canvas, this.load]) {
      canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
      canvas.addEventListener("dblclick", () => this.look(null));
      canvas.addEventListener("pointerdown", (event) => this.grab(event));
    }
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => tip(null));
    this.canvas.addEventListener("click", (event) => {
      const attempt = this.at(event);
      if (attempt && !this.moved) this.app.select(attempt.task);
    });
    this.refresh();
  }

  refresh() {
    if (!this.canvas) return;
    this.lanes = lanesOf(this.app.model);
    this.draw();
  }

  get bounds() {
    const { model } = this.app;
    if (this.range) return this.range;
    return [model.first ?? 0, Math.max(model.now ?? 1, (model.first ?? 0) + 1e-3)];
  }

  look(range) {
    this.range = range;
    this.draw();
  }

  toX(at) {
    const [from, to] = this.bounds;
    return this.left + ((at - from) / (to - from)) * (this.width - this.left);
  }

  toTime(x) {
    const [from, to] = this.bounds;
    return from + ((x - this.left) / (this.width - this.left)) * (to - from);
  }

  wheel(event) {
    if (!event.ctrlKey && Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    event.preventDefault();
    this.zoom(this.toTime(event.offsetX), Math.exp(event.deltaY * 0.0015));
  }

  zoom(center, factor) {
    const [from, to] = this.bounds;
    const { model } = this.app;
    const low = Math.max(model.first, center - (center - from) * factor);
    const high = Math.min(model.now, center + (to - center) * factor);
    if (high - low < 1e-5) return;
    this.look(high - low >= model.now - model.first ? null : [low, high]);
  }

  grab(event) {
    const start = event.clientX;
    const [from, to] = this.bounds;
    this.moved = false;
    const move = (later) => {
      const shift = ((later.clientX - start) / (this.width - this.left)) * (to - from);
      if (Math.abs(later.clientX - start) > 3) this.moved = true;
      if (this.range && this.moved) this.look([from - shift, to - shift]);
    };
    const over = new AbortController();
    const end = () => over.abort();
    window.addEventListener("pointermove", move, over);
    for (const kind of ["pointerup", "pointercancel"]) window.addEventListener(kind, end, over);
  }

  draw() {
    if (!this.box.clientWidth || this.app.model.first === undefined) return;
    this.width = this.box.clientWidth;
    this.left = this.width < 560 ? 90 : LANES_LEFT;
    // A canvas has a largest size; of more lanes than that nobody sees anything anyway.
    const shown = this.lanes.slice(0, 1500);
    const context = fitted(this.canvas, this.width, shown.length * LANE + 22);
    context.clearRect(0, 0, this.width, shown.length * LANE + 22);
    context.font = "12px system-ui, sans-serif";
    const palette = { text: color("dim"), line: color("line"), failed: color("failed"), ink: color("ink"), paper: color("paper") };
    this.drawAxis(context, shown.length * LANE, palette);
    shown.forEach((lane, place) => this.drawLane(context, lane, place * LANE, palette));
    this.drawLoad(palette);
    this.drawLegend();
  }

  drawAxis(context, height, palette) {
    const [from, to] = this.bounds;
    const { first } = this.app.model;
    const room = (this.width - this.left) / 110;
    const raw = (to - from) / Math.max(1, room);
    const scale = 10 ** Math.floor(Math.log10(raw));
    let step = [1, 2, 5, 10].find((one) => one * scale >= raw) * scale;
    if (raw > 5) step = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400].find((one) => one >= raw) ?? step;
    context.fillStyle = palette.text;
    context.strokeStyle = palette.line;
    context.lineWidth = 1;
    for (let at = Math.ceil((from - first) / step) * step; at <= to - first; at += step) {
      const x = Math.round(this.toX(first + at)) + 0.5;
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height + 4);
      context.stroke();
      context.fillText(at < 1e-9 ? "0" : duration(at), Math.min(x + 3, this.width - 44), height + 16);
    }
  }

  drawLane(context, lane, top, palette) {
    const { selected } = this.app;
    const query = this.app.query ? parseQuery(this.app.query) : null;
    if (lane.first) {
      context.fillStyle = palette.text;
      context.save();
      context.beginPath();
      context.rect(0, top, this.left - 6, LANE);
      context.clip();
      context.fillText(lane.worker || "client", 4, top + 13);
      context.restore();
    }
    let painted = -1; // up to which pixel this lane is full
    for (const attempt of lane.attempts) {
      const end = this.toX(attempt.to);
      if (end < this.left) continue;
      const begin = Math.max(this.left, this.toX(attempt.from));
      if (begin > this.width) break;
      const bad = attempt.error || attempt.end === "lost";
      if (end < painted && !bad && attempt.task !== selected) continue;
      const wide = Math.max(end - begin - 0.5, 1);
      const dim = query && !found(attempt.task, query);
      context.globalAlpha = dim ? 0.15 : attempt.ended === undefined ? 0.6 : 1;
      context.fillStyle = bad ? palette.failed : this.colorOf(attempt.task.kind);
      context.fillRect(begin, top + 2, wide, LANE - 4);
      context.globalAlpha = 1;
      if (attempt.task === selected) {
        context.strokeStyle = palette.ink;
        context.lineWidth = 2;
        context.strokeRect(begin, top + 1, Math.max(wide, 3), LANE - 2);
      }
      if (wide > 60 && !dim) {
        context.save();
        context.beginPath();
        context.rect(begin, top, wide - 3, LANE);
        context.clip();
        context.fillStyle = bad ? palette.paper : inkOn(attempt.task.kind.place, this.app.isDark);
        context.fillText(attempt.task.name, begin + 4, top + 13);
        context.restore();
      }
      painted = Math.floor(begin + wide);
    }
  }

  colorOf(kind) {
    return colorOf(kind.place, this.app.isDark);
  }

  drawLoad(palette) {
    const slices = Math.max(10, Math.floor((this.width - this.left) / 2));
    const [from, to] = this.bounds;
    const load = loadOf(this.lanes, from, to, slices);
    const workers = this.app.model.run.workers ?? 0;
    const most = Math.max(workers, ...load, 1);
    const context = fitted(this.load, this.width, LOAD);
    context.clearRect(0, 0, this.width, LOAD);
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = palette.text;
    if (this.left === LANES_LEFT) context.fillText("at the same time", 4, 14);
    const y = (value) => LOAD - 2 - (value / most) * (LOAD - 12);
    context.fillText(count(Math.round(most)), this.left - 8 - context.measureText(count(Math.round(most))).width, y(most) + 8);
    context.fillStyle = color("running");
    context.globalAlpha = 0.55;
    const wide = (this.width - this.left) / slices;
    load.forEach((value, place) => context.fillRect(this.left + place * wide, y(value), wide, LOAD - 2 - y(value)));
    context.globalAlpha = 1;
    context.strokeStyle = palette.line;
    context.strokeRect(this.left + 0.5, 0.5, this.width - this.left - 1, LOAD - 2);
    if (workers) {
      context.setLineDash([4, 3]);
      context.strokeStyle = palette.text;
      context.beginPath();
      context.moveTo(this.left, y(workers));
      context.lineTo(this.width, y(workers));
      context.stroke();
      context.setLineDash([]);
    }
  }

  drawLegend() {
    const kinds = [...this.app.model.kinds.values()].filter((kind) => kind.runs || kind.counts.running);
    const most = kinds.sort((one, other) => other.seconds - one.seconds).slice(0, 12);
    const key = [this.app.isDark, ...most.map((kind) => kind.name)].join("\0");
    if (key === this.legendKey) return;
    this.legendKey = key;
    this.legend.replaceChildren(
      ...most.map((kind) => {
        const swatch = el("i", "swatch");
        swatch.style.background = this.colorOf(kind);
        return el("span", "key", swatch, kind.name);
      }),
      el("span", "key", el("i", "swatch bad"), "failed or lost"),
    );
  }

  at(event) {
    const lane = this.lanes?.[Math.floor(event.offsetY / LANE)];
    if (!lane || event.offsetX < this.left) return null;
    let best = null;
    let near = 4;
    for (const attempt of lane.attempts) {
      const begin = this.toX(attempt.from);
      const end = this.toX(attempt.to);
      const away = Math.max(begin - event.offsetX, event.offsetX - end, 0);
      if (away < near) [best, near] = [attempt, away];
      if (begin > event.offsetX + 4) break;
    }
    return best;
  }

  hover(event) {
    const attempt = this.at(event);
    if (!attempt) {
      tip(null);
      return;
    }
    const { task } = attempt;
    const ran = attempt.seconds ?? attempt.to - attempt.from;
    const lines = [
      `${task.name}${task.inputs ? `  ${task.inputs}` : ""}`,
      `${attempt.end ?? "running"} · ${duration(ran)} · from ${duration(attempt.began - this.app.model.first)}`,
    ];
    if (attempt.error) lines.push(`${attempt.error}: ${attempt.message ?? ""}`);
    tip(event, lines);
  }

  key(event) {
    const [from, to] = this.bounds;
    const shift = { ArrowLeft: -0.2, ArrowRight: 0.2 }[event.key];
    const factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    if (shift && this.range) this.look([from + shift * (to - from), to + shift * (to - from)]);
    else if (factor) this.zoom((from + to) / 2, factor);
    else if (event.key === "0") this.look(null);
    else return Boolean(shift) || scrolled(this.box, event);
    return true;
  }
}
