"""The worker: takes clients' connections, and starts a host process for each."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib.metadata import version
from time import monotonic
from types import FrameType

from fancypipe_core import errors
from fancypipe_core.toolkit import SocketChannel, interpreter, owned_prefix, sweep_orphans
from fancypipe_remote._machines import messages
from fancypipe_remote._machines.connection import Connection
from fancypipe_remote._machines.endpoint import WorkerSide
from fancypipe_remote._machines.link import LinkState
from fancypipe_remote._shipping import greeting as _greeting
from fancypipe_remote._shipping.greeting import Answer, Greeting
from fancypipe_remote._transport import Dialer
from fancypipe_remote._transport.bridge import Pump
from fancypipe_remote._transport.loop import Loop

__all__ = ["Worker", "hello"]

_LOOK = 0.5  # seconds between looks at the host processes and the machine's load
_GOODBYE = 5.0  # seconds that the last results have to be delivered
_STOPPED_LIMIT = 10.0  # seconds that a host process may be stopped by a signal
_MOST_GREETING = 16 * 1024 * 1024  # bytes; it names a client's files of code
_HOST_ENDS = 2.0  # seconds that a host process has to end by itself when its client is gone


def hello(role: messages.Role, slots: int = 0) -> messages.Hello:
    """Return what this process says of itself."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    ticket = secrets.token_bytes(16)
    release = version("fancypipe-remote")
    return messages.Hello(
        role, messages.PROTOCOL, release, python, messages.host_name(), os.getpid(), slots, ticket,
    )  # fmt: skip


class _Host:
    """A host process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.stopped = 0.0  # since when it stands still by a signal; 0 if it does not
        self.end_at: float | None = None  # when it is killed, if it has not ended by then


class Worker:
    """Serves clients until told to stop.

    Args:
        dialer: The link to the manager.
        slots: How many jobs run at the same time.
        backend: The local backend's name.
        base: The folder for temporary files.
        wait: Seconds to seek a manager before it gives up; None for no limit.
        say: Takes lines for the log.
    """

    def __init__(
        self,
        dialer: Dialer,
        slots: int,
        backend: str,
        base: str,
        wait: float | None,
        say: Callable[[str], None],
    ) -> None:
        sweep_orphans(base)
        self._slots = slots
        self._backend = backend
        self._folder = tempfile.mkdtemp(prefix=owned_prefix("worker"), dir=base)
        self._say = say
        self._side = WorkerSide(hello("worker", slots), wait, monotonic())
        self._loop = Loop(dialer, self._side, wanted=self._wanted, closed=self._closed)
        self._hosts: dict[Connection, _Host] = {}
        self._ending: list[_Host] = []
        self._stops = 0
        self._met = ""

    def run(self, grace: float) -> None:
        """Serve until `stop` is called or the manager cannot be found.

        Args:
            grace: Seconds that running jobs have after `stop`.

        Raises:
            ConnectionLost: There was no manager for too long.
            VersionMismatch: The manager does not take this worker in.
        """
        try:
            while not self._stops:
                self._turn()
                self._check_link()
            self._drain(grace)
        finally:
            for host in [*self._hosts.values(), *self._ending]:
                _kill(host.process)
            self._loop.say(messages.encode(messages.Bye()))
            self._loop.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """Take no more work, let running jobs end; at once when called again."""
        self._stops += 1
        self._loop.waker.wake()

    def stop_on_signals(self) -> None:
        """Let SIGTERM and Ctrl-C stop it."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def _turn(self) -> None:
        self._loop.turn(_LOOK)
        for line in self._side.log:
            self._say(line)
        self._side.log.clear()
        with contextlib.suppress(OSError):
            self._side.load = os.getloadavg()[0]
        now = monotonic()
        for connection, host in list(self._hosts.items()):
            if host.process.poll() is not None:
                self._host_ended(connection, host)
            elif _is_stopped(host.process.pid):
                host.stopped = host.stopped or now
                if now >= host.stopped + _STOPPED_LIMIT:
                    self._say(f"host process {host.process.pid} was stopped, and is killed")
                    _kill(host.process)
            else:
                host.stopped = 0.0
        for host in list(self._ending):
            if host.process.poll() is None and host.end_at is not None and now >= host.end_at:
                _kill(host.process)
            if host.process.poll() is not None:
                self._ending.remove(host)

    def _check_link(self) -> None:
        link = self._side.link
        if link.state is LinkState.OVER:
            kind = errors.VersionMismatch if link.was_refused else errors.ConnectionLost
            raise kind(link.why)
        manager = link.manager
        if link.state is LinkState.MET and manager is not None and manager.manager != self._met:
            self._met = manager.manager
            self._say(
                f"connected to the manager on {manager.host} (pid {manager.pid}), which took us in"
            )

    def _drain(self, grace: float) -> None:
        if not self._hosts:
            return
        self._say(f"leaving: running jobs have {grace:g} s to end")
        self._side.slots = 0
        self._side.link.hurry(monotonic())
        until = monotonic() + grace
        while self._hosts and monotonic() < until and self._stops < 2:
            self._turn()
        if self._hosts and self._stops < 2:
            self._loop.flush(_GOODBYE)

    # ---- host processes ----

    def _wanted(self, connection: Connection, slots: int) -> None:
        ours, theirs = socket.socketpair()
        if not slots:  # it has no jobs, and only asks what we see
            self._loop.attach(Pump(ours, connection))
            threading.Thread(target=_tell_what_is_seen, args=(theirs,), daemon=True).start()
            return
        arguments = [theirs.fileno(), os.getpid(), self._backend, min(slots, self._slots)]
        try:
            process = subprocess.Popen(
                [
                    *interpreter("fancypipe_remote.host"),
                    *map(str, arguments),
                    self._folder,
                ],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            self._loop.close_connection(connection, f"no process could be started: {error}")
            return
        finally:
            theirs.close()
        self._hosts[connection] = _Host(process)
        self._loop.attach(Pump(ours, connection))
        self._say(f"a client connected: host process {process.pid}")

    def _closed(self, connection: Connection) -> None:
        """The client closed the connection, or is gone: its host ends with its channel."""
        host = self._hosts.pop(connection, None)
        if host is not None:
            host.end_at = monotonic() + _HOST_ENDS
            self._ending.append(host)
            self._say(f"a client left: {connection.closed or 'its run is over'}")

    def _host_ended(self, connection: Connection, host: _Host) -> None:
        pump = self._loop.pumps.get(connection)
        code = host.process.returncode
        if code == 0 and pump is not None and not pump.over:
            return  # what it said last is still on its way
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        why = "" if code == 0 else (
            f"the host process {host.process.pid} on {platform.node()} died ({how})"
        )  # fmt: skip
        del self._hosts[connection]
        if why:
            self._say(why)
        self._loop.close_connection(connection, why)


def _tell_what_is_seen(sock: socket.socket) -> None:
    """Answer a greeting, in a thread: a file system that hangs must not hold up the worker."""
    channel = SocketChannel(sock, blocking=True, most=_MOST_GREETING)
    with contextlib.suppress(errors.ChannelError):
        greeting = _greeting.decode(channel.receive()[0], Greeting)
        answer = Answer(wants_code=False, shares=_greeting.sees(greeting))
        channel.send(_greeting.encode(answer))
    channel.close()


def _is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped by a signal; False where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a host process and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
