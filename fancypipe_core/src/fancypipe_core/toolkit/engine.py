"""What backends on engines of others share: a connection, calls that can be stopped, and slots.

An engine is what its users have already, such as dask or ray: a cluster that is there, whose
address they give, or one that is started for the session.
"""

from __future__ import annotations

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from threading import Lock
from time import monotonic
from typing import Any

from fancypipe_core._base.amounts import amounts, fits
from fancypipe_core.backend import BackendOptions
from fancypipe_core.toolkit.futures import FuturesBackend
from fancypipe_core.toolkit.store import Left, Store

__all__ = ["Call", "Calls", "EngineBackend", "function_named"]

_NEAR = 30.0  # seconds after one was stopped in which others may die by it
_NAMED = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")  # no HOST:PORT is like that


def function_named(address: str | None) -> Callable[[], Any] | None:
    """Return the function of the user's that an address such as MODULE:FUNCTION names.

    None if it is another address, or none.
    """
    named = _NAMED.fullmatch(address or "")
    return getattr(import_module(named[1]), named[2]) if named else None


class Call(Future[Any]):
    """A call in an engine; it cannot be cancelled without being stopped.

    Attributes:
        calls: Where it was begun.
        given: What the engine gave for it.
        stopped: Whether it was to be stopped.
        attempts: How often it was begun, where that is tried again: see `AsyncCalls`.
    """

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls = calls
        self.given: Any = None
        self.stopped = False
        self.attempts = 0
        self.set_running_or_notify_cancel()

    def end_as(self, other: Future[Any]) -> None:
        """End as a future of the engine's has, which is over."""
        if other.cancelled():
            self.set_exception(CancelledError())
        elif error := other.exception(0):
            self.set_exception(error)
        else:
            self.set_result(other.result(0))

    def end_whole(self, fetch: Callable[[Any], Future[Any]], answer: Future[Any]) -> None:
        """As `end_as`, once the bytes of what the worker has left in a store are here.

        Args:
            fetch: Brings them: given a handle, it gives a future of them.
            answer: A future of the engine's, which is over.
        """
        failed = answer.cancelled() or answer.exception(0) is not None
        frame = None if failed or answer.result(0) is None else answer.result(0)[1]
        parts = frame[1] if isinstance(frame, tuple) else []
        coming = {at: part.handle for at, part in enumerate(parts) if type(part) is Left}
        counting = Lock()

        def is_here(at: int, data: Future[Any]) -> None:
            if not data.cancelled() and data.exception(0) is None:
                parts[at] = Left(coming[at], data.result(0))
            with counting:
                coming.pop(at)
                is_last = not coming
            if is_last:
                self.end_as(answer)

        if not coming:
            self.end_as(answer)
        for at, handle in list(coming.items()):
            try:
                data = fetch(handle)
            except Exception as error:  # noqa: BLE001 - whatever the engine may raise
                data = Future()
                data.set_exception(error)
            data.add_done_callback(partial(is_here, at))

    def raise_if_stopped(self) -> None:
        """Raise CancelledError if it was to be stopped, so that it is not begun."""
        if self.stopped:
            raise CancelledError


class Calls(ABC):
    """What `FuturesBackend` takes for a pool: calls of functions in an engine's workers.

    Args:
        takes: What each call takes of the engine's resources, by name.

    Attributes:
        open: Those that are not over, in the order of calling.
    """

    def __init__(self, takes: Mapping[str, float] = {}) -> None:
        self.open: dict[Future[Any], Call] = {}
        self._takes = takes
        self._stops: deque[float] = deque(maxlen=100)  # when processes were to be killed

    @abstractmethod
    def begin(self, call: Call, function: Any, argument: Any) -> None:
        """Have a worker call the function, and see to it that `call` ends as that does."""

    @abstractmethod
    def size(self) -> int:
        """Return how many the engine runs at the same time; 0 if it has no worker for them."""

    @abstractmethod
    def runs(self, call: Call) -> bool:
        """Return whether a worker may be in the middle of it."""

    @abstractmethod
    def kill(self, call: Call) -> None:
        """Stop it, if need be with the process that runs it, so that it ends."""

    def room(self, has: Mapping[str, float]) -> int:
        """Return how many of them have room in such resources; see `fits`."""
        return fits(self._takes, has)

    def submit(self, function: Any, argument: Any) -> Call:
        """Call a function in a worker."""
        call = Call(self)
        self.begin(call, function, argument)
        self.open[call] = call
        call.add_done_callback(lambda over: self.open.pop(over, None))  # at once if it is over
        return call

    def close(self) -> None:
        """Stop all that is not over."""
        for call in list(self.open.values()):
            self.stop(call)

    def stop(self, call: Call) -> None:
        """Stop one."""
        call.stopped = True
        self._stops.append(monotonic())
        self.kill(call)

    def spares(self) -> bool:
        """Whether a death may be that of a worker which was to be killed for another call.

        For engines where what is stopped may end by itself in that moment, and its worker is given
        another.  Each that was stopped spares one.
        """
        while self._stops:
            if monotonic() - self._stops.popleft() < _NEAR:
                return True
        return False


class EngineBackend(FuturesBackend, ABC):
    """Runs jobs in an engine.

    Jobs run in as many slots as the user says.  If nobody does, and the engine is at the address
    that the setting `address` names, it knows better how many it has.

    Args:
        options: What the engine gave to `BackendPlugin.make`; its settings have an `address`.
        breaks: The exceptions by which a call says that the connection is lost.
        store: As for `FuturesBackend`.

    Attributes:
        slots_given: How many jobs run at the same time; 0 if the engine knows that.
        made: The cluster that was made for the session; None if there is none.
    """

    def __init__(
        self,
        options: BackendOptions,
        breaks: tuple[type[BaseException], ...],
        store: Store | None = None,
    ) -> None:
        given = options.workers_given or options.settings.address is None
        self.slots_given = options.workers if given else 0
        self.made: Any = None
        # What it leaves there goes.
        self._cluster_folder = os.path.join(options.directory, "engine")
        super().__init__(
            lambda _: self.connect(),
            options,
            breaks=breaks,
            running=lambda call: call.calls.runs(call),
            kill=lambda call: call.calls.stop(call),
            slots=lambda calls: calls.size() and (self.slots_given or calls.size()),
            least=self.slots_given or 1,
            store=store,
        )

    @property
    def resources(self) -> dict[str, float]:
        """What each job takes of a worker, as the setting says."""
        return amounts(self._options.settings.resources)

    def cluster(self, make_here: Callable[[BackendOptions], Any]) -> Any:
        """Return what the setting `address` says, for a client of the engine to connect to.

        Args:
            make_here: Makes a cluster of this machine, where there is no address.  The `directory`
                that it is told is its own, and is removed with all that is left there.

        Returns:
            The address itself, if it names no function; or the cluster that the function has
            made, or `make_here`.  It is made once, and `disconnect` is to close it: `made`.
        """
        address = self._options.settings.address
        make = function_named(address)
        if address is not None and make is None:
            return address
        if self.made is None:
            own = self._options._replace(directory=self._cluster_folder)
            self.made = make() if make else make_here(own)
        return self.made

    @abstractmethod
    def connect(self) -> Calls:
        """Return calls; again after the connection was lost."""

    @abstractmethod
    def disconnect(self) -> None:
        """End the connection, and the engine if it is ours; also where there is none."""

    def stop(self, grace: float) -> None:
        """End; see `fancypipe_core.backend`."""
        with ExitStack() as afterwards:
            afterwards.callback(shutil.rmtree, self._cluster_folder, ignore_errors=True)
            afterwards.callback(self.disconnect)
            super().stop(grace)
