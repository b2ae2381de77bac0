"""What is said to Slurm, by its commands; what is decided, `fancypipe_remote.client` decides."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fancypipe_core.backend import Backend, BackendOptions, Equipment
from fancypipe_core.errors import UsageError
from fancypipe_remote.client import BatchJob, BatchSystem, Fleet, JobState, OwnManager, make_elastic

if TYPE_CHECKING:
    from fancypipe_slurm import SlurmSettings

__all__ = ["Slurm", "make", "status"]

_PREFIX = "fancypipe-"  # of the names of jobs
_GRACE = 20.0  # seconds for what runs; Slurm's own are 30, if its administrator says nothing
_STATES: dict[str, JobState] = {  # all others run
    **dict.fromkeys(("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"), "waits"),
    **dict.fromkeys(("COMPLETING", "STAGE_OUT"), "leaves"),
    **dict.fromkeys(("COMPLETED", "PREEMPTED", "TIMEOUT"), "ended"),
    **dict.fromkeys(("BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL"), "failed"),
    **dict.fromkeys(("OUT_OF_MEMORY", "REVOKED"), "failed"),
}


class Slurm(BatchSystem):
    """The jobs of a session, which have its name."""

    def __init__(
        self, settings: SlurmSettings, name: str, folder: Path, worker: Sequence[str]
    ) -> None:
        self._name, self._folder = name, folder
        self._script = f"#!/bin/sh\nexec {shlex.join(worker)}\n"
        chosen = {
            "job-name": name,
            "output": f"{folder}/%j.log",
            "cpus-per-task": settings.cpus,
            "signal": "B:TERM@60",  # so that it leaves in good order before its time is up
            "partition": settings.partition,
            "account": settings.account,
            "time": settings.time,
            "mem": settings.memory,
            "gpus-per-node": settings.gpus,
        }
        options = [f"--{option}={value}" for option, value in chosen.items() if value]
        self._options = [*options, *shlex.split(settings.sbatch)]

    def submit(self) -> None:
        self.call("sbatch", "--parsable", *self._options, text=self._script)

    def jobs(self) -> list[BatchJob]:
        found = []
        for id, state, about, _ in _listed(self, f"--name={self._name}", "--states=all"):
            kind = _STATES.get(state, "runs")
            text = f"Slurm's job {id} is {state} {about}".rstrip()
            found.append(BatchJob(id, kind, text + self._last_words(id) * (kind == "failed")))
        return found

    def withdraw(self, ids: Sequence[str]) -> None:
        self.call("scancel", *ids)

    def _last_words(self, id: str) -> str:
        log = self._folder / f"{id}.log"
        lines = log.read_text("utf-8", "replace").split("\n") if log.exists() else []
        return next((f"; its log ends with: {line[:300]!r}" for line in lines[::-1] if line), "")


def _listed(batch: BatchSystem, *which: str) -> list[list[str]]:
    """Return of each job its number, state, place or reason, and name; the oldest first."""
    lines = batch.call("squeue", "--noheader", "--sort=i", "--format=%i|%T|%R|%j", *which)
    return [line.split("|", 3) for line in lines.splitlines()]


def make(options: BackendOptions) -> Backend:
    """Start the manager, and return the client's backend."""
    own: SlurmSettings = options.settings
    base = Path(own.folder) if own.folder else Path.home() / ".cache" / "fancypipe"
    name = _PREFIX + options.session
    mine = f"--name={name}"
    manager = OwnManager(
        base, own.host, afterwards=["scancel", mine], left=["squeue", "--noheader", mine]
    )
    return make_elastic(
        options,
        manager=manager,
        batch=Slurm(own, name, manager.folder, manager.worker(own.cpus, _GRACE)),
        fleet=Fleet(own.cpus, own.least, own.most),
        has=Equipment(own.cpus, devices=tuple(map(str, range(own.gpus)))),
        idle=own.idle,
        wait=own.wait,
    )


def status(_settings: SlurmSettings, words: Sequence[str]) -> int:
    """Say which jobs run workers: `fancypipe slurm status`."""
    if list(words) != ["status"]:
        raise UsageError("say: fancypipe slurm status")
    found = [job for job in _listed(BatchSystem(), "--me") if job[3].startswith(_PREFIX)]
    for id, state, about, name in found:
        sys.stdout.write(f"{id:>8}  {name}  {state}  {about}\n")
    sys.stdout.write(f"{len(found)} jobs of Slurm for fancypipe\n")
    return 0
