"""The doctor's round: from the file to the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

from fancypipe_core._codec import failure
from fancypipe_core._codec.undecodable import relative
from fancypipe_core._codec.values import EncodedValues, LiveValues
from fancypipe_core._doctor import compose as _compose
from fancypipe_core._doctor import importing as _importing
from fancypipe_core._doctor import installed as _installed
from fancypipe_core._doctor import main_guard as _guarded
from fancypipe_core._doctor import probe as _probe
from fancypipe_core._doctor import resources as _machine
from fancypipe_core._doctor import travel as _travel
from fancypipe_core._doctor.finding import Chapter, Finding, several
from fancypipe_core._model import load as _load
from fancypipe_core._model import task
from fancypipe_core._model.definition import Definition

__all__ = ["Pipeline", "Target", "examine", "pipeline"]


class Target(NamedTuple):
    """The task or module that a run would be asked for.

    Attributes:
        instance: It, with its inputs; None if it cannot be made.
        why: Why not.
    """

    instance: Any
    why: str = ""


class Pipeline(NamedTuple):
    """What was found of a file, before any setting counts.

    Attributes:
        file: As the user wrote it.
        findings: What was found.
        module: The file, loaded; None if that is not possible or not wise.
        unguarded: Whether it starts a run when it is imported.
        memory: Bytes of a worker that has imported it; 0 if unknown.
    """

    file: str
    findings: list[Finding]
    module: ModuleType | None
    unguarded: bool
    memory: int


def pipeline(file: str, limit: float) -> Pipeline:
    """Look at a file as a worker would, and then load it.

    Raises:
        LoadError: It cannot be loaded here either.
    """
    look = _importing.look(file, limit)
    # What starts a run, or does not come to an end, must not do so here.
    module = _load.load(file) if look.harmless else None
    return Pipeline(file, look.findings, module, look.unguarded, look.memory)


def examine(
    found: Pipeline | None,
    target: Target,
    force: _probe.InForce,
    limit: float,
) -> list[Chapter]:
    """Return all that was found.

    Args:
        found: What is known of the file; None if there is none.
        target: What the run would be asked for.
        force: The settings of the run, and its backend.
        limit: Seconds that a worker may take for the tasks and their inputs.
    """
    settings, live = force.core.settings, force.live
    chapters: list[Chapter] = []
    if found is not None:
        about = found.findings
        if live and found.unguarded:  # it hurts workers only
            about = [finding._replace(mark="warning") for finding in about]
        chapters.append(Chapter(found.file, about))
        if found.module is not None:
            findings = _tasks(found, found.module, target, force, limit)
            chapters.append(Chapter("tasks and inputs", list(findings)))
    chapters.append(Chapter("workers", list(_probe.look(force))))
    memory = found.memory if found is not None and not live else 0
    chapters.append(Chapter("this machine", list(_machine.look(settings, memory))))
    chapters.append(Chapter("installed", list(_installed.look(settings.backend))))
    return chapters


def _tasks(
    found: Pipeline, module: ModuleType, target: Target, force: _probe.InForce, limit: float
) -> Iterator[Finding]:
    if force.parameters is not None:
        for remark in force.parameters.check():
            yield Finding("warning", remark)
    values = EncodedValues()
    here = LiveValues() if force.live else values
    here.presets = force.parameters
    definitions = _defined(found.file)
    composed = None
    if target.instance is not None:
        composed = _compose.compose(target.instance, here)
        yield from _composition(composed)
        definitions += [one.instance._definition for one in composed.met]
    else:
        yield Finding("note", f"nothing was composed: {target.why}")
    definitions = list({id(one): one for one in definitions}.values())
    if force.live:
        yield Finding("ok", "nothing has to travel: the workers share this process's memory")
        return
    yield from _guarded.look(module, definitions, found.file)
    if not any(finding.mark == "problem" for finding in found.findings):
        sent = [one for one in definitions if not one.is_module]
        yield from _travel.look(sent, composed, values, limit)


def _defined(file: str) -> list[Definition]:
    """Return the tasks and modules of a file and of the modules beside it that it imports."""
    home = os.path.join(os.path.dirname(os.path.abspath(file)), "")
    found = []
    for name, module in list(sys.modules.items()):
        stands = getattr(module, "__file__", None)
        if not stands or not stands.startswith(home) or name.startswith("fancypipe"):
            continue
        found += [
            task.definition_of(value)
            for value in vars(module).values()
            if task.is_definition(value)
        ]
    return found


def _composition(composed: _compose.Composed) -> Iterator[Finding]:
    for instance, error in composed.failed:
        where = relative(failure.where(error)) or instance._site()
        yield Finding(
            "problem",
            f"module {instance._definition.name} raises {type(error).__name__}: "
            f"{' '.join(failure.text_of(error).split())} ({where})",
            "mend it, or give other inputs behind the file",
        )
    tasks = sum(not one.instance._definition.is_module for one in composed.met)
    modules = len(composed.met) - tasks
    if tasks or not composed.failed:
        only = "" if composed.all else "; there are more, which were not looked at"
        yield Finding(
            "ok", f"composed {several(tasks, 'task')} and {several(modules, 'module')}{only}"
        )
    if composed.closed:
        names = dict.fromkeys(instance._definition.name for instance in composed.closed)
        yield Finding(
            "note",
            f"{several(len(composed.closed), 'module')} ({', '.join(list(names)[:5])}) cannot be "
            "looked into before the results of tasks are there",
        )
