"""A backend of this machine for jobs that come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fancypipe_core._plugins import discovery
from fancypipe_core._plugins.blame import make_backend
from fancypipe_core._settings.session import own_settings
from fancypipe_core._worker.runner import Runner
from fancypipe_core.backend import Backend, BackendOptions

__all__ = ["local_backend"]


def local_backend(
    name: str, workers: int, directory: str, *, apart: bool = False
) -> Callable[..., Backend]:
    """Return what makes an installed backend, not started, for jobs that come over a channel.

    It may start workers as soon as it is made: first this process must be what they are to
    take after, with the client's path and main module.  What makes it may be given whether
    what jobs use is to be measured, and whether pictures that they return are to be told.

    It gets its settings as in a session, and encoded values also if it shares
    memory with who makes it.

    Args:
        name: The backend's name or alias; empty for the one that is used by default.
        workers: How many jobs may run at the same time.
        directory: The folder for temporary files.
        apart: Whether the client does not see it: files go with their content.

    Raises:
        BackendNotFound: It is not installed.
        PluginError: It is broken.
    """
    plugin = discovery.find(name or discovery.default_backend())
    own = own_settings(plugin)

    def make(measures: bool = False, pictures: bool = False) -> Backend:
        runner = partial(
            Runner, directory, live=False, measures=measures, pictures=pictures, apart=apart
        )
        options = BackendOptions(
            workers, directory, runner, own, measures=measures, apart=apart, pictures=pictures
        )
        return make_backend(plugin, options)

    return make
