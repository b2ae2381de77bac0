"""A manager with workers, and a project of a user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote.clients import PIPELINE
from tests.remote.cluster import Cluster, cluster


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    """A manager and two workers with two slots each."""
    with cluster(tmp_path) as made:
        yield made


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipeline.py").write_text(PIPELINE)
    (folder / "helper.py").write_text("def plus(a, b):\n    return a + b\n")
    return folder / "pipeline.py"
