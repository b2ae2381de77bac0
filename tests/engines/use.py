"""Uses a backend on an engine of others, and writes down what was seen.

It is a program of its own: what such an engine leaves in a process is its affair, and what it
leaves besides is seen by the gate of the tests.

    python -m tests.engines.use BACKEND FOLDER SETTING=VALUE ...
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Session, errors, run
from tests.conformance import pipelines as p
from tests.engines import ports
from tests.engines import tasks as t

NAPS = int(os.environ.get("FANCYPIPE_TEST_NAPS", "300"))
TOKEN_FILE = "RAY_AUTH_TOKEN_PATH"
SMALL = {"volumes": 1, "search": 2}
CLUSTERS: list[Any] = []  # that `patient` has made
BRAIN = Path(__file__).resolve().parents[2] / "examples" / "brain"


def nested(session: Session, _folder: Path) -> None:
    """Graphs that unfold, values of all kinds, and errors are as on serial."""
    cases: list[Any] = [p.sum_of_squares, lambda: p.outer(3), lambda: p.nest(2)]
    for make in [*cases, lambda: p.fib(8)]:
        expected = run(make(), backend="serial")
        assert session.run(make()) == expected
    assert sum(session.run([p.square(i) for i in range(2000)])) == sum(i * i for i in range(2000))
    large = np.arange(500_000, dtype=np.float64).reshape(2, -1)
    np.testing.assert_array_equal(session.run(p.same(p.same(large))), large)
    with pytest.raises(p.CustomError) as caught:
        session.run(p.add(p.raises(7), 1))
    assert caught.value.code == 7


def shared(session: Session, _folder: Path) -> None:
    """A large result that many take is as it was for each, whoever writes to what he has."""
    data = t.numbers()
    sums = session.run([t.changed(data, number) for number in range(8)])
    assert sums == [t.SIZE * number for number in range(8)]


def lost(session: Session, folder: Path) -> None:
    """The worker that has a large result dies with it: those who take it find it as it was."""
    place = folder / "lost"
    place.mkdir()
    killer = threading.Thread(target=kill_who_is_in, args=(place, 1))
    killer.start()
    data = t.numbers()
    first = t.slowly_changed(data, 1, str(place))  # where the only copy is
    sums = session.run([first, *(t.changed(data, first) for _ in range(4))])
    killer.join()
    assert sums == [t.SIZE, *[t.SIZE**2] * 4]


def heavy(_session: Session, _folder: Path) -> None:
    """What kills its workers and takes much is given up, also where dask itself tries again."""
    data = np.zeros(t.SIZE)
    settings: dict[str, Any] = {"address": "tests.engines.use:patient", "max_losses": 1}
    with Session("dask", 2, **settings) as other, pytest.raises(errors.TaskLost):
        other.run(t.leave_with(data))


def held(session: Session, folder: Path) -> None:
    """Few calls that take one value, which dask deals out at once, wait for a free worker: so
    whoever was at a worker when it died had begun.
    """
    from distributed import Scheduler

    (scheduler,) = [one for one in Scheduler._instances if one.status.name == "running"]
    place, over, seen = folder / "held", threading.Event(), {0}
    place.mkdir()

    def look() -> None:
        while not over.wait(0.01):
            seen.update(len(one.processing) for one in list(scheduler.workers.values()))

    looker = threading.Thread(target=look)
    looker.start()
    data = t.numbers()
    sums = session.run([t.slowly_changed(data, number, str(place)) for number in range(6)])
    over.set()
    looker.join()
    assert sums == [t.SIZE * number for number in range(6)]
    assert seen == {0, 1}


def given_up(session: Session, folder: Path) -> None:
    """Workers that close themselves, which dask then gives up, are replaced: all at once."""
    marks = [str(folder / f"closed{i}") for i in range(2)]
    assert session.run([t.close_dask_worker(mark, marks) for mark in marks]) == marks
    assert session.run([t.nap(i, 0.01) for i in range(20)]) == list(range(20))


def deserted(_session: Session, _folder: Path) -> None:
    """A cluster without workers ends the run, with the reason; the session lives on."""
    from tests.engines.use import CLUSTERS  # the address names this module, not the program

    settings: dict[str, Any] = {"address": "tests.engines.use:patient", "backend_start_limit": 8.0}
    with Session("dask", 2, **settings) as other:
        assert other.run(t.nap(1, 0.0)) == 1
        cluster = CLUSTERS.pop()
        for nanny in cluster.workers.values():
            cluster.sync(nanny.close)
        with pytest.raises(errors.BackendClosed, match="has been no worker for 8 s"):
            other.run([t.nap(i, 0.0) for i in range(4)])
        cluster.scale(3)
        assert other.run([t.nap(i, 0.0) for i in range(4)]) == list(range(4))


def bereft(_session: Session, _folder: Path) -> None:
    """A scheduler that is killed is told of, and what was tried since; then the run ends."""
    command = [sys.executable, "-m", "tests.engines.cluster"]
    said = io.StringIO()
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        settings: dict[str, Any] = {"address": other.stdout.readline().strip()}
        with Session("dask", 2, backend_start_limit=15.0, **settings) as session:
            assert session.run(t.nap(1, 0.0)) == 1
            other.kill()
            failed = r"the last attempt: .*trying to connect to tcp:.* after 10 s"
            with redirect_stderr(said), pytest.raises(errors.BackendClosed, match=failed):
                session.run([t.nap(i, 0.0) for i in range(4)])
    assert re.search(f"no worker is there, and work waits .*{failed}", said.getvalue())


def slow(_session: Session, folder: Path) -> None:
    """A worker that takes long to come back after its death is not given up meanwhile."""
    from dask import config
    from distributed import Nanny

    def nannies() -> set[Any]:
        return {one for one in Nanny._instances if one.status.name == "running"}

    others = nannies()
    limit = config.set({"distributed.deploy.lost-worker-timeout": "10ms"})
    with limit, Session("dask", 1) as other:
        other.run(t.nap(1, 0.0))
        before = nannies() - others
        assert other.run(t.leave_once(str(folder / "slow"))) == "again"
        assert nannies() - others == before
        assert min(one.death_timeout for one in before) > 3600, "after that dask gives it up"


def patient() -> Any:
    """Make a cluster that tries again by itself what its workers died in."""
    from distributed import LocalCluster

    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
        scheduler_kwargs={"allowed_failures": 1},
    )
    CLUSTERS.append(cluster)
    return cluster


def few(session: Session, folder: Path) -> None:
    """As `nested` and `killed`, for engines whose every call takes seconds."""
    cases: list[Any] = [p.sum_of_squares, lambda: p.fib(3)]
    for make in cases:
        assert session.run(make()) == run(make(), backend="serial")
    assert session.run([t.nap(i, 0.01) for i in range(100)]) == list(range(100))
    assert session.run(t.leave_once(str(folder / "mark"))) == "again"


def failed(session: Session, _folder: Path) -> None:
    """An error comes with the traceback that it had where it was raised."""
    with pytest.raises(p.CustomError) as caught:
        session.run(p.add(p.raises(7), 1))
    assert caught.value.__cause__ is not None
    assert traceback.extract_tb(caught.value.__cause__.__traceback__)[-1].name == "raises"
    assert caught.value.code == 7


def deadly(session: Session, _folder: Path) -> None:
    """What kills each worker that it comes to is named, and what was beside it is not."""
    with pytest.raises(errors.TaskLost) as caught:
        session.run([t.nap(1, 0.0), t.leave()])
    assert "leave" in str(caught.value)
    assert caught.value.certificate.guilty
    assert session.run([t.nap(i, 0.01) for i in range(20)]) == list(range(20))


def brain(session: Session, folder: Path) -> None:
    """The example writes the same files as on serial."""
    from pipeline import brain as pipeline

    def files(out: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in out.iterdir()}

    run(pipeline(out=folder / "serial", **SMALL), backend="serial")
    session.run(pipeline(out=folder / "engine", **SMALL))
    assert files(folder / "engine") == files(folder / "serial")


def pids_in(place: Path, count: int) -> set[str]:
    """Return the numbers of processes that tasks leave in a folder; wait until it has so many."""
    until = time.monotonic() + 300
    while len(pids := {text for path in place.iterdir() if (text := path.read_text())}) < count:
        assert time.monotonic() < until, "too few tasks have begun"
        time.sleep(0.01)
    return pids


def kill_who_is_in(place: Path, count: int) -> None:
    """Kill so many processes whose numbers tasks leave in a folder, as soon as all are there."""
    for pid in pids_in(place, count):
        os.kill(int(pid), signal.SIGKILL)


def killed(session: Session, folder: Path) -> None:
    """A worker is killed while many tasks run: each has its result, once, and few ran twice."""
    place = folder / "killed"
    place.mkdir()
    killer = threading.Thread(target=kill_who_is_in, args=(place, 1))
    killer.start()
    file, middle = folder / "ran", NAPS // 2
    naps = [t.noted(i, 0.01, str(file)) for i in range(NAPS)]
    naps[middle] = t.noted(middle, 0.5, str(file), str(place))
    assert session.run(naps) == list(range(NAPS))
    killer.join()
    ran = Counter(map(int, file.read_text().split()))
    often = Counter(ran.values())  # how many tasks ran once, how many twice
    (folder / "often.json").write_text(json.dumps(often), encoding="utf-8")
    assert sorted(ran) == list(range(NAPS))
    assert ran[middle] == 2, "it was in the middle of its work"
    assert max(ran.values()) == 2, "one death costs no task more than one attempt"
    assert ran.total() - NAPS <= NAPS // 10, "what was not with the dead ran once"
    assert session.run(t.leave_once(str(folder / "mark"))) == "again"


def interrupted(session: Session, folder: Path) -> None:
    """Ctrl-C in a terminal is for the client: a session that lives on has the same workers."""
    place = folder / "interrupted"
    place.mkdir()

    def interrupt() -> None:
        pids_in(place, 1)
        os.killpg(os.getpgrp(), signal.SIGINT)  # as a terminal does; see `main`

    terminal = threading.Thread(target=interrupt)
    terminal.start()
    with pytest.raises(KeyboardInterrupt):
        session.run([t.nap(i, 1.0, str(place)) for i in range(6)])
    terminal.join()
    later = folder / "later"
    later.mkdir()
    assert session.run([t.nap(i, 0.1, str(later)) for i in range(20)]) == list(range(20))
    assert pids_in(place, 1) <= pids_in(later, 1), "a worker has ended"


def limited(session: Session, _folder: Path) -> None:
    """A task that takes too long is stopped, and the others go on."""
    with pytest.raises(errors.TaskTimeout):
        session.run([t.nap(1, 0.0), t.late()])
    assert session.run([t.nap(i, 0.01) for i in range(20)]) == list(range(20))


def preempted(session: Session, folder: Path) -> None:
    """A whole job of Slurm ends while tasks run in it: each has its result, once."""
    place = folder / "preempted"
    place.mkdir()

    def end_one() -> None:
        until = time.monotonic() + 60
        while not list(place.iterdir()):
            assert time.monotonic() < until, "no task has begun"
            time.sleep(0.01)
        listed = subprocess.run(
            ["squeue", "--noheader", "--format=%i"], capture_output=True, check=True
        )
        subprocess.run(["scancel", listed.stdout.split()[0]], check=True)

    ender = threading.Thread(target=end_one)
    ender.start()
    naps = [t.nap(i, 0.05, str(place) if i == 20 else "") for i in range(200)]
    assert session.run(naps) == list(range(200))
    ender.join()


def shut(session: Session, _folder: Path) -> None:
    """Nobody without a certificate is told anything; dask's page is there where one asks for it."""
    session.run(t.nap(1, 0.0))
    open_ports = ports.listening()
    assert open_ports, "the workers are reached somehow"
    said = {port: text for port in open_ports if (text := ports.answer(port))}
    assert not said, said
    with Session("dask", 1, dashboard="127.0.0.1:0") as other:
        assert other.run(t.nap(1, 0.0)) == 1
        more = [ports.answer(port) for port in ports.listening() - open_ports]
    assert len([text for text in more if " 200 OK" in text]) == 1, more


def hidden(session: Session, _folder: Path) -> None:
    """The token that keeps others out of ray is in nobody's environment."""
    assert "RAY_AUTH_MODE" not in os.environ, "it is what the process had before"
    mode, token, path = session.run(t.variables("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", TOKEN_FILE))
    assert (mode, token) == ("token", None)
    file = Path(path or "")
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0, "ray lets everybody into its folder"
    secret = file.read_text()
    held = {**os.environ, **session.run(t.environment())}
    assert not [name for name, value in held.items() if secret in value]


PARTS: dict[str, Callable[[Session, Path], None]] = {
    "nested": nested,
    "shared": shared,
    "brain": brain,
    "killed": killed,
    "limited": limited,
}
ONLY = {"preempted": preempted, "few": few, "failed": failed, "deadly": deadly}
OWN = {
    "interrupted": interrupted,
    "lost": lost,
    "heavy": heavy,
    "deserted": deserted,
    "bereft": bereft,
    "given_up": given_up,
    "slow": slow,
    "held": held,
    "shut": shut,
    "hidden": hidden,
}
MORE = {**PARTS, **ONLY, **OWN}


def main(backend: str, folder: Path, settings: dict[str, Any], parts: list[str]) -> None:
    """Write a file for each part: empty, or what went wrong."""
    sys.path.insert(0, str(BRAIN))  # workers have the path that is there when a session begins
    os.setpgrp()  # so that a part can do to all of it what a terminal does
    seen: dict[str, str] = {}
    before = dict(os.environ)
    with Session(backend, 2, **settings) as session:
        for name in parts or PARTS:
            try:
                MORE[name](session, folder)
                seen[name] = ""
            except BaseException:  # noqa: BLE001 - told by the test
                seen[name] = traceback.format_exc()
    changed = [name for name in os.environ if os.environ[name] != before.get(name, "0")]
    seen["environment"] = f"it left in the environment: {changed}" if changed else ""
    (folder / "seen.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[3:] if "=" in word)
    main(sys.argv[1], Path(sys.argv[2]), given, [word for word in sys.argv[3:] if "=" not in word])
