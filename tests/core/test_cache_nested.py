"""What a task waits for inside its own code may have to run each time; then it must, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import errors, module, run, task

pytestmark = pytest.mark.usefixtures("loaded_long_ago")


@task(cache=False)
def noted(log: str) -> int:
    """Say that it ran, and return how often it has."""
    with open(log, "a", encoding="utf-8") as file:
        file.write("x")
    return len(Path(log).read_text(encoding="utf-8"))


@task
def waits(log: str) -> int:
    return noted(log).result()


@task
def waits_within(log: str) -> int:
    return waits(log).result()


@task
def forgives(log: str, n: int = 0) -> int:
    """Fail only after what it waited for has run."""
    noted(log).result()
    if n:
        raise ValueError(n)
    return n


@task
def waits_for_a_map(log: str) -> Any:
    return noted.map([log]).result()


@task
def waits_for_what_makes_it(log: str) -> Any:
    return makes(log).result()


@task
def makes(log: str) -> Any:
    return noted(log)


@task
def makes_a_map(log: str) -> Any:
    return noted.map([log])


@task
def doubled(n: int) -> int:
    return 2 * n


@task
def of_element(log: str, n: int) -> int:
    return noted(log).result() + n


@module
def holds(log: str) -> Any:
    return doubled(waits(log))


@module
def mapped(log: str) -> Any:
    return of_element.map([log, log], [0, 0])


@module
def survives(log: str) -> int:
    try:
        forgives(log, 1).result()
    except errors.TaskError:
        return len(Path(log).read_text(encoding="utf-8"))
    raise AssertionError("it did not fail")


@contextmanager
def _started(name: str, folder: Path) -> Iterator[None]:
    if name != "remote":
        with nullcontext():
            yield
        return
    pytest.importorskip("fancypipe_remote")
    from tests.remote.cluster import in_force

    with in_force(folder):
        yield


@pytest.fixture(
    scope="module",
    params=["serial", "threads", "procs", pytest.param("remote", marks=pytest.mark.slow)],
)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Where it runs."""
    with _started(request.param, tmp_path_factory.mktemp("cluster")):
        yield request.param


@module
def below(log: str) -> Any:
    return [doubled(waits(log))]


MAKERS = [
    *(
        below,
        waits,
        waits_within,
        waits_for_a_map,
        waits_for_what_makes_it,
        holds,
        mapped,
        survives,
    ),
    *(makes_a_map, makes),
]


@pytest.mark.parametrize("maker", MAKERS, ids=lambda one: one.__name__)
def test_what_runs_each_time_is_not_hidden(maker: Any, backend: str, tmp_path: Path) -> None:
    way: dict[str, Any] = {"backend": backend, "workers": 1, "resume": True, "cache": tmp_path}
    log = tmp_path / "log"
    log.touch()
    counts = []
    for _ in range(2):
        run(maker(str(log)), **way)
        counts.append(len(log.read_text(encoding="utf-8")))
    assert counts == [counts[0], 2 * counts[0]]
    assert counts[0] >= 1
