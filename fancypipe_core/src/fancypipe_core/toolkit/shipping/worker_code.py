"""Whose code a worker process of an engine imports: that of one client at a time.

Such a process lives longer than the sessions that use it.  When one comes whose code is
another's, or has changed, what the last one has imported is dropped, and the path is as
it was before; then the new one's files come first.  A process may run jobs in several
threads.  Those of another client wait until what runs has ended, for a moment here and
then with their client, so that none is thought to run; meanwhile nobody else begins.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from fancypipe_core._base.msgpack import unpacker
from fancypipe_core._wire import messages
from fancypipe_core._worker.environment import apply
from fancypipe_core.errors import BackendError
from fancypipe_core.toolkit.shipping.bundle import Code, Place, has_code, this_platform, unpack
from fancypipe_core.toolkit.shipping.client_code import ALL, BUSY, FILES, NONE, Wish
from fancypipe_core.toolkit.shipping.client_modules import ClientModules
from fancypipe_core.toolkit.shipping.own_folder import own_folder

__all__ = ["WorkerCode", "here"]

PATIENCE = 0.2  # seconds that jobs wait here for those of another client
_TURN = 2.0  # seconds in which who has waited must come again, or somebody else begins
_MOST = 4  # bundles that are kept unpacked
_read = unpacker(Code)


class WorkerCode:
    """The code of clients in this process.

    Attributes:
        times: How often another's was entered.  What was loaded before the last is old.
        remarks: What a client should be told, once.
    """

    def __init__(self) -> None:
        self.times = 0
        self.remarks: list[str] = []
        self._changed = threading.Condition()
        self._digest = b""  # of whose code it is
        self._running = 0  # threads that are in the middle of its jobs
        self._turn = (b"", 0.0)  # who is next, and until when that holds
        self._own = frozenset[str]()  # modules that were here before the first client
        self._path: list[str] = []  # as it was before the last
        self._entered: list[str] = []  # as it was made for it
        self._argv: list[str] = []
        self._modules: ClientModules | None = None
        self._native: dict[str, bytes] = {}
        self._places: dict[bytes, Place] = {}  # bundles that are unpacked, the last used last
        self._setup = b""
        self._variables: dict[str, str | None] = {}  # as they were before the last

    def enter(self, digest: bytes, parts: Sequence[Any], setup: bytes, patience: float) -> Wish:
        """Let a job of a client begin; `leave` is called when it has ended.

        Args:
            digest: What `ClientCode.digest` is.
            parts: What came of `ClientCode.parts`.
            setup: The session's.
            patience: Seconds that this may wait for the jobs of others.

        Returns:
            `NONE`; or what the jobs wait for, and then none has begun.

        Raises:
            BackendError: The client's code cannot be unpacked here.
        """
        with self._changed:
            if not self._wait(digest, monotonic() + patience):
                return BUSY, ""
            if digest != self._digest and (wish := self._switch(digest, parts, setup)) != NONE:
                return wish
            if setup != self._setup:
                self._adapt(setup)
            self._running += 1
            return NONE

    def leave(self) -> None:
        """A job has ended."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def _wait(self, digest: bytes, until: float) -> bool:
        """Wait until this client's code may be here; tell whether it may."""
        while True:
            now = monotonic()
            next_one, holds = self._turn
            others_turn = next_one not in (b"", digest) and now < holds
            if not others_turn and (digest == self._digest or not self._running):
                if next_one == digest:
                    self._turn = (b"", 0.0)
                return True
            if not others_turn and digest != self._digest:
                self._turn = (digest, now + PATIENCE + _TURN)
            if now >= until:
                return False
            self._changed.wait(until - now)

    def _switch(self, digest: bytes, parts: Sequence[Any], setup: bytes) -> Wish:
        if not parts:
            return FILES, ""
        code = _read(bytes(parts[0]))
        place = self._places.pop(digest, None)
        if place is None and has_code(code) and self._may_load(code):
            place = Place()
        elif place is None and len(parts) == 1:
            return ALL, this_platform()
        if place is None:
            place = self._unpack(bytes(parts[1]), digest.hex())
        if place.root:
            self._places[digest] = place
        self._leave_client()
        self._enter_client(code, place, _decoded(setup))
        self._digest = digest
        return NONE

    def _may_load(self, code: Code) -> bool:
        """Whether machine code in these places is what was loaded from there before, if it was."""
        told = ((os.fsdecode(path), seal) for path, seal in code.files.items())
        return all(self._native.get(path, seal) == seal for path, seal in told)

    def _unpack(self, archive: bytes, name: str) -> Place:
        try:
            place = unpack(archive, os.path.join(own_folder(), f"code-{name}"))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise BackendError(
                f"the pipeline's code cannot be unpacked on {socket.gethostname()} in "
                f"{tempfile.gettempdir()}: {error}; make room there, or set TMPDIR "
                "for the workers"
            ) from error
        while len(self._places) >= _MOST:
            oldest = next(iter(self._places))
            shutil.rmtree(self._places.pop(oldest).root, ignore_errors=True)
        return place

    def _leave_client(self) -> None:
        self._digest = b""
        if self._modules is None:
            return
        self._native |= self._modules.leave()
        self._modules = None
        known = {*self._path, *self._entered}
        sys.path[:] = [*self._path, *(entry for entry in sys.path if entry not in known)]
        sys.argv[:] = self._argv
        apply(self._variables, "")
        self._variables, self._setup = {}, b""

    def _enter_client(self, code: Code, place: Place, setup: messages.Setup) -> None:
        self._own = self._own or frozenset(sys.modules)
        self._path, self._argv = list(sys.path), list(sys.argv)
        with suppress(OSError):  # the current folder is gone
            sys.path[:] = [os.path.abspath(one) if one == "" else one for one in sys.path]
        place.enter(code, setup.argv, setup.main, anew=bool(self.times))
        # What is installed for the client only may be seen from here.
        sys.path += [entry for entry in setup.path if entry not in sys.path]
        self._entered = list(sys.path)
        self._modules = ClientModules(code, place, self._own)
        self.times += 1
        for name in self._modules.enter():
            self.remarks.append(
                f"the worker process {os.getpid()} on {socket.gethostname()} is made of an "
                f"installed module {name}, so tasks there do not find yours of that name; give "
                "yours another name"
            )

    def _adapt(self, setup: bytes) -> None:
        told = _decoded(setup)
        if told.adapt is not None:
            for name in told.adapt.variables:
                self._variables.setdefault(name, os.environ.get(name))
            apply(told.adapt.variables, told.adapt.folder)
        self._setup = setup


def _decoded(setup: bytes) -> messages.Setup:
    told = messages.decode_command((setup, []))
    assert isinstance(told, messages.Setup), "a batch without setup"
    return told


def here() -> WorkerCode:
    """Return that of this process, which a child that was forked has not begun to use."""
    process = os.getpid()
    if process not in _of:
        _of.clear()
        _of[process] = WorkerCode()
    return _of[process]


_of: dict[int, WorkerCode] = {}
