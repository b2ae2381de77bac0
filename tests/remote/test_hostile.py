"""Strangers: what they send costs little, tells them nothing, and hurts nobody."""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import zmq

from fancypipe_remote._address import Address, parse
from fancypipe_remote._auth import secret as _secret
from fancypipe_remote._auth.keys import CLIENT, PeerKeys
from fancypipe_remote._transport import MAX_PART, Dialer, Waiter
from fancypipe_remote._transport._descriptors import MOST_STRANGERS
from fancypipe_remote._transport._dialer import _dealer
from tests.remote.cluster import cluster
from tests.remote.echo import PATIENCE, Echo, ask, dialer, keys, secret
from tests.remote.proxy import Direction, Proxy
from tests.waiting import wait_until

# How many strangers come; by hand once 10,000.
STRANGERS = int(os.environ.get("STRANGERS", "1000"))

SIGNATURE = b"\xff\0\0\0\0\0\0\0\x01\x7f"


def greeting(mechanism: bytes, server: bool = False) -> bytes:
    return SIGNATURE + b"\x03\x01" + mechanism.ljust(20, b"\0") + bytes([server]) + bytes(31)


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # the same each time


KINDS: dict[str, bytes] = {
    "web": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + noise(194),
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n" + noise(400),
    "noise": noise(3000),
    "silent": b"",
    "zeros": bytes(5000),
    "half a greeting": SIGNATURE,
    "without security": greeting(b"NULL") + b"\x04\x26\x05READY" + noise(32),
    "another mechanism": greeting(b"PLAIN"),
    "curve and noise": greeting(b"CURVE") + b"\x04\xc8\x05HELLO" + noise(194),
    "curve and a message": greeting(b"CURVE") + b"\0\x05hello",
    "curve and a huge frame": greeting(b"CURVE") + b"\x06" + struct.pack(">Q", 2**62) + noise(99),
    "old protocol": b"\x01\0" + noise(50),
}


class Manager(NamedTuple):
    address: Address
    keys: PeerKeys
    pid: int

    def memory(self) -> float:
        """Return what it holds in memory, in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


@contextmanager
def process() -> Iterator[Manager]:
    """A manager in a process of its own."""
    of = secret()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.remote.echo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "FANCYPIPE_JOBAUTH": of.reveal()},
    )
    try:
        assert child.stdout is not None
        yield Manager(parse(child.stdout.readline().strip()), keys(of), child.pid)
        assert child.poll() is None, "it lives"
    finally:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        child.stdout.close()
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


def come(address: Address, data: bytes) -> socket.socket | None:
    """Be a stranger who says this."""
    with suppress(OSError):
        one = socket.create_connection(address, timeout=PATIENCE)
        one.setblocking(False)
        with suppress(OSError):
            one.send(data)
        return one
    return None


def flood(address: Address, count: int, over: threading.Event) -> int:
    """Let strangers of all kinds come, at most 100 at a time; return how many got in."""
    here: list[socket.socket] = []
    came = 0
    for number, data in zip(range(count), _forever(), strict=False):
        if over.is_set():
            break
        one = come(address, data)
        came += one is not None
        here += [one] if one else []
        if len(here) > 100:
            here.pop(number % 50).close()
    for one in here:
        one.close()
    return came


def _forever() -> Iterator[bytes]:
    while True:
        yield from KINDS.values()


@needs_proc
@pytest.mark.fault(55)
def test_garbage_of_all_kinds() -> None:
    with process() as manager, dialer(manager.address, manager.keys) as link:
        assert ask(link, b"hello")
        flood(manager.address, 200, threading.Event())  # what it takes once is not what leaks
        wait_until(
            lambda: manager.descriptors() < 40, lambda: f"{manager.descriptors()} descriptors"
        )
        memory, descriptors = manager.memory(), manager.descriptors()
        over, came = threading.Event(), [0]

        def strangers() -> None:
            came[0] = flood(manager.address, STRANGERS, over)

        thread = threading.Thread(target=strangers)
        thread.start()
        took: list[float] = []
        try:
            while thread.is_alive():
                began = time.perf_counter()
                assert ask(link, b"honest") == [b"client", b"honest"]
                took.append(time.perf_counter() - began)
        finally:
            over.set()
            thread.join()
        assert came[0] == STRANGERS
        wait_until(
            lambda: manager.descriptors() <= descriptors,
            lambda: f"{manager.descriptors()} descriptors, and {descriptors} before",
        )
        grown = manager.memory() - memory
        took.sort()
        sys.stdout.write(
            f"{came[0]} strangers: memory {memory:.1f} MB {grown:+.1f}, {len(took)} honest round "
            f"trips, median {took[len(took) // 2] * 1e3:.2f} ms, "
            f"p99 {took[int(len(took) * 0.99)] * 1e3:.2f} ms, worst {took[-1] * 1e3:.2f} ms\n"
        )
        assert grown < 10
        assert took[len(took) // 2] < 0.5
        with dialer(manager.address, manager.keys) as newcomer:
            assert ask(newcomer, b"hello") == [b"client", b"hello"]


@needs_proc
@pytest.mark.fault(56)
@pytest.mark.parametrize("size", [2**20, 2**30, 2**62, 2**64 - 1])
def test_a_giant_frame_before_the_handshake_is_cut(size: int) -> None:
    with process() as manager:
        before = manager.memory()
        for command in (b"\x06", b"\x02"):  # as a command, and as a message
            head = greeting(b"CURVE") + command + struct.pack(">Q", size)
            with socket.create_connection(manager.address, timeout=PATIENCE) as stranger:
                sent = 0
                with pytest.raises(OSError, match=r"reset|Broken pipe|abort"):  # noqa: PT012
                    stranger.sendall(head)
                    while sent < 50 * 2**20:
                        sent += stranger.send(bytes(2**16))
                assert sent < 50 * 2**20
        assert manager.memory() - before < 10


@needs_proc
@pytest.mark.fault(56)
def test_giant_frames_that_are_only_announced() -> None:
    with process() as manager:
        before = manager.memory()
        head = greeting(b"CURVE") + b"\x06" + struct.pack(">Q", 2**20) + noise(100)
        here = [come(manager.address, head) for _ in range(200)]
        with dialer(manager.address, manager.keys) as link:
            assert ask(link, b"hello")
        assert manager.memory() - before < 20, "200 MB were announced"
        for one in filter(None, here):
            one.close()


@needs_proc
@pytest.mark.fault(56)
def test_what_a_stranger_can_make_the_manager_hold() -> None:
    count = 500
    with process() as manager:
        largest = MAX_PART + 127
        word = greeting(b"CURVE") + b"\x06" + struct.pack(">Q", largest) + noise(largest - 1)
        before = manager.memory()
        here = [come(manager.address, word) for _ in range(count)]
        most = 0.0
        with dialer(manager.address, manager.keys) as link:
            for _ in range(20):
                assert ask(link, b"honest") == [b"client", b"honest"]
                most = max(most, manager.memory())
        assert (most - before) * 1e6 / count < 40 * 1024
        for one in filter(None, here):
            one.close()


@needs_proc
@pytest.mark.fault(55)
def test_strangers_have_a_bound_and_newcomers_their_turn(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 2 * MOST_STRANGERS:
        pytest.skip(f"{before[1]} descriptors are too few")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * MOST_STRANGERS, before[1]))
    here: deque[socket.socket] = deque()
    try:
        with cluster(tmp_path, workers=0) as made:
            (manager,) = made.parties
            open_there = Path(f"/proc/{manager.process.pid}/fd")
            until = time.monotonic() + PATIENCE
            # Each is sent away after seconds; on a slow machine more must come meanwhile.
            while "something floods the port, and new" not in manager.log.read_text("utf-8"):
                assert time.monotonic() < until, "the manager says nothing of the flood"
                for _ in range(100):
                    one = come(parse(made.address), b"")
                    if one is not None:
                        here.append(one)
                    if len(here) > MOST_STRANGERS + 500:
                        here.popleft().close()
            assert len(os.listdir(open_there)) < MOST_STRANGERS + 100
            made.worker(1)
    finally:
        for one in here:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@needs_proc
@pytest.mark.fault(55)
def test_who_has_a_key_and_says_nothing_keeps_nobody_out(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("limits of other processes cannot be set here")
    with cluster(tmp_path, workers=1) as made, zmq.Context() as context:
        manager, worker = made.parties
        resource.prlimit(manager.process.pid, resource.RLIMIT_NOFILE, (150, 150))
        text = (tmp_path / "config/fancypipe/jobauth").read_text().strip()
        keys_here = PeerKeys(_secret.Secret(text, ""), CLIENT)
        address = parse(made.address)
        with ExitStack() as idle:
            for _ in range(200):
                link = idle.enter_context(_dealer(context, keys_here))
                link.setsockopt(zmq.RECONNECT_IVL, -1)  # who comes again waits for a turn again
                link.connect(f"tcp://{address}")
            made.worker(1)
        assert worker.text.count("took us in") == 1


@pytest.mark.fault(57)
def test_silent_and_trickling_strangers_are_sent_away() -> None:
    of = secret()
    with Echo(of) as echo, dialer(echo.address, keys(of)) as link:
        assert ask(link, b"hello")
        silent = come(echo.address, b"")
        greeted = come(echo.address, greeting(b"CURVE"))
        trickling = come(echo.address, b"")
        assert silent
        assert greeted
        assert trickling
        waiting = {silent, greeted, trickling}
        began = time.monotonic()
        word = greeting(b"CURVE")
        said = 0
        while waiting:
            assert time.monotonic() - began < PATIENCE, f"{len(waiting)} are still there"
            if said < len(word) and time.monotonic() - began > said * 0.06:  # 4 seconds for all
                with suppress(OSError):
                    trickling.send(word[said : said + 1])
                said += 1
            for one in list(waiting):
                if _hung_up(one):
                    waiting.remove(one)
            assert ask(link, b"honest") == [b"client", b"honest"]
        for one in (silent, greeted, trickling):
            one.close()


def _hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.fault(59)
def test_a_recorded_session_is_of_no_use() -> None:
    of = secret()
    with Echo(of) as echo:
        with Proxy(echo.address, record=True) as proxy, dialer(proxy.address, keys(of)) as link:
            assert ask(link, b"pay 100") == [b"client", b"pay 100"]
            recorded = bytes(proxy.passed["up"])
        assert len(recorded) > 300
        for _ in range(3):
            again = come(echo.address, recorded)
            assert again
            wait_until(lambda one=again: _hung_up(one), lambda: "it was let in")  # type: ignore[misc]
            again.close()
        with dialer(echo.address, keys(of)) as link:
            assert ask(link, b"after") == [b"client", b"after"]
    assert [parts for _, _, parts in echo.seen] == [[b"pay 100"], [b"after"]]


@pytest.mark.fault(59)
def test_nothing_can_be_read_on_the_way() -> None:
    of = secret()
    words = b"the patient's name is not for everybody"
    with Echo(of) as echo, Proxy(echo.address, record=True) as proxy:
        with dialer(proxy.address, keys(of)) as link:
            assert ask(link, words) == [b"client", words]
        for passed in proxy.passed.values():
            assert b"CURVE" in passed, "it is the link that was recorded"
            for plain in (words, words[:8], of.reveal().encode(), of.reveal()[4:12].encode()):
                assert plain not in passed


@pytest.mark.fault(60)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_flipped_bit_costs_the_link_and_no_more(direction: Direction) -> None:
    """No wrong message arrives; whoever waits for an answer asks again, over a new link."""
    of = secret()
    body = noise(MAX_PART)
    with Echo(of) as echo, Proxy(echo.address) as proxy, dialer(proxy.address, keys(of)) as link:
        assert ask(link, b"hello")
        for number, skip in enumerate([0, 1, 9, 30, 1000, MAX_PART // 2]):
            links = proxy.connections
            proxy.flip(direction, skip)
            _send(link, b"%d" % number, body)
            wait_until(lambda: proxy.flipped, lambda: "nothing passed")
            _until_answered(link, b"again %d" % number)
            # What stands before the first encrypted byte may change and mean the same.
            assert proxy.connections > links or skip < 30, "over a new link"
    for _, _, parts in echo.seen:
        assert parts in ([b"hello"], [parts[0], body]) or parts[0].startswith(b"again")


def _send(link: Dialer, *parts: bytes) -> None:
    deadline = time.monotonic() + PATIENCE
    while not link.send(parts):
        assert time.monotonic() < deadline
        Waiter(link).wait(1)


def _until_answered(link: Dialer, word: bytes) -> None:
    """Ask until there is an answer, as those above this layer do: silence is a reason to redial.

    After some broken handshakes libzmq tries no more.
    """
    deadline = time.monotonic() + PATIENCE
    answer, patience = None, 0.2
    while answer != [b"client", word]:
        assert time.monotonic() < deadline, f"the last answer was {str(answer)[:80]}"
        answer = ask(link, word, seconds=patience)
        if answer is None:
            patience *= 2
            link.redial()


@pytest.mark.fault(60)
def test_flipped_bits_in_the_handshake() -> None:
    of = secret()
    with Echo(of) as echo, Proxy(echo.address) as proxy, dialer(proxy.address, keys(of)) as link:
        assert ask(link, b"hello")
        directions: tuple[Direction, ...] = ("up", "down")
        for direction in directions:
            for skip in (0, 10, 12, 64, 66, 80, 200, 270):
                proxy.flip(direction, skip)
                link.redial()
                _until_answered(link, b"%d" % skip)
    assert all(len(parts) == 1 for _, _, parts in echo.seen)
