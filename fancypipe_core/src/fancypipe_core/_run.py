"""`run()`: one run, in a session of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from fancypipe_core import errors
from fancypipe_core._base.signals import Interrupts
from fancypipe_core._codec.failure import without_engine
from fancypipe_core.session import Session

if TYPE_CHECKING:
    from fancypipe_core._model.ref import Ref
    from fancypipe_core._model.result_types import HasResult

__all__ = ["run"]

T = TypeVar("T")
K = TypeVar("K")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


@overload
def run(
    target: HasResult[T],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> T: ...
@overload
def run(
    target: HasResult[A],
    second: HasResult[B],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> tuple[A, B]: ...
@overload
def run(
    target: HasResult[A],
    second: HasResult[B],
    third: HasResult[C],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> tuple[A, B, C]: ...
@overload
def run(
    target: tuple[Ref[A], Ref[B]],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> tuple[A, B]: ...
@overload
def run(
    target: tuple[Ref[T], ...],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> tuple[T, ...]: ...
@overload
def run(
    target: Sequence[Ref[T]],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> list[T]: ...
@overload
def run(
    target: Mapping[K, Ref[T]],
    /,
    *,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> dict[K, T]: ...
@overload
def run(
    *targets: Any,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> Any: ...
def run(
    *targets: Any,
    backend: str | None = None,
    workers: int | None = None,
    observers: Sequence[object] = (),
    **settings: Any,
) -> Any:
    """Run what the targets need, and return their values.

    Args:
        *targets: References, or any values with references in them; of several the
            result is a tuple.
        backend: As for `Session`.
        workers: As for `Session`.
        observers: As for `Session`.
        **settings: As for `Session`.

    Raises:
        TaskError: A task failed; also of the original exception's class.
        RunFailed: Tasks failed in a run with `keep_going`.
        UsageError: A setting or the target is not possible.
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    interrupts = Interrupts.here()
    session: Session | None = None
    try:
        with (
            interrupts.watched(),
            Session(backend, workers, observers=observers, **settings) as session,
        ):
            return session.run(*targets)
    except (errors.FancyPipeError, KeyboardInterrupt) as error:
        if session is not None and session.settings.debug:
            raise
        raise error.with_traceback(without_engine(error))  # noqa: B904 - the same error
