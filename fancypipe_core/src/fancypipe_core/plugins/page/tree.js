// The tasks as they nest, or those that a search finds.

const ROW = 24;
const FAILURES_SHOWN = 50; // kinds of failures
const ORDERS = {
  trouble: "failed first",
  made: "as they were made",
  slow: "slowest first",
};

/** How long a task took from when it began, all that it made included. */
function spanOf(task, now) {
  if (task.begin === undefined || ["waiting", "submitted"].includes(task.state)) return undefined;
  if (task.state === "skipped" && !task.attempts) return undefined;
  const last = task.attempts?.[task.attempts.length - 1];
  if (!task.children && last?.seconds && task.ended !== undefined) return last.seconds;
  return Math.max(0, (task.ended ?? now) - task.begin);
}

class Tree {
  constructor(app) {
    this.app = app;
    this.open = new Set();
    this.closed = new Set();
    this.rows = []; // [task, level]
    this.order = "trouble";
  }

  mount(host) {
    this.failures = el("section", "failures");
    this.failures.setAttribute("aria-label", "What failed");
    const head = el("div", "treehead row-grid");
    const order = el("select");
    order.setAttribute("aria-label", "Order");
    for (const [key, said] of Object.entries(ORDERS)) {
      const option = el("option", "", said);
      option.value = key;
      order.append(option);
    }
    order.value = this.order;
    order.addEventListener("change", () => {
      this.order = order.value;
      this.refresh();
    });
    this.title = el("span", "dim");
    head.append(
      el("span", "cell-name", "Task ", order, " ", this.title), el("span", "cell-bar", "when"),
      el("span", "cell-num", "took"), el("span", "cell-num wide", "waited"),
      el("span", "cell-num wide", "memory"), el("span", "cell-worker wide", "worker"),
    );
    const body = el("div", "tree");
    body.tabIndex = 0;
    body.setAttribute("role", "tree");
    body.setAttribute("aria-label", "Tasks");
    host.append(this.failures, head, body);
    this.body = body;
    this.head = head;
    this.list = new VirtualList(body, ROW, () => this.makeRow(), (row, index) => this.draw(row, index));
    body.addEventListener("click", (event) => this.clicked(event));
    body.addEventListener("dblclick", () => this.app.selected && this.toggle(this.app.selected));
    this.refresh();
  }

  makeRow() {
    const row = el(
      "div", "row-grid",
      el("span", "cell-name", el("span", "fold"), el("span", "sign"), el("span", "name"),
        el("span", "more")),
      el("span", "cell-bar", el("span", "span")),
      el("span", "cell-num"), el("span", "cell-num wide"), el("span", "cell-num wide"),
      el("span", "cell-worker wide"),
    );
    row.setAttribute("role", "treeitem");
    return row;
  }

  draw(row, index) {
    const [task, level] = this.rows[index];
    const { model, selected } = this.app;
    const [name, bar, took, waited, memory, worker] = row.children;
    const [fold, sign, title, more] = name.children;
    const isOpen = this.isOpen(task);
    name.style.paddingLeft = `${6 + Math.min(level, 24) * 14}px`;
    setText(fold, task.children && !this.query ? (isOpen ? "▾" : "▸") : "");
    setText(sign, STATES[task.state].sign);
    sign.className = `sign ${task.state}`;
    sign.title = STATES[task.state].said;
    setText(title, task.name);
    setText(more, this.moreOf(task));
    const now = model.now;
    const whole = Math.max(now - model.first, 1e-6);
    const span = spanOf(task, now);
    const mark = bar.firstChild;
    mark.hidden = span === undefined;
    if (!mark.hidden) {
      const end = task.ended ?? now;
      const begin = task.children ? task.begin : Math.max(task.begin, end - span);
      mark.className = `span ${task.state}`;
      mark.style.left = `${(100 * (begin - model.first)) / whole}%`;
      mark.style.width = `max(2px, ${(100 * (end - begin)) / whole}%)`;
    }
    const last = task.attempts?.[task.attempts.length - 1];
    setText(took, duration(span));
    setText(waited, duration(last?.waited));
    setText(memory, bytes(last?.memory));
    setText(worker, task.worker ?? "");
    row.classList.toggle("selected", task === selected);
    row.setAttribute("aria-level", String(level + 1));
    row.setAttribute("aria-selected", String(task === selected));
    row.id = `row-${task.number}`;
    if (task === selected) this.body.setAttribute("aria-activedescendant", row.id);
    if (task.children) row.setAttribute("aria-expanded", String(isOpen));
    else row.removeAttribute("aria-expanded");
  }

  moreOf(task) {
    const parts = [];
    if (task.programs) parts.push(`$ ${task.programs[task.programs.length - 1].command.slice(0, 300)}`);
    else if (task.inputs) parts.push(task.inputs);
    if (task.pictures) parts.push(task.pictures.length > 1 ? `${count(task.pictures.length)} pictures` : "picture");
    if (task.cached) parts.push("cached");
    if (task.state === "failed" && task.last) {
      parts.push(`${task.last.error ?? ""}: ${task.last.message ?? ""}`);
    } else if (task.state === "running" && task.progress) {
      const [done, total] = task.progress;
      parts.push(total ? `${count(done)} of ${count(total)}` : count(done));
    }
    if (task.attempt > 1) parts.push(`attempt ${task.attempt}`);
    if (task.children) {
      parts.push(`${count(task.children.length)} inside`);
      if (task.trouble) parts.push(`${count(task.trouble)} failed`);
    }
    if (this.query && task.parent) parts.push(`in ${task.parent.path}`);
    return parts.join("  ·  ");
  }

  isOpen(task) {
    if (!task.children || this.closed.has(task)) return false;
    return this.open.has(task) || !task.parent || (task.trouble > 0 && task.children.length < 200);
  }

  /** Look at the model again. */
  refresh() {
    if (!this.list) return;
    const text = this.app.query;
    this.query = text ? parseQuery(text) : null;
    this.rows = [];
    if (this.query) {
      for (const task of this.app.model.order) {
        if (found(task, this.query)) this.rows.push([task, 0]);
      }
    } else this.walk();
    setText(this.title, this.query ? `${count(this.rows.length)} found` : "");
    this.drawFailures();
    this.head.style.paddingRight = `${12 + this.body.offsetWidth - this.body.clientWidth}px`;
    this.list.setLength(this.rows.length);
  }

  walk() {
    // No recursion: tasks nest a thousand levels deep.
    const stack = [...this.sorted(this.app.model.roots)].reverse().map((task) => [task, 0]);
    while (stack.length) {
      const row = stack.pop();
      this.rows.push(row);
      const [task, level] = row;
      if (!this.isOpen(task)) continue;
      const inner = this.sorted(task.children);
      for (let place = inner.length - 1; place >= 0; place -= 1) {
        stack.push([inner[place], level + 1]);
      }
    }
  }

  sorted(tasks) {
    if (this.order === "made") return tasks;
    const now = this.app.model.now;
    if (this.order === "slow") {
      const spans = new Map(tasks.map((task) => [task, spanOf(task, now) ?? -1]));
      return [...tasks].sort((one, other) => spans.get(other) - spans.get(one));
    }
    if (!tasks.some((task) => task.trouble)) return tasks;
    return [...tasks].sort((one, other) => Boolean(other.trouble) - Boolean(one.trouble));
  }

  /** The failures, alike ones together: what happened is the first thing that is looked for. */
  drawFailures() {
    const { failures } = this.app.model;
    this.failures.hidden = !failures.length;
    if (!failures.length) return;
    if (this.shownFailures === failures.length) return;
    this.shownFailures = failures.length;
    const groups = new Map();
    for (const task of failures) {
      const { error = "", message = "" } = task.last ?? {};
      const key = [task.name, error, message.replace(/\d+/g, "#")].join("\0");
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(task);
    }
    const made = el(
      "div", "",
      el("h2", "", groups.size === 1 ? "What failed" : `What failed: ${count(groups.size)} kinds`),
    );
    for (const group of [...groups.values()].slice(0, FAILURES_SHOWN)) {
      const [first] = group;
      const times = el("span", "times", group.length > 1 ? `${count(group.length)}×` : "");
      const error = el("span", "error", first.last?.error ?? "failed");
      const line = el(
        "button", "failure", el("span", "sign failed", STATES.failed.sign), times,
        el("b", "", first.name), error, el("span", "message", first.last?.message ?? ""),
      );
      line.type = "button";
      line.dataset.task = String(first.number);
      made.append(line);
    }
    if (groups.size > FAILURES_SHOWN) {
      const more = el("button", "link", `and ${count(groups.size - FAILURES_SHOWN)} kinds more: show all that failed`);
      more.type = "button";
      more.dataset.find = "state:failed";
      made.append(more);
    }
    morph(this.failures, made);
  }

  reveal(task) {
    for (let outer = task.parent; outer; outer = outer.parent) {
      this.open.add(outer);
      this.closed.delete(outer);
    }
    this.refresh();
    const index = this.rows.findIndex((row) => row[0] === task);
    if (index >= 0) this.list.reveal(index);
  }

  toggle(task, wanted = !this.isOpen(task)) {
    if (!task.children) return;
    (wanted ? this.open : this.closed).add(task);
    (wanted ? this.closed : this.open).delete(task);
    this.refresh();
  }

  clicked(event) {
    const row = event.target.closest(".row");
    if (!row) return;
    const [task] = this.rows[Number(row.dataset.index)];
    if (event.target.classList.contains("fold")) this.toggle(task);
    this.app.select(task);
  }

  key(event) {
    const at = this.rows.findIndex((row) => row[0] === this.app.selected);
    const page = Math.max(1, Math.floor(this.body.clientHeight / ROW) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps && this.rows.length) {
      const to = Math.min(Math.max(at + steps[event.key], 0), this.rows.length - 1);
      this.app.select(this.rows[to][0]);
      this.list.reveal(to);
      return true;
    }
    const task = this.app.selected;
    if (at < 0 || this.query) return false;
    if (event.key === "ArrowRight") {
      if (task.children && !this.isOpen(task)) this.toggle(task, true);
      else if (task.children) this.key({ key: "ArrowDown" });
      return true;
    }
    if (event.key === "ArrowLeft") {
      if (this.isOpen(task)) this.toggle(task, false);
      else if (task.parent) this.app.select(task.parent, { reveal: true });
      return true;
    }
    return false;
  }
}
