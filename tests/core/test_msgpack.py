"""Records in msgpack: any text gets through, and what is usual costs nothing more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancypipe_core import backend
from fancypipe_core._base.msgpack import pack, unpacker
from fancypipe_core._wire import messages
from tests.meta.repo import ROOT

texts = st.text(st.characters(), max_size=8) | st.sampled_from(["\udce9", "\x1a", "\x1adce9", ""])


class Inner(msgspec.Struct, tag="inner", array_like=True, frozen=True):
    name: str
    data: bytes


class Outer(msgspec.Struct, tag="outer"):
    text: str
    several: list[str]
    pair: tuple[str, int] | None
    table: dict[str, str]
    inner: tuple[Inner, ...]
    number: float = 0.5


@given(st.lists(texts, min_size=5, max_size=5), st.binary(max_size=8))
def test_any_text_in_any_place(said: list[str], data: bytes) -> None:
    a, b, c, d, e = said
    record = Outer(a, [b, c], (d, 1), {e: a}, (Inner(b, data), Inner("", b"\xc1")))
    assert unpacker(Outer)(pack(record)) == record
    assert unpacker(Outer)(memoryview(pack(record))) == record


def test_what_is_utf8_is_plain_msgpack() -> None:
    record = Inner("é\x1a", b"\xff")
    assert pack(record) == msgspec.msgpack.encode(record)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\xc1\xc1", b"\xa1\xe9", b"\xc1\xa1\xe9"])
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        unpacker(str)(data)


NAME = "r\udce9sultat"
FIRST = backend.Payload(b"first")
PAYLOAD = backend.Payload(b"head", (), ((0, NAME),), (NAME,))
ENDED: list[Any] = [
    backend.Ok((FIRST, PAYLOAD)),
    backend.Err(NAME, NAME, NAME, NAME, (FIRST, PAYLOAD), "host", 1),
    backend.More(
        (backend.Call(NAME, (FIRST, PAYLOAD)),),
        (backend.NewTask(0, 1, None, False, FIRST, NAME),),
        (FIRST, PAYLOAD),
    ),
]


def test_every_event_and_command() -> None:
    why = backend.Certificate("exit", NAME, "host", 1, output=(NAME,))
    events: list[Any] = [
        backend.Started((1, 1), "host 1"),
        backend.Note((1, 1), "log", NAME, NAME),
        *[backend.Done((1, 1), reply, 0.5, f"{NAME}-1.1") for reply in ENDED],
        backend.Lost((1, 1), why),
    ]
    told = messages.Reports().read(messages.encode_report(events))
    assert [repr(event) for event in told] == [
        repr(event).replace(repr(events[4].reply.calls[0]), repr(told[4].reply.calls[0]))  # type: ignore[union-attr]
        for event in events
    ]
    setup = messages.Setup([NAME], [NAME], ("file", NAME), NAME)
    assert messages.decode_command((messages.encode_command(setup), [])) == setup
    job = backend.Job((1, 1), backend.Call(NAME, (FIRST, PAYLOAD)), (FIRST, PAYLOAD))
    head, buffers = messages.ToWorker().jobs([job])
    command = messages.decode_command((head, buffers))
    assert isinstance(command, messages.Jobs)
    (read,) = messages.FromWorker().jobs(command, buffers)
    assert (read.call.label, read.inputs) == (NAME, job.inputs)


def test_nobody_else_writes_or_reads_msgpack() -> None:
    """So no text can be forgotten."""
    found = [
        str(path.relative_to(ROOT))
        for package in ROOT.glob("fancypipe_*")
        for path in Path(package, "src").rglob("*.py")
        if "msgspec.msgpack" in path.read_text(encoding="utf-8")
    ]
    assert found == ["fancypipe_core/src/fancypipe_core/_base/msgpack.py"]
