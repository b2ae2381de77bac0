"""Runs a workload on contenders in turns, each time in a fresh process.

What else the machine does hits all of them alike: a round measures everybody once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import ALL
from benchmarks.workloads import WORKLOADS, Figures

__all__ = ["ROOT", "Measured", "Subject", "in_rounds", "takes_part"]

ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("core", "threads", "procs", "remote")
_LIMIT = 600  # seconds for one measurement
_GRACE = 15  # seconds to end when asked to


@dataclass(frozen=True)
class Subject:
    """Who is measured.

    Attributes:
        label: What it is called in tables.
        contender: Its name in the list of all.
        checkout: The root of the repository whose packages it uses, if it is ours.
    """

    label: str
    contender: str
    checkout: Path = ROOT


@dataclass
class Measured:
    """What came of a workload.

    Attributes:
        workload: Its name.
        sizes: How many tasks each was given, by label.
        runs: By label, the figures of each round; None where it failed.
        lacks: Why there are none of somebody, by label.
        load: The machine's load when it began.
    """

    workload: str
    sizes: dict[str, int] = field(default_factory=dict)
    runs: dict[str, list[Figures | None]] = field(default_factory=dict)
    lacks: dict[str, str] = field(default_factory=dict)
    load: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether a measurement did not end well."""
        return any(None in figures for figures in self.runs.values())


def takes_part(contender: str, workload: str) -> bool:
    """Tell whether a contender is measured with a workload."""
    entry = ALL[contender]
    if entry.only and workload not in entry.only:
        return False
    return entry.ours or not WORKLOADS[workload].only_ours


def in_rounds(
    workload: str, subjects: Sequence[Subject], n: int, workers: int, rounds: int
) -> Measured:
    """Measure all subjects once in each round."""
    found = Measured(workload, load=os.getloadavg()[0])
    for subject in subjects:
        fewer = ALL[subject.contender].fewer if WORKLOADS[workload].each_alike else 1
        found.sizes[subject.label] = max(1, n // fewer)
        found.runs[subject.label] = []
    for turn in range(rounds):
        # There and back, so that nobody always comes after the same neighbour.
        for subject in _there_and_back(subjects, turn):
            if subject.label in found.lacks:
                continue
            print(f"  {workload} {turn + 1}/{rounds} {subject.label}", file=sys.stderr, flush=True)
            figures, lack = _one(workload, subject, found.sizes[subject.label], workers)
            if figures is None:
                print(f"  {subject.label}: {lack}", file=sys.stderr, flush=True)
                # Who cannot do it at all is not asked again, and who failed the first time.
                if not any(found.runs[subject.label]):
                    found.lacks[subject.label] = lack
            found.runs[subject.label].append(figures)
    for label in found.lacks:
        del found.runs[label]
    return found


def _there_and_back(subjects: Sequence[Subject], turn: int) -> Iterable[Subject]:
    return subjects if turn % 2 == 0 else reversed(subjects)


def _environment(checkout: Path) -> Mapping[str, str]:
    """The packages of that checkout before those that are installed, and our own modules."""
    sources = [checkout / f"fancypipe_{name}" / "src" for name in _PACKAGES]
    kept = {name: v for name, v in os.environ.items() if not name.startswith("FANCYPIPE")}
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, [*sources, ROOT]))}


def _one(workload: str, subject: Subject, n: int, workers: int) -> tuple[Figures | None, str]:
    """Run a measurement; return its figures, or None and why there are none."""
    words = [workload, subject.contender, str(n), str(workers)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.one", *words],
        cwd=ROOT,
        env=_environment(subject.checkout),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us alone, who pass it on
    )
    try:
        out, complaint = process.communicate(timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        _end(process)
        return None, f"it took more than {_LIMIT} seconds"
    except BaseException:
        _end(process)
        raise
    if process.returncode:
        code = f"exit code {process.returncode}"
        return None, (complaint.strip().splitlines() or [code])[-1]
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    if ALL[subject.contender].ours and not Path(said["code"]).is_relative_to(subject.checkout):
        return None, "it used the packages of another checkout"
    return said.get("figures"), said.get("unable", "")


def _end(process: subprocess.Popen[str]) -> None:
    """Ask it to end, so that it takes away what it has made; then kill what is left."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
