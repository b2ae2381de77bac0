"""Which files are a client's code: what its imports reach outside of what is installed.

Begun with the main script and with what the process has imported from its own
folders (`roots`); whatever these files import comes along, also inside of functions
that have not run yet, since imports are read off their text.  A package comes whole,
with its data; an archive on `sys.path`, too.  The other Python files of a root come
as well, for imports whose name is only computed, if the root is a project's and not
large: never those of a home folder or of temporary files.

There are limits on what is looked at and on what travels.  What a limit keeps back is
named, code before data and small files before large ones.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import all_suffixes
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from fancypipe_core._base.installed import OURS, is_installed
from fancypipe_core.toolkit.shipping.roots import (
    Roots,
    container,
    editable_installs,
    is_wide,
    roots,
)

__all__ = ["Reached", "is_native", "reach"]

_MOST_FILES = 5_000
_MOST_BYTES = 64 * 1024 * 1024
_MOST_ENTRIES = 20_000  # names of files that are looked at in one package, or in all other folders
_NO_CODE = {"__pycache__", "node_modules", "site-packages", "dist-packages"}
_MADE = {"build", "dist"}  # copies of a project's code beside it; a package may be called so
_NATIVE = (".so", ".pyd", ".dll", ".dylib")
_SUFFIXES = tuple(all_suffixes())


class Reached(NamedTuple):
    """What was found.

    Attributes:
        files: Paths of files, absolute.
        roots: What belongs on `sys.path`.
        metadata: Folders of installations from which something was taken.
        left_out: What exceeds a limit: a file with its size, or a folder, with -1.
    """

    files: list[str]
    roots: Roots
    metadata: list[str]
    left_out: list[tuple[str, int]]


def is_native(path: str) -> bool:
    """Tell whether a file is made of machine code, so that it is of use on one platform only."""
    name = os.path.basename(path)
    return name.endswith(_NATIVE) or ".so." in name


def reach(main: tuple[str, str] | None) -> Reached:
    """Find this process's code.

    Args:
        main: What the main module is: `file` and its path, or `module` and its name;
            None for a notebook or prompt.
    """
    search = _Search(roots())
    if main is None:
        search.take_names(_names_in_main())
    elif main[0] == "file":
        search.take_script(main[1])
    else:
        search.find(main[1].split("."))
    search.take_imported()
    search.follow()
    search.take_rest()
    search.take_metadata()
    return search.choose()


class _Search:
    def __init__(self, places: Roots) -> None:
        self._roots = places
        self._given = (*places.before, *places.after)
        self._folders = list(self._given)  # with those of editable installs
        self._code: dict[str, int] = {}
        self._data: dict[str, int] = {}
        self._seen: set[str] = set()  # folders of packages
        self._to_read: list[str] = []
        self._left_out: list[tuple[str, int]] = []
        self._listings: dict[str, frozenset[str]] = {}
        self._metadata: list[str] = []
        for root in self._given:
            archive = container(root)
            if not os.path.isdir(archive):
                self._add(archive, is_code=True)
        self._to_read.clear()  # archives are no text

    # ---- where to begin ----

    def take_script(self, script: str) -> None:
        """Take the main script; if it is a link, imports go from the file behind it."""
        for path in dict.fromkeys((script, os.path.realpath(script))):
            self._add(path, is_code=True)

    def take_imported(self) -> None:
        """Take what was imported from elsewhere than what is installed."""
        taken: set[str] = set()
        for name in list(sys.modules):
            if name.partition(".")[0] in OURS or name in ("__main__", "__mp_main__"):
                continue
            # The outermost package that has a file: what has none is only a folder of packages.
            parts = name.split(".")
            for length in range(1, len(parts) + 1):
                outer = ".".join(parts[:length])
                file = _file_of(sys.modules.get(outer))
                if file:
                    if outer not in taken:
                        taken.add(outer)
                        self._take_module(outer, file)
                    break

    def _take_module(self, name: str, file: str) -> None:
        if is_installed(file) or not os.path.isfile(file):
            return
        is_package = os.path.basename(file).partition(".")[0] == "__init__"
        unit = os.path.dirname(file) if is_package else file
        if is_package:
            self._add_package(unit)
        else:
            self._add(file, is_code=True)
        folder = os.path.dirname(unit)
        for _ in range(name.count(".")):
            folder = os.path.dirname(folder)
        # Editable installs may be found by a hook that workers do not have.
        own = name.rpartition(".")[2] == os.path.basename(unit).partition(".")[0]
        if own and folder not in self._folders and _is_found(name, file):
            self._roots.after.append(folder)
            self._folders.append(folder)

    def take_names(self, names: Iterable[str]) -> None:
        """Take the modules among the names that code uses."""
        for name in names:
            self.find(name.split("."))

    # ---- what is imported in turn ----

    def follow(self) -> None:
        """Take what the files import that are taken."""
        read = 0
        while self._to_read and read < _MOST_BYTES:
            path = self._to_read.pop()
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read()
            except OSError:
                continue  # it cannot be imported either
            read += len(text)
            for level, names in _imports(text):
                if not level:
                    self.find(names)
                    continue
                folder = path
                for _ in range(level):
                    folder = os.path.dirname(folder)
                self.find(names, [folder])

    def find(self, names: Sequence[str], folders: Sequence[str] | None = None) -> None:
        """Take the module or package that an import of this name finds in our folders."""
        first = names[0] if names else ""
        if not first or first in OURS:
            return
        for folder in self._folders if folders is None else folders:
            listing = self._listing(folder)
            base = os.path.join(folder, first)
            if first in listing and os.path.isdir(base):
                inside = self._listing(base)
                if any("__init__" + suffix in inside for suffix in _SUFFIXES):
                    self._add_package(base)
                    return
                # A namespace: no file of its own, and its parts may lie in several folders.
                self.find(names[1:], [base])
            for suffix in _SUFFIXES:
                if first + suffix in listing:
                    self._add(base + suffix, is_code=True)
                    return

    def _listing(self, folder: str) -> frozenset[str]:
        known = self._listings.get(folder)
        if known is None:
            try:
                known = frozenset(os.listdir(folder))
            except OSError:
                known = frozenset()
            self._listings[folder] = known
        return known

    # ---- the rest ----

    def take_rest(self) -> None:
        """Take the other Python files of roots, as far as these are projects and not large."""
        for root in self._given:
            if not os.path.isdir(root) or is_wide(root):
                continue
            found, whole = _walk(root, _NO_CODE | _MADE | OURS)
            if whole:
                for path in found:
                    if path.endswith(".py"):
                        self._add(path, is_code=True)
        self._to_read.clear()

    def take_metadata(self) -> None:
        """Take what `importlib.metadata` reads: packages may ask for their own version."""
        for folder in self._folders:
            for name in self._listing(folder):
                if name.endswith((".egg-info", ".dist-info")):
                    self._take_distribution(os.path.join(folder, name))
        for info, project in editable_installs():
            if any(path.startswith(project) for path in list(self._code)):
                self._take_distribution(info)
                self._metadata.append(os.path.dirname(info))

    def _take_distribution(self, folder: str) -> None:
        if os.path.basename(folder).partition("-")[0] not in OURS:
            for name in ("METADATA", "PKG-INFO", "entry_points.txt", "top_level.txt"):
                self._add(os.path.join(folder, name), is_code=True)

    # ---- what is taken ----

    def _add_package(self, folder: str) -> None:
        if folder in self._seen:
            return
        self._seen.add(folder)
        found, whole = _walk(folder, _NO_CODE)
        for path in found:
            self._add(path, is_code=path.endswith(_SUFFIXES) or is_native(path))
        if not whole:
            self._left_out.append((folder, -1))

    def _add(self, path: str, is_code: bool) -> None:
        kind = self._code if is_code else self._data
        if path in kind:
            return
        try:
            kind[path] = os.path.getsize(path)
        except OSError:
            return
        if is_code and not path.endswith(".pyc") and not is_native(path):
            self._to_read.append(path)

    def choose(self) -> Reached:
        """Return what is within the limits."""
        files: list[str] = []
        total = 0
        small_first = sorted(self._data.items(), key=lambda one: one[1])
        for path, size in [*self._code.items(), *small_first]:
            if len(files) < _MOST_FILES and total + size <= _MOST_BYTES:
                files.append(path)
                total += size
            else:
                self._left_out.append((path, size))
        metadata = list(dict.fromkeys(self._metadata))
        return Reached(files, self._roots, metadata, self._left_out)


def _walk(top: str, without: set[str]) -> tuple[list[str], bool]:
    """Return the files below a folder, those above first; and whether these are all."""
    found: list[str] = []
    folders = [top]
    real = {os.path.realpath(top)}
    seen = 0
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen += 1
                    if seen > _MOST_ENTRIES:
                        return sorted(found), False
                    if entry.is_dir():
                        is_code = not entry.name.startswith(".") and entry.name not in without
                        if is_code and not os.path.exists(os.path.join(entry, "pyvenv.cfg")):
                            # Through links as well, as imports do; but not in a circle.
                            there = os.path.realpath(entry)
                            if there not in real:
                                real.add(there)
                                folders.append(entry.path)
                    elif entry.is_file():
                        found.append(entry.path)
        except OSError:
            continue  # nobody can import from there either
    return sorted(found), True


_IMPORT = re.compile(
    r"\bfrom[ \t]+(?P<level>\.*)[ \t]*(?P<base>[\w.]*)[ \t]+import\b[ \t]*"
    r"(?P<parts>\([^)]*\)|[^\n;#]*)"
    r"|\bimport[ \t]+(?P<names>[^\n;#]+)"
    r"|\b(?:import_module|__import__)\(\s*[\"'](?P<said>[\w.]+)"
)


def _imports(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield what a text may import: how many dots stand before it, and its name's parts."""
    for match in _IMPORT.finditer(text.replace("\\\n", " ")):
        if match["said"]:
            yield 0, match["said"].split(".")
        elif match["names"]:
            for name in _words(match["names"]):
                yield 0, name.split(".")
        else:
            base = [part for part in match["base"].split(".") if part]
            for name in _words(re.sub(r"#[^\n]*", "", match["parts"]).strip("()")) or [""]:
                yield len(match["level"]), [*base, name]


def _words(text: str) -> list[str]:
    """Return the names in `a, b.c as d`."""
    return [part.split()[0] for part in text.split(",") if part.strip()]


def _file_of(module: Any) -> str:
    """Return where a module was loaded from, as an absolute path; "" if from no file."""
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    try:
        return os.path.abspath(file) if isinstance(file, str) else ""
    except OSError:
        return ""


def _is_found(name: str, file: str) -> bool:
    """Tell whether an import would find this file."""
    parent = name.rpartition(".")[0]
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = find(name, path, None) if find is not None else None
        except (ImportError, ValueError, AttributeError):
            continue
        if spec is not None:
            return spec.origin is not None and os.path.abspath(spec.origin) == file
    return False


def _names_in_main() -> Iterator[str]:
    """Yield the names that the code of a main module without a file uses, imports among them."""
    todo: list[CodeType] = []
    main = sys.modules.get("__main__")
    for value in list(vars(main).values()) if main is not None else []:
        members = list(vars(value).values()) if isinstance(value, type) else []
        for one in (value, getattr(value, "main", None), *members):
            code = getattr(one, "__code__", None)
            if isinstance(code, CodeType):
                todo.append(code)
    while todo:
        code = todo.pop()
        yield from code.co_names
        todo += [const for const in code.co_consts if isinstance(const, CodeType)]
