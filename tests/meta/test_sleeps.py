"""No test waits for something by a fixed time: see `Add a test` in CONTRIBUTING.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from tests.meta.repo import ROOT

LONG = 60  # seconds

# (file, function): why it may sleep for a fixed time.
_TRIED = "how long it takes is what is tried, and nothing is waited for"
SAFE: Mapping[tuple[str, str], str] = {
    ("core/test_orphans.py", "test_a_session_removes_what_killed_clients_left"): _TRIED,
    ("faults/test_threads.py", "test_cancels_and_ends_race_and_each_job_ends_once"): _TRIED,
    ("remote/proxy.py", "_until"): "a slow line: bytes arrive when they are due",
    ("remote/test_pauses.py", "test_a_manager_that_is_stopped_costs_nothing"): _TRIED,
    ("remote/test_pauses.py", "test_nothing_is_lost_when_all_are_stopped"): _TRIED,
    ("system/storm.py", "once"): _TRIED,
    ("system/test_doctor.py", "test_what_an_import_costs"): _TRIED,
}

Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def sleeps_of(tree: ast.AST, where: str = "") -> Iterator[tuple[str, int]]:
    """Return the sleeps by which a test could wait for something: the function, and the line.

    Not a pause between two looks in a `while`; not what a task does, whose work is to take time;
    and not what is there to be ended by the test, after a minute or later.
    """
    for child in ast.iter_child_nodes(tree):
        inner = where
        if isinstance(child, ast.While):
            continue
        if isinstance(child, (*Function, ast.ClassDef)):
            if any(_is_task(one) for one in child.decorator_list):
                continue
            inner = child.name
        elif isinstance(child, ast.Call) and _name(child.func) == "sleep":
            if not _is_long(child):
                yield inner, child.lineno
        elif isinstance(child, ast.Constant) and "sleep(" in str(child.value):
            for name, _ in sleeps_of(_program(str(child.value))):
                yield name or inner, child.lineno
        yield from sleeps_of(child, inner)


def _program(text: str) -> ast.AST:
    """Return the program that a string holds, or nothing."""
    try:
        return ast.parse(dedent(text))
    except SyntaxError:
        return ast.Module([], [])


def _is_long(call: ast.Call) -> bool:
    given = call.args[0] if call.args else None
    value = given.value if isinstance(given, ast.Constant) else None
    return isinstance(value, (int, float)) and value >= LONG


def _is_task(decorator: ast.expr) -> bool:
    return _name(decorator.func if isinstance(decorator, ast.Call) else decorator) == "task"


def _name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


def found() -> dict[tuple[str, str], str]:
    """Return the sleeps of the tests, and where each stands."""
    tests = ROOT / "tests"
    own = Path(__file__).resolve()
    return {
        (path.relative_to(tests).as_posix(), function): f"{path}:{line}"
        for path in sorted(tests.rglob("*.py"))
        if path != own
        for function, line in sleeps_of(ast.parse(path.read_text("utf-8")))
    }


def test_no_test_waits_for_a_fixed_time() -> None:
    sleeps = found()
    new = [where for key, where in sleeps.items() if key not in SAFE]
    assert not new, (
        "wait for an event, or look again and again until a deadline; or say in the table above "
        "why the time itself is what is tried:\n" + "\n".join(new)
    )
    old = [key for key in SAFE if key not in sleeps]
    assert not old, f"these stand nowhere any more; take them out of the table: {old}"


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("def test(): time.sleep(1)", 1),
        ("def test(): sleep(0.1)", 1),
        ("async def test(): await asyncio.sleep(1)", 1),
        ("def test():\n  for one in all: sleep(0.1)", 1),
        ("def test():\n  while not there(): sleep(0.1)", 0),
        ("def test():\n  while not there(): sleep(0.1)\n  sleep(0.1)", 1),
        ("@task\ndef slow(): time.sleep(0.1)", 0),
        ("@task(retries=1)\ndef slow(): time.sleep(0.1)", 0),
        ("def test():\n  @task\n  def slow(): sleep(1)\n  run(slow())", 0),
        ("def test(): write('import time\\ntime.sleep(1)')", 1),
        ("CODE = 'from x import task\\n@task\\ndef f(): sleep(1)'", 0),
        ("def test(): write('import time; time.sleep(1000)')", 0),
        ("CODE = 'no program: sleep(1) {'", 0),
        ("time.sleep(seconds)", 1),
    ],
)
def test_what_is_a_sleep(code: str, count: int) -> None:
    assert len(list(sleeps_of(ast.parse(code)))) == count
