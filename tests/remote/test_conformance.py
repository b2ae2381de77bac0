"""The conformance kit against the remote backend: with two workers, and with threads in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance_kit.commands import kit
from tests.remote.cluster import cluster

PARTS = {
    "rules": "test_rules",
    "crashes": "test_crashes",
    "the rest": "not test_rules and not test_crashes",
}


def passes(folder: Path, workers: list[list[str]], chosen: str) -> None:
    with cluster(folder, workers=0) as made:
        for arguments in workers:
            made.worker(2 // len(workers), *arguments)  # the kit asks for two slots in all
        more = {**made.env, "FANCYPIPE_REMOTE_JOBMANAGER": made.address}
        over = kit(folder, "-q", "--backend", "remote", "-k", chosen, more=more)
        assert over.returncode == 0, over.stdout[-5000:] + over.stderr[-2000:]
        assert " passed" in over.stdout


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_with_two_workers(tmp_path: Path, part: str) -> None:
    passes(tmp_path, [[], []], PARTS[part])


@pytest.mark.slow
@pytest.mark.parametrize("part", ["test_rules", "test_parity"])
def test_with_threads_as_the_local_backend(tmp_path: Path, part: str) -> None:
    # One part at a time: the kit looks first whether jobs have processes of their own, and
    # must have all slots then; several sessions would share them.
    passes(tmp_path, [["-workertype=T"]], part)
