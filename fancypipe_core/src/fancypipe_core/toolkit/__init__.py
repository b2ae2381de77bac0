"""What helps to write a backend: public, and above the contract.

`Pool` decides which worker runs which job; `Connection` and `ChannelBackend` are the client's end
of a channel to a worker, `Server` is the worker's; `FuturesBackend` makes a backend of what has
`submit(function, argument) -> Future`.  The rest is small and said once.  Each is loaded when it
is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fancypipe_core._base.cores import usable_cores
    from fancypipe_core._base.faults import fault
    from fancypipe_core._base.interpreter import interpreter
    from fancypipe_core._base.main_module import main_script, set_main_script
    from fancypipe_core._base.msgpack import pack, unpacker
    from fancypipe_core._base.option_names import several
    from fancypipe_core._base.signals import ignore_ctrl_c
    from fancypipe_core._engine.orphans import owned_prefix, sweep_orphans
    from fancypipe_core._wire.channel import SocketChannel
    from fancypipe_core._wire.messages import Adapt, Setup, decode_command
    from fancypipe_core._worker.inline import InlineBackend
    from fancypipe_core._worker.local import local_backend
    from fancypipe_core._worker.runner import Runner
    from fancypipe_core.cli import run_command  # the door of the command line
    from fancypipe_core.toolkit.connection import ChannelBackend, Connection, setup_of
    from fancypipe_core.toolkit.futures import FuturesBackend
    from fancypipe_core.toolkit.server import Server

_HOMES = {
    "Adapt": "_wire.messages",
    "ChannelBackend": "toolkit.connection",
    "Connection": "toolkit.connection",
    "FuturesBackend": "toolkit.futures",
    "InlineBackend": "_worker.inline",
    "Runner": "_worker.runner",
    "Server": "toolkit.server",
    "Setup": "_wire.messages",
    "SocketChannel": "_wire.channel",
    "decode_command": "_wire.messages",
    "fault": "_base.faults",
    "ignore_ctrl_c": "_base.signals",
    "interpreter": "_base.interpreter",
    "local_backend": "_worker.local",
    "main_script": "_base.main_module",
    "owned_prefix": "_engine.orphans",
    "pack": "_base.msgpack",
    "run_command": "cli",
    "set_main_script": "_base.main_module",
    "several": "_base.option_names",
    "setup_of": "toolkit.connection",
    "sweep_orphans": "_engine.orphans",
    "unpacker": "_base.msgpack",
    "usable_cores": "_base.cores",
}

__all__ = [
    "Adapt",
    "ChannelBackend",
    "Connection",
    "FuturesBackend",
    "InlineBackend",
    "Runner",
    "Server",
    "Setup",
    "SocketChannel",
    "decode_command",
    "fault",
    "ignore_ctrl_c",
    "interpreter",
    "local_backend",
    "main_script",
    "owned_prefix",
    "pack",
    "run_command",
    "set_main_script",
    "setup_of",
    "several",
    "sweep_orphans",
    "unpacker",
    "usable_cores",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"fancypipe_core.{home}"), name)
