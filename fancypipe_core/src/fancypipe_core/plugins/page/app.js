// The page: what is above the views, which view is seen, keys, search, theme, address.

const VIEWS = [
  ["tasks", "Tasks", Tree],
  ["timeline", "Timeline", Timeline],
  ["graph", "Graph", GraphView],
  ["kinds", "Kinds", KindsView],
  ["output", "Output", OutputView],
  ["run", "Run", AboutView],
  ["pictures", "Pictures", PicturesView],
];
const KEYS = [
  ["/", "search"],
  ["Esc", "leave the search, close the task"],
  ["↑ ↓", "the task above, below"],
  ["← →", "close, open what is inside; move in the timeline"],
  ["f", "the next failed task"],
  ["+ − 0", "closer, further, all of the timeline"],
  ["1 to 7", "the views"],
  ["t", "light or dark"],
  ["?", "these keys"],
];
const LIVE_PAUSE = 500; // milliseconds between two pictures
const QUIET = 20; // seconds without a sign of life until the page says so

function notice(text) {
  $("notice").hidden = !text;
  setText($("notice"), text);
}

function tip(event, lines) {
  const box = $("tip");
  box.hidden = !lines;
  if (!lines) return;
  box.replaceChildren(...lines.map((line) => el("div", "", line)));
  const left = Math.min(event.clientX + 14, window.innerWidth - box.offsetWidth - 8);
  const top = event.clientY + 18 + box.offsetHeight > window.innerHeight
    ? event.clientY - box.offsetHeight - 8 : event.clientY + 18;
  box.style.left = `${Math.max(4, left)}px`;
  box.style.top = `${top}px`;
}

class App {
  constructor() {
    this.model = new Model();
    this.selected = null;
    this.query = "";
    this.views = {};
    this.drawn = -1;
  }

  start() {
    this.theme();
    for (const [key, title, View] of VIEWS) {
      const view = new View(this);
      const button = el("button", "", title, el("span", "badge"));
      const panel = el("div", `panel panel-${key}`);
      button.type = "button";
      button.id = `tab-${key}`;
      button.setAttribute("role", "tab");
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", button.id);
      panel.id = `panel-${key}`;
      button.setAttribute("aria-controls", panel.id);
      button.addEventListener("click", () => this.show(key));
      $("tabs").append(button);
      $("view").append(panel);
      this.views[key] = { view, button, panel, mounted: false };
    }
    const search = $("search");
    let pause = 0;
    search.addEventListener("input", () => {
      clearTimeout(pause);
      pause = setTimeout(() => this.find(search.value, false), 120);
    });
    $("theme").addEventListener("click", () => this.otherTheme());
    $("help").addEventListener("click", () => this.help());
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("click", (event) => this.click(event));
    $("tabs").addEventListener("keydown", (event) => this.otherTab(event));
    watchPictures(this);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.theme());
    this.readAddress();
    this.draw();
    const live = document.querySelector("script.live")?.textContent.trim();
    const shown = () => this.later();
    this.live = Boolean(live);
    if (!live) {
      readInlined(this.model, shown).then(() => this.ready());
      return;
    }
    const clockwork = setInterval(() => this.header(), LIVE_PAUSE * 2);
    follow(this.model, live, shown).then(() => {
      clearInterval(clockwork);
      this.ready();
    });
  }

  ready() {
    this.read = true;
    this.draw();
    document.documentElement.dataset.ready = "yes";
  }

  /** Draw soon, and not too often. */
  later() {
    if (this.model.version === this.drawn || this.waits) return;
    this.waits = true;
    const pause = this.drawn < 0 ? 0 : Math.max(LIVE_PAUSE, 3 * (this.cost ?? 0));
    setTimeout(() => {
      this.waits = false;
      this.draw();
    }, pause);
  }

  draw() {
    const begin = performance.now();
    this.drawn = this.model.version;
    if (this.wanted !== undefined && this.model.tasks.has(this.wanted)) {
      this.selected = this.model.tasks.get(this.wanted);
      this.wanted = undefined;
    }
    this.header();
    this.views[this.tab].view.refresh();
    if (this.selected) drawDetails($("details"), this);
    this.cost = performance.now() - begin;
  }

  header() {
    const { model } = this;
    const { run, over, counts } = model;
    const target = run.target || (run.argv ?? [])[0] || "run";
    setText($("target"), model.first === undefined ? "reading the journal" : target);
    document.title = `${over ? (over.ok ? "✓ " : "✕ ") : ""}${target} · fancypipe`;
    const [state, said] = this.outcome();
    $("status").className = `pill ${state}`;
    setText($("status"), said);
    const facts = [
      run.backend && `${run.backend}${run.workers ? `, ${count(run.workers)} ${run.unit ?? "worker"}${run.workers === 1 ? "" : "s"}` : ""}`,
      run.host,
      run.at && `began ${clock(run.at, true)}`,
      model.first !== undefined && `${over ? "took" : "for"} ${duration(model.elapsed)}`,
    ].filter(Boolean);
    setText($("facts"), facts.join("  ·  "));
    this.bar();
    const parts = [];
    const total = model.order.length;
    for (const name of IN_ORDER) {
      if (!counts[name]) continue;
      const part = el("button", `count ${name}`, el("span", `sign ${name}`, STATES[name].sign), `${count(counts[name])} ${STATES[name].said}`);
      part.type = "button";
      part.dataset.find = `state:${name}`;
      parts.push(part);
    }
    if (model.retried) parts.push(el("span", "count", `${count(model.retried)} tried again`));
    if (model.lost) parts.push(el("span", "count lost", `${count(model.lost)} lost with a worker`));
    parts.push(el("span", "spring"));
    if (total) parts.push(el("span", "count", `${count(model.ended)} of ${count(total)}`));
    if (model.rate > 0) parts.push(el("span", "count", rate(model.rate)));
    const { left } = model;
    if (!over && this.live && left > 0) parts.push(el("span", "count", `about ${duration(Math.max(1, Math.round(left)))} left`));
    morph($("counts"), el("div", "", ...parts));
    const many = { tasks: total, kinds: model.kinds.size, output: model.notes.length, pictures: model.pictures.length };
    for (const [name, number] of Object.entries(many)) {
      setText(this.views[name].button.querySelector(".badge"), number ? count(number) : "");
    }
    this.views.pictures.button.hidden = !model.pictures.length && this.tab !== "pictures";
    notice(this.warning());
  }

  /** What is wrong with the run, or with what is known of it; empty if nothing is. */
  warning() {
    const { model } = this;
    if (model.over) return model.over.ok ? "" : model.over.message ?? "";
    if (this.read && !model.order.length && !model.run.kind) return "There is no journal in this page.";
    if (this.read) return "The journal does not say how the run ended: its process was killed, or it still runs.";
    if (model.isGone) {
      return "The files with the run's news cannot be read any more. “fancypipe report” with the run's folder makes this page again.";
    }
    const quiet = model.heard === undefined ? 0 : (performance.now() - model.heard) / 1000;
    return quiet > QUIET ? `No sign of life for ${duration(quiet)}: the run's process may have been killed.` : "";
  }

  outcome() {
    const { over, counts, first } = this.model;
    if (first === undefined) return ["", ""];
    if (over) return over.ok ? ["done", "done"] : ["failed", "failed"];
    if (this.read) return ["cancelled", "no end"];
    return counts.failed ? ["running bad", "runs, with failures"] : ["running", "runs"];
  }

  bar() {
    const { counts, order } = this.model;
    const parts = [];
    for (const state of IN_ORDER) {
      if (!counts[state]) continue;
      const part = el("i", state);
      part.style.flexGrow = String(counts[state] / order.length);
      part.title = `${count(counts[state])} ${STATES[state].said}`;
      parts.push(part);
    }
    morph($("progress"), el("div", "", ...parts));
  }

  show(key) {
    this.tab = key;
    tip(null);
    for (const [name, { button, panel }] of Object.entries(this.views)) {
      button.setAttribute("aria-selected", String(name === key));
      button.tabIndex = name === key ? 0 : -1; // one stop; arrows lead to the others
      panel.hidden = name !== key;
    }
    const one = this.views[key];
    one.button.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (one.mounted) one.view.refresh();
    else one.view.mount(one.panel);
    one.mounted = true;
    this.writeAddress();
  }

  select(task, { reveal = false } = {}) {
    this.selected = task;
    if (task && reveal && this.tab === "tasks") {
      if (this.query) this.find("");
      this.views.tasks.view.reveal(task);
    }
    drawDetails($("details"), this);
    const { view } = this.views[this.tab];
    if (this.tab === "tasks") view.list.show();
    else if (this.tab === "timeline") view.draw();
    this.writeAddress();
  }

  /** Search for what was typed, or for what a part of the page leads to. */
  find(text, leads = true) {
    this.query = text.trim();
    if (leads) $("search").value = text;
    if (leads || !["tasks", "timeline", "output", "pictures"].includes(this.tab)) this.show("tasks");
    else this.views[this.tab].view.refresh();
    if (this.tab === "tasks") this.views.tasks.view.body.scrollTop = 0;
    this.writeAddress();
  }

  nextFailure() {
    const { failures } = this.model;
    if (!failures.length) return;
    const next = failures[(failures.indexOf(this.selected) + 1) % failures.length];
    if (this.tab !== "tasks") this.show("tasks");
    this.select(next, { reveal: true });
  }

  /** What a click on any part of the page leads to. */
  async click(event) {
    const part = event.target.closest("[data-task], [data-find], [data-picture], .copy, .close, dialog button");
    if (!part) return;
    const { task, find, picture } = part.dataset;
    if (task !== undefined) this.select(this.model.task(Number(task)), { reveal: true });
    else if (find !== undefined) this.find(find);
    else if (picture !== undefined) enlarge(this.model, Number(picture));
    else if (part.closest("dialog")) $("dialog").close();
    else if (part.className === "close") this.select(null);
    else {
      const done = await copied(part.closest(".block").querySelector("pre").textContent);
      part.textContent = done ? "Copied" : "Not copied";
      setTimeout(() => setText(part, "Copy"), 1500);
    }
  }

  /** Arrows lead from one tab to the next. */
  otherTab(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const shown = VIEWS.map(([key]) => key).filter((key) => !this.views[key].button.hidden);
    const key = shown[(shown.indexOf(this.tab) + step + shown.length) % shown.length];
    this.show(key);
    this.views[key].button.focus();
    event.preventDefault();
    event.stopPropagation();
  }

  key(event) {
    if ($("dialog").open) return;
    const search = $("search");
    const typing = event.target === search;
    if (event.key === "Escape") {
      if (typing || this.query) {
        search.blur();
        if (this.query) this.find("");
      } else this.select(null);
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing && !(event.key === "ArrowDown" || event.key === "Enter")) return;
    if (typing) search.blur();
    if (event.target.tagName === "SELECT") return;
    if ((event.key === "Enter" || event.key === " ") && event.target.dataset.find !== undefined && event.target.tagName === "g") {
      this.find(event.target.dataset.find);
      event.preventDefault();
      return;
    }
    // There arrows scroll.
    if (event.target.closest(".details") && /^(Arrow|Page|Home|End)/.test(event.key)) return;
    if (event.key === "/") search.select();
    else if (event.key === "?") this.help();
    else if (event.key === "t") this.otherTheme();
    else if (event.key === "f") this.nextFailure();
    else if (VIEWS[Number(event.key) - 1]) this.show(VIEWS[Number(event.key) - 1][0]);
    else if (!this.views[this.tab].view.key?.(typing ? { key: "ArrowDown" } : event)) return;
    event.preventDefault();
  }

  help() {
    const close = el("button", "", "Close");
    close.type = "button";
    showDialog(
      "keys", el("h2", "", "Keys"), table(KEYS), el("h2", "", "Search"),
      el("p", "", "All words must be found. name:, state:, worker:, where:, error:, command: and picture: look in one place only, as in state:failed name:train."),
      close,
    );
  }

  get isDark() {
    return document.documentElement.dataset.theme === "dark";
  }

  get systemTheme() {
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }

  otherTheme() {
    const wanted = this.isDark ? "light" : "dark";
    localStorageOr("fancypipe-theme", wanted === this.systemTheme ? "" : wanted);
    this.theme(wanted);
  }

  /** Only who chooses writes: while a page loads, the system's theme may not be told yet. */
  theme(wanted = localStorageOr("fancypipe-theme")) {
    document.documentElement.dataset.theme = wanted || this.systemTheme;
    this.views[this.tab]?.view.refresh();
  }

  /** What is looked at stands in the address, so that it outlives a reload. */
  writeAddress() {
    const words = new URLSearchParams();
    if (this.tab !== "tasks") words.set("view", this.tab);
    if (this.query) words.set("find", this.query);
    if (this.selected) words.set("task", String(this.selected.number));
    history.replaceState(null, "", `#${words}`);
  }

  readAddress() {
    const words = new URLSearchParams(location.hash.slice(1));
    this.query = words.get("find") ?? "";
    $("search").value = this.query;
    const task = words.get("task");
    if (task !== null) this.wanted = Number(task);
    const view = words.get("view");
    this.show(Object.hasOwn(this.views, view ?? "") ? view : "tasks");
  }
}

/** Read or write what the browser keeps; where it keeps nothing, for pages from disk, it is "". */
function localStorageOr(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(key) ?? "";
    if (value) localStorage.setItem(key, value);
    else localStorage.removeItem(key);
  } catch {
    return "";
  }
  return "";
}

const app = new App();
app.start();
