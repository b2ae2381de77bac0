"""Runs a job that was kept, in this process, so that a debugger sees the task's own frames."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from fancypipe_core import errors
from fancypipe_core._base.equipment import DEVICE_VARIABLES
from fancypipe_core._base.grants import THREAD_VARIABLES
from fancypipe_core._base.signals import Interrupts
from fancypipe_core._codec import failure, unpickler
from fancypipe_core._codec.in_process import Carried
from fancypipe_core._codec.pickler import Packed
from fancypipe_core._codec.values import EncodedValues, LiveValues
from fancypipe_core._model.definition import Mapped
from fancypipe_core._model.presets import Preset, Presets
from fancypipe_core._model.task import definition_of, entry, is_definition
from fancypipe_core._model.temp_paths import KEPT
from fancypipe_core._wire.kept_job import KeptJob
from fancypipe_core._worker.runner import Runner
from fancypipe_core._worker.todays_code import is_by_value, renew
from fancypipe_core.backend import Call, Cut, Err, Event, Job, Live, More, Needs, Ok

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Folders", "Outcome", "Target", "variables_of"]


class Outcome(NamedTuple):
    """How it went.

    Attributes:
        value: What the task returned; None if it failed, or returned references.
        made: The names of the tasks to which it returned references.
        why: How it failed; None if it did not.
        error: What it raised, with its traceback; None if it did not fail.
        folder: Its temporary folder, if it has left one.
    """

    value: Any = None
    made: tuple[str, ...] = ()
    why: Err | None = None
    error: BaseException | None = None
    folder: str = ""


class Target:
    """What a job calls, read in this process.

    What is around it has to be there already.

    Args:
        kept: The job.

    Attributes:
        function: The user's function; None if it cannot be read, which running it will explain.
        is_by_value: Whether it has the code of then, since it cannot be found by a name.
    """

    def __init__(self, kept: KeptJob) -> None:
        self.function: Any = None
        self.is_by_value = self._is_of_map = False
        self._presets: Presets | None = None
        self._call = Call(kept.label, kept.call_body())
        with suppress(Exception):
            read = target = unpickler.decode(kept.call_body())
            if type(target) is Preset:
                self._presets, target = target.presets, target.target
            self._is_of_map = type(target) is Mapped
            target = target.target if type(target) is Mapped else target
            self.function = definition_of(target).main if is_definition(target) else target
            self.is_by_value = is_by_value(target)
            self._call = Call(kept.label, Live(entry(read)))

    def renew(self) -> bool:
        """Take the code that is there now, if it has that of then; tell whether it is."""
        return not self.is_by_value or renew(self.function)

    def run(self, kept: KeptJob, tell: Callable[[Sequence[Event]], None]) -> Outcome:
        """Run a job, as the attempt that it was.

        Args:
            kept: The job.
            tell: Takes what it logs.

        Raises:
            KeyboardInterrupt: The user pressed Ctrl-C.
        """
        interrupted = Interrupts.here().in_this_task
        runner = Runner(
            kept.around.directory, live=True, interrupted=interrupted, presets=self._presets
        )
        runner.connect(tell)
        # Values are handed on as they are: so the exception is the one that was raised, with its
        # frames.
        inputs = Live(Carried(kept.input_body()))
        job = Job(
            (kept.task, kept.attempt), self._call, inputs, needs=kept.needs,
            devices=_devices(kept.needs),
        )  # fmt: skip
        token = runner.enter()
        try:
            done = runner.run(job)
        finally:
            runner.leave(token)
        outcome = _outcome(done.reply, kept, self._is_of_map)
        folder = done.folder if done.folder and os.path.isdir(done.folder) else ""
        return outcome._replace(folder=folder)


def _outcome(reply: Any, kept: KeptJob, is_of_map: bool) -> Outcome:
    if isinstance(reply, Cut):  # the one element of a map
        reply = reply.why or reply.done
    if isinstance(reply, Err):
        error = reply.error.value if isinstance(reply.error, Live) else None
        return Outcome(why=reply, error=error)
    assert isinstance(reply, (Ok, More))
    assert isinstance(reply.outputs, Live)
    value = reply.outputs.value
    if isinstance(reply, More):
        assert isinstance(value, Packed)
        return Outcome(made=tuple(one._definition.name for one in value.wants))
    opened = LiveValues().open(value)
    if is_of_map:
        (opened,) = opened
    if not kept.around.live:
        try:
            values = EncodedValues()
            packed = values.pack_result(opened)
            assert not isinstance(packed.body, Live)
            values.read_back(opened, packed.body)
        except errors.CodecError as error:
            return Outcome(why=failure.describe(error, Live, final=True), error=error)
    return Outcome(opened)


def variables_of(kept: KeptJob) -> dict[str, str]:
    """Return the variables that tell numerical libraries how many threads the task is to have.

    As a worker process has them, where the user has said nothing.
    """
    if kept.around.live:
        return {}
    threads = kept.needs.cpus if kept.needs is not None else 1
    return {name: str(threads) for name in THREAD_VARIABLES if name not in os.environ}


def _devices(needs: Needs | None) -> tuple[str, ...]:
    """Return as many devices of this machine as a task needs, the first ones."""
    count = needs.gpu if needs is not None else 0
    visible = os.environ.get(DEVICE_VARIABLES[0], "")
    names = visible.split(",") if visible else map(str, range(count))
    return tuple(names)[:count]


class Folders:
    """Temporary folders that a job's inputs name, during a block where they say that they are.

    Args:
        kept: Each with where it is kept; "" for one that is not.
        directory: The session's folder; a task's own folder stays in it, if it leaves one.

    Attributes:
        missing: Those that are neither here nor kept.
    """

    def __init__(self, kept: Mapping[str, str], directory: str) -> None:
        self._directory = directory
        self._kept = kept
        self._made: list[str] = []
        self.missing: list[str] = []

    def __enter__(self) -> Self:
        if self._kept:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
        for folder, where in self._kept.items():
            if os.path.isdir(folder):
                continue
            if not os.path.isdir(where):
                self.missing.append(folder)
                continue
            self._made.append(folder)
            shutil.copytree(where, folder, symlinks=True)
        self.keep(self._made)
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._made:
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # there is something of the user's in it
            if set(os.listdir(self._directory)) <= {KEPT}:
                shutil.rmtree(self._directory)

    def keep(self, folders: Sequence[str]) -> None:
        """Have these left alone by who removes what dead sessions have left."""
        if folders:
            names = (os.fsencode(os.path.basename(one)) for one in folders)
            with open(os.path.join(self._directory, KEPT), "ab") as file:
                file.write(b"".join(name + b"\0" for name in names))
