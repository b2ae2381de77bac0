// What was typed into the search field, and which tasks it finds.

const FIELDS = {
  name: (task) => task.name,
  state: (task) => task.state,
  worker: (task) => task.worker,
  error: (task) => task.last && `${task.last.error ?? ""} ${task.last.message ?? ""}`,
  where: (task) => task.where,
  command: (task) => task.programs?.map((program) => program.command).join("\n"),
  picture: (task) => task.pictures && `picture ${task.pictures.map((picture) => picture.name).join("\n")}`,
};

/** Words, all of which a task must hold: anywhere, or in a field as in `state:failed`. */
function parseQuery(text) {
  const words = text.toLowerCase().match(/(?:\w+:)?"[^"]*"|\S+/g) ?? [];
  return words.map((word) => {
    const [, field, rest] = word.match(/^(\w+):(.*)$/s) ?? [];
    const known = Object.hasOwn(FIELDS, field ?? "");
    return { field: known ? field : null, word: (known ? rest : word).replaceAll('"', "") };
  });
}

function holds(text, word) {
  return Boolean(text) && String(text).toLowerCase().includes(word);
}

function found(task, query) {
  return query.every(({ field, word }) => {
    if (field) return holds(FIELDS[field](task), word);
    return (
      holds(task.name, word) || holds(task.inputs, word) || holds(task.value, word) ||
      holds(task.told, word) || task.programs?.some((program) => holds(program.command, word)) || holds(task.where, word) || holds(task.worker, word) ||
      (task.last && (holds(task.last.error, word) || holds(task.last.message, word))) ||
      String(task.number) === word
    );
  });
}
