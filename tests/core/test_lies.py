"""What the other end of a channel says is possible when it leaves the channel, or refused."""

from __future__ import annotations

import os
import socket
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancypipe_core import errors
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import SocketChannel
from fancypipe_core.backend import Certificate, Done, Err, Lost, Ok, Payload, Started

MARK = b"\xfapf\x01"


def frame(head: int, *buffers: int) -> bytes:
    """Return the beginning of a frame, up to the lengths of its buffers."""
    numbers = [head.to_bytes(8, "little"), len(buffers).to_bytes(4, "little")]
    return MARK + b"".join([*numbers, *(one.to_bytes(8, "little") for one in buffers)])


@pytest.mark.fault(82)
@pytest.mark.parametrize(
    "start", [frame(2**62), frame(0, 2**62), frame(0, 5, 2**64 - 1), frame(2**40 + 1)]
)
def test_a_length_that_cannot_be_ends_a_channel(start: bytes) -> None:
    ours, theirs = socket.socketpair()
    channel = SocketChannel(ours, blocking=True)
    theirs.sendall(start)
    with pytest.raises(errors.ProtocolError, match="bytes"):
        channel.receive()
    channel.close()
    theirs.close()


@pytest.mark.fault(82)
def test_a_length_that_is_only_announced_costs_nothing() -> None:
    ours, theirs = socket.socketpair()
    channel = SocketChannel(ours, blocking=False)
    tracemalloc.start()
    try:
        theirs.sendall(frame(0, 2**39) + b"x" * 100)
        assert channel.received() == []
        assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    finally:
        tracemalloc.stop()
        channel.close()
        theirs.close()


@pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 1, 5 * 2**20 + 3])
def test_a_large_buffer_comes_whole(size: int) -> None:
    ours, theirs = socket.socketpair()
    left, right = SocketChannel(ours, blocking=False), SocketChannel(theirs, blocking=False)
    sent = os.urandom(size)
    left.send(b"head", [sent, b"next"])
    frames: list[Any] = []
    while not frames:
        left.flush()
        frames = right.received()
    assert [bytes(buffer) for buffer in frames[0][1]] == [sent, b"next"]
    left.close()
    right.close()


def read(*done: Any, rare: Any = (), buffers: Any = ()) -> Any:
    return messages.Reports().read((msgspec.msgpack.encode([done, [], rare]), buffers))


@pytest.mark.fault(82)
def test_names_of_hosts_are_printable() -> None:
    err = ["err", "E", "first\nsecond", "", "", None, "h\n\x1b[2J", 1, False, ""]
    dead = ["exit", "", "h\r", 1, True, True, [], 0]
    started, done, lost = read(
        [1, 1, 0.0, b"", err, ""], rare=[["started", 1, 1, "h\n:1"], ["lost", 1, 1, dead]]
    )
    assert isinstance(started, Started)
    assert started.where == r"h\n:1"
    assert isinstance(done, Done)
    assert isinstance(done.reply, Err)
    assert (done.reply.host, done.reply.message) == (r"h\n\x1b[2J", "first\nsecond")
    assert isinstance(lost, Lost)
    assert lost.why == Certificate("exit", "", r"h\r", 1)


@pytest.mark.fault(82)
def test_a_folder_is_the_tasks_own() -> None:
    assert read([7, 1, 0.0, b"N.", None, "/tmp/s/mine-7.1"])[0].folder == "/tmp/s/mine-7.1"
    for other in ("/etc", "/tmp/s/other-8.1", "/tmp/s/mine-17.1x", "/tmp/s/mine-7.1/..", "/"):
        with pytest.raises(errors.ProtocolError, match="folder"):
            read([7, 1, 0.0, b"N.", None, other])


OK = ["ok", [[b"N.", 0, [], None]], []]
ERR = ["err", "E", "text", "", "", None, "host", 1, False, ""]


@pytest.mark.parametrize(
    ("at", "done", "why"),
    [(0, None, None), (0, OK, ERR), (3, None, ERR), (3, None, None), (-1, OK, ERR), (3, ERR, ERR)],
)
def test_a_span_that_was_cut_says_how(at: int, done: Any, why: Any) -> None:
    assert read([7, 1, 0.0, b"", ["cut", 3, OK, ERR], ""])[0].reply.at == 3
    assert read([7, 1, 0.0, b"", ["cut", 0, None, ERR], ""])[0].reply.at == 0
    with pytest.raises(errors.ProtocolError):
        read([7, 1, 0.0, b"", ["cut", at, done, why], ""])


def test_what_is_true_is_read() -> None:
    payloads = [[b"a", 1, [], None], [b"b", 0, [[0, None]], None]]
    (done,) = read([1, 1, 0.0, b"", ["ok", payloads, []], ""], buffers=[b"x"])
    parts = (Payload(b"a", (b"x",)), Payload(b"b", (), ((0, None),)))
    assert done.reply == Ok(parts)


_leaves = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=3),
    st.binary(max_size=3), st.sampled_from(["ok", "more", "err", "started", "lost", "slots"]),
)  # fmt: skip
_records = st.recursive(_leaves, lambda inner: st.lists(inner, max_size=9), max_leaves=12)
_reports = st.lists(st.lists(st.lists(_records, min_size=2, max_size=9), max_size=2), max_size=4)


@pytest.mark.fault(61, 82)
@pytest.mark.parametrize("decode", [messages.Reports().read, messages.decode_command])
@given(data=st.one_of(st.binary(max_size=40), _reports.map(msgspec.msgpack.encode)))
def test_whatever_comes_it_is_read_or_refused(decode: Callable[[Any], Any], data: bytes) -> None:
    with suppress(errors.ProtocolError):
        decode((data, []))


# ---- files ---------------------------------------------------------------------


@pytest.mark.fault(82)
@pytest.mark.parametrize(
    "way", ["another folder", "..", "a link", "through a link", "itself", "root"]
)
def test_a_client_deletes_below_its_sessions_folder_only(tmp_path: Path, way: str) -> None:
    session, home = tmp_path / "session", tmp_path / "home"
    for folder in (session / "mine-1.1", home / "work"):
        folder.mkdir(parents=True)
        (folder / "thesis").touch()
    (session / "link").symlink_to(home)
    named = {
        "another folder": home,
        "..": session / "mine-1.1" / ".." / ".." / "home",
        "a link": session / "link",
        "through a link": session / "link" / "work",
        "itself": session,
        "root": Path("/"),
    }[way]
    keeper = Keeper(str(session))
    keeper.made(str(named))
    keeper.hold(1, [str(named), str(named / "thesis"), str(named / "work" / "thesis")])
    keeper.made(str(named))
    keeper.release([1])
    keeper.end_run()
    assert (home / "work" / "thesis").exists()
    assert (session / "mine-1.1" / "thesis").exists()
    keeper.close()
    assert not session.exists()
    assert (home / "work" / "thesis").exists()
