"""Can the tasks and their inputs travel: written down here, decoded in a clean interpreter?"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from types import FunctionType
from typing import Any

from fancypipe_core import errors
from fancypipe_core._base import code_names, main_module
from fancypipe_core._base.resources import size
from fancypipe_core._codec.assembly import assemble
from fancypipe_core._codec.pickler import Encoder
from fancypipe_core._codec.values import EncodedValues
from fancypipe_core._doctor.clean import Clean, Gone
from fancypipe_core._doctor.compose import Composed, Met
from fancypipe_core._doctor.finding import Finding, several
from fancypipe_core._doctor.records import Anything, Unread
from fancypipe_core._model.definition import Definition
from fancypipe_core._wire import messages
from fancypipe_core.backend import Encoded, Job, Live

__all__ = ["look"]

_MUCH_CODE = 1 << 20  # bytes that a task's code may carry with it
_MUCH_INPUT = 10 << 20  # bytes of one task's inputs, if there are many such tasks
_MUCH_IN_ALL = 1 << 30  # bytes of the inputs of all tasks of a definition
_MOST_TRIED = 100  # tasks of a definition whose inputs are decoded
_MOST_SENT = 256 << 20  # bytes that are sent to be decoded
_SHOWN = 5  # of tasks or inputs with the same trouble


def look(
    definitions: Sequence[Definition],
    composed: Composed | None,
    values: EncodedValues,
    limit: float,
) -> Iterator[Finding]:
    """Yield what is found.

    Args:
        definitions: The tasks that are sent to workers.
        composed: The instances; None if nothing was composed.
        values: What wrote their inputs down.
        limit: Seconds that decoding may take.
    """
    met = composed.met if composed is not None else []
    jobs: list[Job] = []
    labels: dict[int, Definition] = {}
    bad = set()
    for definition in definitions:
        try:
            call = values.call(definition)
        except errors.FancyPipeError as error:
            bad.add(definition)
            yield _code_stays(definition, error)
            continue
        assert not isinstance(call.body, Live)
        yield from _heavy_code(definition, call.body)
        labels[len(jobs)] = definition
        jobs.append(Job((len(jobs), 1), call, _nothing(values)))
    yield from _inputs_stay(met)
    yield from _heavy_inputs(met)
    sent = len(jobs)
    for one in _sample(met, bad):
        assert isinstance(one.inputs, tuple), "they are encoded"
        filled = assemble(one.inputs, [_anything(values)] * len(one.wants))
        call = values.call(one.instance._definition)
        labels[len(jobs)] = one.instance._definition
        jobs.append(Job((len(jobs), 1), call, filled))
    if not jobs:
        return
    try:
        unread = _decoded_elsewhere(jobs, limit)
    except Gone as gone:
        yield _no_answer(gone, limit)
        return
    yield from _unreadable(unread)
    if not bad and not unread and all(one.error is None for one in met):
        yield from _all_well(definitions, met, len(jobs) - sent)


def _nothing(values: EncodedValues) -> Encoded:
    packed = values.pack_result(None)
    assert not isinstance(packed.body, Live)
    return packed.body


def _anything(values: EncodedValues) -> Encoded:
    packed = values.pack_result(Anything())
    assert not isinstance(packed.body, Live)
    return packed.body


def _bytes(encoded: Encoded) -> int:
    return sum(
        len(payload.head) + sum(memoryview(buffer).nbytes for buffer in payload.buffers)
        for payload in encoded
    )


def _sample(met: Iterable[Met], bad: set[Definition]) -> Iterator[Met]:
    """Yield the instances that are worth being decoded: some of each definition."""
    counts: Counter[Definition] = Counter()
    sent = 0
    for one in met:
        definition = one.instance._definition
        if not isinstance(one.inputs, tuple) or definition.is_module or definition in bad:
            continue
        sent += _bytes(one.inputs)
        if counts[definition] < _MOST_TRIED and (sent < _MOST_SENT or not counts[definition]):
            counts[definition] += 1
            yield one


def _decoded_elsewhere(jobs: Sequence[Job], limit: float) -> list[Unread]:
    main = main_module.main_script()
    named = (main.kind, main.value) if main is not None else None
    setup = messages.Setup(list(sys.path), list(sys.argv), named, "")
    with Clean(setup, limit) as clean:
        clean.imported()
        return clean.unread(jobs)


# ---- in words ------------------------------------------------------------------------


def _all_well(
    definitions: Sequence[Definition], met: Sequence[Met], tried: int
) -> Iterator[Finding]:
    named = [one.name for one in definitions if code_names.reference(one.target) is not None]
    nameless = [one.name for one in definitions if code_names.reference(one.target) is None]
    if named:
        yield Finding("ok", f"found by name in a worker: {_listed(named)}")
    if nameless:
        yield Finding("ok", f"sent whole, since it has no name to import: {_listed(nameless)}")
    tasks = sum(not one.instance._definition.is_module for one in met)
    if tasks:
        part = "" if tried == tasks else f", {tried} of them"
        yield Finding(
            "ok", f"the inputs of {several(tasks, 'task')}{part} were read in a clean interpreter"
        )


def _listed(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def _code_stays(definition: Definition, error: errors.FancyPipeError) -> Finding:
    what, _, advice = str(error).rpartition("; ")
    return Finding(
        "problem",
        f"task {definition.name} ({definition.where}) has no name to import, and cannot be sent "
        f"whole: {what}",
        advice,
    )


def _inputs_stay(met: Sequence[Met]) -> Iterator[Finding]:
    """One finding for all instances of a definition with the same trouble."""
    kinds: dict[tuple[Definition, str], list[Met]] = {}
    for one in met:
        if one.error is not None:
            path = getattr(one.error, "path", "")
            kinds.setdefault((one.instance._definition, path), []).append(one)
    for (definition, _), same in kinds.items():
        what, _, advice = str(same[0].error).rpartition("; ")
        more = (
            f", and {len(same) - 1} more such task{'s' if len(same) > 2 else ''}"
            if len(same) > 1
            else ""
        )
        site = same[0].instance._site()
        yield Finding("problem", f"task {definition.name} (made at {site}{more}): {what}", advice)


def _heavy_code(definition: Definition, body: Encoded) -> Iterator[Finding]:
    total = _bytes(body)
    if total < _MUCH_CODE:
        return
    parts = sorted(_held(definition.main), reverse=True)[:3]
    named = ", ".join(f"{name} {size(count)}" for count, name in parts if count > total / 20)
    yield Finding(
        "warning",
        f"the code of task {definition.name} ({definition.where}) takes {size(total)} along to "
        f"each worker" + (f": {named}" if named else ""),
        "pass it to the task as an input, or read it in the task",
    )


def _held(function: Any) -> Iterator[tuple[int, str]]:
    """Yield what a function takes along that goes by value, with its size."""
    import inspect

    if not isinstance(function, FunctionType):
        return
    used = inspect.getclosurevars(function)
    parameters = inspect.signature(function).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not one.empty}
    for name, value in {**defaults, **used.globals, **used.nonlocals}.items():
        try:
            body = Encoder().encode_result(value).body
        except errors.FancyPipeError:
            continue
        assert not isinstance(body, Live)
        yield _bytes(body), name


def _heavy_inputs(met: Sequence[Met]) -> Iterator[Finding]:
    sizes: dict[Definition, list[int]] = {}
    for one in met:
        if isinstance(one.inputs, tuple) and not one.instance._definition.is_module:
            sizes.setdefault(one.instance._definition, []).append(_bytes(one.inputs))
    for definition, each in sizes.items():
        if sum(each) > _MUCH_IN_ALL and sum(each) / len(each) > _MUCH_INPUT:
            yield Finding(
                "warning",
                f"{several(len(each), 'task')} {definition.name} take {size(sum(each))} of inputs "
                f"to workers, up to {size(max(each))} each",
                "pass the path of a file, and read it in the task",
            )


def _no_answer(gone: Gone, limit: float) -> Finding:
    if gone.code is None:
        return Finding(
            "problem",
            "a worker does not finish reading the tasks and their inputs: it takes "
            f"more than {limit:g} s",
            "if it needs longer, give it more time: --limit SECONDS",
        )
    how = f"signal {-gone.code}" if gone.code < 0 else f"exit code {gone.code}"
    return Finding(
        "problem",
        f"a worker dies when it reads the tasks and their inputs ({how})",
        "look for objects with a __setstate__ or __reduce__ of their own among the inputs",
    )


def _unreadable(unread: Sequence[Unread]) -> Iterator[Finding]:
    kinds = Counter(one.why for one in unread if one.sure)
    for why, count in list(kinds.items())[:_SHOWN]:
        more = f" (and {count - 1} more such)" if count > 1 else ""
        yield Finding("problem", why + more)
    if len(kinds) > _SHOWN:
        yield Finding("problem", f"and {len(kinds) - _SHOWN} more of this kind")
    unsure = [one for one in unread if not one.sure]
    if unsure:
        yield Finding(
            "note",
            f"{several(len(unsure), 'task')} could not be looked at before the results of others "
            f"are there: {unsure[0].why}",
        )
