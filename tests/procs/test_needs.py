"""What a task with needs finds in a worker process, and what the next one finds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fancypipe_core import Session, task

_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")


@task
def variables(*names: str) -> list[str | None]:
    return [os.environ.get(name) for name in names]


@task
def threads(_n: int = 0) -> int:
    """Return how many threads numpy's library has."""
    import numpy as np
    import threadpoolctl

    np.ones((2, 2)) @ np.ones((2, 2))
    found = [one["num_threads"] for one in threadpoolctl.threadpool_info()]
    return int(max(found, default=0))


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            patch.delenv(name, raising=False)
        patch.setenv("MKL_NUM_THREADS", "7")
        with Session("procs", workers=3) as session:
            yield session


def test_its_devices_are_visible_to_it_and_to_no_other(session: Session) -> None:
    mine = session.run(variables(*_DEVICES).with_options(needs={"gpu": 2}))
    assert mine == ["GPU-a,GPU-b"] * 3
    for found in session.run([variables(*_DEVICES) for _ in range(6)]):
        assert found == ["GPU-a, GPU-b", None, None]


def test_libraries_have_as_many_threads_as_it_has_cores(session: Session) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    share = session.run(variables(*names))
    assert share[2] == "7"
    mine = session.run(variables(*names).with_options(needs={"cpus": 3}))
    assert mine == ["3", "3", "7"]  # what the user says stays
    assert session.run([variables(*names) for _ in range(6)]) == [share] * 6


def test_libraries_that_are_loaded_are_told(session: Session) -> None:
    pytest.importorskip("threadpoolctl")
    before = set(session.run([threads(n) for n in range(9)]))
    if before == {0}:
        pytest.skip("numpy has no library with threads here")
    cores = min(3, os.cpu_count() or 1)
    assert session.run(threads().with_options(needs={"cpus": 3})) in (3, cores)
    assert set(session.run([threads(n) for n in range(9)])) == before
