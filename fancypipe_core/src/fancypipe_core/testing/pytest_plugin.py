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

__all__ = [
    "KIT",
    "plugin_of",
    "pytest_configure",
    "pytest_load_initial_conftests",
    "pytest_report_header",
]

KIT = "fancypipe_core.testing.conformance"
"""The name by which the command line names the kit."""

_CHOSEN: pytest.StashKey[BackendPlugin] = pytest.StashKey()
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
        group.addoption("--backend", metavar="NAME", help="the installed backend to be tested")
        group.addoption(
            "--backend-plugin",
            metavar="MODULE:ATTRIBUTE",
            help="a backend that is not installed: where its BackendPlugin is",
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
    if not hasattr(config.option, "backend_plugin") or config.option.help:
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


def _find(config: pytest.Config) -> BackendPlugin:
    from fancypipe_core import _plugins
    from fancypipe_core.backend import BackendPlugin

    name, place = config.option.backend, config.option.backend_plugin
    if place:
        module, _, attribute = place.partition(":")
        try:
            plugin = getattr(import_module(module), attribute or "plugin")
        except (ImportError, AttributeError) as error:
            raise errors.PluginError(f"--backend-plugin {place}: {error}") from error
        if not isinstance(plugin, BackendPlugin):
            raise errors.PluginError(f"--backend-plugin {place} is not a BackendPlugin")
        return plugin
    if not name:
        raise errors.UsageError(
            "say which backend is to be tested: --backend NAME; "
            f"installed are: {', '.join(_plugins.installed())}"
        )
    return _plugins.find(name)


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
