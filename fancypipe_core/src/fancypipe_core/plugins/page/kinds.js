// A row for each kind of task: how many, how long, how much.

const COLUMNS = [
  { title: "Task", of: (kind) => kind.name, said: (kind) => kind.name },
  { title: "tasks", of: (kind) => kind.tasks.length, said: (kind) => count(kind.tasks.length) },
  { title: "done", of: (kind) => kind.counts.done },
  { title: "failed", of: (kind) => kind.counts.failed },
  { title: "running", of: (kind) => kind.counts.running },
  { title: "retried", of: (kind) => kind.retried },
  { title: "total", of: (kind) => kind.seconds, said: (kind) => duration(kind.seconds) },
  { title: "mean", of: (kind) => meanOf(kind.seconds, kind), said: (kind) => duration(meanOf(kind.seconds, kind)) },
  { title: "median", of: (kind) => quantile(kind, 0.5), said: (kind) => duration(quantile(kind, 0.5)) },
  { title: "95 %", of: (kind) => quantile(kind, 0.95), said: (kind) => duration(quantile(kind, 0.95)) },
  { title: "longest", of: (kind) => kind.longest, said: (kind) => duration(kind.longest || undefined) },
  { title: "how long they took", of: (kind) => kind.longest, chart: true },
  { title: "CPU", of: (kind) => kind.cpu, said: (kind) => kind.cpu && kind.seconds ? `${Math.round((100 * kind.cpu) / kind.seconds)} %` : "" },
  { title: "waited", of: (kind) => meanOf(kind.waited, kind), said: (kind) => kind.waited ? duration(meanOf(kind.waited, kind)) : "" },
  { title: "peak memory", of: (kind) => kind.memory, said: (kind) => bytes(kind.memory) },
  { title: "bytes in", of: (kind) => kind.bytesIn, said: (kind) => bytes(kind.bytesIn) },
  { title: "bytes out", of: (kind) => kind.bytesOut, said: (kind) => bytes(kind.bytesOut) },
];

function meanOf(sum, kind) {
  return kind.runs ? sum / kind.runs : undefined;
}

function quantile(kind, part) {
  if (!kind.sample.length) return undefined;
  if (kind.sortedAt !== kind.runs) {
    kind.sorted = Float64Array.from(kind.sample).sort();
    kind.sortedAt = kind.runs;
  }
  return kind.sorted[Math.min(kind.sorted.length - 1, Math.floor(part * kind.sorted.length))];
}

/** Durations in bins of a logarithmic scale, as a picture of bars. */
function histogram(kind, low, high) {
  const bins = new Array(28).fill(0);
  const scale = Math.log(high / low) || 1;
  for (const seconds of kind.sample) {
    if (seconds <= 0) continue;
    const place = Math.floor((Math.log(seconds / low) / scale) * bins.length);
    bins[Math.min(bins.length - 1, Math.max(0, place))] += 1;
  }
  const most = Math.max(...bins, 1);
  const picture = svg("svg", { width: 140, height: 18, class: "histogram", "aria-hidden": "true" });
  bins.forEach((many, place) => {
    const tall = many ? Math.max(1.5, (17 * many) / most) : 0;
    if (tall) picture.append(svg("rect", { x: place * 5, y: 18 - tall, width: 4, height: tall }));
  });
  return picture;
}

class KindsView {
  constructor(app) {
    this.app = app;
    this.by = 6;
    this.down = true;
  }

  mount(host) {
    this.caption = el("p", "hint");
    this.box = el("div", "tablebox scrolls");
    this.box.tabIndex = 0;
    this.box.setAttribute("aria-label", "Kinds of tasks");
    this.box.addEventListener("click", (event) => {
      const column = event.target.closest("[data-column]")?.dataset.column;
      if (column !== undefined) this.orderBy(Number(column));
    });
    host.append(this.box, this.caption);
    this.refresh();
  }

  orderBy(column) {
    this.down = column === this.by ? !this.down : column > 0;
    this.by = column;
    this.refresh();
  }

  key(event) {
    return scrolled(this.box, event);
  }

  refresh() {
    if (!this.box) return;
    const kinds = [...this.app.model.kinds.values()];
    const { of } = COLUMNS[this.by];
    kinds.sort((one, other) => {
      const [low, high] = this.down ? [other, one] : [one, other];
      const a = of(low) ?? -1;
      const b = of(high) ?? -1;
      return typeof a === "string" ? a.localeCompare(b) : a - b;
    });
    const low = kinds.reduce((least, kind) => Math.min(least, kind.least), Infinity);
    const high = kinds.reduce((most, kind) => Math.max(most, kind.longest), 0);
    const head = el("tr");
    COLUMNS.forEach((column, place) => {
      const button = el("button", "", column.title, place === this.by ? (this.down ? " ↓" : " ↑") : "");
      button.type = "button";
      button.dataset.column = String(place);
      const cell = el("th", place && !column.chart ? "num" : "", button);
      cell.setAttribute("aria-sort", place === this.by ? (this.down ? "descending" : "ascending") : "none");
      head.append(cell);
    });
    const rows = kinds.slice(0, 1000).map((kind) => this.row(kind, low, high));
    morph(this.box, el("div", "", el("table", "kinds", el("thead", "", head), el("tbody", "", ...rows))));
    const scale = high > 0 ? `How long they took: from ${duration(low)} to ${duration(high)}, on a logarithmic scale. ` : "";
    const cut = kinds.length > 1000 ? "The first 1,000 kinds are shown." : "";
    setText(this.caption, `${scale}Times are of attempts, without what a module waited for. ${cut}`);
  }

  row(kind, low, high) {
    const row = el("tr");
    COLUMNS.forEach((column, place) => {
      if (place === 0) {
        const link = el("button", "link", kind.name);
        link.type = "button";
        link.dataset.find = `name:"${kind.name}"`;
        row.append(el("th", "", link));
      } else if (column.chart) row.append(el("td", "", kind.sample.length ? histogram(kind, low, high) : ""));
      else {
        const said = column.said ? column.said(kind) : column.of(kind) ? count(column.of(kind)) : "";
        row.append(el("td", `num${column.title === "failed" && kind.counts.failed ? " bad" : ""}`, said ?? ""));
      }
    });
    return row;
  }
}
