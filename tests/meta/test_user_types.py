"""What type checkers say of a user's file: they accept what is right, and refuse the rest."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.repo import ROOT

USER = """\
from __future__ import annotations

from typing import Any

from fancypipe_core import Module, Outputs, Ref, Session, Task, current, module, run, task


@task
def square(x: float) -> float:
    return x * x


@task(retries=2)
def name(x: float) -> str:
    return str(x)


@task
def loose(x: Any) -> Any:
    return x


@task
def nothing() -> None:
    return None


@task
def named() -> Outputs:
    return Outputs(mask=1)


@task
def factorial(n: int) -> int | Ref[int]:
    return n * factorial(n - 1) if n else 1


@module
def total(x: float) -> Ref[float]:
    return square(x)


@module(name="both")
def both(x: float) -> tuple[Ref[float], Ref[str]]:
    return square(x), name(x)


@module
def all_of(n: int) -> list[Ref[float]]:
    return [square(i) for i in range(n)]


@module
def by_name(n: int) -> dict[str, Ref[float]]:
    return {str(i): square(i) for i in range(n)}


class Smooth(Task, retries=1):
    def main(self, image: list[float], width: int = 3) -> list[float]:
        return image


class Study(Module):
    def main(self, x: float) -> Ref[str]:
        return name(square(x))


a: float = run(square(1))
b: str = run(name(square(1)), backend="serial", workers=2, keep_going=True)
c: int = run(factorial(3))
d: float = run(total(1))
e: tuple[float, str] = run(both(1))
f: list[float] = run(all_of(3))
g: dict[str, float] = run(by_name(3))
h: list[float] = run(Smooth([1.0]))
i: str = run(Study(1))
j: tuple[float, str] = run(square(1), name(1))
k: tuple[float, str, int] = run(square(1), name(1), factorial(3))
refs = [square(i) for i in range(3)]
m: list[float] = run(refs)
n: list[float] = run([square(1), square(2)])
o: dict[str, float] = run({"a": square(1)})
p: tuple[float, str] = run((square(1), name(1)))
run(loose(1)).upper()
run(square(1) + square(2)).any_name()
run(named()["mask"]).any_name()
run(named()).mask
run([loose(1), 2, "x"], observers=[object()])
run(*refs)
run(3)
ref: Ref[float] = square(1)
q: float = ref.result()
r: list[float] = all_of(3).result()
s: str = Study(1).result()
with Session("threads", workers=2) as session:
    t: float = session.run(square(1))
    u: tuple[float, str] = session.run(square(1), name(1))
    v: list[float] = session.run(refs)
    w: list[float] = session.run(Smooth([1.0]))
    x: list[float] = session.run(square.map(range(3)))
    for y in session.stream(name.map([1.0, 2.0])):
        print(y.upper())
    for index, z in session.as_completed(square.map([1.0])):
        print(index.bit_length(), z.is_integer())
aa: list[str] = run(name.map(square.map(x for x in (1.0, 2.0))))
print(a.is_integer(), b.upper(), f[0].is_integer(), current())

run(square(1)).upper()  # refused
run(total(1)).upper()  # refused
run(factorial(3)).upper()  # refused
run(all_of(3))[0].upper()  # refused
run(Smooth([1.0])).upper()  # refused
run(square(1), name(1))[0].upper()  # refused
run(refs)[0].upper()  # refused
session.run(square(1)).upper()  # refused
run(square.map([1.0]))[0].upper()  # refused
session.stream(square(1))  # refused
square(1).result().upper()  # refused
square(1).upper()  # refused
float(square(1))  # refused
wrong: str = run(square(1))  # refused
run(square(1), workers="two")  # refused
with square(1):  # refused
    pass
task(retries="two")  # refused
"""
REFUSED = [place for place, line in enumerate(USER.splitlines(), 1) if "# refused" in line]


@pytest.fixture
def user(tmp_path: Path) -> Path:
    file = tmp_path / "user.py"
    file.write_text(USER, encoding="utf-8")
    return file


def test_mypy(user: Path) -> None:
    over = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            str(ROOT / ".mypy_cache/user"),
            user.name,
        ],
        cwd=user.parent,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    lines = [int(line) for line in re.findall(r"^user\.py:(\d+): error", over.stdout, re.MULTILINE)]
    assert sorted(set(lines)) == REFUSED, over.stdout + over.stderr


def test_pyright(user: Path) -> None:
    # This one brings what it runs on along; that of PyPI called pyright fetches it when it is run.
    program = shutil.which("basedpyright", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("basedpyright is not installed for this Python: pip install basedpyright")
    (user.parent / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    over = subprocess.run(
        [program, "--outputjson", "--pythonpath", sys.executable, user.name],
        cwd=user.parent,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    said = json.loads(over.stdout)["generalDiagnostics"]
    errors = [one for one in said if one["severity"] == "error"]
    lines = {one["range"]["start"]["line"] + 1 for one in errors}
    assert sorted(lines) == REFUSED, json.dumps(errors, indent=1)
