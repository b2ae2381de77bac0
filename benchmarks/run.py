"""Runs workloads on all contenders in turn, and prints tables.

Each measurement is made in a fresh process, and the contenders take turns: what
else the machine does hits all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import table
from benchmarks.memory import PeakWatch
from benchmarks.peers import ALL, installed
from benchmarks.programs import PROGRAMS
from benchmarks.workloads import SECONDS, WORKLOADS, Figures, Measure

ROOT = Path(__file__).resolve().parents[1]
_LIMIT = 900  # seconds for one measurement


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if anything failed."""
    options = _options(argv)
    if options.list:
        titles = {
            name: one.title.replace("{n:,}", "N").replace("{n}", "N")
            for name, one in WORKLOADS.items()
        }
        titles |= {name: one.title for name, one in PROGRAMS.items()}
        for name, title in titles.items():
            print(f"{name:10} {title}")
        return 0
    print(_machine(options), end="\n\n", flush=True)
    kept: list[dict[str, Any]] = []
    failed = False
    for name in options.workloads or [*WORKLOADS, *PROGRAMS]:
        for title, n, measures, runs in _measured(name, options):
            failed = failed or not all(runs.values())
            ours_only = name in WORKLOADS and WORKLOADS[name].only_ours
            heading, rows = table.rows_of(runs, measures, n, speed_up=ours_only)
            print(f"### {title}\n\n{table.markdown(heading, rows)}\n", flush=True)
            kept.append({"workload": name, "title": title, "n": n, "runs": runs})
    if options.json:
        content = {"machine": _machine(options), "workers": options.workers, "results": kept}
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return int(failed)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [*WORKLOADS, *PROGRAMS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure fancypipe and its peers side by side; print Markdown.",
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(names)}")
    parser.add_argument("--list", action="store_true", help="say what each workload is, and end")
    parser.add_argument(
        "--peers",
        metavar="A,B",
        help=f"only these besides ours, or none; of {', '.join(n for n in ALL if not ALL[n].ours)}",
    )
    parser.add_argument("--ours", metavar="A,B", help="only these of ours: serial, threads, procs")
    parser.add_argument("--n", type=int, metavar="N", help="another size than usual")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="2 by default")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="5 by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every single figure")
    options = parser.parse_args(argv)
    for name in options.workloads:
        if name not in names:
            parser.error(f"there is no workload {name!r}; there are: {', '.join(names)}")
    options.contenders = []
    for name, entry in ALL.items():
        asked = options.ours if entry.ours else options.peers
        if asked is None or name in asked.split(","):
            if installed(name):
                options.contenders.append(name)
            elif asked is not None:
                parser.error(f"{name} needs {entry.needs}, which is not installed")
    for asked in (options.peers, options.ours):
        for name in (asked or "none").split(","):
            if name not in ALL and name != "none":
                parser.error(f"there is no contender {name!r}; there are: {', '.join(ALL)}")
    if min(options.workers, options.repeat) < 1:
        parser.error("--workers and --repeat must be 1 or more")
    return options


def _machine(options: argparse.Namespace) -> str:
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count()
    needed = {ALL[name].needs for name in options.contenders} - {""}
    versions = [f"{name} {metadata.version(name)}" for name in ("fancypipe-core", *sorted(needed))]
    return (
        f"{cores} cores, {platform.system()} {platform.machine()}, "
        f"{platform.python_implementation()} {platform.python_version()}, {', '.join(versions)}; "
        f"{options.workers} workers, {options.repeat} repeats, "
        f"load {os.getloadavg()[0]:.1f} before"
    )


Measured = tuple[str, int, Sequence[Measure], dict[str, list[Figures]]]


def _measured(name: str, options: argparse.Namespace) -> list[Measured]:
    """Run a workload in all its sizes."""
    if name in PROGRAMS:
        return [_programs(name, options)]
    workload = WORKLOADS[name]
    found = []
    for n in workload.sizes if options.n is None else [options.n]:
        names = [who for who in options.contenders if _takes_part(who, name)]
        title = f"{name}: {workload.title.format(n=n)}"

        attempt = partial(_one, name, n, options.workers)
        runs = _in_turns(names, attempt, options.repeat)
        if workload.memory:
            _add_memory(name, n, options, runs)
        found.append((title, n, workload.measures, runs))
    return found


def _takes_part(who: str, name: str) -> bool:
    entry, workload = ALL[who], WORKLOADS[name]
    if workload.only_ours:
        return entry.ours
    # joblib has no graphs, and nobody writes that loop around it.
    return not (workload.is_graph and who.startswith("joblib"))


def _in_turns(
    names: Sequence[str], attempt: Callable[[str], Figures | None], repeat: int
) -> dict[str, list[Figures]]:
    runs: dict[str, list[Figures]] = {name: [] for name in names}
    for turn in range(repeat):
        # There and back, so that nobody always comes after the same neighbour.
        for name in names if turn % 2 == 0 else reversed(names):
            print(f"  {turn + 1}/{repeat} {name}", file=sys.stderr, flush=True)
            figures = attempt(name)
            if figures is not None:
                runs[name].append(figures)
    return runs


def _command(name: str, n: int, workers: int, who: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.one", name, who, str(n), str(workers)]


def _one(name: str, n: int, workers: int, who: str) -> Figures | None:
    """Run a measurement; None if it failed, which is said."""
    done = subprocess.run(
        _command(name, n, workers, who),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        print(f"{name}: {who} failed: {last}", file=sys.stderr)
        return None
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _add_memory(
    name: str, n: int, options: argparse.Namespace, runs: dict[str, list[Figures]]
) -> None:
    """Run once more with the memory watched: watching takes time, so it is not timed."""
    for who, figures in runs.items():
        if not figures:
            continue
        command = _command(name, n, options.workers, who)
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with PeakWatch(process.pid) as watch:
            process.wait(_LIMIT)
        if watch.peak is not None:
            figures[0]["pss"] = watch.peak


def _programs(name: str, options: argparse.Namespace) -> Measured:
    program = PROGRAMS[name]
    title = f"{name}: {program.title}"
    with tempfile.TemporaryDirectory() as folder:
        commands = program.commands(options.workers, Path(folder))
        names = [who for who in commands if who not in ALL or who in options.contenders]

        def attempt(who: str) -> Figures | None:
            begin = perf_counter()
            done = subprocess.run(
                commands[who], capture_output=True, text=True, check=False, timeout=_LIMIT
            )
            seconds = perf_counter() - begin
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                print(f"{title}: {who} failed: {last}", file=sys.stderr)
                return None
            return {"seconds": seconds}

        for who in names:  # once, so that what is read from disk is in memory
            attempt(who)
        runs = _in_turns(names, attempt, options.repeat)
    return title, 1, [SECONDS], runs
