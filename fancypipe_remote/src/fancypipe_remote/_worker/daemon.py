"""The worker: starts a host process for each client that asks, and minds it.

It carries nothing: a host process has a link of its own to the manager.  The worker
says to the client where that is, and when and how it has ended; it ends it when the
client is gone, when it hangs, and with itself.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from types import FrameType

from msgspec.structs import replace

from fancypipe_core import errors
from fancypipe_core.backend import Equipment
from fancypipe_core.toolkit import owned_prefix, sweep_orphans
from fancypipe_remote._auth.keys import PeerKeys
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.greeting import sees
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._protocol.supervisor import Key, Left, Looked, Wanted, WorkerSide
from fancypipe_remote._transport import Dialer
from fancypipe_remote._transport.loop import Loop
from fancypipe_remote._worker.host_process import HostProcess
from fancypipe_remote._worker.lending import Lending
from fancypipe_remote._worker.lifeline import Assignment, Ready

__all__ = ["Worker"]

_LOOK = 0.5  # seconds between looks at the host processes and the machine's load
_GOODBYE = 5.0  # seconds that host processes have to deliver the last results
_STOPPED_LIMIT = 10.0  # seconds that a host process may be stopped by a signal
_HOST_ENDS = 2.0  # seconds that a host process has to end by itself when its client is gone
_REAPED = 0.2  # seconds from the end of a lifeline until its process can be waited for


class Worker:
    """Serves clients until told to stop.

    Args:
        dialer: The link to the manager.
        keys: A worker's, also for host processes.
        there: What it has for tasks; its cores are how many jobs run at the same time.
        backend: The local backend's name.
        base: The folder for temporary files.
        wait: Seconds to seek a manager before it gives up; None for no limit.
        say: Takes lines for the log.

    Attributes:
        once: Whether it leaves when a client of it has left.
    """

    def __init__(
        self,
        dialer: Dialer,
        keys: PeerKeys,
        there: Equipment,
        backend: str,
        base: str,
        wait: float | None,
        say: Callable[[str], None],
    ) -> None:
        sweep_orphans(base)
        self.once = False
        self._slots = there.cpus
        self._backend = backend
        self._folder = tempfile.mkdtemp(prefix=owned_prefix("worker"), dir=base)
        self._say = say
        hello = replace(
            messages.hello("worker", there.cpus), memory=there.memory, devices=len(there.devices)
        )
        self._side = WorkerSide(hello, wait, monotonic())
        self._loop = Loop(dialer, self._side)
        self._manager = dialer.address
        self._keys = keys
        self._hosts: dict[Key, HostProcess] = {}
        self._lending = Lending(there, self._hosts, say)
        self._spare: HostProcess | None = None  # it has begun, and waits for a client
        self._looks: dict[bytes, int] = {}  # folders that clients ask for; by client
        self._seen: SimpleQueue[tuple[bytes, bool]] = SimpleQueue()
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
            self._end_the_spare()
            for host in self._hosts.values():
                host.kill()
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
        living = ((key, host) for key, host in self._hosts.items() if host.end_at is None)
        lifelines = {host.lifeline.fileno(): key for key, host in living}
        ready = self._loop.turn(_LOOK, lifelines)
        for line in self._side.log:
            self._say(line)
        self._side.log.clear()
        with contextlib.suppress(OSError):
            self._side.load = os.getloadavg()[0]
        self._side.lent = self._lending.lent
        for descriptor, key in lifelines.items():
            if descriptor in ready:
                self._hear(key, self._hosts[key])
        events, self._side.events = self._side.events, []
        for event in events:
            match event:
                case Wanted(key, slots):
                    self._start(key, slots)
                case Left(key, why):
                    self._end(key, why, _HOST_ENDS)
                case Looked(client, look):
                    self._look(client, look)
        self._answer_looks()
        self._mind(self._loop.clock.now)

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
            self._keep_a_spare()

    def _drain(self, grace: float) -> None:
        if not self._hosts:
            return
        self._say(f"leaving: running jobs have {grace:g} s to end")
        self._side.slots = 0
        self._side.link.hurry()
        clock = self._loop.clock
        until = clock.now + grace
        while self._hosts and clock.now < until and self._stops < 2:
            self._turn()
        for key in self._hosts:
            self._end(key, messages.LEAVING, _GOODBYE)
        while self._hosts and self._stops < 2:
            self._turn()

    # ---- host processes ----

    def _start(self, key: Key, slots: int) -> None:
        host, self._spare = self._spare, None
        if host is None or host.process.poll() is not None:
            host = self._spawn(key)
        if host is None:
            return
        hello = messages.hello("host")
        host.address = messages.address_of("host", hello.ticket)
        self._hosts[key] = host
        self._say(f"a client connected: host process {host.process.pid}")
        assignment = Assignment(
            *self._manager, self._keys.worker_key(), hello, *key, self._backend,
            max(1, min(slots, self._slots)), self._folder,
        )  # fmt: skip
        host.lifeline.say(assignment)

    def _spawn(self, key: Key | None = None) -> HostProcess | None:
        """Start a host process; for nobody yet, if without a key."""
        try:
            return HostProcess()
        except OSError as error:
            if key is not None:
                self._side.ended(key, f"no process could be started: {error}")
            return None

    def _keep_a_spare(self) -> None:
        """Have a process ready for the next client, for one takes long to start."""
        if self._spare is None and not self._stops:
            self._spare = self._spawn()

    def _end_the_spare(self) -> None:
        if self._spare is not None:
            self._spare.lifeline.close()
            self._spare.kill()
            self._spare = None

    def _hear(self, key: Key, host: HostProcess) -> None:
        """Take what a host process says: that it is up, what it needs, or nothing more."""
        try:
            for said in host.lifeline.heard():
                if isinstance(said, Ready):
                    self._side.opened(key, host.address)
                    self._keep_a_spare()
                else:
                    self._lending.hear(key, said)
            return
        except errors.ProtocolError as error:
            self._say(f"host process {host.process.pid} is killed: {error}")
        except errors.ConnectionLost:
            with contextlib.suppress(subprocess.TimeoutExpired):
                host.process.wait(_REAPED)
        if host.process.returncode is None:
            host.kill()  # something has closed its lifeline: nobody could end it in time

    def _end(self, key: Key, why: str, seconds: float) -> None:
        """Let a host process end, as it does when its lifeline has; for so long it may take."""
        host = self._hosts.get(key)
        if host is not None and host.end_at is None:
            host.lifeline.close()
            self._lending.hung_up(key)
            host.end_at = self._loop.clock.now + seconds
            host.why = why
            self._say(f"a client left: {why or 'its run is over'}")
            self._stops = self._stops or int(self.once)

    def _mind(self, now: float) -> None:
        for key, host in list(self._hosts.items()):
            process = host.process
            if process.poll() is not None:
                self._ended(key, host)
            elif host.end_at is not None:
                if now >= host.end_at:
                    host.kill()
            elif host.is_stopped:
                host.stopped = host.stopped or now
                if now >= host.stopped + _STOPPED_LIMIT:
                    self._say(f"host process {process.pid} was stopped, and is killed")
                    host.kill()
            else:
                host.stopped = 0.0
                if host.lifeline.has_more:
                    host.lifeline.flush()
        self._lending.mind(now, self._side.name_of)

    def _ended(self, key: Key, host: HostProcess) -> None:
        code, pid = host.process.returncode, host.process.pid
        if host.end_at is None:
            host.lifeline.close()
            if code == -signal.SIGTERM and self._stops:
                host.why = messages.LEAVING  # a batch system tells all processes of its job to end
            elif code:
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                host.why = f"the host process {pid} on {platform.node()} died ({how})"
            else:
                self._stops = self._stops or int(self.once)
            self._say(host.why or "a client left: its run is over")
        del self._hosts[key]
        self._side.ended(key, host.why)
        self._lending.ended(key, host.remains)

    # ---- what is seen from here ----

    def _look(self, client: bytes, look: messages.Look) -> None:
        """Look for a folder, in a thread: a file system that hangs must not hold up the worker."""
        if client in self._looks:
            return  # it asks until it is answered

        def see() -> None:
            self._seen.put((client, sees(look.folder, look.proof)))
            self._loop.waker.wake()

        self._looks[client] = look.number
        threading.Thread(target=see, name="fancypipe-look", daemon=True).start()

    def _answer_looks(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                client, found = self._seen.get_nowait()
                self._side.answer(client, self._looks.pop(client), found)
