// All that the journal says of one task.

const NOTES_SHOWN = 2000;
const LINKS_SHOWN = 40;
const PROGRAMS_SHOWN = 20;

function taskLink(task) {
  const link = el("button", "link", el("span", `sign ${task.state}`, STATES[task.state].sign), task.name);
  if (task.inputs) link.append(el("span", "dim", ` ${task.inputs}`));
  link.type = "button";
  link.dataset.task = String(task.number);
  return link;
}

function links(title, tasks) {
  if (!tasks?.length) return null;
  const section = el("section", "", el("h3", "", `${title} (${count(tasks.length)})`));
  for (const task of tasks.slice(0, LINKS_SHOWN)) section.append(taskLink(task));
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

/** A text that can be copied, with its title; nothing if there is none. */
function block(title, text, className = "") {
  if (!text) return null;
  const button = el("button", "copy", "Copy");
  button.type = "button";
  button.setAttribute("aria-label", `Copy: ${title}`);
  const shown = el("pre", className, text);
  shown.tabIndex = 0; // what scrolls must be reached by keys
  return el("section", "block", el("div", "blockhead", el("h3", "", title), button), shown);
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
  const blocks = [block("Traceback", attempt.traceback, "trace"), block("Death certificate", attempt.certificate)];
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
    ...blocks.filter(Boolean),
  );
  return part;
}

function cpuOf(attempt) {
  if (!attempt.seconds) return duration(attempt.cpu);
  return `${duration(attempt.cpu)} (${Math.round((100 * attempt.cpu) / attempt.seconds)} % of a core)`;
}

/** The programs that a task has started, the last ones if these are many. */
function programsOf(task) {
  const programs = task.programs ?? [];
  const cut = programs.length - PROGRAMS_SHOWN;
  const parts = cut > 0 ? [el("p", "dim", `The last ${PROGRAMS_SHOWN} of ${count(programs.length)} programs:`)] : [];
  for (const program of programs.slice(-PROGRAMS_SHOWN)) {
    const bad = program.exit && program.exit !== "exit code 0";
    parts.push(el(
      "section", "program",
      block("Command line", program.command, "command"),
      table([
        ["folder", program.folder],
        ["ended with", program.exit && el("span", bad ? "bad" : "", program.exit)],
      ]),
      block("Standard output", program.stdout, "output"),
      block("Standard error", program.stderr, "output"),
    ));
  }
  return parts;
}

/** Fill the pane; what has not changed stays, with its selection and focus. */
function drawDetails(pane, app) {
  const task = app.selected;
  pane.hidden = !task;
  document.body.classList.toggle("with-details", Boolean(task));
  if (!task) {
    delete pane.dataset.of;
    return;
  }
  const { model } = app;
  const outer = [];
  for (let one = task.parent; one; one = one.parent) outer.push(one);
  const crumbs = el("nav", "crumbs");
  crumbs.setAttribute("aria-label", "What it is in");
  for (const one of outer.reverse().slice(-6)) crumbs.append(taskLink(one), el("span", "dim", "/"));
  const close = el("button", "close", "×");
  close.type = "button";
  close.title = "Close (Esc)";
  close.setAttribute("aria-label", "Close");
  const [done, total] = task.progress ?? [];
  const needs = [...(task.needs ?? [])].map((number) => model.task(number));
  const attempts = task.attempts ?? [];
  const made = el(
    "div", "",
    close, crumbs,
    el("h2", "", el("span", `sign ${task.state}`, STATES[task.state].sign), el("span", "name", task.name)),
    picturesOf(task.pictures),
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
    ...programsOf(task),
    ...[...attempts].reverse().map((one) => attemptOf(one, attempts.length > 1, model.first)),
    notesOf(task), links("Needs", needs), links("Feeds", task.feeds), links("Inside", inside(task)),
  );
  const key = String(task.number);
  if (pane.dataset.of === key) morph(pane, made);
  else {
    pane.replaceChildren(...made.childNodes);
    pane.scrollTop = 0;
  }
  pane.dataset.of = key;
}

/** The command that runs a task that failed again. */
function againOf(task, run) {
  const kept = /failed|all/.test(run.settings?.keep_jobs ?? "");
  if (!kept || task.state !== "failed" || !task.told || !task.attempt) return "";
  return el("code", "", `fancypipe replay ${run.run} ${quoted(task.told)} --pdb`);
}

/** Tasks that a task made, those with trouble first. */
function inside(task) {
  if (!task.trouble) return task.children;
  return [...(task.children ?? [])].sort((one, other) => Boolean(other.trouble) - Boolean(one.trouble));
}

function notesOf(task) {
  if (!task.notes) return null;
  const cut = task.notes.length > NOTES_SHOWN ? `, the last ${count(NOTES_SHOWN)} pieces` : "";
  const section = block(`Output${cut}`, " ", "output");
  section.lastChild.replaceChildren(...task.notes.slice(-NOTES_SHOWN).map((note) => {
    const said = String(note.text ?? "");
    return el("span", streamClass(note), said.endsWith("\n") ? said : `${said}\n`);
  }));
  return section;
}
