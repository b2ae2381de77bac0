"""Who has a key lies at its own cost: managers, workers and clients with real keys and sockets."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import msgspec
import pytest

from fancypipe_core import Session, errors
from fancypipe_core.backend import JobId
from fancypipe_core.toolkit import SocketChannel
from fancypipe_remote._address import Address, parse
from fancypipe_remote._auth import secret as _secret
from fancypipe_remote._auth.keys import CLIENT, WORKER, PeerKeys
from fancypipe_remote._protocol import messages
from tests.remote.cluster import Cluster, Party, cluster
from tests.remote.lies import FUZZ, LIES, Liar, a_lie, hello, lying_worker, mutated, raw
from tests.remote.work import many
from tests.waiting import wait_until


class Rig:
    """A manager, an honest worker, and the keys of both roles."""

    def __init__(self, made: Cluster) -> None:
        self.cluster = made
        self.manager, self.worker = made.parties
        secret = _secret.Secret((made.folder / "config/fancypipe/jobauth").read_text().strip(), "")
        self.address: Address = parse(made.address)
        self.client_keys = PeerKeys(secret, CLIENT)
        self.worker_keys = PeerKeys(secret, WORKER)
        self.secret = f"@{made.folder / 'config/fancypipe/jobauth'}"

    def session(self) -> Session:
        return Session(backend="remote", jobmanager=self.cluster.address, jobauth=self.secret)

    def all_live(self) -> None:
        for party in (self.manager, self.worker):
            assert party.process.poll() is None, party.text


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with cluster(tmp_path_factory.mktemp("rig"), workers=1) as made:
        yield Rig(made)


def memory(party: Party) -> float:
    """Return what a process holds in memory, in MB."""
    pages = int(Path(f"/proc/{party.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.fault(61, 82)
def test_a_manager_drops_liars_and_keeps_the_others(rig: Rig) -> None:
    honest = Liar(rig.address, rig.client_keys)
    honest.say(hello("client", "honest", ticket=b"honest"))
    assert honest.hear_of(messages.Workers)
    for name, lie in LIES.items():
        liar = Liar(rig.address, rig.worker_keys)
        liar.say(hello("worker", f"tells {name}", 4))
        assert liar.hear_of(messages.Welcome)
        liar.say(raw(lie))
        assert liar.hear_of(messages.Refused)
        if name == "no msgpack":
            assert not liar.is_heard()
        liar.close()
    for name in LIES:
        rig.manager.says(rf"refused worker on tells {re.escape(name)} \(pid 7\): ")
    assert rig.manager.text.isascii()
    assert "\x1b" not in rig.manager.text
    honest.say(raw(["c", 1, {}]))
    honest.hear_of(messages.Workers)
    honest.close()
    rig.all_live()


@pytest.mark.fault(62, 81)
def test_a_worker_key_runs_nothing_on_a_worker(rig: Rig) -> None:
    with rig.session() as session:
        assert sum(session.run(many(4))) == 6
        spy = Liar(rig.address, rig.worker_keys)
        spy.say(hello("worker", "spy"))
        (client,) = [c for c in spy.hear_of(messages.Clients).clients if c.pid == os.getpid()]
        watch = Liar(rig.address, rig.client_keys)
        watch.say(hello("client", "watch"))
        workers = watch.hear_of(messages.Workers).workers
        victim = next(one.address for one in workers if one.host != "spy")
        before = len(re.findall("a client connected", rig.worker.text))
        for name in (client.address, b""):
            thief = Liar(rig.address, rig.worker_keys, name)
            for role in ("client", "worker"):
                thief.say(hello(role, "thief"))
                thief.say(raw(["open", 10**6, 1], victim))
                thief.say(raw(["s", 10**6, 0, 0, 0, 4 << 20], victim, b"code"))
            assert thief.hear_of(messages.Refused)
            thief.close()
        again = Liar(rig.address, rig.worker_keys)
        again.say(hello("worker", "thief"))
        again.say(raw(["open", 10**6, 1], victim))
        assert sum(session.run(many(20))) == 190
        assert len(re.findall("a client connected", rig.worker.text)) == before
        for one in (spy, watch, again):
            one.close()
    rig.all_live()


def report(*done: Any, rare: Any = ()) -> bytes:
    return msgspec.msgpack.encode([done, [], rare])


def an_end(
    id: JobId, seconds: Any = 0.1, head: Any = b"N.", reply: Any = None, folder: Any = ""
) -> Any:
    return [*id, seconds, head, reply, folder]


def value(*payloads: Any) -> Any:
    return ["ok", payloads, []]


FALSE_REPORTS: dict[str, Callable[[JobId], bytes]] = {
    "no report": lambda _: b"\xc1",
    "text that is no UTF-8": lambda _: b"\x94\x90\x90\xa2\xff\xfe\x90",
    "too deep": lambda _: b"\x91" * 100_000,
    "seconds that are no number": lambda id: report(an_end(id, float("nan"))),
    "negative seconds": lambda id: report(an_end(id, -1.0)),
    "seconds without an end": lambda id: report(an_end(id, float("inf"))),
    "a folder of the system": lambda id: report(an_end(id, folder="/etc")),
    "another's folder": lambda id: report(an_end(id, folder=f"/tmp/slow-{id[0] + 1}.{id[1]}")),
    "a value of nothing": lambda id: report(an_end(id, head=b"")),
    "no payload": lambda id: report(an_end(id, reply=value())),
    "buffers that did not come": lambda id: report(an_end(id, reply=value([b"N.", 5, [], None]))),
    "negative buffers": lambda id: report(an_end(id, reply=value([b"N.", -1, [], None]))),
    "a hole that nothing fills": lambda id: report(
        an_end(id, reply=value([b"N.", 0, [[7, None]], None]))
    ),
    "a value that fills itself": lambda id: report(
        an_end(id, reply=value([b"", 0, [[0, None]], None]))
    ),
    "names of no holes": lambda id: report(an_end(id, reply=value([b"N.", 0, [], ["a"]]))),
    "a task that calls nothing": lambda id: report(
        an_end(id, reply=["more", [], [[-1, 0, None, False, [b"N.", 0, [], None], ""]],
                          [[b"", 0, [[0, None]], None]], [], []])
    ),
    "negative slots": lambda _: report(rare=[["slots", -1, 0]]),
    "slots that nobody asked for": lambda _: report(rare=[["slots", 10**5, 0]]),
    "a negative process": lambda id: report(
        rare=[["lost", *id, ["exit", "", "h", -1, True, True, [], 0]]]
    ),
}  # fmt: skip

FALSE_FRAMES: dict[str, bytes] = {
    "no frame": b"GET / HTTP/1.1\r\n\r\n",
    "a buffer of 2^62 bytes": b"\xfapf\x01" + (0).to_bytes(8, "little")
    + (1).to_bytes(4, "little") + (2**62).to_bytes(8, "little"),
    "a head of 2^62 bytes": b"\xfapf\x01" + (2**62).to_bytes(8, "little") + bytes(4),
}  # fmt: skip

_ALL = [*FALSE_FRAMES, *FALSE_REPORTS]


@pytest.mark.fault(82)
@pytest.mark.parametrize("group", range(0, len(_ALL), 8))
def test_a_lying_worker_is_left_out(
    rig: Rig, group: int, capsys: pytest.CaptureFixture[str]
) -> None:
    names = _ALL[group : group + 8]
    with ExitStack() as here:
        workers = [
            here.enter_context(lying_worker(rig.address, rig.worker_keys, name, _teller(name)))
            for name in names
        ]
        session = here.enter_context(rig.session())
        until = monotonic() + 60
        while not all(worker.told for worker in workers):
            assert monotonic() < until, [worker.told for worker in workers]
            assert sum(session.run(many(30, 0.01))) == 435
        assert sum(session.run(many(30, 0.01))) == 435
        assert [worker.told for worker in workers] == [1] * len(names)
    said = capsys.readouterr().err
    for name in names:
        assert f"the worker on {name} (pid 7) is left out: it broke the protocol: " in said
    assert Path("/etc/passwd").exists()
    rig.all_live()


def _teller(name: str) -> Callable[[SocketChannel, list[JobId]], None]:
    def tell(channel: SocketChannel, jobs: list[JobId]) -> None:
        if name in FALSE_FRAMES:
            channel._sock.sendmsg([memoryview(FALSE_FRAMES[name])])
        else:
            channel.send(FALSE_REPORTS[name](jobs[0]))

    return tell


def true_reports(id: JobId) -> list[Any]:
    """Return reports that are as they should be, in plain containers."""
    text = ["err", "ValueError", "no", "Traceback", "f.py:1", None, "h", 7, False]
    payload = [b"N.", 0, [], None]
    more = [
        "more", [[0, "t", [payload]]], [[0, 0, 1.0, False, payload, ""]],
        [[b"", 0, [[0, None]], None]], [], [],
    ]  # fmt: skip
    dead = ["lost", *id, ["exit", "exit code 1", "h", 7, True, False, ["last words"], 1]]
    filled = value(payload, [b"N.", 0, [[0, None]], None])
    made = [an_end(id), *(an_end(id, reply=reply) for reply in (filled, text, more))]
    return [
        *([[done], [], []] for done in made),
        [
            [],
            [[list(id), "stdout", "", "t"]],
            [["started", *id, "h:7"], ["slots", 1, 0]],
        ],
        [[], [], [dead]],
    ]


@pytest.mark.fault(82)
def test_fuzz_what_a_worker_reports(rig: Rig) -> None:
    """Results may be false, for that is what a worker is trusted with; no more than that."""
    rnd = Random(FUZZ)
    counts = [0, 0]

    def lie(channel: SocketChannel, jobs: list[JobId]) -> None:
        with suppress(errors.ChannelError):
            for id in jobs:
                channel.send(mutated(rnd, rnd.choice(true_reports(id))), rnd.choice([[], [b"b"]]))
                counts[0] += 1

    until = monotonic() + FUZZ
    with rig.session() as session:
        assert sum(session.run(many(4))) == 6
        while monotonic() < until:
            with lying_worker(rig.address, rig.worker_keys, "liar", lie) as liar:
                while not liar.told and monotonic() < until:
                    try:
                        session.run(many(20, 0.002))
                    except errors.TaskError:
                        counts[1] += 1
        assert sum(session.run(many(20))) == 190
    assert counts[0] > counts[1]


@pytest.mark.fault(61, 82)
def test_fuzz_the_processes(rig: Rig) -> None:
    """Liars of both roles come, lie and go, while honest work is done."""
    rnd = Random(FUZZ)
    before: tuple[float, float] | None = None
    until = monotonic() + FUZZ
    with rig.session() as session:
        assert sum(session.run(many(4))) == 6
        refused = len(re.findall("refused", rig.manager.text))
        while monotonic() < until:
            with ExitStack() as here:
                for keys, role in ((rig.worker_keys, "worker"), (rig.client_keys, "client")):
                    liar = Liar(rig.address, keys)
                    here.callback(liar.close)
                    liar.say(hello(role, f"fuzzing {role}", 2))
                    kind = messages.Clients if role == "worker" else messages.Workers
                    told = liar.hear_of(kind)
                    peers = getattr(told, kind.__name__.lower())
                    addresses = [
                        b"",
                        *(peer.address for peer in peers if peer.host != "fuzzing worker"),
                    ]
                    for _ in range(100):
                        liar.say(a_lie(rnd, addresses))
                assert sum(session.run(many(20, 0.001))) == 190
            rig.all_live()
            if before is None:
                before = memory(rig.manager), memory(rig.worker)
        assert len(re.findall("refused", rig.manager.text)) > refused
    assert before is not None
    for party, had in zip((rig.manager, rig.worker), before, strict=True):
        grown = memory(party) - had
        assert grown < 30, f"{grown} MB"
        assert "\x1b" not in party.text
    wait_until(lambda: "Traceback" not in rig.worker.text, rig.worker.text)
    assert "Traceback" not in rig.manager.text
