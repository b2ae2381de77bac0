"""Which release this is."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

__all__ = ["release"]

_BEGINNING, _END = "fancypipe_remote-", ".dist-info"


def release() -> str:
    """Return the version of this distribution, such as `0.1.0`."""
    # The name of a folder tells it; to import what reads the folder takes as long as zmq.
    for folder in sys.path:
        with suppress(OSError):
            for name in os.listdir(folder or "."):
                if name.startswith(_BEGINNING) and name.endswith(_END):
                    return name[len(_BEGINNING) : -len(_END)]
    from importlib.metadata import version

    return version("fancypipe-remote")
