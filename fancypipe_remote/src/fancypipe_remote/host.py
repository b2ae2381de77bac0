"""The process in which a worker runs one client's jobs: a channel in front of a local backend.

`python -m fancypipe_remote.host`, started by the worker and nobody else.  Each
client has its own, so their modules do not mix and what one breaks, the other keeps.
It has a link of its own to the manager, and over that the client's channel.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import socket
import sys
import tempfile
from time import monotonic
from typing import cast

from msgspec.structs import replace

from fancypipe_core.errors import ChannelError, FancyPipeError, ProtocolError, VersionMismatch
from fancypipe_core.toolkit import (
    Server,
    Setup,
    SocketChannel,
    connect_passage,
    decode_command,
    fault,
    ignore_ctrl_c,
    local_backend,
    owned_prefix,
    sweep_orphans,
)
from fancypipe_core.toolkit.shipping import (
    FolderPassage,
    Keeping,
    Place,
    ValueFolder,
    has_code,
    this_platform,
    unpack,
)
from fancypipe_remote._address import Address
from fancypipe_remote._auth.keys import WORKER, PeerKeys
from fancypipe_remote._auth.secret import Secret
from fancypipe_remote._protocol import greeting as _greeting
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.endpoint import HostSide
from fancypipe_remote._protocol.greeting import Answer, Folder, Greeting
from fancypipe_remote._transport import Dialer
from fancypipe_remote._transport.direct import connect_directly
from fancypipe_remote._worker.borrower import Borrower
from fancypipe_remote._worker.host_socket import HostSocket
from fancypipe_remote._worker.lifeline import Assignment, FromWorker, Lifeline, of_host

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(argv: list[str]) -> None:
    """Serve one client until it is gone.

    Args:
        argv: The number of the inherited socket to the worker, and the worker's
            process number.
    """
    fault("remote.host")
    descriptor, parent = argv
    os.set_inheritable(int(descriptor), False)
    _die_with(int(parent))
    faulthandler.enable(all_threads=False)
    ignore_ctrl_c()
    lifeline = of_host(socket.socket(fileno=int(descriptor)))
    try:
        assignment = lifeline.first()
    except ChannelError:
        return  # the worker is gone
    assert isinstance(assignment, Assignment), assignment
    borrower = Borrower(lifeline)
    link = _dial(assignment, lifeline, borrower)
    channel = Keeping(cast(socket.socket, link), blocking=True)
    sweep_orphans(assignment.base)  # of host processes that were killed
    own = tempfile.mkdtemp(prefix=owned_prefix("host"), dir=assignment.base)
    try:
        _serve(channel, link, assignment, own, borrower)
    except ProtocolError as error:
        sys.exit(f"host process {os.getpid()}: its client broke the protocol: {error}")
    except VersionMismatch as error:
        sys.exit(f"host process {os.getpid()}: {error}")
    except ChannelError:
        return  # the client is gone; there is nobody to tell
    finally:
        shutil.rmtree(own, ignore_errors=True)
        channel.close()


def _dial(assignment: Assignment, lifeline: Lifeline[FromWorker], borrower: Borrower) -> HostSocket:
    """Return the connection to the client, over a link that is about to be made."""
    keys = PeerKeys(Secret(assignment.key, "the worker"), WORKER)
    dialer = Dialer(Address(assignment.host, assignment.port), keys)
    hello = replace(assignment.hello, protocol=messages.PROTOCOL, pid=os.getpid())
    side = HostSide(hello, assignment.client, assignment.connection, monotonic())
    return HostSocket(dialer, side, lifeline, borrower.hear)


def _die_with(parent: int) -> None:
    """Let the kernel end us with the worker, also while a task holds the interpreter."""
    if sys.platform != "linux":
        return  # there the channel's end does it
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _serve(
    channel: SocketChannel, link: HostSocket, assignment: Assignment, own: str, gate: Borrower
) -> None:
    greeting = _greeting.decode(channel.receive()[0], Greeting)
    channel.passage = connect_passage(greeting.passage)
    link.join(connect_directly(greeting.direct, greeting.token, assignment.client))
    shares = _greeting.sees(greeting.directory, greeting.proof)
    directory = greeting.directory if shares else own
    platform = this_platform()
    try:
        make = local_backend(assignment.backend, assignment.slots, directory, apart=not shares)
    except FancyPipeError as error:
        answer = Answer(wants_code=False, shares=shares, platform=platform, problem=str(error))
        channel.send(_greeting.encode(answer))
        return
    sees_code = has_code(greeting.code)
    values = _sign(greeting) if shares and channel.passage is None else None
    answer = Answer(
        wants_code=not sees_code, shares=shares, platform=platform, has_signed=values is not None
    )
    channel.send(_greeting.encode(answer))
    place = Place()
    if not sees_code:
        _, buffers = channel.receive()
        if len(buffers) != 1:
            raise ProtocolError(f"{len(buffers)} archives of code came")
        try:
            place = unpack(bytes(buffers[0]), os.path.join(own, "code"))
        except ValueError as error:
            raise ProtocolError(str(error)) from error
    if values is not None:
        if _greeting.decode(channel.receive()[0], Folder).is_used:
            channel.passage = FolderPassage(values)
        else:
            values.unsign()
    setup = decode_command(channel.receive())
    if not isinstance(setup, Setup):
        raise ProtocolError(f"after the greeting came {type(setup).__name__}")
    place.enter(greeting.code, setup.argv, setup.main)
    os.chdir(greeting.cwd if os.path.isdir(greeting.cwd) else own)
    server = Server(channel, waits=False, wait=link.turn, gate=gate)
    server.serve(make(setup.measures, setup.pictures))


def _sign(greeting: Greeting) -> ValueFolder | None:
    """Return the client's folder of values, signed; None if there is none, or we cannot write."""
    if not greeting.writer or not greeting.part:
        return None
    values = ValueFolder(_greeting.values_in(greeting.directory), greeting.writer, greeting.part)
    return values if values.sign(greeting.proof) else None


if __name__ == "__main__":
    main(sys.argv[1:])
