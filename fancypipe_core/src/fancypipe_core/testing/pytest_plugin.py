"""The options of the conformance kit, for pytest.

It is an entry point of the group `pytest11`, since pytest reads the conftest of
a package named with `--pyargs` too late for options.  It is so loaded in every
run of pytest where fancypipe is installed: it does nothing there unless the
command line names the kit, and its options are in nobody's way.
"""

from __future__ import annotations

from collections.abc import Generator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from fancypipe_core import errors

if TYPE_CHECKING:
    from fancypipe_core.backend import BackendPlugin
    from fancypipe_core.testing._leftovers import Leftovers

__all__ = [
    "KIT",
    "leftovers_of",
    "plugin_of",
    "pytest_configure",
    "pytest_load_initial_conftests",
    "pytest_report_header",
    "pytest_terminal_summary",
]

KIT = "fancypipe_core.testing.conformance"
"""The name by which the command line names the kit."""

_CHOSEN: pytest.StashKey[BackendPlugin] = pytest.StashKey()
_LEFTOVERS: pytest.StashKey[Leftovers] = pytest.StashKey()
_FOLDER = KIT.replace(".", "/")


def _is_asked_for(args: list[str]) -> bool:
    return any(KIT in arg or _FOLDER in arg for arg in args)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    parser: pytest.Parser, args: list[str]
) -> Generator[None, None, None]:
    """Add the kit's options if the command line names the kit."""
    if _is_asked_for(args):
        group = parser.getgroup("fancypipe", "the conformance kit of fancypipe")
        group.addoption(
            "--backend",
            dest="fancypipe_backend",
            metavar="NAME",
            help="the backend to be tested: the name of an installed one, or MODULE:ATTRIBUTE "
            "for where the BackendPlugin of another is",
        )
        group.addoption("--workers", type=int, default=2, help="its workers (2)")
        group.addoption(
            "--limit", type=float, default=20.0, help="seconds that one wait may take (20)"
        )
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Find the backend, so that a mistake ends the run before its first test.

    Raises:
        UsageError: There is no such backend.
    """
    if not hasattr(config.option, "fancypipe_backend") or config.option.help:
        return
    if config.option.workers < 1:
        raise pytest.UsageError("--workers must be at least 1")
    try:
        config.stash[_CHOSEN] = _find(config)
    except errors.FancyPipeError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is tested."""
    plugin = config.stash.get(_CHOSEN, None)
    if plugin is None:
        return []
    values = "as they are" if plugin.shares_memory else "encoded"
    line = (
        f"fancypipe conformance: {plugin.name} ({plugin.help}), {config.option.workers} workers, "
        f"values {values}"
    )
    return [line]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left that may be, and why it may."""
    leftovers = config.stash.get(_LEFTOVERS, None)
    lines = leftovers.report() if leftovers else []
    if lines:
        terminalreporter.section("known to be left after sessions")
        for line in lines:
            terminalreporter.line(line)


def _find(config: pytest.Config) -> BackendPlugin:
    from fancypipe_core._plugins import discovery
    from fancypipe_core.backend import BackendPlugin

    name: str = config.option.fancypipe_backend or ""
    module, colon, attribute = name.partition(":")
    if colon:
        try:
            plugin = getattr(import_module(module), attribute)
        except Exception as error:
            hint = ""
            if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
                hint = "; a module in the current folder is found with PYTHONPATH=."
            raise errors.PluginError(
                f"--backend {name}: {type(error).__name__}: {error}{hint}"
            ) from error
        if not isinstance(plugin, BackendPlugin):
            raise errors.PluginError(f"--backend {name} is not a BackendPlugin")
        return plugin
    if not name:
        raise errors.UsageError(
            "say which backend is to be tested: --backend NAME or --backend MODULE:ATTRIBUTE; "
            f"installed are: {', '.join(discovery.installed())}"
        )
    return discovery.find(name)


def plugin_of(config: pytest.Config) -> BackendPlugin:
    """Return the backend that the command line named.

    Raises:
        UsageError: The options are not there: this plugin was loaded too late.
    """
    try:
        return config.stash[_CHOSEN]
    except KeyError:
        raise pytest.UsageError(
            f"the conformance kit is run by: pytest --pyargs {KIT} --backend NAME"
        ) from None


def leftovers_of(config: pytest.Config) -> Leftovers:
    """Return what counts that which the backend's engine leaves, in all of this run."""
    from fancypipe_core.testing._leftovers import Leftovers

    return config.stash.setdefault(_LEFTOVERS, Leftovers(plugin_of(config).leftovers))
