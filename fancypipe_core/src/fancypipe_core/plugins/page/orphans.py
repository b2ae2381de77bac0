"""What killed runs have left beside their pages: the next run puts it in order."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from fancypipe_core.plugins.page.live import FOLDER, LivePage
from fancypipe_core.plugins.page.report import write_report

__all__ = ["sweep"]


def sweep(runs: Path) -> None:
    """Make the pages of killed runs whole, and remove what they were read from until then.

    What is of a process that may be there is left alone: one of another machine, and a second one
    that shows the same run.

    Args:
        runs: Where the folders of runs are.
    """
    with suppress(OSError), os.scandir(runs) as entries:
        for entry in entries:
            with suppress(OSError):
                _sweep_run(Path(entry.path))


def _sweep_run(run: Path) -> None:
    left = [path for path in run.glob(f"{FOLDER}*") if _is_gone(path)]
    if left and LivePage(run).is_orphaned():
        import shutil  # dear, and hardly ever needed

        write_report(run)
        for path in left:
            shutil.rmtree(path, ignore_errors=True)


def _is_gone(folder: Path) -> bool:
    """Tell whether no process of this machine has the number in a folder's name."""
    match = re.fullmatch(rf"{re.escape(FOLDER)}(\d+)", folder.name)
    if match is None:
        return False
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
