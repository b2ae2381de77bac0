"""Who can do what to whom, and the tests that show it.

Both what somebody can do and what somebody cannot do is shown by tests: a page that
promises too little is as wrong as one that promises too much.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

__all__ = ["ROWS", "Row", "missing"]

TESTS = Path(__file__).resolve().parents[1] / "tests"


class Row(NamedTuple):
    """What one party may do to another.

    Attributes:
        who: Who does it, and what they have for it.
        whom: To whom.
        can: Whether it can be done.
        what: What.
        tests: What shows it: `file::test`, from the folder of tests.
    """

    who: str
    whom: str
    can: bool
    what: str
    tests: tuple[str, ...]


STRANGER = "a stranger, without a key"
OTHER = "another user of the machine"
WORKER_KEY = "a worker key"
WORKER = "a worker, whatever its key"
CLIENT = "a client, with the secret"
ANY_KEY = "a peer with any key"
MANAGER = "the manager's process"
TASK = "a task"

_KEYS, _SECRET, _HOSTILE = "remote/test_keys.py", "remote/test_secret.py", "remote/test_hostile.py"
_LIES, _PARTIES = "remote/test_lies.py", "remote/test_lying_parties.py"
_HOSTS, _DIRECT = "remote/test_hosts.py", "remote/test_direct_link.py"
_START = "core/test_interpreter.py"
_TRUST, _CLUSTER = "remote/test_trust.py", "remote/test_cluster.py"

ROWS = [
    Row(
        STRANGER, "anybody", False, "get an answer, be let in, or cost much memory",
        (
            f"{_HOSTILE}::test_garbage_of_all_kinds",
            f"{_HOSTILE}::test_a_giant_frame_before_the_handshake_is_cut",
            f"{_HOSTILE}::test_silent_and_trickling_strangers_are_sent_away",
            f"{_HOSTILE}::test_what_a_stranger_can_make_the_manager_hold",
        ),
    ),
    Row(
        STRANGER, "anybody", False, "read what passes, play it again, or change it",
        (
            f"{_HOSTILE}::test_nothing_can_be_read_on_the_way",
            f"{_HOSTILE}::test_a_recorded_session_is_of_no_use",
            f"{_HOSTILE}::test_a_flipped_bit_costs_the_link_and_no_more",
        ),
    ),
    Row(
        OTHER, "you", False, "read the secret from a file, the list of processes or a child",
        (
            f"{_SECRET}::test_a_file_that_others_can_use",
            f"{_SECRET}::test_arguments_are_scrubbed",
            f"{_SECRET}::test_children_do_not_get_it",
            f"{_HOSTS}::test_a_host_process_has_a_workers_key_that_nobody_can_read_off_it",
        ),
    ),
    Row(
        OTHER, "you", False, "try all short secrets on `localhost`: they are refused",
        (f"{_SECRET}::test_a_very_short_secret_is_for_nobody",),
    ),
    Row(
        OTHER, "you", False, "have a process of ours run a file that lies in its current folder",
        (
            f"{_CLUSTER}::test_host_processes_import_nothing_from_the_workers_folder",
            f"{_START}::test_children_of_procs_import_nothing_from_the_current_folder",
        ),
    ),
    Row(
        OTHER, "you", False, "read the inputs that are kept of a task that failed",
        ("system/test_replay.py::test_what_is_kept_is_nobody_elses",),
    ),
    Row(
        OTHER, "you", False, "have `fancypipe replay` run code of a job that is theirs",
        ("system/test_replay.py::test_one_of_another_user_is_not_run",),
    ),
    Row(
        WORKER_KEY, "the manager", True, "join as a worker",
        (f"{_KEYS}::test_a_worker_with_it_is_admitted_and_is_a_worker",),
    ),
    Row(
        WORKER_KEY, "the manager", False, "be a client or a manager, or find out the secret",
        (
            f"{_KEYS}::test_a_worker_key_is_of_no_use_to_others",
            f"{_KEYS}::test_neither_the_secret_nor_other_keys_are_in_it",
        ),
    ),
    Row(
        WORKER_KEY, "workers", False, "run anything on one, or learn how to speak as a client",
        (
            f"{_PARTIES}::test_a_worker_key_runs_nothing_on_a_worker",
            f"{_LIES}::test_a_key_is_asked_at_each_message",
            f"{_LIES}::test_nobody_is_told_a_links_name",
            f"{_LIES}::test_nobody_takes_a_host_processs_address",
        ),
    ),
    Row(
        WORKER_KEY, "clients", False,
        "take the direct link of a host process, or speak there for the manager or another worker",
        (
            f"{_DIRECT}::test_who_has_not_the_token_is_not_let_in",
            f"{_DIRECT}::test_whoever_pretends_to_be_the_host_gets_nothing",
            f"{_DIRECT}::test_over_a_direct_link_nobody_speaks_as_the_manager_or_for_others",
        ),
    ),
    Row(
        OTHER, "you", False, "have memory or messages that go past the manager on one machine",
        ("core/test_shared_memory.py::test_another_user_is_not_let_in",),
    ),
    Row(
        ANY_KEY, "anybody", False,
        "end a process, or anybody's connection but its own, by what it says",
        (
            f"{_PARTIES}::test_a_manager_drops_liars_and_keeps_the_others",
            f"{_LIES}::test_what_cannot_be_read_ends_the_liars_connection_only",
            f"{_LIES}::test_a_connection_is_between_those_whom_it_was_made_for",
            f"{_PARTIES}::test_fuzz_the_processes",
        ),
    ),
    Row(
        ANY_KEY, "whoever reads a log", False,
        "begin a line of its own there, or reach the terminal",
        (f"{_LIES}::test_the_relay_refuses_a_lie_on_one_line_and_hears_its_teller_no_more",),
    ),
    Row(
        WORKER, "its clients", False, "have a path deleted that is not below the session's folder",
        ("core/test_lies.py::test_a_client_deletes_below_its_sessions_folder_only",),
    ),
    Row(
        WORKER, "its clients", True,
        "**run any code in the client's process**: results and exceptions are unpickled there",
        (f"{_TRUST}::test_a_worker_can_run_code_in_its_client",),
    ),
    Row(
        WORKER, "its clients", False,
        "run code there by what is said to be plain data or arrays (but it can say that it is not)",
        (f"{_TRUST}::test_no_code_is_run_by_what_is_said_to_be_plain",),
    ),
    Row(
        WORKER, "other workers of its clients", True,
        "run any code there, where tasks are given its results",
        (f"{_TRUST}::test_a_worker_can_run_code_where_its_results_go",),
    ),
    Row(
        WORKER, "its clients", True, "read the tasks that it is given, and give wrong results",
        (f"{_TRUST}::test_a_worker_can_run_code_in_its_client",),
    ),
    Row(
        CLIENT, "workers", True, "run any code as the user who started the worker",
        (f"{_TRUST}::test_a_client_runs_code_on_workers",),
    ),
    Row(
        TASK, "whoever started its worker", True,
        "read that user's files, the secret among them where there is one",
        (f"{_TRUST}::test_a_client_runs_code_on_workers",),
    ),
    Row(
        TASK, "the manager", True, "join as a worker: the process that runs it has a worker's key",
        (f"{_HOSTS}::test_a_task_can_have_the_workers_key_and_no_other",),
    ),
    Row(
        TASK, "other clients' tasks", False,
        "be in one process with them: each client has processes of its own",
        (f"{_TRUST}::test_clients_share_no_process",),
    ),
    Row(
        MANAGER, "anybody", False, "run code that passes: it cannot unpickle at all",
        (
            f"{_CLUSTER}::test_the_managers_process_has_nothing_that_could_run_code",
            f"{_CLUSTER}::test_what_would_run_code_passes_through_the_manager_unharmed",
        ),
    ),
]  # fmt: skip


def missing(rows: list[Row] = ROWS) -> list[str]:
    """Return the tests that rows name and that are not there."""
    return [name for row in rows for name in row.tests or ("none",) if not _is_there(name)]


def _is_there(name: str) -> bool:
    file, _, test = name.partition("::")
    path = TESTS / file
    if not path.is_file():
        return False
    tree = ast.parse(path.read_text("utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == test for node in tree.body)
