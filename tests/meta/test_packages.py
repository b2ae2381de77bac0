"""The packages agree with each other, with what is installed and with the changelog."""

from __future__ import annotations

import ast
import re
import tokenize
from importlib import metadata
from pathlib import Path

import pytest

from tests.meta.repo import (
    CORE,
    ENGINES,
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
    "fancypipe_dask": {"dask": "fancypipe_dask:plugin"},
    "fancypipe_ray": {"ray": "fancypipe_ray:plugin"},
    "fancypipe_slurm": {"slurm": "fancypipe_slurm:plugin"},
}


def distribution(package: str) -> metadata.Distribution:
    """Return what is installed of a package."""
    try:
        return metadata.distribution(distribution_of(package))
    except metadata.PackageNotFoundError:
        if package not in ENGINES:
            raise
        pytest.skip(f"{distribution_of(package)} is not installed")


@pytest.mark.parametrize("package", [META, *PACKAGES, *ENGINES])
def test_one_version_for_all(package: str) -> None:
    assert project_of(package)["version"] == VERSION


@pytest.mark.parametrize("package", [META, *PACKAGES, *ENGINES])
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
    engines = {package.partition("_")[2] for package in ENGINES}
    ours = [name for name in extras if name not in {"all", *engines}]
    assert extras["all"] == [f"{META}[{','.join(ours)}]"], "all that needs no engine of others"
    needed = [
        *project["dependencies"],
        *(need for name in extras if name != "all" for need in extras[name]),
    ]
    packages = [*PACKAGES, *ENGINES]
    assert sorted(needed) == sorted(f"{distribution_of(one)}~={VERSION}" for one in packages)
    assert f"{distribution_of('fancypipe_remote')}~={VERSION}" not in project["dependencies"]


@pytest.mark.parametrize("package", [*SIBLINGS, *ENGINES])
def test_siblings_need_the_core_of_their_version(package: str) -> None:
    """They are released together and tested together, so an older core is not promised."""
    needed = project_of(package)["dependencies"]
    more = ["remote"] if package == "fancypipe_slurm" else []
    assert [need for need in needed if need.startswith("fancypipe")] == [
        f"fancypipe-{name}~={VERSION}" for name in ("core", *more)
    ]


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(
        r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert versions[:1] == [VERSION]


@pytest.mark.parametrize("package", [*PACKAGES, *ENGINES])
def test_what_is_installed_is_what_stands_here(package: str) -> None:
    project = project_of(package)
    installed = distribution(package).metadata
    assert installed["Version"] == VERSION, "install the packages again"
    assert installed["Requires-Python"] == project["requires-python"] == ">=3.10"
    assert installed["License-Expression"] == project["license"] == "Apache-2.0"


@pytest.mark.parametrize("package", [*PACKAGES, *ENGINES])
def test_typed(package: str) -> None:
    assert (source_of(package) / "py.typed").is_file()


_NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}


def _tokens(path: Path) -> list[tokenize.TokenInfo]:
    with path.open("rb") as file:
        return list(tokenize.tokenize(file.readline))


@pytest.mark.parametrize("package", ENGINES)
def test_backends_on_engines_are_small(package: str) -> None:
    """Whoever writes one for another engine should see that it is little work."""
    lines = 0
    for path in source_of(package).rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        texts = {
            line
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        code = {token.start[0] for token in _tokens(path) if token.type not in _NO_CODE}
        lines += len(code - texts)
    assert lines < 150


@pytest.mark.parametrize("package", [*PACKAGES, *ENGINES])
def test_backends_can_be_loaded(package: str) -> None:
    brought = distribution(package).entry_points
    points = {point.name: point for point in brought if point.group == GROUP}
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

    assert set(OURS) == {name for package in PACKAGES for name in BACKENDS[package]}
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
