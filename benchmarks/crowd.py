"""A manager with a crowd of clients and workers, over real sockets: is nobody taken for gone?

`python -m benchmarks.crowd` starts a manager, and processes that play its peers: each peer is
a socket of libzmq with keys, which says hello and then beats once a second as a real one
does; a client asks for other numbers of slots with each beat.  Now and then a client
says something to a worker, which sends it back.  At the end it says what the manager has
spent, how long the way was, and who was missed.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import zmq

from fancypipe_remote._address import Address, parse
from fancypipe_remote._auth.keys import CLIENT, WORKER, PeerKeys
from fancypipe_remote._auth.secret import Secret
from fancypipe_remote._protocol import messages
from fancypipe_remote._transport._dialer import _dealer
from fancypipe_remote._transport._link import READ, Context, happened

_SLOTS = 8
_TICKS = os.sysconf("SC_CLK_TCK")


class Peer:
    """One that is played."""

    def __init__(self, context: Context, keys: PeerKeys, to: Address) -> None:
        self.role: messages.Role = "client" if keys.role == CLIENT else "worker"
        self.socket = _dealer(context, keys)
        self.socket.connect(f"tcp://{to}")
        self.hello = messages.hello(self.role, _SLOTS if self.role == "worker" else 0)
        self.workers: dict[bytes, int] = {}
        self.clients = 0
        self.greetings = 0
        self.beats = 0
        self.next = 0.0
        self.asked = 0.0
        self.trips: list[float] = []

    def _say(self, parts: messages.Parts) -> None:
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            self.next = 0.0  # there is no link yet

    def turn(self, now: float) -> None:
        """Take what has come, and say what it is time for."""
        while happened(self.socket) & READ:
            self._take(self.socket.recv_multipart(zmq.NOBLOCK), now)
        if now < self.next:
            return
        self.next = now + 1.0
        if (not self.clients and self.role == "client") or not self.greetings:
            self._say(messages.encode(self.hello))
        elif self.role == "worker":
            self._say(messages.encode(messages.WorkerBeat(_SLOTS, 0.5)))
        else:
            self.beats += 1
            using = dict.fromkeys(list(self.workers)[:5], 1)
            self._say(messages.encode(messages.ClientBeat(20 + self.beats % 7, using)))
            if using and not self.asked:
                self.asked = now
                self._say(messages.encode(messages.Look(1, "", ""), next(iter(using))))

    def _take(self, parts: messages.Parts, now: float) -> None:
        if parts[0] and self.role == "worker":
            self._say(messages.encode(messages.Seen(1, True), parts[0]))
            return
        said = messages.decode(parts, by_manager=False)
        if isinstance(said, messages.Seen):
            self.trips.append(monotonic() - self.asked)
            self.asked = 0.0
        elif isinstance(said, messages.Welcome):
            self.greetings += 1
        elif isinstance(said, messages.Who):
            self._say(messages.encode(self.hello))
        elif isinstance(said, messages.Workers):
            self.clients = said.clients
            self.workers.update(said.shares)
            self.workers = {worker: share for worker, share in self.workers.items() if share}


def play(address: Address, secret: Secret, clients: int, workers: int, seconds: float) -> None:
    """Be so many peers, and say at the end what they saw."""
    context: Context = zmq.Context(io_threads=1)
    context.set(zmq.MAX_SOCKETS, 4 * (clients + workers) + 64)
    peers: list[Peer] = []
    poll = select.poll()
    roles = [CLIENT] * clients + [WORKER] * workers
    of = {role: PeerKeys(secret, role) for role in set(roles)}
    until, longest, before = monotonic() + seconds, 0.0, monotonic()
    while (now := monotonic()) < until:
        if len(peers) < len(roles):  # not all at once
            peers.append(Peer(context, of[roles[len(peers)]], address))
            poll.register(int(peers[-1].socket.getsockopt(zmq.FD)), select.POLLIN)
        for peer in peers:
            peer.turn(now)
        longest, before = max(longest, monotonic() - before), monotonic()
        poll.poll(20)
    trips = sorted(trip for peer in peers for trip in peer.trips)
    again = sum(peer.greetings > 1 for peer in peers)
    there = {peer.clients for peer in peers if peer.role == "client"}
    sys.stdout.write(
        f"{len(peers)} peers; {again} had to say hello again; clients that they know of: "
        f"{sorted(there)}; longest turn {longest:.2f} s; {len(trips)} trips"
        + (f", median {trips[len(trips) // 2] * 1e3:.1f} ms" if trips else "")
        + (f", p99 {trips[int(len(trips) * 0.99)] * 1e3:.1f} ms\n" if trips else "\n")
    )
    for peer in peers:
        peer.socket.close(0)
    context.term()


def _spent(pid: int) -> Iterator[float]:
    text = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    yield (int(text[11]) + int(text[12])) / _TICKS
    yield int(text[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Start them all, and say how it went."""
    read = argparse.ArgumentParser(description=__doc__)
    read.add_argument("--clients", type=int, default=200)
    read.add_argument("--workers", type=int, default=1000)
    read.add_argument("--drivers", type=int, default=2)
    read.add_argument("--seconds", type=float, default=30.0)
    read.add_argument("--play", default="", help=argparse.SUPPRESS)
    asked = read.parse_args()
    if asked.play:
        secret = Secret(os.environ["FANCYPIPE_JOBAUTH"], "the benchmark")
        play(parse(asked.play), secret, asked.clients, asked.workers, asked.seconds)
        return
    from fancypipe_remote._auth import token

    env = {**os.environ, "FANCYPIPE_JOBAUTH": token.generate()}
    with tempfile.TemporaryFile("w+") as log:
        manager = subprocess.Popen(
            [sys.executable, "-m", "fancypipe_core.cli", "manager", "-jobmanager=127.0.0.1:0"],
            env=env, stderr=log,
        )  # fmt: skip
        try:
            while not (found := re.search(r"listening on (\S+:\d+)", _text(log))):
                sleep(0.05)
            share = [
                f"--clients={asked.clients // asked.drivers}",
                f"--workers={asked.workers // asked.drivers}",
                f"--seconds={asked.seconds}",
            ]
            drivers = [
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.crowd", f"--play={found[1]}", *share],
                    env=env,
                )
                for _ in range(asked.drivers)
            ]
            sleep(asked.seconds / 2)
            cpu, _ = _spent(manager.pid)
            sleep(asked.seconds / 4)
            later, memory = _spent(manager.pid)
            for driver in drivers:
                driver.wait()
            lines = _text(log).splitlines()
            sys.stdout.write(
                f"manager: {(later - cpu) / asked.seconds * 4 * 100:.0f} % of a core, "
                f"{memory:.0f} MB; joined {sum(' joined' in line for line in lines)}, "
                f"gone {sum(' is gone: it sent' in line for line in lines)}, "
                f"refused {sum('refused' in line for line in lines)}\n"
            )
        finally:
            manager.terminate()
            manager.wait()


def _text(log: object) -> str:
    log.seek(0)  # type: ignore[attr-defined]
    return str(log.read())  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
