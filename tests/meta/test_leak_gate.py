"""The gate that no leak passes: it blames nobody for a process whose number comes again."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref

import pytest

from tests import leaks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted there only")


def test_a_dead_orphan_is_no_leak_where_its_number_was_a_childs_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = leaks.held()
    shell = subprocess.run(
        ["sh", "-c", "true >&2 & echo $!"], check=True, capture_output=True, text=True
    )
    # As after some ten thousand processes, when the numbers begin anew.
    with subprocess.Popen(["true"]) as reaped:
        pass
    monkeypatch.setitem(leaks._started, int(shell.stdout), weakref.ref(reaped))
    assert leaks.wait_for_none(before) == []


def test_a_dead_child_is_left_to_who_has_started_it() -> None:
    before = leaks.held()
    with subprocess.Popen(["sh", "-c", "exit 7"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert leaks.held().more_than(before) == [f"child process {child.pid}"]
    assert child.returncode == 7
    assert leaks.wait_for_none(before) == []
