"""The manager's end of all links."""

from __future__ import annotations

import enum
import errno
import math
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence

import zmq

from fancypipe_core import errors
from fancypipe_remote._address import Address
from fancypipe_remote._auth.keys import ManagerKeys
from fancypipe_remote._transport._descriptors import Descriptors, Idlers
from fancypipe_remote._transport._link import (
    MAX_PART,
    MAX_PARTS,
    READ,
    Context,
    Socket,
    check,
    happened,
    receive_rest,
    set_options,
)

__all__ = ["Listener", "Sent"]

_ZAP = "inproc://zeromq.zap.01"
_DOMAIN = b"fancypipe"
_LOOK = 5.0  # seconds between looks at how much room there is
_LOOK_CROWDED = 2.0  # the same, while there is little


class Sent(enum.Enum):
    """What became of a message that was to be sent to a peer."""

    OK = "on its way"
    FULL = "the peer does not read fast enough; try again later"
    GONE = "the peer is not connected"


class Listener:
    """The manager's end: a port that admits those who have the secret.

    Args:
        address: Where to listen; port 0 for any free one, host `*` for all interfaces.
        keys: Whom to admit, and as what.

    Attributes:
        address: Where it listens, with the port that was found.

    Raises:
        UsageError: One cannot listen there.
    """

    def __init__(self, address: Address, keys: ManagerKeys) -> None:
        self._descriptors = Descriptors()
        # A context of its own: the place where it is asked whom to admit is one per context.
        # Each second thread of libzmq lets one link be decrypted while another is encrypted.
        self._context = zmq.Context(io_threads=2)
        self._doorman = _Doorman(self._context, keys)
        self._socket: Socket = self._context.socket(zmq.ROUTER)
        self._ignored: OrderedDict[bytes, None] = OrderedDict()
        self._spoke: dict[bytes, int] = {}  # the descriptors of links
        self._idlers = Idlers()
        self._turn = 0
        self._is_read = False  # whether a message is known to be there
        self._knocked = True  # whether somebody may wait to be let in
        self._look_again = self._remark_again = 0.0
        try:
            set_options(self._socket)
            for option, value in (
                (zmq.ROUTER_MANDATORY, 1),  # else what cannot be sent vanishes in silence
                (zmq.ROUTER_HANDOVER, 0),  # else who knows a link's name takes the link
                (zmq.BACKLOG, 512),
                (zmq.ZAP_ENFORCE_DOMAIN, 1),  # else everybody is let in if nobody is asked
            ):
                self._socket.setsockopt(option, value)
            self._socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
            keys.arm(self._socket)
            self.address = _bind(self._socket, address)
            sockets = (self._socket, self._doorman.socket)
            self._both = tuple(int(socket.getsockopt(zmq.FD)) for socket in sockets)
        except BaseException:
            self.close()
            raise

    def receive(self) -> tuple[bytes, str, list[bytes]] | None:
        """Return `(peer, role, parts)` of the next message, or None if none is there.

        Newcomers that a `Waiter` has seen are admitted meanwhile, so it is to be called until
        it returns None.  `peer` names a link, and a peer's next link is another one: who it is,
        it has to say again.
        """
        while True:
            self._turn += 1
            if self._turn % 64 == 0:  # also when messages never end
                self._doorman.serve()
            if not self._is_read and not happened(self._socket) & READ:
                if self._knocked:
                    self._knocked = False
                    self._doorman.serve()
                    continue
                return None
            self._is_read = False
            try:
                first = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:  # it went with its link
                continue
            peer = first.bytes
            if peer not in self._spoke:
                self._spoke[peer] = int(str(first.get("__fd")))
            parts = receive_rest(self._socket)
            if peer in self._ignored:
                continue
            role = _role(first)
            if parts is None or not parts or not role:
                self.ignore(peer)
                self._doorman.remark(
                    f"a {role or 'stranger'} is ignored from now on: its message was empty, or "
                    f"of more than {MAX_PARTS} parts of {MAX_PART} bytes"
                )
                continue
            return peer, role, parts

    def send(self, peer: bytes, parts: Sequence[bytes]) -> Sent:
        """Send a message to a peer, if that can be done at once.

        Raises:
            ValueError: It is no message: too large, or nothing.
        """
        check(parts)
        try:
            self._socket.send_multipart([peer, *parts], zmq.NOBLOCK)
        except zmq.Again:
            return Sent.FULL
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            return Sent.GONE
        return Sent.OK

    def ignore(self, peer: bytes) -> None:
        """Read what comes over this link, and forget it."""
        # libzmq has no way to drop one peer.
        self._ignored[peer] = None
        if len(self._ignored) > 10_000:
            self._ignored.popitem(last=False)

    def keep_room_for(self, links: int) -> None:
        """Let strangers take no more of this process than beside so many links is theirs."""
        self._descriptors.keep_for(links)

    def remarks(self, links: Collection[bytes] | None = None) -> list[str]:
        """Return what is worth a line in the log since the last call.

        Who was refused, whose messages are ignored, and that room for links gets scarce.

        Args:
            links: The names of links of which it is known who speaks there. If room is scarce
                others are dropped after some seconds; None for none.
        """
        now = time.monotonic()
        if now >= self._look_again:
            crowded = self._descriptors.crowded()
            self._look_again = now + (_LOOK_CROWDED if crowded else _LOOK)
            if links is not None:
                self._spoke = {link: fd for link, fd in self._spoke.items() if link in links}
            if crowded and links is not None:
                self._idlers.drop(self.address.port, set(self._spoke.values()))
            if crowded and now >= self._remark_again:
                self._remark_again = now + 60
                self._doorman.remark(crowded)
        return self._doorman.remarks()

    def close(self) -> None:
        """Stop listening and drop all links.  What is on its way is lost."""
        self._socket.close(0)
        self._doorman.close()
        self._context.destroy(0)

    def _filenos(self) -> tuple[int, ...]:
        return self._both

    def _happened(self, descriptor: int = -1) -> bool:
        # Who was answered before is not looked for again: the next one makes it readable.
        self._knocked = self._knocked or descriptor == self._both[1]
        self._is_read = bool(happened(self._socket) & READ)
        return self._is_read or self._knocked


class _Doorman:
    """Answers libzmq's question whether a public key is to be let in (ZAP)."""

    def __init__(self, context: Context, keys: ManagerKeys) -> None:
        self._keys = keys
        self._remarks: deque[str] = deque(maxlen=100)
        self._refused: OrderedDict[str, float] = OrderedDict()
        self.socket: Socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(_ZAP)  # must be there before the first stranger is

    def serve(self) -> None:
        """Answer who has asked."""
        while happened(self.socket) & READ:
            self.socket.send_multipart(self._answer(self.socket.recv_multipart(zmq.NOBLOCK)))

    def _answer(self, question: list[bytes]) -> list[bytes]:
        version, number, domain, address, _, mechanism, *credentials = [*question, *[b""] * 6]
        role = None
        if (version, domain, mechanism) == (b"1.0", _DOMAIN, b"CURVE"):
            role = self._keys.role_of(credentials[0])
        if role is None:
            self._refuse(address.decode("ascii", "replace").removeprefix("::ffff:"))
            return [b"1.0", number, b"400", b"unknown key", b"", b""]
        return [b"1.0", number, b"200", b"", role.encode(), b""]

    def _refuse(self, host: str) -> None:
        now = time.monotonic()
        if now - self._refused.get(host, -math.inf) >= 60:
            self._refused[host] = now
            self._refused.move_to_end(host)
            if len(self._refused) > 1000:
                self._refused.popitem(last=False)
            self.remark(f"a peer at {host} was refused: it knows the manager but not our secret")

    def remark(self, text: str) -> None:
        self._remarks.append(text)

    def remarks(self) -> list[str]:
        found = list(self._remarks)
        self._remarks.clear()
        return found

    def close(self) -> None:
        self.socket.close(0)


def _role(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def _bind(socket: Socket, address: Address) -> Address:
    host = address.host
    if host.lower() == "localhost":
        host = "127.0.0.1"  # as the default; it may mean ::1 as well, and we listen on one
    nowhere = "this machine has no such interface or address"
    try:
        socket.bind(f"tcp://{Address(host, address.port)}")
    except zmq.ZMQError as error:
        why = {
            errno.EADDRINUSE: "the port is in use; is another manager running?",
            errno.EACCES: "ports below 1024 are for the administrator only",
        }.get(error.errno or 0, nowhere)
        raise errors.UsageError(f"cannot listen on {address}: {why}") from None
    bound = socket.getsockopt(zmq.LAST_ENDPOINT)
    port = int(bytes(bound).rstrip(b"\0").rpartition(b":")[2])
    return Address(host, port)
