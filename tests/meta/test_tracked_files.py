"""No file holds what is true on one machine only: its folders, or whence it installs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.meta.repo import ROOT, our_files

# In pieces, so that this file does not hold what it looks for.
FOLDERS = [f"/{folder}/" for folder in ("root", "home", "Users", "work", "mnt")]
INSTALLERS = [
    "py" + "env",
    "pypi" + r"\.",
    "python" + "hosted",
    "index" + "-url",
    "find" + "-links",
    "trusted" + "-host",
]


def machine_folders() -> list[str]:
    """Return the folders of the machine that runs this test."""
    # Not one like "/app", which other texts may well hold.
    places = {ROOT, Path.home()}
    return sorted(str(place) for place in places if len(place.parts) > 2)


def pattern_of(folders: list[str], installers: list[str]) -> re.Pattern[str]:
    """Return what finds a folder at the start of a path, or an installer's word anywhere."""
    starts = "|".join(map(re.escape, folders))
    return re.compile(rf"(?<![\w.~$)}}\]-])(?<![^/]/)(?:{starts})|{'|'.join(installers)}")


def found_in(text: str, pattern: re.Pattern[str]) -> list[str]:
    """Return "line: text" for each line that holds what must not be there."""
    lines = enumerate(text.splitlines(), start=1)
    return [f"{number}: {line.strip()}" for number, line in lines if pattern.search(line)]


PATTERN = pattern_of(FOLDERS + machine_folders(), INSTALLERS)


def test_no_place_of_one_machine() -> None:
    found = []
    for path in our_files():
        data = path.read_bytes()
        if b"\0" not in data:
            lines = found_in(data.decode(), PATTERN)
            found += [f"{path.relative_to(ROOT)}:{line}" for line in lines]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("before", ["", "see ", '"', "(", "file://", "PATH="])
def test_a_folder_is_found(folder: str, before: str) -> None:
    assert found_in(f"fine\n{before}{folder}x", PATTERN) == [f"2: {before}{folder}x".rstrip()]


@pytest.mark.parametrize(
    "word",
    ["https://py" + "pi.org/simple", "--index" + "-url=x", "." + "py" + "env/versions"],
)
def test_an_installer_is_found(word: str) -> None:
    assert found_in(word, PATTERN)


@pytest.mark.parametrize(
    "text",
    [
        "PyPI. And",
        "tests/home/x",
        "a/ro" + "ot/b",
        "~/wo" + "rk/x",
        "{tmp}/wo" + "rk/file",
        "homewo" + "rk",
    ],
)
def test_other_words_are_not(text: str) -> None:
    assert not found_in(text, PATTERN)
