"""Every wait has a limit, or a reason why it needs none."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.meta.repo import CORE, source_of

# Calls that wait for ever when they are given no limit.
WITHOUT_ARGUMENTS = {"acquire", "get", "join", "result", "select", "wait"}
WITHOUT_TIMEOUT = {"communicate", "check_call", "check_output", "run"}
ALWAYS = {"accept", "recv", "recv_into", "sendall", "sendmsg", "wait4", "waitpid"}
LOCKS = {"Condition", "Lock", "RLock", "Semaphore"}

# (module, the call): why nobody waits there for ever.
_ENDS = "whoever drives tells all that are left, however a run ends; see test_submit"
_FEW = "held for a few statements that wait for nothing"
_SOCKET = "ends when the other end of the socket is closed, at the latest with its process"
SAFE: Mapping[tuple[str, str], str] = {
    (
        "fancypipe_core.toolkit.batch",
        "parent.join()",
    ): "a daemon thread whose task is to outlive its parent",
    ("fancypipe_core._wire.channel", "self._sock.recv_into(room, 0, flags)"): _SOCKET,
    ("fancypipe_core._wire.channel", "self._sock.sendmsg(parts)"): _SOCKET,
    (
        "fancypipe_core._wire.passage",
        "sock.sendmsg([b'.'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])",
    ): "its socket does not block",
    (
        "fancypipe_core._wire.value_folder",
        "with self._using",
    ): "held while a file is read or written, as long as its file system answers",
    (
        "fancypipe_core.toolkit.shipping.worker_code",
        "with self._changed",
    ): "held while a client's files are read or unpacked, as long as their file system answers",
    (
        "fancypipe_core.toolkit.shipping.file_copies",
        "with self._lock",
    ): "held while files that nobody uses are removed, as long as their file system answers",
    ("fancypipe_core.toolkit.shipping.file_copies", "with _finding"): (
        "held while a folder is made, whose remover has a limit to start"
    ),
    ("fancypipe_core.toolkit.shipping.own_folder", "with _making"): (
        "held while a folder is made, whose remover has a limit to start"
    ),
    ("fancypipe_core._wire.local_socket", "self._socket.accept()"): "its socket does not block",
    ("fancypipe_core._wire.passage", "self._listener.accept()"): "the same",
    ("fancypipe_core._model.context", "scope.get()"): "a context variable",
    ("fancypipe_core._model.files", "scope.get()"): "a context variable",
    ("fancypipe_core._model.ref", "scope.get()"): "a context variable",
    ("fancypipe_core._model.scope", "scope.get()"): "a context variable",
    ("fancypipe_core._cli.commands", "ending.wait()"): "a daemon thread that waits for the end",
    ("fancypipe_core._doctor.clean", "self._process.wait()"): "its group has just been killed",
    ("fancypipe_core._base.faults", "with _counting"): _FEW,
    ("fancypipe_core.toolkit.engine", "with counting"): _FEW,
    ("fancypipe_core.toolkit.executor", "with _starting"): "held while a pool starts a process",
    ("fancypipe_core._base.main_module", "with _process.lock"): (
        "the main script is run once; whoever needs it meanwhile has to wait for that"
    ),
    (
        "fancypipe_core.toolkit.server",
        "self._driven.drive(None)",
    ): "the thread that listens wakes it",
    (
        "fancypipe_core.toolkit.server",
        "self._inbox.get()",
    ): "the thread that listens says when it ends",
    (
        "fancypipe_core.toolkit.threaded",
        "self.drive(None)",
    ): "calls of others wake it, and `check` asks it for a sign of life",
    ("fancypipe_core.toolkit.server", "self._out.get()"): "a daemon thread; the end is put into it",
    ("fancypipe_core.toolkit.server", "with self._sending"): _SOCKET,
    ("fancypipe_core._base.isolation", "with self._lock"): _FEW,
    ("fancypipe_core._base.isolation", "self._lock.acquire()"): _FEW,
    ("fancypipe_core.session.__init__", "scope.get()"): "a context variable",
    ("fancypipe_core._engine.wheel", "with self._lock"): _FEW,
    ("fancypipe_core._engine.wheel", "with self._idle"): _FEW,
    ("fancypipe_core._engine.activity", "root.future.result()"): _ENDS,
    ("fancypipe_core._engine.activity", "stream.wait()"): _ENDS,
    (
        "fancypipe_core._engine.wheel",
        "thread.join()",
    ): "it was told to end, and has nothing left",
    ("fancypipe_core._engine.background", "self._more.acquire()"): "it was released a moment ago",
    (
        "fancypipe_core._engine.helpers",
        "self._inbox.get()",
    ): "a daemon thread that was started for what is put in, or that somebody else has just taken",
    ("fancypipe_core._engine.helpers", "helper.get()"): "the same",
    ("fancypipe_core._engine.hands", "with self._changed"): _FEW,
    ("fancypipe_core._engine.mains", "ask.wait()"): _ENDS,
    ("fancypipe_core._engine.streams", "with self._changed"): _FEW,
    (
        "fancypipe_core.adapters.joblib",
        "with self._lock",
    ): "held while a session is opened or closed, and both have limits",
    ("fancypipe_core.adapters.joblib", "out.result()"): "joblib asks when it is done",
    ("fancypipe_core._engine.executor", "with self._lock"): _FEW,
    ("fancypipe_core.plugins.console", "with self._lock"): "held while a picture is drawn",
    ("fancypipe_threads._followers", "with self._lock"): _FEW,
    ("fancypipe_threads._gathering", "with self._lock"): _FEW,
    ("fancypipe_threads._limits", "with self._changed"): _FEW,
    ("fancypipe_threads._pool", "signal.acquire()"): (
        "an idle thread, or one that waits with others for a job with needs; `submit`, that job's "
        "end and `stop` wake it, and `check` sees jobs that wait beside it"
    ),
    ("fancypipe_threads._pool", "with self._changing"): _FEW,
}


def waits_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Return the calls without a limit, and locks that are held for a while: text and line."""
    locks = _locks(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_endless(node):
            yield ast.unparse(node), node.lineno
        elif isinstance(node, ast.With):
            for item in node.items:
                text = ast.unparse(item.context_expr)
                if text.rpartition(".")[2] in locks:
                    yield f"with {text}", node.lineno


def _is_endless(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    name = call.func.attr
    keywords = {keyword.arg for keyword in call.keywords}
    if name in WITHOUT_ARGUMENTS:
        return not call.args and not keywords & {"timeout", "blocking"}
    if name in WITHOUT_TIMEOUT:
        whose = ast.unparse(call.func.value)
        return "timeout" not in keywords and (name == "communicate" or whose == "subprocess")
    if name == "wait_for":  # of a condition
        return len(call.args) == 1 and "timeout" not in keywords
    if name == "drive":
        return not call.args or ast.unparse(call.args[0]) == "None"
    return name in ALWAYS and "WNOHANG" not in ast.unparse(call)


def _locks(tree: ast.AST) -> set[str]:
    """Return the names that are given a lock."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(
            node.value, ast.Call
        ):
            continue
        made = ast.unparse(node.value.func).rpartition(".")[2]
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if made in LOCKS:
            found.update(ast.unparse(target).rpartition(".")[2] for target in targets)
    return found


def found() -> dict[tuple[str, str], str]:
    """Return the waits of the sources, and where each stands."""
    waits = {}
    for package in (CORE, "fancypipe_threads"):
        source = source_of(package)
        for path in sorted(source.rglob("*.py")):
            if "testing" in path.relative_to(source).parts:
                continue  # the kit has limits of its own, and a watchdog
            module = ".".join(path.relative_to(source.parent).with_suffix("").parts)
            for text, line in waits_of(ast.parse(path.read_text("utf-8"))):
                waits[module, text] = f"{path}:{line}"
    return waits


def test_each_wait_has_a_limit_or_a_reason() -> None:
    waits = found()
    new = [f"{where}: {key[1]}" for key, where in waits.items() if key not in SAFE]
    assert not new, "give these a limit, or a reason in the table above:\n" + "\n".join(new)
    old = [key for key in SAFE if key not in waits]
    assert not old, f"these stand nowhere any more; take them out of the table: {old}"


@pytest.mark.parametrize(
    ("code", "waits"),
    [
        ("queue.get()", 1),
        ("queue.get(timeout=1)", 0),
        ("{}.get('a')", 0),
        ("thread.join()", 1),
        ("thread.join(3)", 0),
        ("', '.join(words)", 0),
        ("event.wait()", 1),
        ("lock.acquire(blocking=False)", 0),
        ("lock = threading.Lock()\nwith lock: pass", 1),
        ("with open(file): pass", 0),
        ("os.waitpid(1, 0)", 1),
        ("os.waitpid(1, os.WNOHANG)", 0),
        ("subprocess.run([])", 1),
        ("subprocess.run([], timeout=2)", 0),
        ("self.run(3)", 0),
        ("backend.drive(None)", 1),
        ("backend.drive(1.0)", 0),
        ("sock.recv(1)", 1),
        ("condition.wait_for(true)", 1),
        ("condition.wait_for(true, 1.0)", 0),
    ],
)
def test_what_is_a_wait(code: str, waits: int) -> None:
    assert len(list(waits_of(ast.parse(code)))) == waits
