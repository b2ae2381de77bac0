"""Large values in shared memory: written once, changed by nobody, gone with their last user."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from fancypipe_core import Outputs, errors
from fancypipe_core._base import private_mapping, shared_memory
from fancypipe_core._base.shared_memory import LARGE, Handle, memory_descriptors, put
from fancypipe_core._codec import unpickler
from fancypipe_core._codec.sharing import Sharer
from fancypipe_core._codec.values import EncodedValues
from fancypipe_core._wire import messages, payloads, records
from fancypipe_core._wire.channel import SocketChannel
from fancypipe_core._wire.local_socket import LocalName
from fancypipe_core._wire.passage import OpenPassage, Passage, connect_passage
from fancypipe_core.backend import Call, Done, Err, Job, Ok, Payload

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="there is no such memory on this system"
)

BIG = bytes(range(256)) * (4 * LARGE // 256)


@pytest.fixture(autouse=True)
def all_is_let_go() -> Iterator[None]:
    """What a test put into shared memory is closed when it is over."""
    before = memory_descriptors()
    yield
    assert memory_descriptors() == before


def handle_of(data: bytes) -> Handle:
    made = put([data])
    assert made is not None
    return made[0]


def test_each_reader_has_bytes_of_its_own() -> None:
    one, two = (put([b"small", BIG]) or [])[1], handle_of(BIG)
    first, second, third = one.map(), one.map(), one.read()
    assert bytes(first) == bytes(second) == bytes(third) == BIG
    first[0:3] = b"new"
    assert bytes(second) == BIG
    assert bytes(one.map()) == BIG
    assert bytes(two.map()) == BIG


def test_nobody_can_change_or_shorten_it() -> None:
    handle = handle_of(BIG)
    assert handle.segment is not None
    descriptor = handle.segment.descriptor
    for harm in (
        lambda: os.pwrite(descriptor, b"x", 0),
        lambda: os.ftruncate(descriptor, 10),
        lambda: os.ftruncate(descriptor, 10 * len(BIG)),
    ):
        with pytest.raises(PermissionError):
            harm()


def test_a_mapping_outlives_the_descriptor() -> None:
    mapped = handle_of(BIG).map()
    assert bytes(mapped) == BIG


USES: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "it was read": (lambda mapped: bytes(mapped[::4096]) and None, True),
    "a part was read": (lambda mapped: mapped[-1] and None, True),
    "it was written to": (lambda mapped: mapped.__setitem__(5 << 20, 1), False),
    "it is in use": (lambda mapped: mapped, False),
    "a part is in use": (lambda mapped: memoryview(mapped)[5:10], False),
    "somebody looks at it": (weakref.ref, False),
}


@pytest.mark.parametrize(("use", "again"), USES.values(), ids=USES)
def test_a_mapping_is_used_again_where_nobody_has_or_had_its_own(use: Any, again: bool) -> None:
    handle = handle_of(BIG * 16)
    mapped = handle.map()
    mapped.mark = "used before"
    held = use(mapped)
    del mapped
    found = handle.map()
    assert hasattr(found, "mark") is again
    assert bytes(found) == BIG * 16
    del found, held


def test_where_nobody_tells_what_was_written_nothing_is_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(private_mapping, "_PAGES", "/nowhere")
    handle = handle_of(BIG * 16)
    handle.map().mark = "used before"
    assert not hasattr(handle.map(), "mark")


def test_the_segment_that_was_mapped_last_is_kept_until_it_is_let_go(
    request: pytest.FixtureRequest,
) -> None:
    before = memory_descriptors()
    shared_memory.keep_last()
    request.addfinalizer(lambda: shared_memory.keep_last(False))
    for _ in range(2):
        handle_of(BIG * 16).map()
    assert memory_descriptors() > before
    shared_memory.let_go()
    assert memory_descriptors() == before


@pytest.mark.fault(90)
@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE", "RLIMIT_NOFILE"])
def test_without_room_or_descriptors_nothing_is_put_there(limit: str) -> None:
    """The limit stands in for memory that is full: either way a system call says no."""
    script = f"""
import os, resource
from fancypipe_core._base.shared_memory import put
most = 4096 if "{limit}" == "RLIMIT_FSIZE" else 64
resource.setrlimit(resource.{limit}, (most, most))
kept = []
if most == 64:
    while True:
        try:
            kept.append(os.dup(0))
        except OSError:
            break
before = sorted(os.listdir("/proc/self/fd")) if most != 64 else None
print(put([bytes(1 << 20)]))
if before is not None:
    assert sorted(os.listdir("/proc/self/fd")) == before
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout == "None\n"


def test_a_map_for_which_no_descriptor_is_left_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = handle_of(BIG)
    monkeypatch.setattr(shared_memory, "_allowed", lambda: 0)
    found = handle.map()
    assert type(found) is bytearray
    assert found == BIG
    assert put([BIG]) is None


def test_only_sealed_memory_is_taken_from_others() -> None:
    read, write = os.pipe()
    open_memory = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    assert shared_memory.adopt([read, write, open_memory]) == []
    for descriptor in (read, write, open_memory):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


# ---- over a channel ------------------------------------------------------------------


class Pair:
    """Two ends of a channel beside which memory goes."""

    def __init__(self) -> None:
        left, right = socket.socketpair()
        ours, theirs = socket.socketpair()
        self.left = SocketChannel(left, blocking=False, passage=Passage(ours))
        self.right = SocketChannel(right, blocking=False, passage=Passage(theirs))

    @property
    def passage(self) -> Passage:
        assert self.left.passage is not None
        return self.left.passage

    def carry(self, head: bytes, buffers: Any) -> tuple[bytes, Any]:
        """Send a frame, and return what arrives."""
        self.left.send(head, buffers)
        while not (frames := self.right.received()):
            self.left.flush()
        return frames[0]


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.left.close()
    made.right.close()


def segment_of(data: bytes) -> Any:
    return handle_of(data).segment


def test_what_is_here_already_is_not_taken_twice(pair: Pair) -> None:
    segment = segment_of(BIG)
    assert pair.passage.send(segment)
    before = memory_descriptors()
    _, (found,) = pair.carry(b"head", [segment])
    assert found is segment
    assert memory_descriptors() == before


@pytest.mark.parametrize("count", [1, 3, 60])
def test_segments_go_beside_the_bytes(pair: Pair, count: int) -> None:
    buffers: list[Any] = [segment_of(b"%d" % n) for n in range(count)]
    assert all(pair.passage.send(one) for one in buffers)
    buffers[1:1] = [b"between"]
    _, found = pair.carry(b"head", buffers)
    assert bytes(found.pop(1)) == b"between"
    assert [Handle(one, 0, one.size).read() for one in found] == [b"%d" % n for n in range(count)]
    assert os.get_inheritable(found[0].descriptor) is False
    # And the channel goes on.
    assert pair.carry(b"next", [b"one"]) == (b"next", [b"one"])


def test_the_same_segment_may_come_twice_in_a_row(pair: Pair) -> None:
    segment = segment_of(BIG)
    for head in (b"1", b"2"):
        assert pair.passage.send(segment)
        pair.left.send(head, [segment])
    frames: list[Any] = []
    while len(frames) < 2:
        frames += pair.right.received()
    assert [Handle(frame[1][0], 0, len(BIG)).read() == BIG for frame in frames] == [True, True]


def test_where_too_many_are_on_their_way_bytes_are_sent(pair: Pair) -> None:
    segment = segment_of(BIG)
    sent = 0
    while pair.passage.send(segment):
        sent += 1
    assert sent > 2 * payloads.MOST_SEGMENTS
    reply = told(Ok((Payload(b"x", (handle_of(BIG),)),)), pair)
    assert arrays(reply.outputs) == [b"x", BIG]
    assert not handles_in(reply.outputs)


@pytest.mark.fault(90)
def test_a_segment_that_finds_no_descriptor_is_missing_and_the_next_is_not_mistaken_for_it(
    pair: Pair,
) -> None:
    first, second = segment_of(b"first"), segment_of(b"second")
    limits = pytest.importorskip("resource")
    before = limits.getrlimit(limits.RLIMIT_NOFILE)
    pair.passage.send(first)
    pair.left.send(b"1", [first])
    lowest = os.dup(0)
    os.close(lowest)
    limits.setrlimit(limits.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        frames = pair.right.received()
    finally:
        limits.setrlimit(limits.RLIMIT_NOFILE, before)
    assert frames == [(b"1", [None])]
    pair.passage.send(second)
    _, (found,) = pair.carry(b"2", [second])
    assert Handle(found, 0, 6).read() == b"second"


def test_an_open_passage_is_found_by_its_name_and_by_nobody_else() -> None:
    opened = OpenPassage()
    segment = segment_of(BIG)
    assert not opened.send(segment)
    assert connect_passage("fancypipe-" + "0" * 32) is None
    assert connect_passage("") is None
    other = connect_passage(opened.name)
    assert other is not None
    assert not other.send(segment), "nobody has let it in"
    assert opened.accept()
    assert opened.send(segment)
    assert other.send(segment)
    assert connect_passage(opened.name) is None
    for end in (opened, other):
        found = end.take(segment.number)
        assert found is not None
        assert Handle(found, 0, len(BIG)).read() == BIG
        del found
    opened.close()
    assert not other.send(segment)
    other.close()


def test_another_user_is_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = OpenPassage()
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stranger.connect(f"\0{opened.name}")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert connect_passage(opened.name) is None
    assert not opened.accept()
    stranger.close()
    monkeypatch.undo()
    # Whom we wait for comes all the same.
    other = connect_passage(opened.name)
    assert other is not None
    assert opened.accept()
    assert opened.send(segment_of(BIG))
    other.close()
    opened.close()


@pytest.mark.parametrize(
    "name", ["/tmp/.X11-unix/X0", "fancypipe-", "fancypipe-" + "0" * 32 + "\n"]
)
def test_a_name_of_somebody_elses_is_no_name(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, LocalName)


# ---- in messages ---------------------------------------------------------------------


def told(reply: Any, pair: Pair | None) -> Any:
    """Return a reply as the client gets it."""
    frame = messages.encode_report([Done((1, 1), reply, 0.0)], pair.passage if pair else None)
    carried = pair.carry(*frame) if pair else (frame[0], [bytes(one) for one in frame[1]])
    (done,) = messages.Reports().read(carried)
    assert isinstance(done, Done)
    return done.reply


def arrays(payloads: Any) -> list[bytes]:
    return [
        bytes(part.map() if type(part) is Handle else part)
        for payload in payloads
        for part in (payload.head, *payload.buffers)
    ]


@pytest.mark.parametrize("passes", [True, False])
def test_handles_are_passed_or_their_bytes(pair: Pair, passes: bool) -> None:
    made = put([BIG, BIG[1:]])
    assert made is not None
    value = (
        Payload(b"x", (b"a", made[1], b"b")),
        Payload(handle_of(BIG), (made[0], made[0]), ((0, None),)),
    )
    reply = told(Ok(value), pair if passes else None)
    assert arrays(reply.outputs) == [b"x", b"a", BIG[1:], b"b", BIG, BIG, BIG]
    there = [type(part) is Handle for one in reply.outputs for part in (one.head, *one.buffers)]
    assert there == [False, False, passes, False, passes, passes, passes]


def test_of_many_segments_most_go_as_bytes(pair: Pair) -> None:
    value = tuple(Payload(b"x", (handle_of(b"%d" % n),)) for n in range(150))
    outputs = told(Ok(value), pair).outputs
    assert arrays(outputs)[1::2] == [b"%d" % n for n in range(150)]
    assert sum(type(one.buffers[0]) is Handle for one in outputs) == payloads.MOST_SEGMENTS


def test_jobs_carry_them_too(pair: Pair) -> None:
    call = Call("f", (Payload(b"f"),))
    job = Job((1, 1), call, (Payload(b"x", (handle_of(BIG),)),))
    head, buffers = pair.carry(*messages.ToWorker(pair.passage).jobs([job, job]))
    assert sum(type(one) is shared_memory.Segment for one in buffers) == 1  # of both
    command = messages.decode_command((head, buffers))
    assert isinstance(command, messages.Jobs)
    for found in messages.FromWorker().jobs(command, buffers):
        assert arrays(found.inputs) == [b"x", BIG]


@pytest.mark.fault(90)
def test_a_result_that_could_not_be_received_is_a_failure_that_says_why(pair: Pair) -> None:
    frame = messages.encode_report(
        [
            Done((1, 1), Ok((Payload(b"x", (handle_of(BIG),)),)), 0.0),
            Done((2, 1), Ok((Payload(b"y", (b"here",)),)), 0.0),
        ],
        pair.passage,
    )
    head, (_, here) = pair.carry(*frame)
    lost, there = messages.Reports().read((head, [None, here]))
    assert isinstance(lost, Done)
    assert isinstance(lost.reply, Err)
    assert "ulimit -n" in lost.reply.message
    assert isinstance(there, Done)
    assert isinstance(there.reply, Ok)


@pytest.mark.fault(90)
def test_an_input_that_could_not_be_received_says_why() -> None:
    with pytest.raises(OSError, match="too many files open"):
        unpickler.decode((Payload(b"x", (Handle(None, 0, 10),)),))


@pytest.mark.fault(90)
@pytest.mark.parametrize("passes", [True, False])
def test_what_could_not_be_received_is_missing_also_where_it_is_handed_on(
    pair: Pair, passes: bool
) -> None:
    call = Call("f", (Payload(b"f"),))
    job = Job((1, 1), call, (Payload(b"x", (Handle(None, 0, 10), b"y")),))
    passage = pair.passage if passes else None
    head, buffers = pair.carry(*messages.ToWorker(passage).jobs([job]))
    command = messages.decode_command((head, buffers))
    assert isinstance(command, messages.Jobs)
    (found,) = messages.FromWorker().jobs(command, buffers)
    assert isinstance(found.inputs, tuple)
    missing, there = found.inputs[0].buffers
    assert bytes(there) == b"y"
    with pytest.raises(OSError, match="too many files open"):
        missing.map()


@pytest.mark.parametrize(
    ("place", "segment", "offset", "size"),
    [
        (1, 1, 0, 10),  # a buffer that is no segment
        (1, 2, 0, 10),  # that is not there
        (1, 0, 0, len(BIG) + 1),
        (1, 0, len(BIG) - 5, 10),
        (1, 0, 2**62, 2**62),
        (0, 0, 0, 10),  # a second head
        (3, 0, 0, 10),  # behind the last place
    ],
)
@pytest.mark.fault(82)
def test_a_handle_that_cannot_be_is_refused(
    place: int, segment: int, offset: int, size: int
) -> None:
    handle = handle_of(BIG)
    record = records.HandleRecord(place, segment, offset, size)
    payload = records.PayloadRecord(b"x", 1, (), None, 0, (record,))
    deal = payloads.Incoming([handle.segment, b"bytes"])
    with pytest.raises(errors.ProtocolError):
        deal.value((payload,))


@pytest.mark.fault(82)
def test_a_channel_without_a_passage_takes_none() -> None:
    ours, theirs = socket.socketpair()
    sender = SocketChannel(ours, blocking=False)
    receiver = SocketChannel(theirs, blocking=False)
    sender.send(b"head", [handle_of(BIG).segment])
    with pytest.raises(errors.ProtocolError):
        receiver.received()
    sender.close()
    receiver.close()


# ---- what is put there ---------------------------------------------------------------


def opened(values: EncodedValues, packed: Any) -> Any:
    return values.open(packed.body)


def handles_in(body: Any) -> list[Handle]:
    return [
        part
        for payload in body
        for part in (payload.head, *payload.buffers)
        if type(part) is Handle
    ]


def test_what_is_large_is_put_there_and_nothing_else() -> None:
    np = pytest.importorskip("numpy")
    values = EncodedValues(Sharer(remembers=False))
    small, large = np.arange(2000.0), np.arange(LARGE / 4)
    for value, count in (
        (1, 0),
        (small, 0),
        (large, 1),
        ([small, large, large], 1),
        (Outputs(a=large, b=small, c=BIG), 2),
        (BIG, 1),
        ("x" * LARGE, 1),
    ):
        packed = values.pack_result(value)
        assert len(handles_in(packed.body)) == count, type(value)
        back = opened(values, packed)
        flat: Callable[[Any], list[Any]] = lambda v: list(v.values()) if type(v) is Outputs else v  # noqa: E731
        np.testing.assert_equal(flat(back), flat(value))
    back = opened(values, values.pack_result(large))
    back[0] = 5
    assert large[0] == 0


def test_what_one_array_holds_is_written_once_until_it_may_have_changed() -> None:
    np = pytest.importorskip("numpy")
    sharer = Sharer(remembers=True)
    values = EncodedValues(sharer)
    array = np.zeros(LARGE)
    one, two = values.pack_result([array, 1]), values.pack_result([array, 2])
    assert handles_in(one.body)[0].segment is handles_in(two.body)[0].segment
    array[0] = 1
    values.forget_contents()
    three = values.pack_result(array)
    assert opened(values, three)[0] == 1
    assert opened(values, two)[0][0] == 0
    # What nobody has any more is not kept for later.
    del one, two, three


def test_parts_of_one_object_are_told_apart() -> None:
    from pickle import PickleBuffer

    sharer = Sharer(remembers=True)
    for at in (0, 10):
        part = PickleBuffer(memoryview(BIG)[at : at + 2 * LARGE])
        packed = sharer.shared(pickled(part))
        assert bytes(handles_in(packed.body)[0].map()) == BIG[at : at + 2 * LARGE]


def pickled(buffer: Any) -> Any:
    from fancypipe_core._codec.pickler import Packed

    return Packed((Payload(b"x", (buffer,)),))


def test_without_such_memory_all_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    np = pytest.importorskip("numpy")
    monkeypatch.delattr(os, "memfd_create")
    values = EncodedValues(Sharer(remembers=True))
    packed = values.pack_result([np.arange(LARGE), BIG])
    assert not handles_in(packed.body)
    assert opened(values, packed)[0][7] == 7
