"""The main script started in every way that Python knows, with and without a shared file system.

Each way is one client, which runs the same tasks on processes, on a worker that sees
its files, and on one that sees none of them.
"""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
import zipapp
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.remote.cluster import LIMIT, Cluster, cluster
from tests.waiting import wait_until

PYTHON = sys.executable

HELPER = "def helper(x):\n    return x + 1\n"

BODY = """
import os
from fancypipe_core import run, task
{imports}

SEEN = []

class Thing:
    def __init__(self, x):
        self.x = x

def note(x):
    SEEN.append(x)

@task
def step(thing):
    {late}
    assert isinstance(thing, Thing)
    note(thing.x)
    return Thing(helper(thing.x))

@task
def seen(things):
    assert all(type(thing) is Thing for thing in things)
    return len(SEEN)

def main():
    for where in os.environ["WAYS"].split():
        backend, _, manager = where.partition("=")
        options = {{"jobmanager": manager}} if manager else {{"workers": 1}}
        things = [step(Thing(i)) for i in range(3)]
        count, thing = run([seen(things), things[1]], backend=backend, **options)
        assert type(thing) is Thing and thing.x == 2
        print("fine", backend, count)

if __name__ == "__main__":
    main()
"""


def body(imports: str = "from helper import helper", late: str = "pass") -> str:
    return BODY.format(imports=imports, late=late)


TOP = body()
RELATIVE = body("from .helper import helper")
LATE = body("", late="from helper import helper")


class Way(NamedTuple):
    """A way to start the same pipeline.

    Attributes:
        command: What is run.
        cwd: Where.
        env: Environment variables besides.
        stdin: The file that is read.
        one: Whether all tasks see the same globals; not where code goes by value.
    """

    command: Sequence[str]
    cwd: Path
    env: Mapping[str, str] = {}
    stdin: Path = Path(os.devnull)
    one: bool = True


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def plain(root: Path, text: str = TOP) -> Path:
    put(root / "helper.py", HELPER)
    return put(root / "s.py", text)


def packages(root: Path) -> Path:
    put(root / "pkg" / "__init__.py", "")
    put(root / "pkg" / "helper.py", HELPER)
    put(root / "pkg" / "mod.py", RELATIVE)
    put(root / "pkg" / "__main__.py", RELATIVE)
    put(root / "pkg" / "sub" / "deep.py", RELATIVE.replace("from .helper", "from ..helper"))
    put(root / "space" / "helper.py", HELPER)
    put(root / "space" / "mod.py", RELATIVE)
    put(root / "space" / "late.py", body("", late="from .helper import helper"))
    return root


# ---- scripts ----


def names(root: Path) -> Iterator[tuple[str, Way]]:
    odd = ["my-script.py", "my.script.v2.py", "my script.py", "skript-ä漢.py", "noext", "json.py"]
    for number, name in enumerate(odd):
        folder = root / str(number)
        put(folder / "helper.py", HELPER)
        put(folder / name, TOP)
        yield name, Way([PYTHON, name], folder)
    plain(root / "a folder, ö漢")
    yield "an odd folder", Way([PYTHON, "s.py"], root / "a folder, ö漢")


def scripts(root: Path) -> Iterator[tuple[str, Way]]:
    script = plain(root / "plain")
    yield "from another folder", Way([PYTHON, str(script)], Path("/"))
    yield "a path that goes up", Way([PYTHON, "../plain/s.py"], script.parent)
    yield "-i", Way([PYTHON, "-i", "s.py"], script.parent)
    (root / "links").mkdir()
    (root / "links" / "run").symlink_to(script)
    yield "a link", Way([PYTHON, str(root / "links" / "run")], root)
    late = plain(root / "late", LATE)
    yield "an import in a task", Way([PYTHON, "s.py"], late.parent)
    circle = plain(root / "circle")
    put(circle.parent / "helper.py", HELPER + "import s\nAgain = s.Thing\n")
    yield "a circle of imports", Way([PYTHON, "s.py"], circle.parent)
    compiled = plain(root / "compiled")
    py_compile.compile(str(compiled.parent / "helper.py"), str(compiled.parent / "helper.pyc"))
    (compiled.parent / "helper.py").unlink()
    yield "a helper without source", Way([PYTHON, "s.py"], compiled.parent)
    py_compile.compile(str(compiled), str(compiled.parent / "t.pyc"))
    yield "a script without source", Way([PYTHON, "t.pyc"], compiled.parent)


def paths(root: Path) -> Iterator[tuple[str, Way]]:
    put(root / "lib" / "helper.py", HELPER)
    script = put(root / "scripts" / "s.py", TOP)
    yield "a relative PYTHONPATH", Way([PYTHON, str(script)], root, {"PYTHONPATH": "lib"})
    if sys.version_info >= (3, 11):
        lib = {"PYTHONPATH": str(root / "lib")}
        yield "-P", Way([PYTHON, "-P", str(script)], root, lib)
        yield "PYTHONSAFEPATH", Way([PYTHON, str(script)], root, {**lib, "PYTHONSAFEPATH": "1"})
    own = f"import sys\nsys.path.append({str(root / 'lib')!r})\n"
    isolated = put(root / "isolated" / "s.py", own + TOP)
    yield "-I", Way([PYTHON, "-I", "s.py"], isolated.parent)
    relative = put(root / "relative" / "s.py", "import sys\nsys.path.append('lib')\n" + TOP)
    put(root / "relative" / "lib" / "helper.py", HELPER)
    yield "sys.path with a relative entry", Way([PYTHON, "s.py"], relative.parent)
    addsite = f"import site\nsite.addsitedir({str(root / 'site')!r})\n"
    put(root / "site" / "more.pth", str(root / "lib") + "\n")
    yield "a .pth file", Way([PYTHON, str(put(root / "pth" / "s.py", addsite + TOP))], root)
    with zipfile.ZipFile(root / "lib.zip", "w") as archive:
        archive.writestr("helper.py", HELPER)
        archive.writestr("inner/other.py", HELPER)
    zipped = {"PYTHONPATH": str(root / "lib.zip")}
    yield "an archive on sys.path", Way([PYTHON, str(script)], root, zipped)
    inner = put(root / "inner" / "s.py", body("from other import helper"))
    folder = {"PYTHONPATH": str(root / "lib.zip" / "inner")}
    yield "a folder of an archive", Way([PYTHON, str(inner)], root, folder)


# ---- modules, archives, no file at all ----


def modules(root: Path) -> Iterator[tuple[str, Way]]:
    packages(root)
    for name in ("pkg", "pkg.mod", "pkg.sub.deep", "space.mod", "space.late"):
        yield f"-m {name}", Way([PYTHON, "-m", name], root)
    plain(root / "flat")
    yield "-m s", Way([PYTHON, "-m", "s"], root / "flat")
    yield "a folder", Way([PYTHON, str(root / "app")], root)
    put(root / "app" / "helper.py", HELPER)
    put(root / "app" / "__main__.py", TOP)
    zipapp.create_archive(root / "app", root / "app.pyz")
    yield "zipapp", Way([PYTHON, "app.pyz"], root)


def nameless(root: Path) -> Iterator[tuple[str, Way]]:
    packages(root)
    script = plain(root)
    late = put(root / "late.py", LATE)
    imports = "from pkg.mod import main; main()"
    yield "-c that imports", Way([PYTHON, "-c", imports], root)
    yield "-c", Way([PYTHON, "-c", TOP], root, one=False)
    yield "-c, an import in a task", Way([PYTHON, "-c", LATE], root, one=False)
    yield "-", Way([PYTHON, "-"], root, stdin=script, one=False)
    yield "-, an import in a task", Way([PYTHON, "-"], root, stdin=late, one=False)
    yield "/dev/stdin", Way([PYTHON, "/dev/stdin"], root, {"PYTHONPATH": str(root)}, script)


# ---- what runs scripts ----


PLUGIN = """
import importlib.util
import sys

spec = importlib.util.spec_from_file_location("a.plugin", {file!r})
sys.modules["a.plugin"] = plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)
plugin.main()
"""


def loaded(root: Path) -> Iterator[tuple[str, Way]]:
    """Nothing here is in the main module: workers do not run it."""
    plugin = put(root / "plugins" / "v1.0.py", TOP)
    put(root / "lib" / "helper.py", HELPER)
    script = put(root / "s.py", PLUGIN.format(file=str(plugin)))
    env = {"PYTHONPATH": str(root / "lib")}
    yield "a file that no import finds", Way([PYTHON, str(script)], Path("/"), env)


def runners(root: Path) -> Iterator[tuple[str, Way]]:
    plain(root)
    code = "import runpy; runpy.run_path('s.py', run_name='__main__')"
    yield "runpy.run_path", Way([PYTHON, "-c", code], root)
    code = "import runpy; runpy.run_module('s', run_name='__main__', alter_sys=True)"
    yield "runpy.run_module", Way([PYTHON, "-c", code], root)
    out = str(root / "profile")
    yield "cProfile", Way([PYTHON, "-m", "cProfile", "-o", out, "s.py"], root)
    yield "profile", Way([PYTHON, "-m", "profile", "-o", out, "s.py"], root)
    trace = [PYTHON, "-m", "trace", "--count", "-C", str(root / "cover"), "s.py"]
    yield "trace", Way(trace, root)
    yield "pdb", Way([PYTHON, "-m", "pdb", "-c", "continue", "-c", "quit", "s.py"], root)
    # As kernprof and others do it: in a dictionary that only they know.
    own = "ns = {'__name__': '__main__', '__file__': 's.py'}\n"
    own += "exec(compile(open('s.py').read(), 's.py', 'exec'), ns)\n"
    put(root / "tools" / "runner.py", own)
    env = {"PYTHONPATH": str(root)}
    yield "a runner", Way([PYTHON, str(root / "tools" / "runner.py")], root, env)
    # As coverage does it: with a module of its own making.
    own = "import sys, types\nmain = sys.modules['__main__'] = types.ModuleType('__main__')\n"
    own += "main.__file__ = 's.py'\n"
    own += "exec(compile(open('s.py').read(), 's.py', 'exec'), main.__dict__)\n"
    put(root / "tools" / "module.py", own)
    yield "a runner with a module", Way([PYTHON, str(root / "tools" / "module.py")], root, env)


GROUPS: Sequence[Callable[[Path], Iterator[tuple[str, Way]]]] = [
    names, scripts, paths, modules, nameless, loaded, runners,
]  # fmt: skip


class Hidden(NamedTuple):
    cluster: Cluster
    root: Path
    ways: str


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hidden]:
    """A worker that sees a folder, and one behind another manager that sees an empty one."""
    root = tmp_path_factory.mktemp("ways")
    try:
        subprocess.run(["unshare", "--mount", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody have mounts of its own")
    with cluster(tmp_path_factory.mktemp("cluster"), workers=0) as made:
        made.worker(1, "-workertype=T")
        sees = made.address
        made.port = 0
        made.manager()
        shell = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none '{root}' && exec \"$@\""]
        command = made.command("worker", f"-jobmanager={made.address}", "-numworkers=1")
        log = made.folder / "hidden.log"
        with log.open("wb") as file:
            worker = subprocess.Popen(
                [*shell, "sh", *command], env=made.env, cwd="/", stdin=subprocess.DEVNULL,
                stderr=file,
            )  # fmt: skip
        try:
            wait_until(lambda: "connected to the manager" in log.read_text(), "the worker joins")
            yield Hidden(made, root, f"procs remote={sees} remote={made.address}")
        finally:
            worker.terminate()
            worker.wait(LIMIT)


@pytest.mark.slow
@pytest.mark.fault(89)
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_way_to_start(
    hidden: Hidden, group: Callable[..., Iterator[tuple[str, Way]]]
) -> None:
    root = hidden.root / group.__name__
    root.mkdir()
    ways = dict(group(root))
    env = {**hidden.cluster.env, "WAYS": hidden.ways, "FANCYPIPE_REMOTE_WAIT": "30"}

    def start(way: Way) -> str:
        with way.stdin.open() as stdin:
            over = subprocess.run(
                way.command, check=False, env={**env, **way.env}, cwd=way.cwd, timeout=LIMIT,
                stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="backslashreplace",
            )  # fmt: skip
        return over.stdout

    with ThreadPoolExecutor(2) as pool:
        said = dict(zip(ways, pool.map(start, ways.values()), strict=True))
    count = {True: "3", False: "0"}
    wrong = {
        what: text
        for what, text in said.items()
        if [line for line in text.splitlines() if line.startswith("fine")]
        != [f"fine {backend} {count[ways[what].one]}" for backend in ("procs", "remote", "remote")]
    }
    assert not wrong, "\n".join(f"---- {what}:\n{text[-2000:]}" for what, text in wrong.items())
