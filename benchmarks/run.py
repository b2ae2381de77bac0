"""The command line: what is measured, and what is done with the figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.measure import ROOT, Measured, Subject, in_rounds, takes_part
from benchmarks.peers import ALL, missing
from benchmarks.ratios import change_table, changes, judged, line_table
from benchmarks.targets import LINES
from benchmarks.workloads import WORKLOADS

_QUICK_ROUNDS = 3
_OTHER = "{} @ other"  # a contender of another checkout


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if anything failed."""
    options = _options(argv)
    if options.list:
        for name, one in WORKLOADS.items():
            print(f"{name:12} {one.title.replace('{n:,}', 'N').replace('{n}', 'N')}")
        return 0
    if options.figures:
        facts, measured = report.from_json(options.figures.read_text("utf-8"))
    else:
        facts = machine.facts(_asked(options), ROOT)
        facts |= {"workers": options.workers, "quick": options.quick}
        print(machine.described(facts), end="\n\n", flush=True)
        measured = []
        for name in options.workloads:
            measured.append(_measured(name, options))
            if options.json:  # as much as there is, should the rest be cut short
                options.json.write_text(report.to_json(facts, measured), encoding="utf-8")
            print(report.headed(measured[-1], "###"), end="\n\n", flush=True)
    if options.against:
        print(change_table([one for found in measured for one in changes(found, _pairs(options))]))
    else:
        results = judged(LINES, measured)
        if results:
            print(line_table(results), report.reached(results), sep="\n\n")
    if options.table:
        for path in report.write(options.table, facts, measured):
            print(f"wrote {path}", file=sys.stderr)
    return int(any(one.failed for one in measured))


def _measured(name: str, options: argparse.Namespace) -> Measured:
    """Run a workload with everybody who takes part."""
    workload = WORKLOADS[name]
    names, lacks = [], {}
    for who in _asked(options, name):
        lack = missing(who)
        if lack:
            lacks[who] = lack
        else:
            names.append(who)
    subjects = [Subject(who, who) for who in names]
    if options.against:
        others = [Subject(_OTHER.format(who), who, options.against) for who in names]
        subjects = [one for pair in zip(subjects, others, strict=True) for one in pair]
    n = options.n or (workload.quick if options.quick else workload.n)
    rounds = options.rounds or (_QUICK_ROUNDS if options.quick else workload.rounds)
    found = in_rounds(name, subjects, n, options.workers, rounds)
    found.lacks |= lacks
    return found


def _asked(options: argparse.Namespace, workload: str = "") -> list[str]:
    """Return the contenders that are asked for; with a workload, those that take part."""
    compared = {
        who
        for line in LINES
        if workload in ("", line.workload)
        for who in (line.ours, line.peer)
        if who
    }
    names = []
    for name, entry in ALL.items():
        asked = options.ours if entry.ours else options.peers
        if asked is not None:
            wanted = name in asked.split(",")
        elif options.against:
            wanted = entry.ours
        elif options.quick or options.table:
            wanted = name in compared and not (options.quick and entry.slow_start)
        else:
            wanted = True
        if wanted and (not workload or takes_part(name, workload)):
            names.append(name)
    return names


def _pairs(options: argparse.Namespace) -> dict[str, str]:
    return {name: _OTHER.format(name) for name in _asked(options)}


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    peers = ", ".join(name for name in ALL if not ALL[name].ours)
    ours = ", ".join(name for name in ALL if ALL[name].ours)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure fancypipe and its peers side by side; print Markdown.",
    )
    add: Any = parser.add_argument
    add("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}")
    add("--list", action="store_true", help="say what each workload is, and end")
    add("--quick", action="store_true", help="small sizes, and only who starts quickly: 2 minutes")
    add(
        "--table",
        type=Path,
        metavar="FOLDER",
        help="only what has a target; write figures.json, figures.md and ratios.svg into a folder",
    )
    add(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="compare ours with ours of another checkout, in one run",
    )
    add("--figures", type=Path, metavar="FILE", help="measure nothing; take this JSON")
    add("--peers", metavar="A,B", help=f"only these besides ours, or none; of {peers}")
    add("--ours", metavar="A,B", help=f"only these of ours; of {ours}")
    add("--n", type=int, metavar="N", help="another size than usual")
    add("--workers", type=int, default=2, metavar="N", help="2 by default")
    add("--rounds", type=int, metavar="N", help="how often each is measured; 2 to 5 by default")
    add("--json", type=Path, metavar="FILE", help="keep every single figure")
    options = parser.parse_args(argv)
    _check_names(parser, options)
    for name in ("workers", "rounds", "n"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} must be 1 or more")
    if options.figures and not options.figures.is_file():
        parser.error(f"there is no file {options.figures}")
    if options.against:
        options.against = options.against.resolve()
        if not (options.against / "fancypipe_core" / "src").is_dir():
            parser.error(f"{options.against} is no checkout of fancypipe")
    lacks = {who: missing(who) for who in _asked(options)} if options.table else {}
    if any(lacks.values()) and not options.figures:
        # Better told now than in a table after a quarter of an hour.
        told = "; ".join(f"{who}: {lack}" for who, lack in lacks.items() if lack)
        parser.error(
            f"a table compares contenders that cannot be measured here: {told}; "
            "install them, or name with --ours and --peers who is to be in it"
        )
    if not options.workloads:
        lines_only = options.quick or options.table or options.against
        targets = {line.workload for line in LINES}
        options.workloads = [name for name in WORKLOADS if not lines_only or name in targets]
    return options


def _check_names(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with a message if something is asked for that there is not."""
    for name in options.workloads:
        if name not in WORKLOADS:
            parser.error(f"there is no workload {name!r}; there are: {', '.join(WORKLOADS)}")
    for asked in (options.peers, options.ours):
        for name in (asked or "none").split(","):
            if name not in ALL and name != "none":
                parser.error(f"there is no contender {name!r}; there are: {', '.join(ALL)}")
            if name in ALL and missing(name):
                parser.error(f"{name} cannot be measured: {missing(name)}")
