"""How a worker gets the pipeline's code: from a file system that both see, or in a bundle.

The client tells which files of its script's folder there are, with their content's
hash.  A worker that finds all of them in the same place imports them from there.
Else the client sends them once, as an archive that is named by its content; the
worker unpacks it and imports from that folder.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

__all__ = ["Bundle", "Code", "project", "settle", "unpack"]

_MOST_FILES = 2000
_MOST_BYTES = 32 * 1024 * 1024
_NOT_CODE = {"__pycache__", "node_modules", "site-packages", "dist-packages", "build", "dist"}


class Code(msgspec.Struct, array_like=True, frozen=True):
    """Where a client's code is.

    Attributes:
        folder: The script's folder; empty if there is no script.
        files: For each Python file below it, its path from there and a hash of its content.
        path: The entries of the client's `sys.path` that are not its interpreter's own.
        digest: Names all of this content.
    """

    folder: str
    files: dict[str, str]
    path: list[str]
    digest: str


class Bundle:
    """The code of this process's script, to be sent to workers.

    Args:
        script: The script's file; None for a notebook or prompt.

    Attributes:
        code: What workers are told first.
    """

    def __init__(self, script: str | None) -> None:
        folder = os.path.dirname(os.path.abspath(script)) if script else ""
        self._contents = dict(_contents(folder)) if folder else {}
        files = {name: _hash(data) for name, data in self._contents.items()}
        together = "\n".join(f"{name} {files[name]}" for name in sorted(files))
        self.code = Code(folder, files, project(sys.path), _hash(together.encode()))

    def archive(self) -> bytes:
        """Return all files as a zip archive; the same content gives the same bytes."""
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(self._contents):
                archive.writestr(zipfile.ZipInfo(name), self._contents[name])
        return out.getvalue()


def project(path: Sequence[str]) -> list[str]:
    """Return the entries of a `sys.path` that do not belong to the interpreter."""
    own = {os.path.realpath(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}

    def is_own(entry: str) -> bool:
        real = os.path.realpath(entry)
        return any(real == prefix or real.startswith(prefix + os.sep) for prefix in own)

    entries = [os.path.abspath(entry) for entry in path]
    return [entry for entry in entries if not is_own(entry) or not _looks_installed(entry)]


def _looks_installed(entry: str) -> bool:
    """Whether an entry below the interpreter's prefix holds what is installed there."""
    parts = Path(entry).parts
    names = {"lib", "lib64", "Lib"}
    return bool(names.intersection(parts)) or entry.endswith(".zip")


def _contents(folder: str) -> Iterator[tuple[str, bytes]]:
    """Yield the Python files below a folder, as far as they are few and small."""
    size = count = 0
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _NOT_CODE
            and not name.startswith(".")
            and not os.path.exists(os.path.join(here, name, "pyvenv.cfg"))
        )
        for name in sorted(names):
            if not name.endswith(".py"):
                continue
            path = os.path.join(here, name)
            try:
                data = Path(path).read_bytes()
            except OSError:
                continue  # it cannot be imported either
            count += 1
            size += len(data)
            if count > _MOST_FILES or size > _MOST_BYTES:
                return
            yield os.path.relpath(path, folder), data


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def settle(code: Code) -> bool:
    """Tell whether this machine sees the client's files, with the same content."""
    for name, expected in code.files.items():
        try:
            data = Path(code.folder, name).read_bytes()
        except OSError:
            return False
        if _hash(data) != expected:
            return False
    return True


def unpack(archive: bytes, code: Code, base: str) -> str:
    """Unpack a bundle, unless it is there already; return its folder.

    Args:
        archive: What `Bundle.archive` made.
        code: What the client told of it.
        base: The folder for temporary files.

    Raises:
        ValueError: The archive holds something else than was told.
        OSError: It cannot be written.
    """
    home = os.path.join(base, "code")
    target = os.path.join(home, code.digest)
    if os.path.isdir(target):
        return target
    os.makedirs(home, mode=0o700, exist_ok=True)
    made = tempfile.mkdtemp(dir=home)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
            if set(zipped.namelist()) != set(code.files):
                raise ValueError("the bundle of code holds other files than were told")
            zipped.extractall(made)
        try:
            os.rename(made, target)
        except OSError:
            if not os.path.isdir(target):
                raise
            # Another host process was faster.
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target
