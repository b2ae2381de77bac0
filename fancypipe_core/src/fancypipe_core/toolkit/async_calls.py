"""Calls by the client of an engine that is made of coroutines: attempts at each, in its loop."""

from __future__ import annotations

from abc import abstractmethod
from asyncio import AbstractEventLoop, run_coroutine_threadsafe
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fancypipe_core.toolkit.engine import Call, Calls
from fancypipe_core.toolkit.store import needed, run_with

__all__ = ["Again", "AsyncCalls"]

_ATTEMPTS = 10  # at a call that ends by what is no fault of its


class Again(Exception):
    """An attempt at a call ended by what is no fault of the call: there is to be another.

    What happened is to be its cause: as that the call ends after ten attempts, or if it was to be
    stopped.
    """


class AsyncCalls(Calls):
    """As `Calls`, for a client whose methods are coroutines.

    Args:
        loop: The client's event loop, which runs in another thread.
        takes: As for `Calls`.
    """

    def __init__(self, loop: AbstractEventLoop, takes: Mapping[str, float] = {}) -> None:
        super().__init__(takes)
        self._loop = loop

    @abstractmethod
    async def attempt(
        self,
        call: Call,
        run: Callable[[Any, dict[str, Any]], Any],
        argument: Any,
        held: dict[str, Any],
    ) -> Any:
        """Have a worker call `run(argument, held)`; return what that returns, or raise its error.

        Args:
            call: What is attempted, for the time that `call.attempts` says.
            run: A function that a worker finds by its name.
            argument: What the engine carries there.
            held: What the argument names of a `named_store`, by its name: futures as its `put`
                gave them.  The worker is to get what they are of; what is left out here, or was
                lost, the job is sent with the next time.

        Raises:
            Again: There is to be another attempt.
        """

    @abstractmethod
    async def end(self, call: Call) -> None:
        """As `kill`; what it raises is ignored: the call is over, or the connection is lost."""

    def begin(self, call: Call, function: Any, argument: Any) -> None:
        """Attempt it until it is over."""
        run = partial(run_with, function)
        run_coroutine_threadsafe(self._follow(call, run, argument), self._loop)

    def kill(self, call: Call) -> None:
        """Have it ended."""
        run_coroutine_threadsafe(self.end(call), self._loop)

    async def _follow(self, call: Call, run: Any, argument: Any) -> None:
        """End a call as an attempt at it does, the first or the first that does not say `Again`."""
        while not call.done():
            call.attempts += 1
            try:
                held = await needed(argument)
                call.set_result(await self.attempt(call, run, argument, held))
            except Again as again:
                if call.stopped or call.attempts == _ATTEMPTS:
                    call.set_exception(again.__cause__ or again)
            except BaseException as error:  # noqa: BLE001 - somebody waits for it
                call.set_exception(error)
