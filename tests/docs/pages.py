"""Reads the pages of the documentation, and runs what they show.

What stands right before a fenced block says what is to be done with it:

- nothing: a `python` block is a script of its own and is run; so is each line
  `$ command` of a `console` block.  If the first line of a script is a comment
  with a file name, `# pipeline.py`, it is kept under that name.
- `<!-- file: NAME -->`: a file, of any language, that later blocks use; it is not run.
- `<!-- continues -->`: the script is the one before with this appended.
- `<!-- output -->`: what the script before writes to standard output.
- `<!-- raises: NAME -->`: the script ends with an exception of this class.
- `<!-- exit: CODE -->`: the commands end with this code, and not with 0.
- `<!-- in: root -->`: the commands run in the root of the repository.
- `<!-- cell -->`: a cell of the page's notebook, run in a Jupyter kernel; an output block after it
  is what the cell shows.  All are run when the page ends.
- `<!-- skip: WHY -->`: it is not run.

Below a command stands what it writes: on standard output, on standard error, or
all of the second and then all of the first.  `...` stands for anything, and
nothing means that it is not compared.  All blocks of a page share one folder.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.meta.repo import ROOT, our_files

__all__ = ["Block", "Failure", "Runner", "blocks_of", "links_of", "pages", "slugs_of", "texts"]

_FENCE = re.compile(r"( *)(`{3,})(\w*)(.*)")
_MARK = re.compile(r"\s*<!-- *([a-z]+)(?:: *(.*?))? *-->\s*")
_MARKS = {"file", "continues", "output", "raises", "exit", "in", "skip", "command", "cell"}
_NAME = re.compile(r"# ([\w/]+\.py)\b")
_LINK = re.compile(
    r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^()\s<>]+)>?(?:\s+\"[^\"]*\")?\s*\)"
)
_HEADING = re.compile(r"#{1,6} +(.*?)(?: +#+)? *")
_SECONDS = 60


class Failure(AssertionError):
    """A page shows what is not so."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: What stands behind the fence.
        text: Its lines.
        line: Where it begins in the page.
        marks: What is said of it, by name.
    """

    language: str
    text: str
    line: int
    marks: Mapping[str, str]


def texts() -> list[Path]:
    """Return all Markdown files of the repository."""
    return [path for path in our_files() if path.suffix == ".md"]


def pages() -> list[Path]:
    """Return the pages whose blocks are run."""
    return [
        path
        for path in texts()
        if path.is_relative_to(ROOT / "docs")
        or (path.name == "README.md" and not path.is_relative_to(ROOT / "examples"))
    ]


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page.

    Raises:
        Failure: A fence is not closed, or a mark is not known.
    """
    marks: dict[str, str] = {}
    lines = enumerate(text.splitlines(), start=1)
    for number, line in lines:
        fence = _FENCE.fullmatch(line)
        mark = _MARK.fullmatch(line)
        if fence:
            yield Block(fence[3], _inside(lines, fence, number), number, marks)
            marks = {}
        elif mark and mark[1] in _MARKS:
            marks[mark[1]] = mark[2] or ""
        elif line.strip():
            if marks and "command" not in marks:
                raise Failure(f"line {number}: no block follows {', '.join(marks)}")
            marks = {}


def _inside(lines: Iterator[tuple[int, str]], fence: re.Match[str], begin: int) -> str:
    inside: list[str] = []
    for _, line in lines:
        if line.strip() == fence[2]:
            return "".join(f"{one.removeprefix(fence[1])}\n" for one in inside)
        inside.append(line)
    raise Failure(f"line {begin}: this block is not closed")


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not in fenced blocks, without code."""
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        found = _FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif found:
            fence = found[2]
        else:
            yield number, line


def links_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and target of each link and picture."""
    for number, line in _prose(text):
        for found in _LINK.finditer(re.sub(r"`[^`]*`", "``", line)):
            yield number, found[1]


def slugs_of(text: str) -> set[str]:
    """Return the names by which a page's headings can be linked to."""
    slugs: set[str] = set()
    for _, line in _prose(text):
        heading = _HEADING.fullmatch(line)
        if heading:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1].replace("`", "")).lower()
            slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            number = sum(other == slug or other.startswith(f"{slug}-") for other in slugs)
            slugs.add(f"{slug}-{number}" if slug in slugs else slug)
    return slugs


class Runner:
    """Runs the blocks of one page in one folder.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "page"
        self._folder.mkdir()
        self._script = ""
        self._stdout = ""
        self._cells: list[tuple[Block, str]] = []  # with what each is to show
        self._after_cell = False
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("FANCYPIPE_")
        }
        self._environment = {
            **kept,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            # The programs of this environment come first, wherever it is.
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), kept.get("PATH", "")]),
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "PYTHONWARNINGS": "error",
        }

    def run(self, block: Block) -> None:
        """Do with a block what its marks say.

        Raises:
            Failure: It is not so.
        """
        try:
            self._run(block)
        except Failure as failure:
            raise Failure(f"the block in line {block.line}: {failure}") from None

    def finish(self) -> None:
        """Run the cells, all in one kernel.

        Raises:
            Failure: One of them is not so.
        """
        if not self._cells:
            return
        cells = self._keep("cells.json", json.dumps([block.text for block, _ in self._cells]))
        over = self._call([sys.executable, "-m", "tests.docs.cells", str(cells)], ROOT)
        if over.returncode:
            raise Failure(f"the cells did not run:\n{over.stdout}{over.stderr}")
        for (block, expected), shown in zip(self._cells, json.loads(over.stdout), strict=True):
            try:
                if expected:
                    _compare(expected, shown)
            except Failure as failure:
                raise Failure(f"the cell in line {block.line}: {failure}") from None

    def _run(self, block: Block) -> None:
        marks = block.marks
        if "skip" in marks or "command" in marks:
            return
        after_cell, self._after_cell = self._after_cell, "cell" in marks
        if "cell" in marks:
            self._cells.append((block, ""))
        elif "output" in marks and after_cell:
            self._cells[-1] = self._cells[-1][0], block.text
        elif "file" in marks:
            self._keep(marks["file"], block.text)
        elif "output" in marks:
            _compare(block.text, self._stdout)
        elif block.language == "python":
            self._run_script(block)
        elif block.language == "console":
            self._run_commands(block)

    def _keep(self, name: str, text: str) -> Path:
        path = self._folder / name
        if self._folder not in path.resolve().parents:
            raise Failure(f"{name} is not in the page's folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def _run_script(self, block: Block) -> None:
        before = self._script if "continues" in block.marks else ""
        self._script = before + block.text
        named = _NAME.match(self._script)
        script = self._keep(named[1] if named else f"line_{block.line}.py", self._script)
        over = self._call([sys.executable, str(script)])
        self._stdout = over.stdout
        told = f"\n{over.stdout}{over.stderr}"
        expected = block.marks.get("raises")
        if expected is None and over.returncode:
            raise Failure(f"the script ended with code {over.returncode}:{told}")
        if expected is not None:
            last = (over.stderr.strip().splitlines() or [""])[-1]
            raised = re.findall(r"\w+", last.partition(":")[0])
            if over.returncode != 1 or expected not in raised:
                raise Failure(f"the script did not raise {expected}:{told}")

    def _run_commands(self, block: Block) -> None:
        expected_code = int(block.marks.get("exit", "0"))
        steps = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
        if steps.pop(0).strip() or not steps:
            raise Failure("a console block begins with a line `$ command`")
        for step in steps:
            command, _, expected = step.partition("\n")
            place = ROOT if block.marks.get("in") == "root" else None
            over = self._call(["bash", "-c", command], place)
            if over.returncode != expected_code:
                told = over.stderr + over.stdout
                raise Failure(f"{command!r} ended with code {over.returncode}:\n{told}")
            if expected.strip():
                _compare(expected, over.stdout, over.stderr, over.stderr + over.stdout)

    def _call(
        self, command: list[str], place: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=place or self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )


def _compare(expected: str, *got: str) -> None:
    """See that one of several texts is what the page says."""
    want, *have = (
        "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())
        for text in (expected, *got)
    )
    check = doctest.OutputChecker().check_output
    if not any(check(want, one, doctest.ELLIPSIS) for one in have):
        raise Failure(f"the page says\n{want}and it was\n{have[-1]}")
