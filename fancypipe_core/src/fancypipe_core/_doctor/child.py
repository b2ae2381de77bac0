"""A clean interpreter, started by `clean` as `python -m fancypipe_core._doctor.child`.

It imports the main script as a worker does, and then decodes tasks and their
inputs without running them.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
import traceback
from time import perf_counter

from fancypipe_core import errors
from fancypipe_core._base import main_module
from fancypipe_core._base.msgpack import pack
from fancypipe_core._base.resources import memory_of_this_process
from fancypipe_core._base.signals import ignore_ctrl_c
from fancypipe_core._codec import undecodable, unpickler
from fancypipe_core._doctor.records import Imported, Unread
from fancypipe_core._model.task import entry
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import SocketChannel
from fancypipe_core.backend import Call, Job, Live

__all__ = ["main"]


def main(argv: list[str]) -> None:
    """Import the main script, answer; decode jobs, answer; until the other end is gone.

    Args:
        argv: The numbers of two inherited descriptors, of the channel and of the
            lifeline; and the seconds after which to give up.
    """
    channel = SocketChannel(socket.socket(fileno=int(argv[0])), blocking=True)
    os.set_inheritable(int(argv[1]), False)
    threading.Thread(target=_end_with, args=(int(argv[1]),), daemon=True).start()
    # Also in code that never gives the interpreter back: shows where it is, and ends.
    faulthandler.dump_traceback_later(float(argv[2]), exit=True, file=2)
    ignore_ctrl_c()
    setup = messages.decode_command(channel.receive())
    assert isinstance(setup, messages.Setup), "the first command must be the setup"
    sys.path[:] = setup.path
    sys.argv[:] = setup.argv
    main_module.set_main_script(setup.main)
    _send(channel, _import_main())
    reader = messages.FromWorker()
    known: dict[Call, Unread | None] = {}
    while True:
        head, buffers = channel.receive()
        command = messages.decode_command((head, buffers))
        assert isinstance(command, messages.Jobs), "after the setup come jobs"
        tried = (_try(job, known) for job in reader.jobs(command, buffers))
        _send(channel, [unread for unread in tried if unread is not None])


def _send(channel: SocketChannel, answer: object) -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    channel.send(pack(answer))


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    # With whatever the user's code has started: we are a group of our own.
    os.killpg(0, signal.SIGKILL)


def _import_main() -> Imported:
    begin = perf_counter()
    error: BaseException | None = None
    try:
        if main_module.main_script() is not None:
            main_module.load_main()
    except BaseException as raised:  # noqa: BLE001 - it is the user's code
        error = raised
    seconds = perf_counter() - begin
    if error is None:
        return Imported(seconds, "", "", False, memory_of_this_process())
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SystemExit):
        text = "it ends the program when it is imported"
    shown = "".join(traceback.format_exception(error))
    unguarded = isinstance(error, errors.UsageError)
    return Imported(seconds, " ".join(text.split()), shown, unguarded, 0)


def _try(job: Job, known: dict[Call, Unread | None]) -> Unread | None:
    """Decode a job; its code only once for all."""
    assert not isinstance(job.inputs, Live), "nothing travels live"
    assert not isinstance(job.call.body, Live), "nothing travels live"
    if job.call not in known:
        try:
            entry(unpickler.decode(job.call.body))
            known[job.call] = None
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            known[job.call] = _unread(job, error, in_inputs=False)
    unread = known[job.call]
    if unread is not None:
        return unread
    try:
        unpickler.decode(job.inputs)
    except BaseException as error:  # noqa: BLE001 - as above
        return _unread(job, error, in_inputs=True)
    return None


def _unread(job: Job, error: BaseException, in_inputs: bool) -> Unread:
    why = str(undecodable.explain(error, job.call.label, in_inputs)).split("\n", 1)[0]
    # Objects may refuse what stands for a result, and take the result.
    whole = not in_inputs or len(job.inputs) == 1  # type: ignore[arg-type]  # never live
    sure = whole or isinstance(error, (ImportError, errors.FancyPipeError))
    return Unread(job.id[0], why, in_inputs, sure)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except errors.ConnectionLost:
        os._exit(0)
