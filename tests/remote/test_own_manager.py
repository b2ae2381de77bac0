"""A session's own manager: what it makes, and that nothing of it is left."""

from __future__ import annotations

from pathlib import Path

from fancypipe_remote._auth.secret import Secret
from fancypipe_remote.client import OwnManager


def test_its_secret_is_a_generated_one_that_no_party_has_to_stretch(tmp_path: Path) -> None:
    manager = OwnManager(tmp_path, "127.0.0.1")
    try:
        file = manager.folder / "secret"
        # A typed one costs each manager, client and worker 128 MiB and some tenths of a second.
        assert Secret(file.read_text("utf-8"), "its file").kind == "token"
        assert file.stat().st_mode & 0o077 == 0, "others can read it"
    finally:
        manager.stop()
    assert not list(tmp_path.iterdir())


def test_it_waits_for_those_whom_it_tells_to_end(tmp_path: Path) -> None:
    """Each has a folder of its own to remove, and who looks after the session must find none."""
    base, job = tmp_path / "base", tmp_path / "job"
    job.write_text("its number", encoding="utf-8")
    ends = "sleep 0.7; rm job"
    manager = OwnManager(
        base,
        "127.0.0.1",
        afterwards=["sh", "-c", f"cd {tmp_path}; {{ {ends}; }} >/dev/null 2>&1 &"],
        left=["cat", str(job)],
    )
    manager.stop()
    assert not job.exists()
    assert not list(base.iterdir())


def test_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    manager = OwnManager(tmp_path, "127.0.0.1", left=["echo", "one that does not end"])
    manager.stop()
    assert not list(tmp_path.iterdir())
