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
    decode_command,
    fault,
    ignore_ctrl_c,
    local_backend,
    owned_prefix,
    set_main_script,
    sweep_orphans,
)
from fancypipe_remote._address import Address
from fancypipe_remote._auth.keys import WORKER, PeerKeys
from fancypipe_remote._auth.secret import Secret
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.endpoint import HostSide
from fancypipe_remote._shipping import bundle
from fancypipe_remote._shipping import greeting as _greeting
from fancypipe_remote._shipping.greeting import Answer, Greeting
from fancypipe_remote._shipping.shared_buffers import Keeping
from fancypipe_remote._transport import Dialer
from fancypipe_remote._worker import lifeline as _lifeline
from fancypipe_remote._worker.host_socket import HostSocket
from fancypipe_remote._worker.lifeline import Assignment

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
    lifeline = socket.socket(fileno=int(descriptor))
    try:
        assignment = _lifeline.receive(lifeline)
    except ChannelError:
        return  # the worker is gone
    channel = _dial(assignment, lifeline)
    sweep_orphans(assignment.base)  # of host processes that were killed
    own = tempfile.mkdtemp(prefix=owned_prefix("host"), dir=assignment.base)
    try:
        _serve(channel, assignment.backend, assignment.slots, own)
    except ProtocolError as error:
        sys.exit(f"host process {os.getpid()}: its client broke the protocol: {error}")
    except VersionMismatch as error:
        sys.exit(f"host process {os.getpid()}: {error}")
    except ChannelError:
        return  # the client is gone; there is nobody to tell
    finally:
        shutil.rmtree(own, ignore_errors=True)
        channel.close()


def _dial(assignment: Assignment, lifeline: socket.socket) -> SocketChannel:
    """Return the channel to the client, over a link that is about to be made."""
    keys = PeerKeys(Secret(assignment.key, "the worker"), WORKER)
    dialer = Dialer(Address(assignment.host, assignment.port), keys)
    hello = replace(assignment.hello, protocol=messages.PROTOCOL, pid=os.getpid())
    side = HostSide(hello, assignment.client, assignment.connection, monotonic())
    return Keeping(cast(socket.socket, HostSocket(dialer, side, lifeline)), blocking=True)


def _die_with(parent: int) -> None:
    """Let the kernel end us with the worker, also while a task holds the interpreter."""
    if sys.platform != "linux":
        return  # there the channel's end does it
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _serve(channel: SocketChannel, name: str, workers: int, own: str) -> None:
    greeting = _greeting.decode(channel.receive()[0], Greeting)
    shares = _greeting.sees(greeting.directory, greeting.proof)
    directory = greeting.directory if shares else own
    platform = bundle.this_platform()
    try:
        backend = local_backend(name, workers, directory)
    except FancyPipeError as error:
        answer = Answer(wants_code=False, shares=shares, platform=platform, problem=str(error))
        channel.send(_greeting.encode(answer))
        return
    sees_code = bundle.settle(greeting.code)
    answer = Answer(wants_code=not sees_code, shares=shares, platform=platform)
    channel.send(_greeting.encode(answer))
    place = bundle.Place()
    if not sees_code:
        _, buffers = channel.receive()
        if len(buffers) != 1:
            raise ProtocolError(f"{len(buffers)} archives of code came")
        try:
            place = bundle.unpack(bytes(buffers[0]), os.path.join(own, "code"))
        except ValueError as error:
            raise ProtocolError(str(error)) from error
    setup = decode_command(channel.receive())
    if not isinstance(setup, Setup):
        raise ProtocolError(f"after the greeting came {type(setup).__name__}")
    sys.path[:] = place.search(greeting.code, sys.path)
    sys.argv[:] = [place.of(setup.argv[0]), *setup.argv[1:]] if setup.argv else []
    main_script = setup.main
    if main_script is not None and main_script[0] == "file":
        main_script = ("file", place.of(main_script[1]))
    set_main_script(main_script)
    os.chdir(greeting.cwd if os.path.isdir(greeting.cwd) else own)
    Server(channel, waits=False).serve(backend)


if __name__ == "__main__":
    main(sys.argv[1:])
