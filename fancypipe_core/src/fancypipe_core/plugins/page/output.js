// What tasks wrote, and what was said beside them, as it came; and what is known of the run.

/** The class of what was said, by where. */
function streamClass(note) {
  return `stream-${String(note.stream).replace(/[^\w-]/g, "")}`;
}

class OutputView {
  constructor(app) {
    this.app = app;
    this.seen = 0;
    this.lines = [];
  }

  mount(host) {
    const box = el("div", "outputlist");
    box.tabIndex = 0;
    box.setAttribute("aria-label", "Output");
    this.empty = el("p", "empty", "Nothing was written.");
    host.append(this.empty, box);
    this.list = new VirtualList(
      box, 20,
      () => el("div", "outline", el("span", "at"), el("span", "of"), el("span", "text")),
      (row, index) => this.draw(row, index),
    );
    box.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      const number = row && this.shown[Number(row.dataset.index)][0].task;
      if (number !== undefined && number !== null) this.app.select(this.app.model.task(number));
    });
    this.refresh();
  }

  draw(row, index) {
    const [note, text] = this.shown[index];
    const [at, of, said] = row.children;
    setText(at, note.at ? clock(note.at) : "");
    setText(of, note.task === undefined ? "" : this.app.model.task(note.task).name);
    setText(said, text);
    said.className = `text ${streamClass(note)}`;
    said.title = note.stream ?? "";
  }

  refresh() {
    if (!this.list) return;
    const { notes } = this.app.model;
    for (; this.seen < notes.length; this.seen += 1) {
      const note = notes[this.seen];
      const sign = note.stream === "command" ? "$ " : "";
      for (const text of String(note.text ?? "").replace(/\n$/, "").split("\n")) this.lines.push([note, sign + text]);
    }
    const { model } = this.app;
    const query = parseQuery(this.app.query);
    this.shown = query.length ? this.lines.filter(([note, text]) => this.holds(note, text, query)) : this.lines;
    this.empty.hidden = this.shown.length > 0;
    setText(this.empty, query.length && this.lines.length ? "No line holds this." : "Nothing was written.");
    const follow = this.list.atEnd && !model.over;
    this.list.setLength(this.shown.length);
    if (follow) this.list.reveal(Math.max(0, this.shown.length - 1));
  }

  /** All words must be found: in the line, in its task's name, or where a word says. */
  holds(note, text, query) {
    const task = note.task === undefined ? null : this.app.model.task(note.task);
    return query.every(({ field, word }) => {
      if (field) return task !== null && holds(FIELDS[field](task), word);
      return holds(text, word) || (task !== null && holds(task.name, word));
    });
  }

  key(event) {
    return scrolled(this.list.host, event);
  }
}

class AboutView {
  constructor(app) {
    this.app = app;
  }

  mount(host) {
    this.box = el("div", "about scrolls");
    this.box.tabIndex = 0;
    this.box.setAttribute("aria-label", "The run");
    host.append(this.box);
    this.refresh();
  }

  key(event) {
    return scrolled(this.box, event);
  }

  refresh() {
    if (!this.box) return;
    const { model } = this.app;
    const { run, over } = model;
    const settings = Object.entries(run.settings ?? {});
    const made = el(
      "div", "",
      el("h2", "", "The run"),
      table([
        ["target", run.target],
        ["run", run.run],
        ["began", run.at ? clock(run.at, true) : ""],
        ["ended", over?.at ? clock(over.at, true) : ""],
        ["took", duration(model.elapsed)],
        ["outcome", over ? (over.ok ? "all that was asked for is there" : over.message || "failed") : ""],
        ["backend", run.backend],
        ["workers", run.workers ? `${count(run.workers)} (${run.unit ?? "worker"})` : ""],
        ["workers seen", model.workers.size ? count(model.workers.size) : ""],
        ["command", Array.isArray(run.argv) ? run.argv.map(quoted).join(" ") : ""],
        ["folder", run.folder],
        ["machine", run.host],
        ["process", run.pid],
        ["fancypipe", run.fancypipe],
        ["Python", run.python],
        ["journal", run.journal ? `version ${run.journal}` : ""],
        ["unreadable lines", model.unread ? count(model.unread) : ""],
      ]),
      ...(model.summary.length ? [el("h2", "", "What it took its time for"), ...model.summary.map((line) => el("p", "", line))] : []),
      ...(settings.length ? [el("h2", "", "Settings"), table(settings.map(([name, value]) => [name, String(value)]))] : []),
    );
    morph(this.box, made);
  }
}
