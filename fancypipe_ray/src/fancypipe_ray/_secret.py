"""A token for the ray that we start, which is in no environment, and nowhere after the session."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from fancypipe_core.toolkit import Traces

__all__ = ["forget_token", "with_token"]


@contextmanager
def with_token(folder: str) -> Iterator[None]:
    """Have the ray that is started meanwhile let nobody in who cannot read this folder.

    Ray takes such things from the environment only.  Its processes keep the name of the file
    there; ours has it no longer than the start takes, so no other child of ours gets it.
    """
    file = Path(folder, "token")
    file.touch(0o600)
    file.write_text(secrets.token_hex(32), encoding="ascii")
    wanted = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(file),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    # The last is set by ray, also for who debugs no task of its.
    before = Traces([*wanted, "RAY_AUTH_TOKEN", "PYTHONBREAKPOINT"])
    os.environ.pop("RAY_AUTH_TOKEN", None)
    os.environ.update(wanted)
    forget_token()
    try:
        yield
    finally:
        before.restore_variables()


def forget_token() -> None:
    """Have ray look at the environment again: it did when it was imported, and not since."""
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
