"""What helps to write a backend: public, and above the contract.

`Pool` decides which worker runs which job; `Connection` and `ChannelBackend` are the client's end
of a channel to a worker, `Server` is the worker's; `FuturesBackend` makes a backend of what has
`submit(function, argument) -> Future`, `EngineBackend` of the client of a cluster; `Packer` and
`run_packed` are jobs as bytes, for an engine with a transport of its own; `shipping` takes a
client's code to other machines.  The rest is small and said once.  Each is loaded when it is
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fancypipe_core._base.amounts import EngineSettings, amounts
    from fancypipe_core._base.backoff import Backoff
    from fancypipe_core._base.cores import usable_cores
    from fancypipe_core._base.equipment import this_machine
    from fancypipe_core._base.faults import fault
    from fancypipe_core._base.grants import THREAD_VARIABLES, own_variables, task_variables
    from fancypipe_core._base.interpreter import interpreter
    from fancypipe_core._base.main_module import main_script, set_main_script
    from fancypipe_core._base.msgpack import pack, unpacker
    from fancypipe_core._base.option_names import several
    from fancypipe_core._base.shared_memory import memory_descriptors
    from fancypipe_core._base.signals import block_ctrl_c, ignore_ctrl_c, leave_terminal
    from fancypipe_core._base.strays import boot_clock, kill_strays
    from fancypipe_core._base.traces import Traces
    from fancypipe_core._engine.orphans import owned_prefix, sweep_orphans
    from fancypipe_core._model.file_contents import FileContents
    from fancypipe_core._wire.channel import SocketChannel
    from fancypipe_core._wire.local_socket import LocalListener, LocalName, connect_locally
    from fancypipe_core._wire.messages import Adapt, Setup, decode_command
    from fancypipe_core._wire.passage import OpenPassage, Passage, connect_passage
    from fancypipe_core._worker.inline import InlineBackend
    from fancypipe_core._worker.kept_values import KeptValues
    from fancypipe_core._worker.local import local_backend
    from fancypipe_core._worker.runner import Runner
    from fancypipe_core.cli import run_command  # the door of the command line
    from fancypipe_core.toolkit.async_calls import Again, AsyncCalls
    from fancypipe_core.toolkit.batch import Packer, run_packed
    from fancypipe_core.toolkit.connection import ChannelBackend, Connection, setup_of
    from fancypipe_core.toolkit.engine import Call, Calls, EngineBackend, function_named
    from fancypipe_core.toolkit.futures import FuturesBackend
    from fancypipe_core.toolkit.server import Server
    from fancypipe_core.toolkit.store import Store, named_store, needed, run_with

_HOMES = {
    "THREAD_VARIABLES": "_base.grants",
    "Adapt": "_wire.messages",
    "Again": "toolkit.async_calls",
    "AsyncCalls": "toolkit.async_calls",
    "Backoff": "_base.backoff",
    "Call": "toolkit.engine",
    "Calls": "toolkit.engine",
    "ChannelBackend": "toolkit.connection",
    "Connection": "toolkit.connection",
    "EngineBackend": "toolkit.engine",
    "EngineSettings": "_base.amounts",
    "FileContents": "_model.file_contents",
    "FuturesBackend": "toolkit.futures",
    "InlineBackend": "_worker.inline",
    "KeptValues": "_worker.kept_values",
    "LocalListener": "_wire.local_socket",
    "LocalName": "_wire.local_socket",
    "OpenPassage": "_wire.passage",
    "Packer": "toolkit.batch",
    "Passage": "_wire.passage",
    "Runner": "_worker.runner",
    "Server": "toolkit.server",
    "Setup": "_wire.messages",
    "SocketChannel": "_wire.channel",
    "Store": "toolkit.store",
    "Traces": "_base.traces",
    "amounts": "_base.amounts",
    "block_ctrl_c": "_base.signals",
    "boot_clock": "_base.strays",
    "bytes_of": "_base.needs",
    "connect_locally": "_wire.local_socket",
    "connect_passage": "_wire.passage",
    "decode_command": "_wire.messages",
    "fault": "_base.faults",
    "function_named": "toolkit.engine",
    "ignore_ctrl_c": "_base.signals",
    "interpreter": "_base.interpreter",
    "kill_strays": "_base.strays",
    "leave_terminal": "_base.signals",
    "local_backend": "_worker.local",
    "main_script": "_base.main_module",
    "memory_descriptors": "_base.shared_memory",
    "named_store": "toolkit.store",
    "needed": "toolkit.store",
    "own_variables": "_base.grants",
    "owned_prefix": "_engine.orphans",
    "pack": "_base.msgpack",
    "run_command": "cli",
    "run_packed": "toolkit.batch",
    "run_with": "toolkit.store",
    "set_main_script": "_base.main_module",
    "several": "_base.option_names",
    "show_devices": "_base.equipment",
    "setup_of": "toolkit.connection",
    "sweep_orphans": "_engine.orphans",
    "task_variables": "_base.grants",
    "this_machine": "_base.equipment",
    "unpacker": "_base.msgpack",
    "usable_cores": "_base.cores",
}

__all__ = [
    "THREAD_VARIABLES",
    "Adapt",
    "Again",
    "AsyncCalls",
    "Backoff",
    "Call",
    "Calls",
    "ChannelBackend",
    "Connection",
    "EngineBackend",
    "EngineSettings",
    "FileContents",
    "FuturesBackend",
    "InlineBackend",
    "KeptValues",
    "LocalListener",
    "LocalName",
    "OpenPassage",
    "Packer",
    "Passage",
    "Runner",
    "Server",
    "Setup",
    "SocketChannel",
    "Store",
    "Traces",
    "amounts",
    "block_ctrl_c",
    "boot_clock",
    "bytes_of",
    "connect_locally",
    "connect_passage",
    "decode_command",
    "fault",
    "function_named",
    "ignore_ctrl_c",
    "interpreter",
    "kill_strays",
    "leave_terminal",
    "local_backend",
    "main_script",
    "memory_descriptors",
    "named_store",
    "needed",
    "own_variables",
    "owned_prefix",
    "pack",
    "run_command",
    "run_packed",
    "run_with",
    "set_main_script",
    "setup_of",
    "several",
    "show_devices",
    "sweep_orphans",
    "task_variables",
    "this_machine",
    "unpacker",
    "usable_cores",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"fancypipe_core.{home}"), name)
