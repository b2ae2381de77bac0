"""Text that is no UTF-8 gets through as it is, in whatever it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fancypipe_core import Exec, Session, errors
from fancypipe_core.hooks import TaskEvent, hookimpl
from tests.conformance import odd_texts as t
from tests.conformance.outcomes import raised, shares_memory


@pytest.mark.fault(87)
def test_values_files_and_names(session: Session) -> None:
    assert session.run(t.gives(), t.length(t.NAME)) == (t.NAME, len(t.NAME))
    assert session.run({t.NAME: t.gives()}) == {t.NAME: t.NAME}
    assert session.run(t.reads(t.writes())) == "1"
    assert session.run(t.named(False)) == "t\udce9"
    assert session.run(t.unfolds()) == ["t\udce9", len(t.NAME) + 1]


@pytest.mark.fault(87)
@pytest.mark.parametrize("kind", ["message", "file", "notes", "code", "exit"])
def test_exceptions(session: Session, kind: str) -> None:
    error = raised(session, [t.length("a"), t.fails(kind)])
    assert not isinstance(error, errors.TaskLost)
    said = f"{error} {error.where} {getattr(error.__cause__, '__notes__', '')}"
    assert t.NAME in said.replace(repr(t.NAME)[1:-1], t.NAME)
    assert session.run(t.length("ab")) == 2


@pytest.mark.fault(87)
def test_the_failure_of_a_task_with_such_a_name(session: Session) -> None:
    error = raised(session, t.named(True))
    assert error.task == "t\udce9"
    assert isinstance(error, ValueError)


@pytest.mark.fault(87)
def test_what_observers_are_told(backend: str) -> None:
    seen = []

    class Watcher:
        @hookimpl
        def fancypipe_task_events(self, events: list[TaskEvent]) -> None:
            seen.extend(events)

    with Session(backend, 1, observers=[Watcher()]) as session:
        assert session.run(t.logs(), t.named(False)) == (1, "t\udce9")
    assert any(event.name == "t\udce9" for event in seen)


@pytest.mark.fault(87)
def test_a_death_with_such_last_words(session: Session) -> None:
    if shares_memory(session):
        pytest.skip("the death of a worker is that of the client")
    error = raised(session, t.dies())
    assert isinstance(error, errors.TaskLost)
    assert t.NAME in str(error)


@pytest.mark.fault(87)
def test_programs(session: Session, tmp_path: Path) -> None:
    assert session.run(Exec("printf", "%s", t.NAME)["stdout"]) == t.NAME
    assert session.run(Exec("cat", stdin=t.NAME)["stdout"]) == t.NAME
    assert session.run(Exec("cat", t.NAME, files={t.NAME: t.NAME})["stdout"]) == t.NAME
    assert session.run(Exec("printenv", "X", env={"X": t.NAME})["stdout"]) == f"{t.NAME}\n"
    error = raised(session, Exec("sh", "-c", 'printf "%s" "$1" >&2; exit 3', "sh", t.NAME))
    assert t.NAME in str(error)


SCRIPT = """
import os
import sys
from fancypipe_core import run, task

class Point:
    def __init__(self, x):
        self.x = x

@task
def say(x):
    os.write(1, b"caf\\xe9\\n")
    return Point(__file__ + x.x)

if __name__ == "__main__":
    assert run(say(Point("!"))).x == __file__ + "!"
    print("done")
"""


@pytest.mark.fault(87)
def test_a_script_in_such_a_folder(backend: str, tmp_path: Path) -> None:
    folder = tmp_path / t.NAME
    folder.mkdir()
    script = folder / t.NAME.replace(".txt", ".py")
    script.write_text(SCRIPT)
    for name in (str(script), script.name):
        over = subprocess.run(
            [sys.executable, name],
            check=False,
            cwd=folder,
            env={**os.environ, "FANCYPIPE_BACKEND": backend, "TMPDIR": str(folder)},
            capture_output=True,
            timeout=60,
        )
        assert over.returncode == 0, over.stderr
        assert over.stdout.splitlines()[-1] == b"done"
        assert b"caf\xe9" in over.stdout, "as it was printed"
