"""The packages agree with each other, with what is installed and with the changelog."""

from __future__ import annotations

import re
from importlib import metadata

import pytest

from tests.meta.repo import (
    CORE,
    META,
    PACKAGES,
    ROOT,
    SIBLINGS,
    distribution_of,
    project_of,
    source_of,
)

GROUP = "fancypipe.backends"
VERSION = str(project_of(CORE)["version"])
BACKENDS = {
    "fancypipe_core": {"serial": "fancypipe_core._worker.inline:plugin"},
    "fancypipe_threads": {"threads": "fancypipe_threads:plugin"},
    "fancypipe_procs": {"procs": "fancypipe_procs:plugin"},
    "fancypipe_remote": {"remote": "fancypipe_remote:plugin"},
}


@pytest.mark.parametrize("package", [META, *PACKAGES])
def test_one_version_for_all(package: str) -> None:
    assert project_of(package)["version"] == VERSION


@pytest.mark.parametrize("package", [META, *PACKAGES])
def test_what_the_packages_say_of_the_project(package: str) -> None:
    project, core = project_of(package), project_of(CORE)
    same = ("requires-python", "license", "license-files", "authors", "urls", "readme")
    assert {key: project[key] for key in same} == {key: core[key] for key in same}
    assert set(project["urls"]) == {"Source", "Documentation", "Changelog", "Issues"}
    assert "Operating System :: POSIX :: Linux" in project["classifiers"]
    # A distribution must carry the licence, and takes no file from above its own folder.
    assert (ROOT / package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_package_for_newcomers_brings_all_the_others() -> None:
    project = project_of(META)
    extras = project["optional-dependencies"]
    assert extras["all"] == [f"{META}[{','.join(name for name in extras if name != 'all')}]"]
    needed = [
        *project["dependencies"],
        *(need for name in extras if name != "all" for need in extras[name]),
    ]
    assert sorted(needed) == sorted(f"{distribution_of(one)}~={VERSION}" for one in PACKAGES)
    assert f"{distribution_of('fancypipe_remote')}~={VERSION}" not in project["dependencies"]


@pytest.mark.parametrize("package", SIBLINGS)
def test_siblings_need_the_core_of_their_version(package: str) -> None:
    """They are released together and tested together, so an older core is not promised."""
    needed = project_of(package)["dependencies"]
    assert [need for need in needed if need.startswith("fancypipe")] == [
        f"fancypipe-core~={VERSION}"
    ]


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(
        r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert versions[:1] == [VERSION]


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_installed_is_what_stands_here(package: str) -> None:
    project = project_of(package)
    installed = metadata.metadata(distribution_of(package))
    assert installed["Version"] == VERSION, "install the packages again"
    assert installed["Requires-Python"] == project["requires-python"] == ">=3.10"
    assert installed["License-Expression"] == project["license"] == "Apache-2.0"


@pytest.mark.parametrize("package", PACKAGES)
def test_typed(package: str) -> None:
    assert (source_of(package) / "py.typed").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_backends_can_be_loaded(package: str) -> None:
    distribution = metadata.distribution(distribution_of(package))
    points = {point.name: point for point in distribution.entry_points if point.group == GROUP}
    assert {name: point.value for name, point in points.items()} == BACKENDS[package]
    assert project_of(package)["entry-points"][GROUP] == BACKENDS[package]
    for point in points.values():
        assert point.load() is not None


def test_the_command_can_be_loaded() -> None:
    scripts = [
        point
        for point in metadata.distribution("fancypipe-core").entry_points
        if point.group == "console_scripts"
    ]
    assert [(point.name, point.value) for point in scripts] == [
        ("fancypipe", "fancypipe_core.__main__:main")
    ]
    assert callable(scripts[0].load())


def test_the_version_can_be_asked_for() -> None:
    import fancypipe_core

    assert fancypipe_core.__version__ == VERSION


def test_help_tells_of_our_commands_what_the_plugin_says() -> None:
    """The core lists them without loading the package that brings them."""
    from fancypipe_core._plugins.discovery import OWN_COMMANDS
    from fancypipe_remote import plugin

    told = {name: command.help for name, command in plugin.commands.items()}
    assert told == OWN_COMMANDS["remote"]
    assert len(OWN_COMMANDS) == 1


def test_help_tells_of_the_options_that_choose_a_backend_what_the_plugin_says() -> None:
    from fancypipe_core._cli.plugged import rows
    from fancypipe_core._plugins.discovery import OWN_OPTIONS, find
    from fancypipe_core._settings.session import table_of

    for owner in ("serial", "threads", "procs", "remote"):
        table = table_of(find(owner))
        told = [
            form for form, _ in rows([one for one in table.lines if one.implies] if table else [])
        ]
        assert told == [form for name, form, _ in OWN_OPTIONS if name == owner]
