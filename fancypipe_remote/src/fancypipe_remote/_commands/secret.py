"""`fancypipe secret`: making, finding and sharing the secret.  It never prints one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from fancypipe_core import errors
from fancypipe_remote._auth import keys, secret_file
from fancypipe_remote._auth import secret as _secret
from fancypipe_remote._settings import SecretSettings

__all__ = ["WORDS", "secret"]

WORDS = "new|show-path|export-worker-key FILE"


def secret(settings: SecretSettings, words: Sequence[str]) -> None:
    """Do what the words say.

    - `new` makes a secret in the user's file.  Managers, workers and clients that run
      use the old one until they start again.
    - `show-path` writes where that file is, or would be.
    - `export-worker-key FILE` writes a key that admits workers, and nobody else.

    Raises:
        UsageError: They say nothing that can be done, or it would overwrite a file.
        ConfigError: There is no secret, or it cannot be read or written.
    """
    match list(words):
        case ["new"]:
            _new(settings.replace)
        case ["show-path"]:
            _show_path()
        case ["export-worker-key", file]:
            _export(file, settings)
        case _:
            raise errors.UsageError(f"fancypipe secret: write one of {WORDS}")


def _new(replace: bool) -> None:
    path = _user_file()
    if not secret_file.create_user_file(path, replace=replace):
        raise errors.UsageError(
            f"{path}: there is a secret already; -replace makes another, and managers, workers "
            "and clients with the old one cannot connect to those with the new one"
        )
    sys.stdout.write(f"{path}\n")
    sys.stderr.write(
        "A new secret is in this file, for you only (mode 0600).  Machines with another home "
        "folder need a copy of it.\n"
    )


def _show_path() -> None:
    path = _user_file()
    sys.stdout.write(f"{path}\n")
    if not os.path.lexists(path):
        sys.stderr.write(
            "It is not there yet: a manager makes it when it starts, and `fancypipe secret new` "
            "makes it now.\n"
        )


def _export(file: str, settings: SecretSettings) -> None:
    found = _secret.take(settings.jobauth, lambda text: sys.stderr.write(f"fancypipe: {text}\n"))
    keys.export_worker_key(found, file, settings.cluster)
    sys.stdout.write(f"{file}\n")


def _user_file() -> str:
    path = secret_file.user_file()
    if path is None:
        raise errors.ConfigError("there is no home folder: set HOME or XDG_CONFIG_HOME")
    return path
