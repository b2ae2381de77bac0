"""The command `fancypipe`, also as `python -m fancypipe_core`."""

from __future__ import annotations

import signal

__all__ = ["main"]


def main() -> None:
    """Run the command, then exit."""
    # Until the command is there to say how it ends, Ctrl-C ends it without a word and
    # without a traceback: code 130, as a shell tells it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from fancypipe_core import cli

    cli.main()


if __name__ == "__main__":
    main()
