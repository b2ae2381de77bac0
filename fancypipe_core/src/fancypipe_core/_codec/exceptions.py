"""Exceptions to payloads: whole; else without what cannot travel; else not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fancypipe_core import errors
from fancypipe_core._codec import failure, pickler, unpickler
from fancypipe_core._codec.values import EncodedValues, LiveValues
from fancypipe_core.backend import Encoded, Live

__all__ = ["ExceptionPacker"]

_LONGEST_CHAIN = 20  # exceptions behind one that cannot travel whole


class ExceptionPacker:
    """Packs the exceptions of tasks, whatever they are like.

    Args:
        values: How values are carried.
        let_pass: Called with what the user's objects raise meanwhile; raises what is to
            end more than the attempt to pack them.
    """

    def __init__(
        self, values: EncodedValues | LiveValues, let_pass: Callable[[BaseException], None]
    ) -> None:
        self._values = values
        self._let_pass = let_pass

    def pack(self, error: BaseException) -> Encoded | Live | None:
        """Return an exception as it travels; None if it cannot."""
        if isinstance(self._values, LiveValues):
            return Live(error)
        for attempt in (self._whole, self._bare):
            try:
                return attempt(error)
            except BaseException as odd:  # noqa: BLE001 - the user's objects may raise anything
                self._let_pass(odd)
        return None

    def _whole(self, error: BaseException) -> Encoded:
        packed = self._values.pack_result(error)
        assert not isinstance(packed.body, Live)
        if packed.wants or not isinstance(unpickler.decode(packed.body), BaseException):
            raise errors.EncodeError("an exception that is not one when it comes back")
        return packed.body

    def _bare(self, error: BaseException) -> Encoded:
        return self._whole(self._stripped(error, _LONGEST_CHAIN))

    def _stripped(self, error: BaseException, more: int) -> BaseException:
        """Return an exception of the same class that holds only what can travel.

        Args:
            error: The original.
            more: How many exceptions may still be behind it.
        """
        cls = type(error)
        if isinstance(error, errors.GROUPS):
            members = [self._link(one, more) for one in error.exceptions]
            bare: BaseException = cls.__new__(cls, error.message, members)
        else:
            bare = cls.__new__(cls)
            bare.args = tuple(a if self._travels(a) else failure.shown(a) for a in error.args)
        errors.copy_members(error, bare, self._travels)
        for name, held in vars(error).items():
            if self._travels(held):
                setattr(bare, name, held)
        bare.__traceback__ = error.__traceback__
        bare.__cause__ = self._link(error.__cause__, more)
        bare.__context__ = None if error.__cause__ else self._link(error.__context__, more)
        bare.__suppress_context__ = error.__suppress_context__
        return bare

    def _link(self, error: BaseException | None, more: int) -> BaseException | None:
        """Return what stands for a cause: without what cannot travel, or its name and text."""
        if error is None or not more:
            return None
        try:
            bare = self._stripped(error, more - 1)
            self._whole(bare)
        except BaseException as odd:  # noqa: BLE001 - the user's objects may raise anything
            self._let_pass(odd)
        else:
            return bare
        name = failure.name_of(error)
        return errors.RemoteError(f"{name}: {failure.text_of(error)}", type_name=name)

    def _travels(self, value: Any) -> bool:
        if type(value) in pickler.PLAIN:
            return True
        try:
            packed = self._values.pack_result(value)
            assert not isinstance(packed.body, Live)
            if not packed.wants:
                unpickler.decode(packed.body)
        except BaseException as odd:  # noqa: BLE001 - the user's objects may raise anything
            self._let_pass(odd)
            return False
        return not packed.wants
