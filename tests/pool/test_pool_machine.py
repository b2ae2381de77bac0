"""The pool machine in a world that behaves as badly as it may: see `world`."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fancypipe_core.toolkit.pool.states import TRANSITIONS, Spoilt
from fancypipe_core.toolkit.pool.workers import Rules
from tests.pool.process import Process
from tests.pool.simulation import play
from tests.pool.watched import Watched
from tests.pool.world import World

anybody = precondition(lambda self: self.world.alive)
whom = st.integers(0, 9)


class Machine(RuleBasedStateMachine):
    """Events in any order that a shell may tell them."""

    watched = Watched()
    world: World

    @initialize(workers=st.sampled_from((1, 2, 3, 0, -2)), seed=st.integers(0, 99))
    def begin(self, workers: int, seed: int) -> None:
        hosts = Rules(
            0, kills=False, in_order=False, fresh=False, least_ahead=1, most_ahead=1.0, away=60.0
        )
        rules = Rules(workers, next=0.1) if workers else hosts
        if workers < 0:  # a pool that dies as a whole
            rules = Rules(1, slots=-workers, kills=False, in_order=False)
        self.world = World(self.watched, Random(seed), rules)

    def process(self, whom: int) -> Process:
        return self.world.alive[whom % len(self.world.alive)]

    @precondition(lambda self: len(self.world.open_jobs) < 30)
    @rule(
        count=st.sampled_from((1, 2, 12)), alone=st.booleans(), limit=st.sampled_from((None, 0.5))
    )
    def submit(self, count: int, alone: bool, limit: float | None) -> None:
        self.world.submit(count, alone=alone, limit=limit)

    @precondition(lambda self: self.world.open_jobs)
    @rule(which=st.integers(0, 29), stop=st.booleans())
    def unwant(self, which: int, stop: bool) -> None:
        jobs = self.world.open_jobs
        self.world.unwant([jobs[which % len(jobs)]], stop=stop)

    @precondition(lambda self: not self.world.rules.workers)
    @rule()
    def join(self) -> None:
        self.world.join()

    @rule(startable=st.booleans())
    def starts(self, startable: bool) -> None:
        self.world.startable = startable

    @rule(seconds=st.sampled_from((0.0003, 0.05, 2.0, 500.0)))
    def pause(self, seconds: float) -> None:
        self.world.pause(seconds)
        self.world.read_all()

    @rule()
    def tick(self) -> None:
        self.world.tick()

    @anybody
    @rule(whom=whom)
    def go_on(self, whom: int) -> None:
        self.world.go_on(self.process(whom))

    @anybody
    @rule(whom=whom)
    def stop_or_continue(self, whom: int) -> None:
        self.world.stop_or_continue(self.process(whom))

    @anybody
    @rule(whom=whom)
    def hang(self, whom: int) -> None:
        self.process(whom).hangs = True

    @anybody
    @rule(whom=whom)
    def go_deaf(self, whom: int) -> None:
        self.process(whom).deaf = True

    @anybody
    @rule(whom=whom)
    def hang_in_the_kernel(self, whom: int) -> None:
        self.process(whom).unkillable = True

    @anybody
    @rule(whom=whom)
    def die(self, whom: int) -> None:
        self.world.die(self.process(whom))

    @anybody
    @rule(whom=whom)
    def hang_up(self, whom: int) -> None:
        process = self.process(whom)
        if not (process.hung_up or process.killed):
            self.world.hang_up(process)

    @anybody
    @rule(whom=whom)
    def spoil(self, whom: int) -> None:
        process = self.process(whom)
        if process.up and not (process.hung_up or process.killed):
            self.world.say(process, Spoilt(process.number, "junk"))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()


def test_any_order_of_events() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("part", range(4))
def test_simulated_deaths(part: int) -> None:
    watched = Watched()
    deaths = sum(play(watched, seed).deaths for seed in range(part * 60, part * 60 + 60))
    assert deaths > 600


def test_every_transition_happens_and_no_other() -> None:
    watched = Watched()
    wanted = {(before, after) for before in TRANSITIONS for after in TRANSITIONS[before]}
    for seed in range(400):
        play(watched, seed)
        if watched.steps == wanted:
            return
    missing = [f"{before.name} to {after.name}" for before, after in wanted - watched.steps]
    pytest.fail(f"never seen: {missing}")
