"""What a plugin raised, told as the plugin's: by its name, and its distribution's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from fancypipe_core import errors
from fancypipe_core._plugins import discovery

if TYPE_CHECKING:  # a help text needs nothing of these
    from fancypipe_core.backend import Backend, BackendOptions, BackendPlugin

__all__ = ["Owner", "blamed", "is_from_core", "make_backend"]

_METHODS = ("start", "submit", "cancel", "recall", "stop")


class Owner(NamedTuple):
    """A plugin.

    Attributes:
        kind: What it is: `backend`, `observer` or `plugin`.
        name: Its name.
    """

    kind: str
    name: str

    @property
    def is_ours(self) -> bool:
        """Whether it is a backend of this project: its faults are bugs of ours."""
        return self.kind == "backend" and self.name in discovery.OURS

    def __str__(self) -> str:
        # Looked up when it is said, which is hardly ever.
        return f"{self.kind} {self.name!r}{discovery.distribution_of(self.kind, self.name)}"

    @contextmanager
    def blaming(self, doing: str) -> Iterator[None]:
        """What the block raises is told as the plugin's."""
        try:
            yield
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it may raise
            raise self.blamed(doing, error)  # noqa: B904 - it has its cause

    def blamed(self, doing: str, error: BaseException) -> BaseException:
        """Return what is to be raised for what its code raised in a method."""
        return error if self.is_ours else blamed(self, doing, error)

    def misled(
        self, events: Sequence[object], given: object, error: BaseException
    ) -> BaseException:
        """Return what is to be raised where taking these events has raised an error.

        It is the plugin's if one of these is no event of the contract, or what was `given`
        last to the sink is no sequence; else the engine's.
        """
        from fancypipe_core.backend.flaws import flaw

        wrong = next(filter(None, map(flaw, events)), "")
        if not isinstance(given, Sequence):
            wrong = f"{given!r:.200}, which is no sequence of events"
        return blamed(self, f"{self} gave the sink {wrong}", error) if wrong else error


def blamed(owner: Owner, doing: str, error: BaseException) -> BaseException:
    """Return the error that names who is to blame for another.

    One of fancypipe's own that was raised on purpose stays what it is, and says who raised it,
    unless it is the user whom it is for.
    """
    if isinstance(error, errors.UsageError) or not isinstance(error, (Exception, SystemExit)):
        return error  # a Ctrl-C is nobody's fault
    if isinstance(error, errors.FancyPipeError):
        text = str(error)
        if f"{owner.kind} {owner.name!r}" not in text:
            error.args = (f"{owner}: {text}", *error.args[1:])
        return error
    text = doing if doing.startswith(owner.kind) else f"{owner}: {doing} failed"
    told = errors.PluginError(
        f"{text}: {discovery.one_line(error)}{_place(error)}; this is for its authors",
        plugin=owner.name,
    )
    told.__cause__ = error
    return told


def make_backend(plugin: BackendPlugin, options: BackendOptions) -> Backend:
    """Return what a plugin makes, which has all that the contract wants.

    Raises:
        PluginError: It cannot be made, or lacks a method.
    """
    with Owner("backend", plugin.name).blaming("make()"):
        make = plugin.make
        made = (discovery.object_named(make) if isinstance(make, str) else make)(options)
    missing = [name for name in _METHODS if not callable(getattr(made, name, None))]
    if missing:
        raise errors.PluginError(
            f"backend {plugin.name!r}: {type(made).__name__} has no {', '.join(missing)}; "
            f"a backend has {', '.join(_METHODS)} (see fancypipe_core.backend)",
            plugin=plugin.name,
        )
    return made


def is_from_core(error: BaseException) -> bool:
    """Whether code of this package raised it, as the toolkit does that backends are built upon."""
    trace = _innermost(error)
    name = "" if trace is None else trace.tb_frame.f_globals.get("__name__", "")
    return str(name).startswith("fancypipe_core.")


def _place(error: BaseException) -> str:
    """Return where it was raised."""
    trace = _innermost(error)
    if trace is None:
        return ""
    return f" (at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"


def _innermost(error: BaseException) -> TracebackType | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace
