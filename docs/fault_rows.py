"""The rows of the fault matrix, and the tests that show them.

A test says which rows it shows by `@pytest.mark.fault(8, 9)`, also as a mark of
one of its parameters.  The marks are read from the source, so that the page can
be made without running anything.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["ROWS", "SECTIONS", "Row", "Shown", "shown"]

TESTS = Path(__file__).resolve().parents[1] / "tests"


class Row(NamedTuple):
    """One fault.

    Attributes:
        number: How tests name it.  Numbers are not used again.
        fault: What goes wrong.
        outcome: What happens then; empty where no test shows it yet.
    """

    number: int
    fault: str
    outcome: str = ""


class Shown(NamedTuple):
    """A test and a row that it shows."""

    row: int
    file: str
    test: str


TASK_CODE = [
    Row(
        1,
        "A task raises an exception",
        "`run()` raises a `TaskError` that is of the exception's class too, with the original as "
        "its cause, its traceback, host, process and attempt. What needs the task is skipped; with "
        "`keep_going` all else is run first.",
    ),
    Row(
        2,
        "The exception cannot be pickled",
        "The same, with less: it comes without the attributes that cannot travel, or a "
        "`RemoteError` with its class, its text and its traceback stands in for it.",
    ),
    Row(
        3,
        "The exception has an `__init__` of its own, which breaks unpickling",
        "It comes whole: the worker reads each exception back before it sends it, and tblib's "
        "reducers do not call `__init__`. The worker and its other tasks notice nothing.",
    ),
    Row(
        4,
        "Groups, causes, notes, a message of 10 MB, a `__str__` that raises",
        "Groups, causes and notes come along. A text is cut at 64 KiB and says so; one that cannot "
        "be had is replaced by the exception's class.",
    ),
    Row(
        5,
        "The result cannot be pickled",
        "An `EncodeError` with the path to the culprit, such as `result['a'][3].lock`. It is not "
        "tried again.",
    ),
    Row(
        6,
        "The result raises, exits or never ends when it is unpickled",
        "The worker reads back what is more than plain data, so it fails there, for this task "
        "alone, on the task's own time. What only the client cannot read is a `DecodeError` that "
        "names the task which made it.",
    ),
    Row(
        7,
        "A worker cannot import what a task needs",
        "A `DecodeError` with the module's name, the host and what to do. It does not count as a "
        "death and is not tried again.",
    ),
    Row(
        8,
        "A task crashes the interpreter (SIGSEGV)",
        "The task is tried again and then given up with `TaskLost`, whose certificate has the "
        "signal and the stack. Tasks beside it and behind it are unharmed.",
    ),
    Row(
        9,
        "`os._exit(n)`, `abort()`, `kill -9` of itself",
        "As 8; the certificate tells exit codes and signals apart.",
    ),
    Row(
        10,
        "The kernel kills the worker for want of memory",
        "As 8; the certificate says so, and how much memory the worker had.",
    ),
    Row(
        11,
        "`MemoryError` in a task",
        "A `TaskError` like others; on processes the worker is replaced.",
    ),
    Row(
        12,
        "A task never ends, and has a `timeout`",
        "Its worker is killed with all that it has started, also in C code and with SIGTERM "
        "ignored; `TaskTimeout`.",
    ),
    Row(
        13,
        "A task never ends on the threads backend",
        "`TaskTimeout` at the limit. A thread cannot be killed: it is left to run on, a warning "
        "names it, and another takes its place. So it is for a task that was cancelled and has not "
        "ended within the grace time.",
    ),
    Row(
        14,
        "`sys.exit()` or `KeyboardInterrupt` in a task",
        "A `TaskError` like others; the worker lives on.",
    ),
    Row(
        15,
        "A task changes the working folder, the environment, signal handlers, ...",
        "The next task finds all as it was: it is put back, or the worker is replaced.",
    ),
    Row(
        16,
        "A task starts daemons or children of children",
        "They are told, and killed when their worker ends, at the latest with the session.",
    ),
    Row(
        17,
        "A task leaves threads or descriptors open",
        "A warning names the task; a worker that holds too much is replaced.",
    ),
    Row(
        18,
        "A task reads standard input",
        "It is at its end at once; nobody takes the terminal.",
    ),
    Row(
        19,
        "A task prints gigabytes",
        "The head is shown as it comes and the tail at the end, with the number of bytes that were "
        "cut out between them. Memory stays flat.",
    ),
    Row(
        20,
        "A task writes into descriptors that are not its own",
        "The channel carries what is no report: the worker is replaced, and its task has a "
        "certificate.",
    ),
    Row(
        21,
        "Tasks that make tasks, with one worker",
        "A task that has returned references has given its worker back: no depth can block.",
    ),
    Row(
        22,
        "Numerical libraries start a thread per core in each worker",
        "Their variables are set to cores divided by workers, unless you have set them.",
    ),
    Row(
        23,
        "A fork while another thread holds a lock",
        "There is none: each worker is a fresh interpreter. A fork that a task makes, and that "
        "comes back from the task, ends there.",
    ),
    Row(
        24,
        "A task that must not run twice loses its worker",
        "With `max_losses=1` the first death is the last: `TaskLost`.",
    ),
]

CLIENT = [
    Row(
        25,
        "Ctrl-C once",
        "Nothing more is started, what runs has the setting `grace` to end; `KeyboardInterrupt`, "
        "exit code 130. Nothing is left.",
    ),
    Row(
        26,
        "Ctrl-C twice",
        "All workers are killed; the end comes within a second, without a storm of tracebacks.",
    ),
    Row(
        27,
        "The client is killed while a manager has its tasks",
        "Its host processes wait 10 s (client_grace) for it, and end then, with what they run.",
    ),
    Row(
        28,
        "The client sleeps for a minute, such as a laptop",
        "Its clock stands still meanwhile: it reads what has come before it judges anybody. "
        "What ran for it at a worker has ended after 10 s and is tried again.",
    ),
    Row(
        29,
        "The client ends while a manager has its tasks",
        "It takes back what has not begun, waits for what runs up to the grace time, and says "
        "goodbye; its host processes end.",
    ),
    Row(
        30,
        "The client is killed with SIGKILL",
        "Its worker processes are gone within 100 ms.",
    ),
]

WORKERS = [
    Row(
        31,
        "A worker process is killed: idle, while it reads a task, runs it, writes the result, or "
        "after that",
        "It is replaced at once. A result that had come whole counts; else the task is tried "
        "again, and its neighbours pay nothing.",
    ),
    Row(
        32,
        "No worker process can be started",
        "It is tried again, ever more slowly, and then given up with the reason; with some workers "
        "up the work goes on with those.",
    ),
    Row(
        33,
        "A worker daemon is killed",
        "Its host processes end with it. The client is told within a few seconds, and what "
        "ran there is tried elsewhere; without another worker the work waits for one.",
    ),
    Row(
        34,
        "A worker daemon is told to end (SIGTERM)",
        "It takes no more, its tasks have the grace time, what is done is delivered, and it "
        "leaves.",
    ),
    Row(
        35,
        "A worker daemon is stopped and goes on later",
        "What it had is tried elsewhere when it is silent for too long, and it may come back.",
    ),
    Row(
        36,
        "A worker daemon's loop is frozen while its connection lives",
        "Its host processes have links of their own and go on. A host process that stands "
        "still is killed, and its tasks are tried again.",
    ),
    Row(37, "The clock of a host jumps"),
    Row(
        38,
        "A worker starts before the manager, or the manager's name is unknown",
        "It waits, says once that nothing listens there, and tries again.",
    ),
    Row(39, "Two workers have the same name"),
    Row(40, "A worker has another version of Python or of fancypipe"),
]

REMOTE = [
    Row(
        41,
        "The manager is killed and started again",
        "Nothing is lost: workers, host processes and clients say hello again, and what was "
        "under way on a link is sent again.",
    ),
    Row(42, "The manager is gone for good"),
    Row(
        43,
        "The manager is stopped for a while",
        "As soon as it goes on it hears from all again. Nobody is taken for gone because it was "
        "away, and nothing is done again.",
    ),
    Row(44, "The manager has no descriptors left"),
    Row(
        45,
        "The port is in use, or must not be used",
        "The manager does not start: one line says which address and why, and the exit code is 2.",
    ),
    Row(46, "The manager is told to end with work outstanding"),
    Row(47, "A worker changes from one manager to another"),
    Row(48, "A connection is half open"),
    Row(49, "A connection is cut in the middle of a message"),
    Row(
        50,
        "The network is parted, and joined again",
        "For 10 s nothing is lost. Who was away for longer is told when it is back, and what "
        "ran for it is tried again.",
    ),
    Row(
        51,
        "A slow link",
        "It works, slowly: what is sent adapts to what arrives, and signs of life do not wait "
        "behind large values.",
    ),
    Row(52, "Loss and reordering"),
    Row(53, "A firewall drops idle connections"),
    Row(54, "A hundred reconnect at once"),
    Row(
        55,
        "Strangers connect: scanners, HTTP, TLS, SSH, random bytes",
        "They are refused. The manager's memory stays flat, and honest peers do not notice. Of "
        "more than 2,000 at the same time the others wait, and so do newcomers until they are "
        "gone, which takes 3 s. Who has a key and never says hello is sent away too, if room is "
        "scarce.",
    ),
    Row(
        56,
        "A huge message before authentication",
        "The connection is cut before there is memory for the message. A stranger can make the "
        "manager hold less than 40 KiB.",
    ),
    Row(
        57,
        "Connections that say nothing",
        "They are closed after 3 s, as are those that say little.",
    ),
    Row(
        58,
        "A wrong secret",
        "The client or worker says so within a second, and ends with code 3.",
    ),
    Row(
        59,
        "A recorded session is played again",
        "It is refused in the handshake. Nothing can be read in a recording.",
    ),
    Row(
        60,
        "A bit flips on the way",
        "No wrong message arrives. The connection ends, and another is made.",
    ),
    Row(
        61,
        "An authenticated peer sends nonsense",
        "Its connection ends, with a line in the log that says why. Nobody else's does.",
    ),
    Row(
        62,
        "A worker's key is used to submit tasks",
        "It is refused: each message is judged by the key of the link that it came over.",
    ),
]

DATA = [
    Row(63, "The disk is full"),
    Row(64, "The folder for temporary files is missing on a worker's host"),
    Row(65, "A shared file system lags behind"),
    Row(66, "A file is cut, damaged or deleted by somebody else"),
    Row(67, "Input and output errors in the middle of a run"),
    Row(
        68,
        "Temporary files of what was killed",
        "A folder's name says whose it is. The next session or worker there removes those whose "
        "process is dead beyond doubt: never one of another machine or container, and never a "
        "file that a run has given to you. Linux only.",
    ),
    Row(69, "A value of 4 GiB"),
    Row(70, "Sizes at the edges; a million tiny results"),
]

ORDER = [
    Row(71, "A result is delivered twice"),
    Row(72, "A result comes for a task that is cancelled, unknown or over", "It changes nothing."),
    Row(
        73,
        "A task ends while it is being cancelled",
        "It has one end: its result, if that was accepted before, else cancelled.",
    ),
    Row(74, "Acknowledgements are lost or overtake each other"),
    Row(75, "A million tasks are queued"),
    Row(76, "A client does not read its results"),
    Row(
        77,
        "One task among thousands kills its workers",
        "It alone is given up, with its certificate; all others have their results.",
    ),
    Row(
        78,
        "Many runs in one session",
        "Memory, descriptors, threads and files stay where they were.",
    ),
    Row(
        79,
        "Thousands of starts and ends, and ends at any moment",
        "No process is left, nothing hangs, and nothing is said at the exit.",
    ),
    Row(
        80,
        "An observer or another plugin raises",
        "It is named once and not called again; the run goes on.",
    ),
]

FOUND_LATER = [
    Row(
        81,
        "A peer holds a real key of another role",
        "It can do the work of that role and nothing else. Nobody is told the name of a link, and "
        "one that is taken is not given again.",
    ),
    Row(
        82,
        "A peer with a key tells lies: lengths, times, paths, names, order",
        "Its connection ends, with a line in the log that stays one line; a worker that lied is "
        "not used again. Nothing is allocated or deleted because it was announced.",
    ),
    Row(
        83,
        "A process is stopped or suspended, for seconds or an hour",
        "The time in which a process of ours stood still counts against nobody: it reads what "
        "waits, and then judges. If all have slept, such as with the machine, all goes on.",
    ),
    Row(
        84,
        "A session is used in a fork",
        "`run()` says there that the session belongs to another process; to close it does nothing. "
        "Futures and streams of the parent end there with the same error, whoever waits for them. "
        "The fork lets go of the workers' channels at once, and the parent never notices.",
    ),
    Row(
        85,
        "A link that is slower than any limit",
        "Over 128 kbit/s a megabyte takes a minute, and arrives once. Limits look at whether bytes "
        "move, not at how long a value takes.",
    ),
    Row(
        86,
        "Hundreds of clients and workers, and needs that change at once",
        "What is new is told in batches, and the manager's work grows with clients and workers, "
        "not with their product: 200 and 1,000 take it a few percent of a core.",
    ),
    Row(
        87,
        "Text that is no UTF-8, in names, messages, output, paths, the script's own folder",
        "It gets through as it is.",
    ),
    Row(
        88,
        "Tasks import, fork, seed, and set contexts, environment and filters",
        "The next task finds what it would have found in a fresh worker: each call has a context "
        "and fresh entropy of its own, and settings are put back. So are the caller's, where tasks "
        "run in his process. What tasks that run at the same time in threads change for each other "
        "is put back when none runs.",
    ),
    Row(
        89,
        "The main script is started in any way that Python knows",
        "Code and globals are the user's on both sides, also where no file system is shared: what "
        "the client's imports reach outside of what is installed travels, and what is too large "
        "for that is named.",
    ),
    Row(
        90,
        "Shared memory is full, or there is none, or no descriptor is left for a value in it",
        "What cannot be put there or mapped is sent or copied; never is a process ended by a bus "
        "error. Only where a process cannot even receive a value the task fails, and says why.",
    ),
    Row(
        91,
        "A worker, the client, or all of them at the same moment are killed while large values are "
        "in shared memory",
        "The kernel frees it with its last user. What a worker had reported is not lost with it.",
    ),
    Row(
        92,
        "An element of a map fails, kills its worker, or takes longer than it may",
        "It is singled out, and the error names its index and its inputs. `retries`, `timeout` and "
        "`max_losses` are its own; the others have their results.",
    ),
    Row(
        93,
        "Large values fill the memory",
        "From the setting `value_memory` on, half of what was free, tasks are sent one at a time "
        "until values are released, and that is said once.",
    ),
    Row(
        94,
        "The direct link between a client and a host process is refused, or breaks while tasks "
        "run; or the manager does, while there is such a link",
        "What they say goes the other way. Nothing is lost, runs twice, or is blamed on anybody.",
    ),
    Row(
        95,
        "The folder by which machines hand on large values is another one for a worker, is full, "
        "is swept, or loses a file; or who writes there is killed",
        "The value goes through the manager, as without a folder: the client has every value "
        "itself. A result that is gone before the client has read it is made again. The client "
        "removes what others have left, and the next what a killed client has left.",
    ),
    Row(
        96,
        "A client or its host process is killed while its tasks have devices of a worker that "
        "other clients wait for",
        "The worker kills what the tasks have started, and lends the devices to the next when that "
        "is dead. No two tasks have a device at the same time.",
    ),
]

SECTIONS = {
    "Task code": TASK_CODE,
    "Client": CLIENT,
    "Workers": WORKERS,
    "Manager, network, strangers": REMOTE,
    "Data and disk": DATA,
    "Order and load": ORDER,
    "Found later": FOUND_LATER,
}

ROWS = {row.number: row for rows in SECTIONS.values() for row in rows}


def shown() -> list[Shown]:
    """Return what the tests' marks say, in the order of rows, files and lines.

    Raises:
        ValueError: A mark names no row of the matrix, or belongs to no test.
    """
    found = [one for path in sorted(TESTS.rglob("test_*.py")) for one in _in_file(path)]
    return sorted(dict.fromkeys(found), key=lambda one: one.row)  # stable


def _in_file(path: Path) -> Iterator[Shown]:
    file = path.relative_to(TESTS).as_posix()
    tree = ast.parse(path.read_text("utf-8"))
    marks = {id(node) for node in ast.walk(tree) if _is_mark(node)}
    tables = {
        target.id: statement
        for statement in tree.body
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        for target in (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
        if isinstance(target, ast.Name)
    }
    for test in ast.walk(tree):
        if not isinstance(test, ast.FunctionDef) or not test.name.startswith("test_"):
            continue
        for node in _decorations(test, tables):
            if _is_mark(node):
                marks.discard(id(node))
                for number in _numbers(node, file):
                    yield Shown(number, file, test.name)
    if marks:
        raise ValueError(
            f"tests/{file} has a mark `fault` that belongs to no test: put it before a test, or "
            "into a table of this file that the test's `parametrize` names"
        )


def _decorations(
    test: ast.FunctionDef, tables: dict[str, ast.Assign | ast.AnnAssign]
) -> Iterator[ast.AST]:
    """Yield all that stands before a test, also in the tables that are named there."""
    for decorator in test.decorator_list:
        for node in ast.walk(decorator):
            yield node
            if isinstance(node, ast.Name) and node.id in tables:
                yield from ast.walk(tables[node.id])


def _is_mark(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "fault"
        and isinstance(node.func.value, ast.Attribute)
        and node.func.value.attr == "mark"
    )


def _numbers(node: ast.AST, file: str) -> Iterator[int]:
    assert isinstance(node, ast.Call)
    for argument in node.args:
        number = ast.literal_eval(argument)
        if number not in ROWS:
            raise ValueError(f"tests/{file}:{node.lineno}: the fault matrix has no row {number!r}")
        yield number
