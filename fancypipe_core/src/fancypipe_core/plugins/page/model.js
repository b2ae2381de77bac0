// What the journal's lines say of the run: tasks, kinds of tasks, output, how it ended.

const STATES = {
  failed: { sign: "✕", said: "failed" },
  running: { sign: "▶", said: "running" },
  unfolded: { sign: "◇", said: "waits for what it made" },
  submitted: { sign: "▷", said: "submitted" },
  waiting: { sign: "·", said: "waiting" },
  done: { sign: "✓", said: "done" },
  skipped: { sign: "↷", said: "skipped" },
  cancelled: { sign: "⊘", said: "cancelled" },
};
const ENDS = new Set(["done", "failed", "skipped", "cancelled"]);
const OF_ATTEMPT = ["seconds", "waited", "cpu", "memory", "bytes_in", "bytes_out", "worker"];
// States in the order in which bars and counts have them.
const IN_ORDER = ["done", "failed", "skipped", "cancelled", "running", "unfolded", "submitted", "waiting"];
// What is told of a program beside its command line, by where it is kept.
const OF_PROGRAM = { folder: "folder", exit: "exit", "program-stdout": "stdout", "program-stderr": "stderr" };
const SAMPLE = 2000; // durations that are kept of a kind, for its quantiles

/** A message without the name of its class, which is shown beside it. */
function withoutClass({ error, message }) {
  return error && message.startsWith(`${error}: `) ? message.slice(error.length + 2) : message;
}

/** The lines that one which is about many tasks stands for. */
function* each({ tasks, took, ...shared }) {
  const row = typeof tasks === "string" ? tasks.split("-").map(Number) : null;
  const many = row ? row[1] - row[0] + 1 : tasks.length;
  let left = 0; // seconds until the last of them ended: they ran one after the other
  for (const micros of took ?? []) left += micros / 1e6;
  for (let place = 0; place < many; place += 1) {
    const one = { ...shared, task: row ? row[0] + place : tasks[place] };
    if (took) {
      one.seconds = took[place] / 1e6;
      left -= one.seconds;
      one.at -= left;
      one.reckoned = true;
    }
    yield one;
  }
}

class Task {
  constructor(number, name) {
    this.number = number;
    this.name = name;
    this.kind = null;
    this.state = "waiting";
    this.parent = null;
    this.children = null;
    this.attempts = null; // those that have ended, and the one that runs
    this.needs = null;
    this.feeds = null;
    this.notes = null;
    this.programs = null;
    this.pictures = null;
    this.attempt = 0;
    this.trouble = 0; // failed tasks in it, itself counted
    this.added = this.submitted = this.began = this.ended = undefined;
  }

  /** The names from the outermost task to this one. */
  get path() {
    const names = [];
    for (let task = this; task; task = task.parent) names.push(task.name);
    return names.reverse().join(" / ");
  }

  get begin() {
    return this.began ?? this.submitted ?? this.added;
  }
}

class Model {
  constructor() {
    this.run = {};
    this.over = null;
    this.tasks = new Map();
    this.order = [];
    this.kinds = new Map();
    this.places = 0; // that kinds have taken, for their colors
    this.nameless = 0; // places of tasks whose names are not told yet: below 0
    this.notes = [];
    this.pictures = [];
    this.failures = [];
    this.counts = Object.fromEntries(Object.keys(STATES).map((state) => [state, 0]));
    this.retried = 0;
    this.lost = 0;
    this.ends = []; // when tasks were done, in order
    this.workers = new Set();
    this.first = undefined;
    this.origin = undefined; // the wall clock when the clock that nobody sets was at 0
    this.drift = 0; // seconds by which the wall clock was set since
    this.last = undefined; // the last time that a line tells
    this.beat = undefined; // the last sign of life of the one who writes
    this.summary = []; // lines that say what the run took its time for
    this.unread = 0; // lines that are no JSON
    this.version = 0;
  }

  /** Take whole lines of the journal; one that cannot be read is counted, and passed over. */
  add(text) {
    let events;
    try {
      // A line's end is nowhere else: all at once is much quicker than line by line.
      events = JSON.parse(`[${text.trimEnd().replaceAll("\n", ",")}]`);
    } catch {
      events = [];
      for (const line of text.split("\n")) {
        if (!line) continue;
        try {
          events.push(JSON.parse(line));
        } catch {
          this.unread += 1;
        }
      }
    }
    for (const event of events) if (event && typeof event === "object") this.take(event);
    this.version += 1;
  }

  take(event) {
    if (typeof event.at === "number") {
      if (typeof event.monotonic === "number") {
        this.origin ??= event.at - event.monotonic;
        this.drift = event.at - event.monotonic - this.origin;
      }
      event.at -= this.drift;
      this.first ??= event.at;
      if (!(this.last > event.at)) this.last = event.at;
    }
    if (event.kind === "run") this.run = event;
    else if (event.kind === "over") this.over = event;
    else if (event.kind === "note") this.note(event);
    else if (event.tasks !== undefined) for (const one of each(event)) this.ofTask(one);
    else if (event.task !== undefined) this.ofTask(event);
  }

  note(event) {
    const task = event.task === undefined ? null : this.task(event.task);
    if (event.stream === "picture") this.picture(task, String(event.text ?? ""));
    else if (event.stream !== "folder") this.notes.push(event);
    if (!task || event.stream === "picture") return;
    if (event.stream === "command") (task.programs ??= []).push({ command: String(event.text ?? "") });
    else if (Object.hasOwn(OF_PROGRAM, event.stream)) {
      const program = task.programs?.[task.programs.length - 1];
      if (program) program[OF_PROGRAM[event.stream]] = String(event.text ?? "");
    } else (task.notes ??= []).push(event);
  }

  /** A name, a line's end, and the picture's address, or why there is none. */
  picture(task, text) {
    const end = text.indexOf("\n");
    const [name, said] = [text.slice(0, end), text.slice(end + 1)];
    const picture = { task, name, place: this.pictures.length };
    if (PICTURE.test(said)) picture.address = said;
    else picture.why = said.startsWith("data:") ? "This is no picture." : said;
    this.pictures.push(picture);
    if (task) (task.pictures ??= []).push(picture);
  }

  /** The tasks that no other one has made. */
  get roots() {
    return this.order.filter((task) => !task.parent);
  }

  /** The task of a number; one of which nothing was told yet is made. */
  task(number, name) {
    let task = this.tasks.get(number);
    if (!task) {
      task = new Task(number, name ?? `task ${number}`);
      this.tasks.set(number, task);
      this.order.push(task);
      this.counts.waiting += 1;
      this.setKind(task, task.name, name !== undefined);
    } else if (name !== undefined && name !== task.name) this.setKind(task, name, true);
    return task;
  }

  setKind(task, name, isTold) {
    if (task.kind) {
      task.kind.tasks.splice(task.kind.tasks.indexOf(task), 1);
      task.kind.counts[task.state] -= 1;
      if (!task.kind.tasks.length) this.kinds.delete(task.kind.name);
    }
    task.name = String(name);
    let kind = this.kinds.get(task.name);
    if (!kind) {
      kind = {
        name: task.name, place: isTold ? this.places++ : (this.nameless -= 1), tasks: [], runs: 0, seconds: 0, waited: 0, cpu: 0,
        memory: 0, bytesIn: 0, bytesOut: 0, retried: 0, lost: 0, longest: 0, least: Infinity, sample: [],
        counts: Object.fromEntries(Object.keys(STATES).map((state) => [state, 0])),
      };
      this.kinds.set(kind.name, kind);
    }
    task.kind = kind;
    kind.tasks.push(task);
    kind.counts[task.state] += 1;
  }

  setState(task, state) {
    if (task.state === state) return;
    this.counts[task.state] -= 1;
    task.kind.counts[task.state] -= 1;
    task.state = state;
    this.counts[state] += 1;
    task.kind.counts[state] += 1;
  }

  ofTask(event) {
    const task = this.task(event.task, event.name);
    for (const key of ["where", "inputs", "value"]) if (event[key]) task[key] = event[key];
    if (event.path) task.told = event.path;
    if (event.attempt) task.attempt = event.attempt;
    if (event.worker) {
      task.worker = event.worker;
      this.workers.add(event.worker);
    }
    if (event.needs) this.link(task, event.needs);
    const take = this[`on_${event.kind}`];
    if (take) take.call(this, task, event);
    else if (ENDS.has(event.kind)) this.end(task, event);
  }

  link(task, needs) {
    task.needs ??= new Set();
    for (const number of needs) {
      if (task.needs.has(number)) continue;
      task.needs.add(number);
      (this.task(number).feeds ??= []).push(task);
    }
  }

  on_added(task, event) {
    task.added = event.at;
    if (event.parent === undefined || event.parent === null || task.parent) return;
    const parent = this.task(event.parent);
    for (let outer = parent; outer; outer = outer.parent) if (outer === task) return;
    task.parent = parent;
    (parent.children ??= []).push(task);
    for (let outer = parent; task.trouble && outer; outer = outer.parent) {
      outer.trouble += task.trouble;
    }
  }

  on_submitted(task, event) {
    task.submitted ??= event.at;
    this.setState(task, "submitted");
    this.open(task, event);
  }

  on_started(task, event) {
    task.began ??= event.at;
    this.setState(task, "running");
    const attempt = this.open(task, event);
    attempt.began = event.at;
    if (event.worker) attempt.worker = event.worker;
  }

  on_progress(task, event) {
    task.progress = [event.done ?? 0, event.total ?? null];
  }

  on_unfolded(task, event) {
    this.close(task, event);
    this.setState(task, "unfolded");
  }

  on_retried(task, event) {
    this.again(task, event);
    this.retried += 1;
    task.kind.retried += 1;
  }

  on_lost(task, event) {
    this.again(task, event);
    this.lost += 1;
    task.kind.lost += 1;
  }

  again(task, event) {
    this.close(task, event);
    this.setState(task, "waiting");
  }

  end(task, event) {
    if (ENDS.has(task.state)) return;
    task.cached = event.cached ?? false; // its result was there: nothing ran
    // A module's own attempt ended when it unfolded: its end is told of the whole.
    if (!task.cached && (task.state !== "unfolded" || event.error)) this.close(task, event);
    task.ended = event.at;
    this.setState(task, event.kind);
    if (event.kind === "done") this.ends.push(event.at);
    if (event.kind !== "failed") return;
    this.failures.push(task);
    for (let outer = task; outer; outer = outer.parent) outer.trouble += 1;
  }

  /** The attempt that an event is about; a new one where it is not known. */
  open(task, event) {
    task.attempts ??= [];
    const number = event.attempt ?? task.attempt;
    const known = task.attempts.findLast((one) => one.number === number && one.ended === undefined);
    if (known) return known;
    const attempt = { task, number, submitted: event.at };
    task.attempts.push(attempt);
    return attempt;
  }

  close(task, event) {
    if (event.kind === "skipped" || (event.kind === "cancelled" && !task.attempts)) return;
    const number = event.attempt ?? task.attempt;
    // That it is lost, and that it is tried again, may be told one after the other.
    const before = task.attempts?.findLast((one) => one.number === number);
    const attempt = before?.ended === undefined ? this.open(task, event) : before;
    for (const key of ["error", "traceback", "certificate"]) {
      if (event[key]) attempt[key] = event[key];
    }
    if (event.message) attempt.message = withoutClass(event);
    if (event.error || event.message) task.last = attempt;
    if (attempt === before && attempt.ended !== undefined) return;
    if (event.reckoned && attempt.submitted) {
      event.at = Math.max(event.at, attempt.submitted + event.seconds);
      event.waited = Math.max(0, event.at - event.seconds - attempt.submitted);
    }
    attempt.ended = event.at;
    attempt.end = event.kind;
    for (const key of OF_ATTEMPT) if (event[key]) attempt[key] = event[key];
    attempt.worker ??= task.worker;
    if (event.seconds && event.at) {
      attempt.began = event.at - event.seconds;
      if (task.attempts.length === 1) task.began = attempt.began;
    }
    this.addUp(task.kind, attempt);
  }

  addUp(kind, attempt) {
    const { seconds } = attempt;
    if (seconds === undefined) return; // it did not come to its own end
    kind.runs += 1;
    kind.seconds += seconds;
    kind.waited += attempt.waited ?? 0;
    kind.cpu += attempt.cpu ?? 0;
    kind.bytesIn += attempt.bytes_in ?? 0;
    kind.bytesOut += attempt.bytes_out ?? 0;
    kind.memory = Math.max(kind.memory, attempt.memory ?? 0);
    kind.longest = Math.max(kind.longest, seconds);
    if (seconds > 0) kind.least = Math.min(kind.least, seconds);
    // Each duration has the same chance to be among those that are kept.
    if (kind.sample.length < SAMPLE) kind.sample.push(seconds);
    else {
      const place = Math.floor(Math.random() * kind.runs);
      if (place < SAMPLE) kind.sample[place] = seconds;
    }
  }

  /** The last moment that the page knows of. */
  get now() {
    if (this.over) return this.over.at ?? this.last;
    return Math.max(this.last ?? 0, (this.beat ?? 0) - this.drift) || undefined;
  }

  get ended() {
    return this.counts.done + this.counts.failed + this.counts.skipped + this.counts.cancelled;
  }

  get elapsed() {
    if (this.over?.seconds) return this.over.seconds;
    return this.first === undefined ? 0 : Math.max(0, this.now - this.first);
  }

  /** Tasks that were done in the last part of the run, by the second. */
  get rate() {
    const window = Math.max(5, this.elapsed / 10);
    const from = this.over ? this.first : this.now - window;
    let low = 0;
    let high = this.ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ends[middle] < from) low = middle + 1;
      else high = middle;
    }
    const long = this.over ? this.elapsed : Math.min(window, this.elapsed);
    return long > 0 ? (this.ends.length - low) / long : 0;
  }

  /** Seconds that the known tasks still take, by what their kinds took so far. */
  get left() {
    let spent = 0;
    let open = 0;
    let runs = 0;
    for (const kind of this.kinds.values()) {
      spent += kind.seconds;
      runs += kind.runs;
    }
    if (!spent || !runs) return undefined;
    for (const kind of this.kinds.values()) {
      const mean = kind.runs ? kind.seconds / kind.runs : spent / runs;
      open += mean * (kind.counts.waiting + kind.counts.submitted + kind.counts.running / 2);
    }
    return (this.elapsed * open) / spent;
  }
}
