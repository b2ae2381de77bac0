"""Runs of the pool in which everything happens at random: a seed says all.

`python -m tests.pool.simulation 1000000` goes on until so many workers have died; a second
number is the seed to begin with.
"""

from __future__ import annotations

import sys
from random import Random
from time import perf_counter

from fancypipe_core.backend import Equipment, Needs
from fancypipe_core.toolkit.pool.states import Spoilt
from fancypipe_core.toolkit.pool.workers import Rules
from tests.pool.watched import Watched
from tests.pool.world import World

__all__ = ["act", "needs", "play", "rules"]


def rules(rnd: Random) -> Rules:
    """Return the rules of a kind of workers: processes, hosts that come, pools that die whole."""
    kind = rnd.random()
    if kind < 0.3:
        return Rules(
            0,
            kills=False,
            in_order=False,
            fresh=False,
            least_ahead=rnd.choice((0, 1)),
            most_ahead=1.0,
            next=rnd.choice((0.0, 0.1)),
            silence=rnd.choice((0.0, 0.002)),
            first=rnd.choice((None, 30.0)),
            away=60.0,
            spared=rnd.choice((0, 2)),
            equipment=lambda: Equipment(0),
        )
    if kind < 0.5:
        workers, slots = rnd.choice(((1, 0), (1, 1), (1, 2), (1, 4), (3, 1)))
        least = rnd.choice((0, 1))
        return Rules(workers, slots=slots, least_ahead=least, kills=False, in_order=False)
    workers = rnd.choice((1, 2, 3, 8))
    machine = Equipment(workers, 100, ("0", "1"))
    return Rules(workers, next=rnd.choice((0.0, 0.1)), equipment=lambda: machine)


def needs(rnd: Random, most: int) -> Needs | None:
    """Return what a job needs; mostly nothing."""
    if rnd.random() < 0.8:
        return None
    cpus = rnd.randint(1, most)
    memory, gpu = rnd.choice((0, 0, 30, 70, 100)), rnd.choice((0, 0, 0, 1, 2))
    return Needs(cpus, memory, gpu) if cpus > 1 or memory or gpu else None


def play(watched: Watched, seed: int, steps: int = 300) -> World:
    """Let so many things happen, and then everything come to its end."""
    rnd = Random(seed)
    world = World(watched, rnd, rules(rnd))
    world.has_needs = seed % 11 in _WITH_NEEDS
    for _ in range(steps):
        act(world, rnd)
    world.settle()
    return world


def act(world: World, rnd: Random) -> None:
    """Let something happen."""
    kinds, weights = zip(*_CHANCES.items(), strict=True)
    (kind,) = rnd.choices(kinds, weights)
    alive = world.alive
    if kind in ("go on", "stop", "hang", "deafen", "hold", "die", "hang up", "spoil"):
        if alive:
            _worker(kind, world, rnd)
    elif kind == "submit":
        if len(world.open_jobs) < 60:
            limit = rnd.choice((None, None, 0.5))
            count, alone = rnd.choice((1, 1, 3, 20)), rnd.random() < 0.15
            most = 1 if world.comes else world.rules.workers
            needed = needs(rnd, most) if world.has_needs else None
            world.submit(count, alone=alone, limit=limit, needs=needed)
    elif kind == "unwant":
        jobs = world.open_jobs
        if jobs:
            count = min(len(jobs), rnd.choice((1, 3)))
            world.unwant(rnd.sample(jobs, count), stop=rnd.random() < 0.6)
    elif kind in ("join", "share"):
        if world.comes:
            world.join() if kind == "join" else world.share()
    elif kind == "starts":
        world.startable = not world.startable or rnd.random() < 0.7
    elif kind == "tick":
        world.tick()
    else:
        world.pause(rnd.choice((0.001, 0.05, 2.0, 500.0)) if kind == "pause" else 0.0003)
        world.read_all()


def _worker(kind: str, world: World, rnd: Random) -> None:
    process = rnd.choice(world.alive)
    ends = process.hung_up or process.killed
    if kind == "go on":
        world.go_on(process)
    elif kind == "stop":
        world.stop_or_continue(process)
    elif kind == "hang":
        process.hangs = not process.hangs
    elif kind == "deafen":
        process.deaf = not process.deaf
    elif kind == "hold":
        process.unkillable = True
    elif kind == "die":
        if not process.dismissed:
            world.die(process)
    elif kind == "hang up":
        if not ends:
            world.hang_up(process)
    elif process.up and not ends:
        world.say(process, Spoilt(process.number, "junk"))


_WITH_NEEDS = (0, 8, 10)  # so many of eleven seeds have jobs with needs
_CHANCES = {
    "go on": 50,
    "read": 16,
    "submit": 8,
    "tick": 6,
    "die": 3,
    "starts": 3,
    "join": 3,
    "share": 3,
    "unwant": 2,
    "stop": 2,
    "hang": 5,
    "spoil": 2,
    "pause": 2,
    "hang up": 1,
    "hold": 1,
    "deafen": 1,
}


def main(deaths: int, seed: int = 0) -> None:
    """Play until so many workers have died, and say what that came to."""
    watched = Watched()
    begin, first, died, jobs = perf_counter(), seed, 0, 0
    while died < deaths:
        try:
            world = play(watched, seed)
        except BaseException:
            print(f"seed {seed}")  # noqa: T201 - a command's answer
            raise
        died += world.deaths
        jobs += len(world.jobs)
        seed += 1
    seconds = perf_counter() - begin
    print(f"{died} deaths, {jobs} jobs, {seed - first} seeds, {seconds:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
