"""The worker's side of a job: decode, call, encode."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextvars import Context, Token
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn

from fancypipe_core import errors
from fancypipe_core._base.isolation import ambient
from fancypipe_core._base.main_module import loading_main
from fancypipe_core._base.signals import interruptible
from fancypipe_core._codec import failure, undecodable, unpickler
from fancypipe_core._codec.assembly import assemble
from fancypipe_core._codec.exceptions import ExceptionPacker
from fancypipe_core._codec.pickler import NO_PICTURES, PLAIN, Packed
from fancypipe_core._codec.rows import Rows
from fancypipe_core._codec.sharing import Sharer
from fancypipe_core._codec.values import EncodedValues, LiveValues
from fancypipe_core._model import context
from fancypipe_core._model.input_summary import brief
from fancypipe_core._model.mapping import SpanEntry
from fancypipe_core._model.presets import Preset, Presets
from fancypipe_core._model.ref import Instance, Ref
from fancypipe_core._model.scope import Scope, end_fork, scope
from fancypipe_core._model.task import entry
from fancypipe_core.backend import (
    Call,
    Cut,
    Done,
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

if TYPE_CHECKING:
    from fancypipe_core._worker.meter import Meter
    from fancypipe_core._worker.pictures import Pictures
    from fancypipe_core._worker.spans import SpanRunner

__all__ = ["Runner"]


class Runner:
    """Runs jobs, one after the other, in the thread that calls it, between `enter` and `leave`.

    Args:
        directory: The session's folder for temporary files.
        live: Whether values come and go as they are.
        shares: Whether what is large goes in shared memory; if not `live`.
        interrupted: Tells whether the user has pressed Ctrl-C, so that a
            `KeyboardInterrupt` is no exception of the task.
        presets: Those of the session; if not `live`, what it calls says which.
        measures: Whether to tell what each job uses.
        pictures: Whether to tell small pictures among what jobs return, as notes.
        apart: Whether the client does not see the folder: files go with their content.  What has
            copies of the client's files, if these do not come with theirs.
    """

    def __init__(  # noqa: PLR0913 - what a worker is told
        self,
        directory: str,
        *,
        live: bool,
        shares: bool = False,
        interrupted: Callable[[], bool] = lambda: False,
        presets: Presets | None = None,
        measures: bool = False,
        pictures: bool = False,
        apart: bool | context.Copies = False,
    ) -> None:
        self._meter = _meter(beside_others=live or not _in_main_thread()) if measures else None
        self._pictures = _pictures() if pictures else None
        self._plain = PLAIN if live else frozenset[type]()  # what is handed on as it is
        sharer = Sharer(remembers=False, here=live) if shares or live else None
        self._values: EncodedValues | LiveValues = (
            LiveValues(sharer) if live else EncodedValues(sharer)
        )
        self._values.presets = presets
        self._exceptions = ExceptionPacker(self._values, self._let_pass)
        self._interrupted = interrupted
        self._scope = context.TaskScope(directory, self._notify, self._run_inline)
        self._scope.apart = bool(apart)
        self._scope.copies = None if isinstance(apart, bool) else apart
        self._context = Context()  # each job has a copy: no variable is set but the scope
        self._context.run(scope.set, self._scope)
        self._calls: dict[Call, Any] = {}
        self._spans: SpanRunner | None = None  # once there is a map
        self._unreadable: dict[Call, Err] = {}
        self._sink: Sink | None = None
        self.out_of_memory = False  # whether a task ever was: its process is better replaced

    def connect(self, sink: Sink) -> None:
        """Say where the notes of tasks go."""
        self._sink = sink

    @interruptible
    def run(self, job: Job) -> Done:
        """Run a job.  Whatever the task does, an answer comes back.

        Raises:
            KeyboardInterrupt: The user pressed Ctrl-C.
        """
        if self._interrupted():
            raise KeyboardInterrupt
        mine = self._scope
        mine.begin(job)
        meter = self._meter
        begin = perf_counter()
        if meter is not None and begin > meter.until:
            meter.look(begin)
        reply = self._context.copy().run(self._run, job)
        seconds = perf_counter() - begin
        usage = None
        if meter is not None:
            usage = meter.brief if seconds < meter.least else meter.used()
        if mine.in_fork:
            _end_fork(reply)
        if mine.landed:
            mine.remove_landed()
        if mine.sent:
            if type(reply) in (Ok, More):
                mine.remove_sent(job)
            mine.sent.clear()
        folder = mine.end()
        return Done(job.id, reply, seconds, folder, usage, mine.cache)

    def enter(self) -> Token[Scope | None]:
        """From now on this thread runs tasks; the answer is for `leave`."""
        ambient.settle()
        return scope.set(self._scope)

    def leave(self, token: Token[Scope | None]) -> None:
        """This thread goes back to what it did before `enter`."""
        scope.reset(token)
        ambient.look()

    def between(self) -> None:
        """What runs next here must find nothing of what ran, as after `leave` and `enter`."""
        ambient.look(goes_on=True)

    def _run(self, job: Job) -> Reply:
        try:
            call = self._calls.get(job.call) or self._load(job.call)
            inputs = job.inputs
            given = inputs.value if isinstance(inputs, Live) else inputs
            if type(call) is SpanEntry:
                return self._run_span(call, self._values.rows(given), job)
            args, kwargs, state = self._values.open(given)
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            self._let_pass(error)
            return self._undecodable(job, error)
        here = ambient.begin()
        try:
            return self._answer(call, args, kwargs, state)
        finally:
            ambient.end(here)

    def _run_span(self, entry: SpanEntry, rows: Rows, job: Job) -> Reply:
        """Run the elements of a span; a single one is a job like any other."""
        if self._spans is None:
            from fancypipe_core._worker.spans import SpanRunner

            self._spans = SpanRunner(
                self._context,
                self._scope,
                self._exceptions,
                self._values.results,
                self._let_pass,
                _end_fork,
                self._tell_pictures if self._pictures is not None else None,
            )
        results, why = self._spans.run(entry, rows, job.call.label)
        at = len(results)
        if why is not None and rows.count == 1:
            return why
        done: Ok | More | None = None
        if at:
            packed = self._values.pack_results(results)
            done = self._more(packed) if packed.wants else Ok(packed.body)
            if at == rows.count:
                return done
        return Cut(at, done, why)

    def _answer(
        self, call: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], state: Any
    ) -> Reply:
        try:
            value = call(args, kwargs, state)
        except BaseException as error:  # noqa: BLE001 - a task's sys.exit() must not end the worker
            self._let_pass(error)
            said = brief(getattr(call, "inputs", ()), args, kwargs)
            return failure.describe(error, self._exceptions.pack, inputs=said)
        if self._pictures is not None and type(value) not in NO_PICTURES:
            self._tell_pictures(value)
        if type(value) in self._plain:
            return Ok(Live(value))
        try:
            packed = self._values.write_result(value)
            if not packed.odd:
                value = None  # what only it held is let go of while it is written
            packed = self._values.share(packed)
            return self._more(packed) if packed.wants else self._ok(packed, value)
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            self._let_pass(error)
            return failure.describe(error, self._exceptions.pack, final=True)

    def tell(self, notes: Sequence[Note]) -> None:
        """Send notes where those of tasks go."""
        if self._sink is not None:
            self._sink(notes)

    def _tell_pictures(self, value: Any, name: str = "") -> None:
        """Tell the pictures in what a task, or this element of its map, has returned."""
        mine = self._scope
        if self._pictures is None or mine.job is None or mine.in_fork:
            return
        try:
            for text in self._pictures.of(value, name):
                self._notify(mine.job, "picture", text)
        except Exception as error:  # noqa: BLE001 - a picture is made by the user's object
            self._let_pass(error)

    def _let_pass(self, error: BaseException) -> None:
        if isinstance(error, MemoryError):
            self.out_of_memory = True
        if isinstance(error, KeyboardInterrupt) and self._interrupted() and _in_main_thread():
            raise error

    def _load(self, call: Call) -> Any:
        if call in self._unreadable:
            raise errors.DecodeError("it could not be read before")
        body = call.body
        if isinstance(body, Live):
            loaded = body.value
        else:
            target = unpickler.decode(body)
            if type(target) is Preset:
                self._values.presets = target.presets  # for what it makes, too
            loaded = entry(target)
        self._calls[call] = loaded
        return loaded

    def _undecodable(self, job: Job, error: BaseException) -> Err:
        known = self._unreadable.get(job.call)
        if known is not None:
            return known
        in_inputs = job.call in self._calls
        wrapped = undecodable.explain(error, job.call.label, in_inputs)
        reply = failure.describe(wrapped, self._exceptions.pack, final=True)
        if not in_inputs:
            # So it will be for all its jobs: what is imported is not imported again for each.
            self._unreadable[job.call] = reply
        return reply

    def _ok(self, packed: Packed, value: Any) -> Ok:
        if isinstance(packed.body, Live):
            return Ok(packed.body)
        encoded = assemble(packed.body, ()) if len(packed.body) > 1 else packed.body
        if packed.odd:
            self._values.read_back(value, encoded)
        return Ok(encoded)

    def _more(self, packed: Packed) -> More:
        """Describe the tasks that were returned, and those that they need."""
        if isinstance(packed.body, Live):
            return More((), (), Live(packed))
        numbers = _Numbering()
        outer = numbers.places(packed.wants)
        calls: dict[Call, int] = {}
        tasks: list[NewTask] = []
        for instance in numbers.instances:  # grows while we walk it
            definition = instance._definition
            call = calls.setdefault(self._values.call(definition), len(calls))
            assert isinstance(self._values, EncodedValues)  # else it was returned above
            inner = self._values.pack_whole_inputs(instance)
            assert not isinstance(inner.body, Live)
            places = numbers.places(inner.wants)
            inputs = _with_holes(inner.body[0], places.__getitem__)
            options = definition.options
            site = instance._site()
            tasks.append(
                NewTask(
                    call,
                    options.retries,
                    options.timeout,
                    definition.is_module,
                    inputs,
                    site,
                    options.retry_delay,
                    options.needs,
                    options.priority,
                    not definition.runs_each_time,
                )
            )
        own = len(packed.wants)

        def place(index: int) -> int:
            return outer[index] if index < own else index - own + len(tasks)

        outputs = tuple(_with_holes(payload, place) for payload in packed.body)
        return More(tuple(calls), tuple(tasks), outputs)

    def _run_inline(self, ref: Ref[Any], directory: str) -> Any:
        from fancypipe_core._worker.nested import run_inline  # the whole engine; few tasks need it

        presets = self._values.presets

        def make(folder: str, interrupted: Callable[[], bool]) -> Runner:
            runner = Runner(folder, live=True, interrupted=interrupted, presets=presets)
            runner._scope.within = self._scope
            return runner

        return run_inline(ref, directory, make, presets, self._scope.runs_each_time)

    def _notify(self, job: Job, stream: str, text: str) -> None:
        if self._scope.in_fork:
            # The channel is the parent's; what a fork prints arrives as well.
            print(text, file=sys.stderr)  # noqa: T201
        elif self._sink is not None:
            self._sink([Note(job.id, stream, text)])


def _meter(beside_others: bool) -> Meter:
    from fancypipe_core._worker.meter import Meter  # few sessions measure

    return Meter(beside_others=beside_others)


def _pictures() -> Pictures:
    from fancypipe_core._worker.pictures import Pictures  # few sessions show any

    return Pictures()


def _end_fork(reply: Reply | None) -> NoReturn:
    """End a fork that has come back from its task: it is no worker, and must not report."""
    if not isinstance(reply, Err):
        end_fork()
    if reply.type_name == "SystemExit":
        end_fork(int(reply.message) if reply.message.isdecimal() else 1)
    end_fork(1, reply.text)


def _in_main_thread() -> bool:
    """Whether the user's Ctrl-C can be meant: Python has it nowhere else."""
    return threading.current_thread() is threading.main_thread()


class _Numbering:
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
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename != script:
        frame = frame.f_back
    place = f"{script}:{frame.f_lineno}" if frame.f_code.co_filename == script else script
    raise errors.UsageError(
        f"{place} starts a run when the script is imported; workers import it to find its tasks. "
        'Put what starts the run below `if __name__ == "__main__":`'
    )
