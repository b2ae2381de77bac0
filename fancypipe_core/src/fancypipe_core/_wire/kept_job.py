"""A job as it is kept on disk, to be run once more: all of it as bytes, and where it ran."""

from __future__ import annotations

from typing import Any

import msgspec

from fancypipe_core import errors
from fancypipe_core._base.msgpack import pack, unpacker
from fancypipe_core._base.needs import Needs
from fancypipe_core.backend import Encoded, Handle, Payload

__all__ = ["VERSION", "KeptJob", "Surroundings", "kept", "read"]

VERSION = 1
"""Of the format; it changes only if who reads the old one would misread the new."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a task finds around it, as far as the engine or the pipeline has a hand in it.

    Attributes:
        main: The kind and value of the main script; None for a notebook or prompt.
        argv: The client's `sys.argv`, with stars for what is secret.
        folder: The current folder.
        before: What the client's `sys.path` has of its own before the standard library.
        after: The same, behind it.
        variables: Environment variables that the pipeline has set, or unset: then None.
        directory: The session's folder for temporary files.
        live: Whether values were handed on as they are; else what a task returns is encoded.
        files: Source files, each with a hash of its content.
        python: The version.
        packages: Versions of what is installed.
    """

    main: tuple[str, str] | None
    argv: list[str]
    folder: str
    before: list[str]
    after: list[str]
    variables: dict[str, str | None]
    directory: str
    live: bool
    files: dict[str, bytes]
    python: str
    packages: dict[str, str]


class _Part(msgspec.Struct, frozen=True, array_like=True):
    """A payload whose bytes are all here."""

    head: bytes
    buffers: list[bytes]
    holes: list[tuple[int, str | None]]
    names: tuple[str, ...] | None

    def payload(self) -> Payload:
        # What is made of a buffer may be written to, as in a worker.
        buffers = tuple(map(bytearray, self.buffers))
        return Payload(self.head, buffers, tuple(self.holes), self.names)


class KeptJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that can be read again by another process.

    Attributes:
        version: Of the format.
        task: Its number in the session.
        attempt: Which attempt it was.
        label: The task's name.
        call: What to call, encoded.
        inputs: As those of a `Job`, encoded.
        needs: What it needs while it runs.
        around: What it finds around it.
    """

    version: int
    task: int
    attempt: int
    label: str
    call: list[_Part]
    inputs: list[_Part]
    needs: Needs | None
    around: Surroundings

    def call_body(self) -> Encoded:
        """Return what to call."""
        return tuple(part.payload() for part in self.call)

    def input_body(self) -> Encoded:
        """Return the inputs; each call returns some of their own."""
        return tuple(part.payload() for part in self.inputs)


def kept(
    task: int,
    attempt: int,
    label: str,
    call: Encoded,
    inputs: Encoded,
    needs: Needs | None,
    around: Surroundings,
) -> bytes:
    """Return a job as bytes.

    Raises:
        EncodeError: Some of its inputs are in memory that is gone.
    """
    try:
        parts = [[_part(one) for one in value] for value in (call, inputs)]
    except OSError as error:
        raise errors.EncodeError(f"some of its inputs are not there any more: {error}") from error
    return pack(
        KeptJob(
            version=VERSION,
            task=task,
            attempt=attempt,
            label=label,
            call=parts[0],
            inputs=parts[1],
            needs=needs,
            around=around,
        )
    )


def _part(payload: Payload) -> _Part:
    buffers = [_bytes(one) for one in payload.buffers]
    return _Part(_bytes(payload.head), buffers, list(payload.holes), payload.names)


def _bytes(part: Any) -> bytes:
    if type(part) is bytes:
        return part
    return bytes(part.read() if type(part) is Handle else memoryview(part).cast("B"))


_read = unpacker(KeptJob)


def read(data: bytes) -> KeptJob:
    """Return a job that was kept.

    Raises:
        DecodeError: It is none, or one of another version.
    """
    try:
        job: KeptJob = _read(data)
    except msgspec.MsgspecError as error:
        raise errors.DecodeError(f"it is no job that was kept: {error}") from error
    if job.version != VERSION:
        raise errors.DecodeError(
            f"it was kept by another version of fancypipe (format {job.version}, not {VERSION})"
        )
    return job
