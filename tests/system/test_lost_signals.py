"""A signal that comes right before a wait, which does not end it.

Python's handler for signals runs between two steps of the main thread.  A signal that comes
after the last step before a wait in the system ends no such wait: it is heeded when the wait is
over.  `interrupt_main` does just that to a thread that waits already.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.system.terminal import Terminal

SCRIPT = """\
import _thread, os, sys, threading, time
from fancypipe_core import Exec, Session, task

@task
def slow(n=0):
    open(f"slow-{n}.begun", "w").close()
    while not os.path.exists("gate"): time.sleep(0.005)
    return n

@task
def program():
    return Exec("sh", "-c", "touch slow-0.begun; exec >&- 2>&- <&-; exec sleep 300" if SILENT
                else "touch slow-0.begun; exec sleep 300")

BACKEND, HOW = sys.argv[1:]
SILENT = HOW == "exec closed"
MAIN = threading.main_thread().ident

def press():
    while not os.path.exists("slow-0.begun"): time.sleep(0.002)
    before = None
    while True:  # until it has stood still for some time
        now = sys._current_frames()[MAIN]
        where = (now.f_code, now.f_lasti)
        if where == before: break
        before = where
        time.sleep(0.05)
    print("pressed", flush=True)
    _thread.interrupt_main()

def aside(what):
    thread = threading.Thread(target=what, daemon=True)
    thread.start()

if __name__ == "__main__":
    session = Session(backend=BACKEND, workers=2, grace=0.0)
    aside(press)
    with session:
        if HOW == "run":
            session.run(slow())
        elif HOW == "run beside":
            future = session.submit(slow())
            session.run(slow(1))
        elif HOW == "result":
            session.submit(slow()).result()
        elif HOW == "exception":
            session.submit(slow()).exception()
        elif HOW == "stream":
            list(session.stream(slow.map([0, 1])))
        elif HOW == "stream beside":
            future = session.submit(slow(2))
            list(session.stream(slow.map([0, 1])))
        elif HOW == "shutdown":
            with session.executor() as executor:
                executor.submit(slow.main)
        else:
            session.run(program())
"""


@pytest.mark.fault(25)
@pytest.mark.parametrize(
    ("backend", "how"),
    [
        ("serial", "exec"),
        ("serial", "exec closed"),
        *[
            (backend, how)
            for backend in ("threads", "procs")
            for how in (
                "run", "run beside", "result", "exception", "stream", "stream beside", "shutdown",
            )
        ],
    ],
)  # fmt: skip
def test_a_signal_right_before_a_wait_is_heeded(tmp_path: Path, backend: str, how: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    with Terminal(tmp_path, [sys.executable, "script.py", backend, how]) as terminal:
        terminal.see("pressed")
        assert terminal.end() != 0
    assert "KeyboardInterrupt" in terminal.text or "interrupted (Ctrl-C)" in terminal.text
