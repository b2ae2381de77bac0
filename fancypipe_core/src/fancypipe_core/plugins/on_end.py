"""Runs a command when a run has ended: to send a mail, to start what comes next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fancypipe_core.hooks import Outcome, RunInfo, hookimpl

__all__ = ["LIMIT", "OnEnd"]

LIMIT = 60.0
"""Seconds that the command has."""

_KILLED = 5.0  # seconds in which the system has ended what was killed


class OnEnd:
    """The observer.  It has to come after the one that writes the journal.

    What becomes of the command is said if it fails, and changes nothing for the run.

    Args:
        command: For the shell.
        folder: Tells the run's folder; None if there is none.
    """

    def __init__(self, command: str, folder: Callable[[], Path | None] = lambda: None) -> None:
        self._command = command
        self._folder = folder

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """Run the command."""
        told = {
            "RUN_ID": run.id,
            "RUN_STATE": "done" if outcome.ok else "failed",
            "RUN_MESSAGE": outcome.message,
            "RUN_TARGET": run.target,
            "RUN_BACKEND": run.backend,
            "RUN_FOLDER": str(self._folder() or ""),
            "RUN_SECONDS": f"{outcome.seconds:.1f}",
            **{f"RUN_{kind.upper()}": str(count) for kind, count in outcome.counts.items()},
        }
        # No variable can hold a zero.
        env = {**os.environ, **{name: text.replace("\0", "") for name, text in told.items()}}
        try:
            # The result has standard output to itself, and Ctrl-C is for the run.
            process = subprocess.Popen(
                self._command,
                shell=True,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            _say(f"cannot be run ({error})")
            return
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            _say(f"was ended, since it took more than {LIMIT:g} seconds")
        else:
            if code > 0:
                _say(f"ended with exit code {code}")
            elif code < 0:
                _say(f"was ended by {signal.Signals(-code).name}")
        finally:
            if process.poll() is None:  # also where the wait was interrupted
                with suppress(OSError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(_KILLED)


def _say(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"fancypipe: the command of -on-end {text}; the run is as it was\n")
