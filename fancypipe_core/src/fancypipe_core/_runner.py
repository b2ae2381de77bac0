"""The worker's side of a job: decode, call, encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Token
from time import perf_counter
from typing import Any

from fancypipe_core import _codec, _context, _failure, _unreadable, errors
from fancypipe_core._codec import Packed
from fancypipe_core._names import loading_main
from fancypipe_core._ref import Instance
from fancypipe_core._task import entry
from fancypipe_core._values import EncodedValues, LiveValues, assemble
from fancypipe_core.backend import (
    Call,
    Done,
    Encoded,
    Err,
    Job,
    Live,
    More,
    NewTask,
    Note,
    Ok,
    Payload,
    Reply,
    Sink,
)

__all__ = ["Runner"]


class Runner:
    """Runs jobs, one after the other, in the thread that calls it, between `enter` and `leave`.

    Args:
        directory: The session's folder for temporary files.
        live: Whether values come and go as they are.
        interrupted: Tells whether a `KeyboardInterrupt` is the user's Ctrl-C and
            not an exception of the task.
    """

    def __init__(
        self,
        directory: str,
        *,
        live: bool,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._values: EncodedValues | LiveValues = LiveValues() if live else EncodedValues()
        self._interrupted = interrupted
        self._scope = _context.TaskScope(directory, self._notify)
        self._calls: dict[Call, Callable[..., Any]] = {}
        self._unreadable: dict[Call, Err] = {}
        self._sink: Sink | None = None
        self.out_of_memory = False  # whether a task ever was: its process is better replaced

    def connect(self, sink: Sink) -> None:
        """Say where the notes of tasks go."""
        self._sink = sink

    def run(self, job: Job) -> Done:
        """Run a job.  Whatever the task does, an answer comes back.

        Raises:
            KeyboardInterrupt: The user pressed Ctrl-C.
        """
        scope = self._scope
        scope.begin(job)
        begin = perf_counter()
        reply = self._run(job)
        seconds = perf_counter() - begin
        folder = scope.end()
        return Done(job.id, reply, seconds, folder)

    def enter(self) -> Token[_context.Scope | None]:
        """From now on this thread runs tasks; the answer is for `leave`."""
        return _context.scope.set(self._scope)

    def leave(self, token: Token[_context.Scope | None]) -> None:
        """This thread goes back to what it did before `enter`."""
        _context.scope.reset(token)

    def _run(self, job: Job) -> Reply:
        try:
            call = self._calls.get(job.call) or self._load(job.call)
            inputs = job.inputs
            args, kwargs, state = (
                inputs.value if isinstance(inputs, Live) else _codec.decode(inputs)
            )
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            self._let_pass(error)
            return self._undecodable(job, error)
        try:
            value = call(args, kwargs, state)
        except BaseException as error:  # noqa: BLE001 - a task's sys.exit() must not end the worker
            self._let_pass(error)
            return _failure.describe(error, self._carry)
        try:
            packed = self._values.pack_result(value)
            return self._more(packed) if packed.wants else self._ok(packed)
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            self._let_pass(error)
            return _failure.describe(error, self._carry, final=True)

    def tell(self, notes: Sequence[Note]) -> None:
        """Send notes where those of tasks go."""
        if self._sink is not None:
            self._sink(notes)

    def _let_pass(self, error: BaseException) -> None:
        if isinstance(error, MemoryError):
            self.out_of_memory = True
        if isinstance(error, KeyboardInterrupt) and self._interrupted():
            raise error

    def _load(self, call: Call) -> Callable[..., Any]:
        if call in self._unreadable:
            raise errors.DecodeError("it could not be read before")
        body = call.body
        loaded: Callable[..., Any]
        loaded = body.value if isinstance(body, Live) else entry(_codec.decode(body))
        self._calls[call] = loaded
        return loaded

    def _undecodable(self, job: Job, error: BaseException) -> Err:
        known = self._unreadable.get(job.call)
        if known is not None:
            return known
        in_inputs = job.call in self._calls
        wrapped = _unreadable.explain(error, job.call.label, in_inputs)
        reply = _failure.describe(wrapped, self._carry, final=True)
        if not in_inputs:
            # So it will be for all its jobs: what is imported is not imported again for each.
            self._unreadable[job.call] = reply
        return reply

    def _ok(self, packed: Packed) -> Ok:
        if isinstance(packed.body, Live):
            return Ok(packed.body, tuple(packed.files))
        encoded = assemble(packed.body, ()) if len(packed.body) > 1 else packed.body
        if packed.odd:
            self._read_back(encoded)
        return Ok(encoded, tuple(packed.files))

    def _read_back(self, encoded: Encoded) -> None:
        """See that the other side will be able to read it."""
        try:
            _codec.decode(encoded)
        except BaseException as error:
            self._let_pass(error)
            raise errors.EncodeError(
                f"the result was written down but cannot be read back: {type(error).__name__}: "
                f"{_failure.text_of(error)}",
                path="result",
            ) from error

    def _more(self, packed: Packed) -> More:
        """Describe the tasks that were returned, and those that they need."""
        if isinstance(packed.body, Live):
            return More((), (), packed.body, tuple(packed.files))
        found = _Found()
        outer = found.places(packed.wants)
        calls: dict[Call, int] = {}
        tasks: list[NewTask] = []
        for instance in found.instances:  # grows while we walk it
            definition = instance._definition
            call = calls.setdefault(self._values.call(definition), len(calls))
            inner = self._values.pack_inputs(instance)
            assert not isinstance(inner.body, Live)
            places = found.places(inner.wants)
            inputs = _with_holes(inner.body[0], places.__getitem__)
            retries, timeout = definition.options.retries, definition.options.timeout
            site = instance._site()
            tasks.append(NewTask(call, retries, timeout, definition.is_module, inputs, site))
        own = len(packed.wants)

        def place(index: int) -> int:
            return outer[index] if index < own else index - own + len(tasks)

        outputs = tuple(_with_holes(payload, place) for payload in packed.body)
        return More(tuple(calls), tuple(tasks), outputs, tuple(packed.files))

    def _carry(self, error: BaseException) -> Encoded | Live | None:
        """Write an exception down: whole; else without its attributes; else not at all."""
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
        if packed.wants or not isinstance(_codec.decode(packed.body), BaseException):
            raise errors.EncodeError("an exception that is not one when it comes back")
        return packed.body

    def _bare(self, error: BaseException) -> Encoded:
        bare: BaseException = type(error).__new__(type(error))
        bare.args = tuple(arg for arg in error.args if type(arg) in _codec.PLAIN)
        bare.__traceback__ = error.__traceback__
        return self._whole(bare)

    def _notify(self, job: Job, stream: str, text: str) -> None:
        if self._sink is not None:
            self._sink([Note(job.id, stream, text)])


class _Found:
    """Instances in the order in which they were found, each once."""

    def __init__(self) -> None:
        self.instances: list[Instance[Any]] = []
        self._places: dict[int, int] = {}

    def places(self, instances: Sequence[Instance[Any]]) -> list[int]:
        """Return where these instances stand; new ones are added."""
        places = []
        for instance in instances:
            place = self._places.get(id(instance))
            if place is None:
                place = self._places[id(instance)] = len(self.instances)
                self.instances.append(instance)
            places.append(place)
        return places


def _with_holes(payload: Payload, place: Callable[[int], int]) -> Payload:
    """Return a payload whose holes point elsewhere."""
    if not payload.holes:
        return payload
    holes = tuple((place(index), name) for index, name in payload.holes)
    return Payload(payload.head, payload.buffers, holes, payload.names)


def refuse_in_worker() -> None:
    """Raise if this process is a worker that is importing the main script.

    Raises:
        UsageError: The script starts a run when it is imported.
    """
    script = loading_main()
    if script is None:
        return
    import sys

    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename != script:
        frame = frame.f_back
    place = f"{script}:{frame.f_lineno}" if frame.f_code.co_filename == script else script
    raise errors.UsageError(
        f"{place} starts a run when the script is imported; workers import it to find its tasks. "
        'Put what starts the run below `if __name__ == "__main__":`'
    )
