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
