"""Tasks and modules that raise exceptions, most of which are hard to carry."""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Any

from fancypipe_core import module, task


class TwoArguments(Exception):
    """Its `__init__` takes what `args` does not hold."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ({code})")
        self.code = code


class HoldsLock(Exception):
    """Cannot be pickled whole."""

    def __init__(self) -> None:
        super().__init__("it holds a lock", 5)
        self.lock = threading.Lock()
        self.code = 7


class HoldsSocket(Exception):
    """Cannot be pickled whole, nor in its arguments."""

    def __init__(self) -> None:
        super().__init__("it holds a socket", socket.socket())


class NoText(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class ExitsForText(Exception):
    """Who asks for its text is asked to leave."""

    def __str__(self) -> str:
        return str(sys.exit(3))


class RaisesBack(Exception):
    """Cannot be read back."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_raise, ("it does not want to be read",))


class ExitsBack(Exception):
    """Who reads it is asked to leave."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (sys.exit, (3,))


class DiesBack(Exception):
    """Who reads it dies at once, unless it is the client."""

    def __init__(self, client: int) -> None:
        super().__init__("it kills its readers")
        self.client = client

    def __reduce__(self) -> tuple[Any, ...]:
        return (_die_unless, (self.client,))


class OtherBack(Exception):
    """Comes back as what is no exception."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, (3,))


class OddBase(BaseException):
    """No `Exception`."""


class Meta(type):
    def __call__(cls, *args: Any) -> Any:
        raise TypeError("it cannot be made")


class HasMeta(Exception, metaclass=Meta):
    """Its class does not let itself be called."""


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__("slotted")
        self.code = code


def _raise(text: str) -> Any:
    raise ValueError(text)


def _die_unless(pid: int) -> Any:
    if os.getpid() != pid:
        os._exit(4)
    return DiesBack(pid)


@task
def raises_plain() -> None:
    raise ValueError("plain")


def _outermost() -> None:
    _middle()


def _middle() -> None:
    _innermost()


def _innermost() -> None:
    raise KeyError("innermost")


@task
def raises_nested() -> None:
    _outermost()


@task
def raises_two_arguments() -> None:
    raise TwoArguments(7, "two")


@task
def raises_holding_lock() -> None:
    raise HoldsLock


@task
def raises_holding_socket() -> None:
    error = HoldsSocket()
    error.args[1].close()
    raise error


@task
def raises_without_text() -> None:
    raise NoText


@task
def raises_what_exits_for_text() -> None:
    raise ExitsForText


@task
def raises_chain() -> None:
    try:
        try:
            os.environ["NO_SUCH_VARIABLE"]
        except KeyError as error:
            raise TwoArguments(8, "between") from error
    except TwoArguments:
        raise RuntimeError("outer")  # noqa: B904 - the context is what is looked at


@task
def raises_chain_with_lock() -> None:
    try:
        raise HoldsLock  # noqa: TRY301
    except HoldsLock as error:
        raise RuntimeError("outer") from error


@task
def raises_chain_that_cannot_be_read() -> None:
    try:
        raise ExitsBack("below")  # noqa: TRY301
    except ExitsBack as error:
        raise HoldsLock from error


@task
def raises_long_chain() -> None:
    last: BaseException | None = None
    for number in range(3000):
        try:
            raise ValueError(f"number {number}") from last  # noqa: TRY301
        except ValueError as error:
            last = error
    assert last is not None
    raise last


@task
def raises_noted() -> None:
    error = ValueError("noted")
    error.add_note("this was on a Tuesday")  # type: ignore[attr-defined,unused-ignore]
    raise error


@task
def raises_group() -> None:
    raise ExceptionGroup(  # type: ignore[name-defined,unused-ignore]  # noqa: F821
        "several", [ValueError("one"), TwoArguments(2, "two")]
    )


@task
def raises_group_with_lock() -> None:
    raise ExceptionGroup(  # type: ignore[name-defined,unused-ignore]  # noqa: F821
        "several", [ValueError("one"), HoldsLock()]
    )


@task
def raises_long() -> None:
    raise ValueError("begin" + "x" * 10_000_000 + "end")


@task
def raises_local() -> None:
    class Local(ValueError):
        pass

    raise Local("local")


@task
def raises_what_raises_back() -> None:
    raise RaisesBack("raises back")


@task
def raises_what_exits_back() -> None:
    raise ExitsBack("exits back")


@task
def raises_what_dies_back(client: int) -> None:
    raise DiesBack(client)


@task
def raises_what_is_other_back() -> None:
    raise OtherBack("other")


@task
def raises_with_meta() -> None:
    raise type.__call__(HasMeta, "meta")


@task
def raises_slotted() -> None:
    raise Slotted(9)


@task
def raises_kind(kind: type[BaseException], *args: Any) -> None:
    raise kind(*args)


@task
def raises_for_memory() -> None:
    bytearray(1 << 62)


@task
def recurses() -> Any:
    def deeper(n: int) -> int:
        return deeper(n + 1) + 1

    return deeper(0)


@task
def exits() -> None:
    sys.exit("it is over")


@module
def composes_badly(kind: type[BaseException]) -> Any:
    raise kind("bad")
