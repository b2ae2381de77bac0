"""A manager that sends back what it gets, with the sender's role: in a thread or a process.

`python -m tests.remote.echo` takes the secret from its environment, writes its address,
and ends with its standard input.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fancypipe_remote._address import Address
from fancypipe_remote._auth import secret as _secret
from fancypipe_remote._auth import token
from fancypipe_remote._auth.keys import CLIENT, ManagerKeys, PeerKeys
from fancypipe_remote._auth.secret import Secret
from fancypipe_remote._transport import Dialer, Listener, Sent, Waiter, Waker

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PATIENCE", "Echo", "ask", "dialer", "keys", "secret"]

PATIENCE = 30  # seconds; for a machine that is slow and busy


class Echo:
    """The manager, in a thread of its own while it is entered.

    Attributes:
        address: Where it listens.
        seen: `(peer, role, parts)` of each message.
        remarks: What it would log.
    """

    def __init__(self, secret: Secret, address: Address | None = None) -> None:
        self.keys = ManagerKeys(secret)
        self.seen: list[tuple[bytes, str, list[bytes]]] = []
        self.remarks: list[str] = []
        self._wanted = address or Address("127.0.0.1", 0)
        self._waker = Waker()
        self._over = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="echo")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(PATIENCE)
        self._waker.close()

    def stop(self) -> None:
        self._over = True
        self._waker.wake()

    def _run(self) -> None:
        listener = Listener(self._wanted, self.keys)
        try:
            self.address = listener.address
            self._ready.set()
            self._serve(listener)
        finally:
            self._ready.set()
            listener.close()

    def _serve(self, listener: Listener) -> None:
        waiter = Waiter(listener, self._waker)
        answers: deque[tuple[bytes, list[bytes]]] = deque()
        while not self._over:
            waiter.wait(0.001 if answers else None)
            while message := listener.receive():
                peer, role, parts = message
                self.seen.append(message)
                answers.append((peer, [role.encode(), *parts]))
            while answers and listener.send(*answers[0]) is not Sent.FULL:
                answers.popleft()
            self.remarks += listener.remarks()


def secret(text: str | None = None) -> Secret:
    """Return a secret, by default a new one."""
    return Secret(text or token.generate(), "test")


def keys(of: Secret, role: str = CLIENT) -> PeerKeys:
    return PeerKeys(of, role)


@contextmanager
def dialer(address: Address, of: PeerKeys) -> Iterator[Dialer]:
    link = Dialer(address, of)
    try:
        yield link
    finally:
        link.close()


def ask(link: Dialer, *parts: bytes, seconds: float = PATIENCE) -> list[bytes] | None:
    """Send a message and return the next that comes; None if none comes in time."""
    deadline = time.monotonic() + seconds
    waiter = Waiter(link)
    sent = False
    while (left := deadline - time.monotonic()) > 0:
        sent = sent or link.send(parts)
        if answer := link.receive():
            return answer
        waiter.wait(left)
    return None


def main() -> None:
    """Be a process of its own."""
    with Echo(_secret.find()) as echo:
        sys.stdout.write(f"{echo.address}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
