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


def test_what_is_said_of_our_backends_is_what_the_plugins_say() -> None:
    """Help lists their commands, and the options that choose them, without loading them."""
    from fancypipe_core._cli.helping import rows
    from fancypipe_core._plugins.discovery import OURS, find
    from fancypipe_core._settings.session import table_of

    assert set(OURS) == {name for points in BACKENDS.values() for name in points}
    for name, ours in OURS.items():
        plugin = find(name)
        lines = table_of(plugin).lines
        assert plugin.aliases[:1] == (ours.alias,)
        assert {one: command.help for one, command in plugin.commands.items()} == ours.commands
        assert set(ours.options) <= {
            one.replace("-", "_") for line in lines for one in line.options
        }
        told = [form for form, _ in rows([line for line in lines if line.implies])]
        assert told == ([] if ours.chosen_by is None else [ours.chosen_by[0]])
