"""What an engine is known to leave is allowed and told; all else is found as before."""

from __future__ import annotations

import socket
from pathlib import Path

from fancypipe_core.backend import Leftover
from fancypipe_core.testing._leaks import holdings
from fancypipe_core.testing._leftovers import Leftovers
from tests.conformance_kit import planted
from tests.conformance_kit.commands import Forks
from tests.conformance_kit.test_kit import is_told, planted_kit

LOG = Leftover(r"file \w+\.log", "it is written to until the end")
SOCKETS = Leftover(r"socket \d+", "its other end is gone", most=2, adds_up=True)

DECLARED = r"""
from fancypipe_core.backend import Leftover
plugin = plugin._replace(
    leftovers=(Leftover(r"descriptor \d+ -> pipe:\[\d+\]", "nobody closes it", MOST),)
)
"""

LOGGED = """

def _log():
    import logging, multiprocessing
    ends = multiprocessing.Pipe()
    try:
        raise ValueError("on purpose")
    except ValueError:
        logging.getLogger("engine").exception("it did not go well")
"""


def test_what_is_declared_may_be_left_and_nothing_else() -> None:
    leftovers = Leftovers([LOG, SOCKETS])
    assert leftovers.undeclared(["file a.log", "socket 1", "thread 'x'"], 1) == ["thread 'x'"]
    assert leftovers.undeclared(["file a.log.gz", "a socket 1"], 1) == [
        "file a.log.gz",
        "a socket 1",
    ], "the whole of what is told must fit"


def test_no_more_may_be_left_than_is_declared() -> None:
    leftovers = Leftovers([LOG, SOCKETS])
    assert leftovers.undeclared(["file a.log", "file b.log"], 5) == ["file b.log"]
    sockets = [f"socket {number}" for number in range(11)]
    assert leftovers.undeclared(sockets[:3], 1) == sockets[2:3]
    assert leftovers.undeclared(sockets, 5) == sockets[10:], "two of each session"


def test_the_report_has_the_reasons_and_what_was_seen() -> None:
    leftovers = Leftovers([LOG, SOCKETS])
    leftovers.undeclared(["socket 1", "socket 2"], 1)
    leftovers.undeclared(["socket 3"], 1)
    log, sockets = leftovers.report()
    assert log.startswith("0 times: file"), "so that who mended it sees that"
    assert "until the end" in log
    assert sockets.startswith("3 times: socket")
    assert "gone" in sockets


def test_a_socket_without_another_end_is_told_as_such() -> None:
    before = holdings()
    listening = socket.create_server(("127.0.0.1", 0))
    one, other = socket.socketpair()
    alone = socket.socket()
    try:
        told = {
            int(phrase.split()[1]): phrase.endswith("(not connected)")
            for phrase in holdings().more_than(before)
        }
        assert [told[each.fileno()] for each in (listening, one, other)] == [False] * 3
        assert told[alone.fileno()]
    finally:
        for each in (listening, one, other, alone):
            each.close()


def test_the_kit_allows_what_a_backend_declares(ready: Forks, tmp_path: Path) -> None:
    text = planted.source(planted.BUGS["a descriptor is left"])
    words = ("-k", "rule_09_nothing_is_left_after_stop")
    code, said = planted_kit(ready, tmp_path, text + DECLARED.replace("MOST", "2"), *words)
    assert code == 0, said
    assert "known to be left after sessions" in said
    assert "2 times: " in said
    assert "nobody closes it" in said
    other = tmp_path / "other"
    other.mkdir()
    is_told(9, *planted_kit(ready, other, text + DECLARED.replace("MOST", "1"), *words))


def test_what_a_logged_error_holds_is_not_kept_by_the_kit(ready: Forks, tmp_path: Path) -> None:
    stopping = "        self._stopping = True\n"
    text = planted.source(planted.Bug(9, stopping, stopping + "        _log()\n"))
    code, said = planted_kit(
        ready, tmp_path, text + LOGGED, "-k", "rule_09_nothing_is_left_after_stop"
    )
    assert code == 0, said
