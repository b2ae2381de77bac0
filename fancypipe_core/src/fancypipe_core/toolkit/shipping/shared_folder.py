"""Whether a worker sees a folder of the client's: by a file in it with the client's own text."""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["prove", "sees", "unprove"]

_NAME = "proof"


def prove(folder: str, proof: str) -> None:
    """Leave a file in a folder of ours, by which others know it.

    Raises:
        OSError: It cannot be written.
    """
    with open(os.path.join(folder, _NAME), "w", encoding="utf-8") as file:
        file.write(proof)


def unprove(folder: str) -> None:
    """Remove that file, and the folder if nothing else is in it."""
    with suppress(OSError):
        os.unlink(os.path.join(folder, _NAME))
        os.rmdir(folder)


def sees(folder: str, proof: str) -> bool:
    """Tell whether a client's folder is the same here: whether the text of `proof` is in it.

    It may wait for a file system that does not answer.
    """
    try:
        with open(os.path.join(folder, _NAME), encoding="utf-8") as file:
            return file.read(len(proof) + 1) == proof
    except (OSError, ValueError):
        return False
