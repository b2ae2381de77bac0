// All that the journal says of one task.

const NOTES_SHOWN = 2000;
const LINKS_SHOWN = 40;

function taskLink(app, task) {
  const link = el("button", "link", el("span", `sign ${task.state}`, STATES[task.state].sign), task.name);
  if (task.inputs) link.append(el("span", "dim", ` ${task.inputs}`));
  link.type = "button";
  link.addEventListener("click", () => app.select(task, { reveal: true }));
  return link;
}

function links(app, title, tasks) {
  if (!tasks?.length) return null;
  const section = el("section", "", el("h3", "", `${title} (${count(tasks.length)})`));
  for (const task of tasks.slice(0, LINKS_SHOWN)) section.append(taskLink(app, task));
  if (tasks.length > LINKS_SHOWN) {
    section.append(el("p", "dim", `and ${count(tasks.length - LINKS_SHOWN)} more`));
  }
  return section;
}

function table(rows) {
  const list = el("dl", "fields");
  for (const [name, said] of rows) {
    if (said !== "" && said !== undefined && said !== null) list.append(el("dt", "", name), el("dd", "", said));
  }
  return list;
}

function block(title, text, className = "") {
  return text ? [el("h3", "", title), el("pre", className, text)] : [];
}

function attemptOf(attempt, several, first) {
  const part = el("section", "attempt");
  if (several) {
    const said = attempt.end ?? "runs";
    part.append(el("h3", "", `Attempt ${attempt.number}: ${said}`));
  }
  if (attempt.error || attempt.message) {
    const message = [attempt.error, attempt.message].filter(Boolean).join(": ");
    part.append(el("p", "what", message));
  }
  part.append(
    table([
      ["ran", duration(attempt.seconds)],
      ["waited", duration(attempt.waited)],
      ["CPU", attempt.cpu ? cpuOf(attempt) : ""],
      ["peak memory", bytes(attempt.memory)],
      ["bytes in", bytes(attempt.bytes_in)],
      ["bytes out", bytes(attempt.bytes_out)],
      ["worker", attempt.worker],
      ["began", attempt.began ? `${clock(attempt.began)} (${duration(attempt.began - first)} into the run)` : ""],
    ]),
    ...block("Traceback", attempt.traceback, "trace"),
    ...block("Death certificate", attempt.certificate),
  );
  return part;
}

function cpuOf(attempt) {
  if (!attempt.seconds) return duration(attempt.cpu);
  return `${duration(attempt.cpu)} (${Math.round((100 * attempt.cpu) / attempt.seconds)} % of a core)`;
}

/** Fill the pane. */
function drawDetails(pane, app) {
  const task = app.selected;
  pane.hidden = !task;
  document.body.classList.toggle("with-details", Boolean(task));
  if (!task) return;
  const { model } = app;
  const outer = [];
  for (let one = task.parent; one; one = one.parent) outer.push(one);
  const crumbs = el("div", "crumbs");
  for (const one of outer.reverse().slice(-6)) crumbs.append(taskLink(app, one), el("span", "dim", "/"));
  const close = el("button", "close", "×");
  close.type = "button";
  close.title = "Close (Esc)";
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => app.select(null));
  const [done, total] = task.progress ?? [];
  const needs = [...(task.needs ?? [])].map((number) => model.task(number));
  const attempts = task.attempts ?? [];
  const scroll = pane.dataset.task === String(task.number) ? pane.scrollTop : 0;
  pane.dataset.task = String(task.number);
  pane.replaceChildren(
    close, crumbs,
    el("h2", "", el("span", `sign ${task.state}`, STATES[task.state].sign), task.name),
    table([
      ["state", task.cached ? "cached: its result was there from before" : STATES[task.state].said],
      ["where", task.where],
      ["inputs", task.inputs],
      ["value", task.value],
      ["progress", task.progress && task.state !== "done" ? `${count(done)}${total ? ` of ${count(total)}` : ""}` : ""],
      ["took", duration(spanOf(task, model.now))],
      ["added", task.added ? `${clock(task.added, true)} (${duration(task.added - model.first)} into the run)` : ""],
      ["ended", task.ended ? clock(task.ended, true) : ""],
      ["task", `${task.number}${task.attempt > 1 ? `, attempt ${task.attempt}` : ""}`],
      ["path", task.told],
      ["again", againOf(task, model.run)],
    ]),
    ...[...attempts].reverse().map((one) => attemptOf(one, attempts.length > 1, model.first)),
    ...notesOf(task),
    ...[
      links(app, "Needs", needs), links(app, "Feeds", task.feeds), links(app, "Inside", inside(task)),
    ].filter(Boolean),
  );
  pane.scrollTop = scroll;
}

/** The command that runs a task that failed again. */
function againOf(task, run) {
  const kept = /failed|all/.test(run.settings?.keep_jobs ?? "");
  if (!kept || task.state !== "failed" || !task.told || !task.attempt) return "";
  const path = /^[\w./@%+=:,-]+$/.test(task.told) ? task.told : `'${task.told.replaceAll("'", "'\\''")}'`;
  return el("code", "", `fancypipe replay ${run.run} ${path} --pdb`);
}

/** Tasks that a task made, those with trouble first. */
function inside(task) {
  if (!task.trouble) return task.children;
  return [...(task.children ?? [])].sort((one, other) => Boolean(other.trouble) - Boolean(one.trouble));
}

function notesOf(task) {
  if (!task.notes) return [];
  const text = el("pre", "output");
  for (const note of task.notes.slice(-NOTES_SHOWN)) {
    const said = String(note.text ?? "");
    text.append(el("span", `stream-${String(note.stream).replace(/\W/g, "")}`, said.endsWith("\n") ? said : `${said}\n`));
  }
  const cut = task.notes.length > NOTES_SHOWN ? `, the last ${count(NOTES_SHOWN)} pieces` : "";
  return [el("h3", "", `Output${cut}`), text];
}
