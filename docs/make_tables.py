"""Writes the tables of the pages that are made from the source.

`python docs/make_tables.py` writes them; with `--check` it only says which are
out of date.  What is made stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fancypipe_core
from fancypipe_core import backend, errors, hooks
from fancypipe_core._base.option_names import dashed
from fancypipe_core._engine.machine import states as _states
from fancypipe_core._model import task as _task
from fancypipe_core._model.context import Context
from fancypipe_core._settings import table as _settings
from fancypipe_core.backend import protocols

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
_PLACE = re.compile(r"(<!-- made: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns):")
_ENTRY = re.compile(r"(\*{0,2}[\w.]+): (.*)")


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )


def first_line(obj: object) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join((inspect.getdoc(obj) or "").split("\n\n", 1)[0].split())


# ---- the machine ---------------------------------------------------------------


def states() -> str:
    """The states of a task."""
    return table(["state", "the task ..."], [[s.name, s.value] for s in _states.State])


def transitions() -> str:
    """Every step from state to state."""
    rows = [
        [before.name, after.name, why]
        for before, steps in _states.TRANSITIONS.items()
        for after, why in steps.items()
    ]
    return table(["from", "to", "when"], rows)


def records(union: Any) -> str:
    """Events or actions."""
    return table(
        ["record", "meaning"], [[f"`{one.__name__}`", first_line(one)] for one in union.__args__]
    )


def rooms() -> str:
    """The rooms of the core, from the bottom to the top, as pyproject.toml has them."""
    contracts = _project()["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["id"] == "rooms")
    source = ROOT / "fancypipe_core" / "src" / "fancypipe_core"
    rows = []
    for number, layer in enumerate(reversed(layers), 1):
        for name in layer.split(" | "):
            folder = source / name
            path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
            text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            about = " ".join(text.split())
            parts = sorted(
                one.stem for one in folder.glob("*") if one.suffix == ".py" or one.is_dir()
            )
            inside = ", ".join(f"`{one}`" for one in parts if not one.startswith("__"))
            rows.append([str(number), f"`{name}`", about, inside])
    return table(["layer", "room", "what it is for, what enters and leaves", "in it"], rows)


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


# ---- faults -------------------------------------------------------------------------


def faults() -> str:
    """The fault matrix, with the tests that show each row."""
    sys.path.insert(0, str(ROOT))
    from docs.fault_rows import SECTIONS, shown

    tests: dict[int, dict[str, list[str]]] = {}
    for one in shown():
        tests.setdefault(one.row, {}).setdefault(one.file, []).append(one.test)
    parts = []
    for title, rows in SECTIONS.items():
        lines = []
        for row in rows:
            files = tests.get(row.number, {})
            cell = "<br>".join(
                f"`{file}`: " + ", ".join(f"`{test}`" for test in named)
                for file, named in files.items()
            )
            outcome = row.outcome or "no test shows it yet"
            lines.append([str(row.number), row.fault, outcome, cell])
        parts.append(f"## {title}\n\n{table(['#', 'fault', 'what happens', 'shown by'], lines)}\n")
    return "\n".join(parts)


def security() -> str:
    """Who can do what to whom, with the tests that show it."""
    sys.path.insert(0, str(ROOT))
    from docs.security_rows import ROWS

    rows = [
        [
            row.who,
            row.whom,
            f"{'**can**' if row.can else 'cannot'} {row.what}",
            "<br>".join(f"`{test.partition('::')[2]}`" for test in row.tests),
        ]
        for row in ROWS
    ]
    return table(["who", "to whom", "can or cannot", "shown by"], rows)


# ---- settings and errors --------------------------------------------------------


def settings() -> str:
    """The settings."""
    rows = []
    for line in _settings.ENGINE.lines:
        options = [f"`{dashed(name)}`" for name in (*line.options, *line.off)]
        rows.append(
            [f"`{line.name}`", " ".join(options), f"`{line.variable}`", line.default, line.help]
        )
    return table(["key and argument", "option", "environment", "default", "meaning"], rows)


def error_classes() -> str:
    """The hierarchy of errors."""
    rows: list[list[str]] = []

    def walk(cls: type[BaseException], depth: int) -> None:
        code = str(getattr(cls, "exit_code", "-"))
        rows.append([f"{'&nbsp;&nbsp;' * depth}`{cls.__name__}`", code, first_line(cls)])
        for other in cls.__subclasses__():
            if other.__module__ == errors.__name__:
                walk(other, depth + 1)

    walk(errors.FancyPipeError, 0)
    walk(errors.InternalError, 0)
    return table(["error", "exit code", "meaning"], rows)


def example(engine: str) -> str:
    """A backend of the examples, whole; `tests/engines` runs it where its engine is."""
    name = f"on_{engine}.py"
    text = (ROOT / "examples" / "backends" / name).read_text("utf-8")
    return f"<!-- file: {name} -->\n```python\n{text}```"


# ---- the reference ----------------------------------------------------------------


def signature_of(name: str, obj: Any) -> str:
    """Return how something is called, without the annotations."""
    try:
        signature = inspect.signature(obj)
    except ValueError:
        return name
    empty = inspect.Parameter.empty
    parameters = [
        one.replace(annotation=empty)
        for one in signature.parameters.values()
        if one.name not in ("self", "cls")
    ]
    plain = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return f"{name}{plain}"


def described(obj: object) -> Iterator[str]:
    """Yield a docstring as Markdown: its text, then its sections as lists."""
    title = ""
    entries: list[str] = []
    for line in (inspect.getdoc(obj) or "").splitlines():
        section = _SECTION.fullmatch(line)
        if section:
            yield from _listed(title, entries)
            title, entries = section[1], []
        elif not title or (line and not line.startswith(" ")):
            yield from _listed(title, entries)
            title, entries = "", []
            yield line
        elif line.strip():
            entry = _ENTRY.fullmatch(line.strip())
            if line.startswith("     ") and entries:
                entries[-1] += f" {line.strip()}"
            elif entry and title != "Returns":
                entries.append(f"- `{entry[1]}`: {entry[2]}")
            elif entries:
                entries[-1] += f" {line.strip()}"
            else:
                entries.append(f"- {line.strip()}")
    yield from _listed(title, entries)


def _listed(title: str, entries: Sequence[str]) -> Iterator[str]:
    if entries:
        yield from ["", f"{'Arguments' if title == 'Args' else title}:", "", *entries, ""]


def part(name: str, obj: Any, *, called: bool = True) -> str:
    """Return the part of the reference about one name."""
    shown = signature_of(name, obj) if called else name
    lines = [f"`{shown}`", "", *described(obj)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def methods(prefix: str, cls: type, names: Sequence[str]) -> str:
    """Return the parts about methods and properties."""
    parts = []
    for name in names:
        member = inspect.getattr_static(cls, name)
        obj = member.fget if isinstance(member, property) else getattr(cls, name)
        parts.append(part(f"{prefix}.{name}", obj, called=not isinstance(member, property)))
    return "\n".join(parts)


def hook_list() -> str:
    """The hooks."""
    found = [
        (name, obj)
        for name, obj in vars(hooks).items()
        if name.startswith("fancypipe_") and callable(obj)
    ]
    return "\n".join(part(name, obj) for name, obj in found)


ENGINES = ("parsl", "executorlib", "submitit", "mpi")
_core = fancypipe_core
MADE: dict[str, Callable[[], str]] = {
    "states": states,
    "transitions": transitions,
    "events": lambda: records(_states.Event),
    "actions": lambda: records(_states.Action),
    "rooms": rooms,
    "faults": faults,
    **{f"on-{engine}": partial(example, engine) for engine in ENGINES},
    "security": security,
    "settings": settings,
    "errors": error_classes,
    "task": lambda: part("task", _core.task),
    "module": lambda: part("module", _core.module),
    "Task": lambda: part("Task", _core.Task, called=False),
    "Module": lambda: part("Module", _core.Module, called=False),
    "map": lambda: part("task.map", _task.TaskFunction.map),
    "Ref": lambda: (
        part("Ref", _core.Ref, called=False) + "\n" + methods("Ref", _core.Ref, ["result"])
    ),
    "Backoff": lambda: part(
        "Backoff(seconds, factor=2, ceiling=600, jitter=0.1)", _core.Backoff, called=False
    ),
    "Outputs": lambda: part("Outputs(**items)", _core.Outputs, called=False),
    "files": lambda: (
        part("File(*parts)", _core.File, called=False)
        + part("Dir(*parts)", _core.Dir, called=False)
    ),
    "Exec": lambda: (
        part("Exec", _core.Exec, called=False)
        + "\n"
        + methods("Exec", _core.Exec, ["main"]).replace("Exec.main(", "Exec(", 1)
    ),
    "run": lambda: part("run", _core.run),
    "Session": lambda: (
        part("Session", _core.Session)
        + "\n"
        + methods(
            "Session",
            _core.Session,
            ["run", "submit", "executor", "map", "stream", "as_completed", "cancel", "close"],
        )
    ),
    "current": lambda: (
        part("current", _core.current)
        + "\n"
        + methods(
            "current()",
            Context,
            ["name", "number", "attempt", "index", "tempdir", "tempfile", "log", "progress"],
        )
    ),
    "hooks": hook_list,
    "TaskEvent": lambda: part("TaskEvent", hooks.TaskEvent, called=False),
    "Wants": lambda: part("Wants", hooks.Wants, called=False),
    "TaskNote": lambda: part("TaskNote", hooks.TaskNote, called=False),
    "RunInfo": lambda: part("RunInfo", hooks.RunInfo, called=False),
    "TaskFailure": lambda: part("TaskFailure", hooks.TaskFailure, called=False),
    "setting": lambda: part("setting", backend.setting),
    "Command": lambda: part("Command", backend.Command, called=False),
    "backend-rules": lambda: (
        (inspect.getdoc(protocols) or "")
        .partition("same numbers:\n\n")[2]
        .partition("\n\nVersion")[0]
    ),
}


def made(text: str) -> str:
    """Return a page with its tables made anew."""
    return _PLACE.sub(lambda found: f"{found[1]}\n{MADE[found[2]]().strip()}\n\n{found[3]}", text)


def main(argv: Sequence[str]) -> int:
    """Write the tables, or check them."""
    old = 0
    used: set[str] = set()
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text("utf-8")
        used |= {found[2] for found in _PLACE.finditer(text)}
        new = made(text)
        if new == text:
            continue
        if "--check" in argv:
            old += 1
            sys.stderr.write(
                f"{page.relative_to(ROOT)} is out of date: run python docs/make_tables.py\n"
            )
        else:
            page.write_text(new, encoding="utf-8")
    for name in sorted(set(MADE) - used):
        old += 1
        sys.stderr.write(f"no page has a place <!-- made: {name} -->\n")
    return int(old > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
