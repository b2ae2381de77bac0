"""A task that runs an external program."""

from __future__ import annotations

import os
import selectors
import shlex
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fancypipe_core import errors
from fancypipe_core._base.main_module import in_worker
from fancypipe_core._base.signals import Shelter
from fancypipe_core._base.slices import SLICE
from fancypipe_core._model import context
from fancypipe_core._model.ref import Outputs
from fancypipe_core._model.task import Task

if TYPE_CHECKING:
    from fancypipe_core._model.exec_outputs import Made

__all__ = ["Exec"]

_KEPT = 10 * 1024 * 1024  # bytes of each stream that are kept: half from its head, half its tail
_SHOWN = 20  # lines of a failed program's output that the error repeats
_AS_IT_IS = "surrogateescape"  # what is no UTF-8, such as the name of a file, is passed on


class Exec(Task, name="exec"):
    """Runs an external program: `Exec("gzip", "-t", path)`.

    The output has the items `stdout` and `stderr` (text, in which
    bytes that are no UTF-8 stand as `os.fsdecode` has them; of more than 10 MiB
    the middle is cut out), `code`, and `folder` (where it ran, if `files` or `outputs` were
    given, else None), and those that `outputs` declare.  A code other than 0 raises
    `ExecError`, unless `check` is false.  The program reads nothing: its standard
    input is empty unless `stdin` is given.  However the task ends, the program ends
    with it, and so does what the program started.
    """

    def main(  # noqa: PLR0913 - what a program is started with
        self,
        program: str | os.PathLike[str],
        *arguments: Any,
        files: Mapping[str, str | bytes | os.PathLike[str]] | None = None,
        outputs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        stdin: str = "",
        check: bool = True,
        show: bool = False,
    ) -> Outputs:
        """Run the program and wait for it.

        Args:
            program: Its name or path.
            *arguments: Its arguments; numbers and paths are made text.
            files: Files to put into the folder where it runs, by name: text or
                bytes to be written, or a path that is linked to.  Without `cwd`
                it then runs in a temporary folder of its own.
            outputs: What it makes, by name: paths relative to the folder where it runs, or
                patterns such as `"out/*.bam"`.  The output has an item for each: a `File` or
                `Dir` for a path, and for a pattern a sorted list of them, of at least one.
                Without `cwd` it then runs in a temporary folder of its own.
            env: Environment variables, on top of those that there are.
            cwd: The folder where it runs; by default the current one.
            stdin: What it reads from its standard input.
            check: Whether a code other than 0 is an error.
            show: Whether its lines are shown while it runs.

        Raises:
            ExecError: It ended with another code than 0, cannot be started, or did not make
                one of its outputs.
            BadInput: An output is declared that cannot be.
        """
        command = [os.fspath(program), *map(str, arguments)]
        folder = Path(cwd) if cwd is not None else None
        own = files is not None or outputs is not None
        if outputs:
            from fancypipe_core._model import exec_outputs  # few have any

            exec_outputs.check(outputs)
        if own:
            folder = folder or context.current().tempdir("files")
            for name, content in (files or {}).items():
                _put(folder / name, content)
        context.current().log_command(shlex.join(command), _absolute(folder))
        variables = {**os.environ, **context.current().variables, **(env or {})}
        program_ = _Program(command, folder, variables, show)
        code = program_.run(stdin.encode(errors=_AS_IT_IS))
        stdout, stderr = (kept.text() for kept in program_.kept)
        # What was shown while it ran has been told.
        context.current().log_exit(_how(code), *(() if show else (stdout, stderr)))
        if code and check:
            raise errors.ExecError(
                _story(command, code, stderr or stdout),
                command=command,
                code=code,
                stdout=stdout,
                stderr=stderr,
            )
        made = _outputs(command, code, stderr, folder, outputs, files or ()) if outputs else {}
        return Outputs(
            stdout=stdout, stderr=stderr, code=code, folder=folder if own else None, **made
        )


def _outputs(
    command: list[str],
    code: int,
    stderr: str,
    folder: Path | None,
    outputs: Mapping[str, str],
    given: Container[str],
) -> dict[str, Made]:
    """Return what a program has made; an `ExecError` if that is not all."""
    from fancypipe_core._model import exec_outputs

    assert folder is not None, "a program with outputs has a folder"
    found, missing = exec_outputs.collect(folder, outputs, given)
    if missing:
        what = " and ".join(f"{name!r} ({pattern})" for name, pattern in missing.items())
        said = _tail(stderr)
        raise errors.ExecError(
            f"{shlex.join(command)[:1000]} ended with exit code {code} and did not make its output "
            f"{what}; its folder, {folder}, has{exec_outputs.listing(folder)}"
            + (f"\nit wrote to its standard error:{said}" if said else ""),
            command=command,
            code=code,
            stderr=stderr,
        )
    return found


class _Program:
    """One run of a program."""

    def __init__(
        self, command: list[str], folder: Path | None, env: Mapping[str, str], show: bool
    ) -> None:
        self.kept = (_Kept(), _Kept())
        self._command = command
        self._folder = folder
        self._env = env
        self._show = context.current().log if show else None

    def run(self, stdin: bytes) -> int:
        # A worker process is killed with its group, and so the program must be in
        # that.  In the client's own process it gets a group that can be killed.
        own_group = not in_worker()
        # One that was started, and of which nobody knows, would go on for ever.
        with Shelter() as shelter:
            process = self._start(bool(stdin), own_group)

            def stop() -> None:
                if own_group:
                    _kill_group(process.pid)

            with process, context.stopped_by(stop):
                try:
                    shelter.open()
                    self._serve(process, stdin)
                    return _code_of(process)
                except BaseException:
                    process.kill()
                    raise
                finally:
                    stop()

    def _start(self, reads: bool, own_group: bool) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=own_group,
            )
        except OSError as error:
            raise errors.ExecError(_cannot_start(self._command, self._folder, error)) from error

    def _serve(self, process: subprocess.Popen[bytes], stdin: bytes) -> None:
        """Feed and read it until it has closed its output."""
        waiting = memoryview(stdin)
        with selectors.DefaultSelector() as selector:
            for stream, kept in zip((process.stdout, process.stderr), self.kept, strict=True):
                assert stream is not None
                selector.register(stream, selectors.EVENT_READ, kept)
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            while selector.get_map():
                for key, _ in selector.select(SLICE):
                    file: IO[bytes] = key.fileobj  # type: ignore[assignment]  # what we registered
                    if isinstance(key.data, _Kept):
                        data = os.read(file.fileno(), 65536)
                        key.data.add(data, self._show)
                        over = not data
                    else:
                        waiting = waiting[_write(file, waiting) :]
                        over = not waiting
                    if over:
                        selector.unregister(file)
                        file.close()


def _code_of(process: subprocess.Popen[bytes]) -> int:
    """Return its exit code, when it has ended."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(SLICE)


class _Kept:
    """What a stream said: all of it, or its head and tail."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._size = 0  # of the tail
        self._cut = 0
        self._line = b""

    def add(self, data: bytes, show: Any) -> None:
        if show is not None:
            *lines, self._line = (self._line + data).split(b"\n")
            if not data and self._line:
                lines.append(self._line)
            for line in lines:
                show(line.decode(errors=_AS_IT_IS))
        room = _KEPT // 2 - len(self._head)
        self._head += data[:room]
        if rest := data[room:]:
            self._tail.append(rest)
            self._size += len(rest)
            while self._size - len(self._tail[0]) > _KEPT // 2:
                gone = len(self._tail.popleft())
                self._size -= gone
                self._cut += gone

    def text(self) -> str:
        cut = f"\n... cut {self._cut} bytes ...\n".encode() if self._cut else b""
        return b"".join((self._head, cut, *self._tail)).decode(errors=_AS_IT_IS)


def _write(file: IO[bytes], data: memoryview) -> int:
    try:
        return os.write(file.fileno(), data)
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)  # it does not want to read


def _put(path: Path, content: str | bytes | os.PathLike[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_bytes(content.encode(errors=_AS_IT_IS))
    else:
        path.symlink_to(Path(content).absolute())


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nothing is left of it


def _cannot_start(command: list[str], folder: Path | None, error: OSError) -> str:
    if folder is not None and not folder.is_dir():
        return f"{command[0]} cannot be started: there is no folder {folder}"
    if os.sep not in command[0] and shutil.which(command[0]) is None:
        return f"there is no program {command[0]!r} in PATH on this machine"
    return f"{command[0]} cannot be started: {error.strerror or error}"


def _absolute(folder: Path | None) -> str:
    """Return where a program runs; empty if this process has no current folder any more."""
    try:
        return os.path.abspath(folder or os.curdir)
    except FileNotFoundError:
        return ""


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"


def _story(command: list[str], code: int, output: str) -> str:
    said = _tail(output)
    return (
        f"{shlex.join(command)[:1000]} ended with {_how(code)}{':' if said else ''}"
        f"{said or ' (it said nothing)'}"
    )


def _tail(output: str) -> str:
    return "".join(f"\n  | {line}" for line in output.strip().splitlines()[-_SHOWN:])
