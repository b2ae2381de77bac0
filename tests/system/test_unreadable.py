"""What a worker cannot read: said once, in a sentence, and not tried again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fancypipe_core import run, task
from fancypipe_core._base import resources

SECONDS = 60.0

# The client finds the module by a finder of its own, as those of some tools do; a worker does not.
HIDDEN = """\
import importlib.abc, importlib.util, sys
from fancypipe_core import errors, module, run, task

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "hidden" else None

    def exec_module(self, made):
        made.__file__ = __file__
        exec("from fancypipe_core import task\\n@task(retries=2)\\ndef g(x): return x", vars(made))

@task
def good(x):
    return x

if __name__ == "__main__":
    sys.meta_path.append(Finder())
    import hidden
"""

# What it does is counted when a worker imports it.
COUNTING = """\
import os
from fancypipe_core import errors, run, task

os.open("imported-%d" % len(os.listdir(".")), os.O_CREAT | os.O_EXCL)
if __name__ != "__main__":
    raise OSError("no such license")

@task
def f(x):
    return x

@task
def g(x):
    return x
"""


def python(folder: Path, text: str) -> str:
    """Run a script, and return what it printed."""
    (folder / "script.py").write_text(text, encoding="utf-8")
    over = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert over.returncode == 0, over.stderr
    return over.stdout


@pytest.mark.fault(7)
def test_a_module_that_a_worker_does_not_find(tmp_path: Path) -> None:
    said = python(
        tmp_path,
        HIDDEN
        + """
    try:
        run([hidden.g(n) for n in range(1000)] + [good(7)], backend="procs", workers=2)
    except errors.TaskError as error:
        print(error)
        print(error.__cause__)
        assert type(error) is not errors.TaskLost
        assert error.attempt == 1
""",
    )
    first, *cause = said.splitlines()
    host = socket.gethostname()
    assert f" failed: DecodeError: module hidden was not found on host {host}; task g" in first
    assert f"The worker looked in {tmp_path}" in cause[0]
    assert f"among the packages of {sys.executable}. Install it there" in cause[0]
    assert cause[1].endswith(": fancypipe doctor script.py")
    assert len(cause) == 2


@pytest.mark.fault(7)
def test_it_is_said_once_for_a_thousand_tasks_and_the_others_are_done(tmp_path: Path) -> None:
    said = python(
        tmp_path,
        HIDDEN
        + """
    from fancypipe_core.hooks import hookimpl
    class Watch:
        events = []
        @hookimpl
        def fancypipe_task_events(self, events):
            self.events += events
    try:
        run([hidden.g(n) for n in range(1000)] + [good(n) for n in range(100)],
            backend="procs", workers=2, keep_going=True, observers=[Watch()])
    except errors.RunFailed as error:
        print(error)
        assert len(error.failures) == 1000
    kinds = [event.kind for event in Watch.events]
    assert kinds.count("done") == 100, kinds
    assert not {"lost", "retried"} & set(kinds)
""",
    )
    assert said.count("was not found on host") == 1
    assert "(and 999 more tasks for this reason)" in said


@pytest.mark.fault(7)
def test_a_script_that_a_worker_cannot_import_is_not_imported_again(tmp_path: Path) -> None:
    said = python(
        tmp_path,
        COUNTING
        + """
if __name__ == "__main__":
    try:
        run([f(1), f(2), g(1), g(2)], backend="procs", workers=1, keep_going=True)
    except errors.RunFailed as error:
        print(error)
""",
    )
    assert said.count("(and 1 more task for this reason)") == 2
    assert (
        "task f could not be read by the worker on host "
        f"{socket.gethostname()} when it imported script.py (line 6): OSError: no such license"
    ) in said
    # Once in the client, once in the worker.
    assert len(list(tmp_path.glob("imported-*"))) == 2


def test_a_module_that_raises_is_not_imported_for_each_task(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(
        "import os\n"
        "from fancypipe_core import task\n"
        "os.open('imported-%d' % len(os.listdir('.')), os.O_CREAT | os.O_EXCL)\n"
        "assert 'BROKEN' not in os.environ, 'broken'\n"
        "@task\n"
        "def f(x):\n"
        "    return x\n",
        encoding="utf-8",
    )
    python(
        tmp_path,
        """\
import os
from fancypipe_core import errors, run
if __name__ == "__main__":
    import helper
    os.environ["BROKEN"] = "1"
    try:
        run([helper.f(n) for n in range(50)], backend="procs", workers=1, keep_going=True)
    except errors.RunFailed as error:
        assert len(error.failures) == 50
        assert "task f could not be read by the worker on host" in str(error)
        assert str(error).count("AssertionError: broken") == 1
""",
    )
    assert len(list(tmp_path.glob("imported-*"))) == 2


# ---- what is said before the first task ------------------------------------------------


@task
def one() -> int:
    return 1


def test_a_full_disk_is_said_before_the_first_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(resources, "free_space", lambda _: 1_500_000)
    assert run(one(), backend="procs", workers=1, tempdir=str(tmp_path)) == 1
    assert capsys.readouterr().err == (
        f"fancypipe: the disk of the folder for temporary files, {tmp_path}, is full (1.5 MB are "
        "left): make room, or name another one: -tempdir\n"
    )
    assert run(one(), backend="threads", workers=1, tempdir=str(tmp_path)) == 1
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != str(tmp_path))
    assert run(one(), backend="procs", workers=1, tempdir=str(tmp_path / "new" / "one")) == 1
    assert (
        f"the folder for temporary files, {tmp_path}/new/one, cannot be written"
        in capsys.readouterr().err
    )


def test_memory_that_cannot_be_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resources, "free_memory", lambda: 100_000_000)
    assert run(one(), backend="procs", workers=8) == 1
    assert (
        "100.0 MB of memory are left for 8 workers, and each needs at least"
        in capsys.readouterr().err
    )
    assert run(one(), backend="procs", workers=2) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container_counts(tmp_path: Path, version: int) -> None:
    def write(name: str, text: object) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="ascii")

    write("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    8000 kB")
    assert resources.free_memory(str(tmp_path)) == 8_192_000
    if version == 2:
        write("proc/self/cgroup", "0::/outer/inner")
        write("sys/fs/cgroup/outer/inner/memory.max", "max")
        write("sys/fs/cgroup/outer/inner/memory.current", 1)
        write("sys/fs/cgroup/outer/memory.max", 1_000_000)
        write("sys/fs/cgroup/outer/memory.current", 600_000)
        write("sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file 100000")
    else:
        write("proc/self/cgroup", "4:memory:/outer")
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", 2**63 - 4096)
        write("sys/fs/cgroup/memory/memory.usage_in_bytes", 1)
        write("sys/fs/cgroup/memory/outer/memory.limit_in_bytes", 1_000_000)
        write("sys/fs/cgroup/memory/outer/memory.usage_in_bytes", 600_000)
        write("sys/fs/cgroup/memory/outer/memory.stat", "cache 1\ntotal_inactive_file 100000")
    assert resources.free_memory(str(tmp_path)) == 500_000


@pytest.mark.parametrize("version", [1, 2])
def test_the_group_counts_who_was_killed_for_memory(tmp_path: Path, version: int) -> None:
    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="ascii")

    assert resources.memory_kills(str(tmp_path)) is None
    if version == 2:
        write("proc/self/cgroup", "0::/outer/inner")
        base, name = "sys/fs/cgroup", "memory.events"
    else:
        write("proc/self/cgroup", "4:memory:/outer/inner\n3:cpu:/outer/inner")
        base, name = "sys/fs/cgroup/memory", "memory.oom_control"
    # In a container its own name may not be there; then the mount is the group.
    write(f"{base}/{name}", "oom_kill_disable 0\noom_kill 5")
    assert resources.memory_kills(str(tmp_path)) == 5
    write(f"{base}/outer/inner/{name}", "low 1\noom 4\noom_kill 3")
    assert resources.memory_kills(str(tmp_path)) == 3
