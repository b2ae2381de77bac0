"""Programs that run pipelines, and are interrupted: what comes to them, and that they go on."""

from __future__ import annotations

import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from fancypipe_core import Session, errors, task
from fancypipe_threads._pool import ThreadsBackend
from tests.system.interrupted import reached, said
from tests.system.terminal import Terminal
from tests.waiting import wait_until


@task
def wait_for(gate: str, begun: str) -> int:
    """Longer than a burst of serial, between two of which it is asked whether to go on."""
    until = time.perf_counter() + 0.01
    Path(begun).touch()
    wait_until(lambda: Path(gate).exists() and time.perf_counter() > until)
    return 1


@pytest.mark.fault(25, 29)
@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_a_run_in_another_thread_is_interrupted_by_a_call(
    tmp_path: Path, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    ends: list[BaseException] = []

    def work() -> None:
        try:
            session.run([wait_for(str(gate), str(begun)) for _ in range(5)])
        except errors.Cancelled as error:
            ends.append(error)

    with Session(backend, 1, grace=300.0) as session:
        thread = threading.Thread(target=work)
        thread.start()
        wait_until(begun.exists)
        session.cancel()
        told = ""

        def has_told() -> bool:
            nonlocal told
            told += capfd.readouterr().err
            return "waiting up to 300 s for 1 running task: wait_for; " in told

        if backend != "serial":
            wait_until(has_told)
        gate.touch()
        thread.join(60)
        assert not thread.is_alive()
        assert str(ends[0]) == "cancelled: 1 task done, 4 not"
        assert session.run(wait_for(str(gate), str(begun))) == 1
        session.cancel()  # nothing is under way
        assert session.run(wait_for(str(gate), str(begun))) == 1


@pytest.mark.fault(72, 73)
@pytest.mark.parametrize("backend", ["threads", "procs"])
def test_late_results_of_an_interrupted_run_change_nothing(tmp_path: Path, backend: str) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"

    def interrupt() -> None:
        wait_until(begun.exists)
        session.cancel()
        session.cancel()

    with Session(backend, 2, grace=300.0) as session:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(errors.Cancelled, match="cancelled: 0 tasks done, 6 not"):
            session.run([wait_for(str(gate), str(begun)) for _ in range(6)])
        thread.join()
        gate.touch()
        # On threads what was left behind ends during these runs.
        for _ in range(20):
            ones = [wait_for(str(gate), str(begun)) for _ in range(50)]
            assert session.run(ones) == [1] * 50


@pytest.mark.fault(25)
def test_a_backend_from_which_nothing_can_be_recalled_is_waited_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThreadsBackend, "recall", lambda *_: None)
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    told = ""

    def has_told() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return told.endswith("\n")

    def interrupt() -> None:
        wait_until(begun.exists)
        session.cancel()
        wait_until(has_told)
        gate.touch()

    with Session("threads", 1, grace=300.0) as session:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(errors.Cancelled, match="2 tasks done, 3 not"):
            session.run([wait_for(str(gate), str(begun)) for _ in range(5)])
        thread.join()
    assert told == (
        "fancypipe: cancelled: waiting up to 300 s for 2 tasks that the backend did not return, "
        "started or not: wait_for, wait_for[2]; call cancel() again to stop now\n"
    )


SESSION = """\
import os, sys, time
from fancypipe_core import Session, errors, task

@task
def slow():
    open("slow-0.begun", "w").close()
    while not os.path.exists("gate"): time.sleep(0.005)
    return 7

if __name__ == "__main__":
    with Session(backend=sys.argv[1], workers=2, grace=300.0) as session:
        try:
            session.run([slow() for _ in range(9)])
        except KeyboardInterrupt as error:
            print("caught:", type(error).__name__, error)
            os.rename("slow-0.begun", "again")
        value = session.run(slow())
        try:
            print("and again:", value)
            time.sleep(300)
        except KeyboardInterrupt:
            print("the program's own")
"""


@pytest.mark.every_python
@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", ["threads", "procs"])
def test_a_session_goes_on_after_ctrl_c(tmp_path: Path, backend: str) -> None:
    (tmp_path / "session.py").write_text(SESSION, encoding="utf-8")
    with Terminal(tmp_path, [sys.executable, "session.py", backend]) as terminal:
        reached(tmp_path, "slow-0", terminal)
        terminal.press()
        terminal.see("Ctrl-C again to stop now")
        (tmp_path / "gate").touch()
        terminal.see("and again: 7")
        terminal.press()
        terminal.see("the program's own")
        assert terminal.end() == 0
    assert re.search(
        r"caught: KeyboardInterrupt interrupted \(Ctrl-C\): [12] tasks? done, [78] not",
        said(terminal),
    )


# Ends as a program does that has never heard of us.
PLAIN = """\
import os, sys, time
from fancypipe_core import run, task

@task
def slow():
    open("slow-0.begun", "w").close()
    while not os.path.exists("gate"): time.sleep(0.005)

if __name__ == "__main__":
    run([slow() for _ in range(9)], backend=os.environ["WHERE"], workers=2, grace=0.0)
"""
LINE = "fancypipe: interrupted (Ctrl-C): 0 tasks done, 9 not"


@pytest.mark.every_python
@pytest.mark.fault(25)
@pytest.mark.parametrize(
    ("how", "backend"),
    [
        *((["plain.py"], backend) for backend in ("serial", "threads", "procs")),
        (["-m", "plain"], "procs"),
        (["-c", "import runpy; runpy.run_path('plain.py', run_name='__main__')"], "serial"),
    ],
)
def test_a_script_ends_as_the_command_does(tmp_path: Path, how: list[str], backend: str) -> None:
    (tmp_path / "plain.py").write_text(PLAIN, encoding="utf-8")
    with Terminal(tmp_path, [sys.executable, *how], {"WHERE": backend}) as terminal:
        reached(tmp_path, "slow-0", terminal)
        terminal.press()
        assert terminal.end() == 130
    shown = [line for line in said(terminal).replace("^C", "").splitlines() if line]
    goes_on = [line for line in shown if "keep running, since this backend" in line]
    assert (len(goes_on) == 1) == (backend == "threads"), shown
    assert [line for line in shown if line not in goes_on] == [LINE]


@pytest.mark.fault(25)
def test_a_program_with_a_hook_of_its_own_keeps_it(tmp_path: Path) -> None:
    hook = "def hook(kind, error, traceback): print('mine:', kind.__name__, error)\n"
    start = f"{hook}import sys; sys.excepthook = hook\n"
    (tmp_path / "plain.py").write_text(start + PLAIN, encoding="utf-8")
    with Terminal(tmp_path, [sys.executable, "plain.py"], {"WHERE": "serial"}) as terminal:
        reached(tmp_path, "slow-0", terminal)
        terminal.press()
        # As Python ends after any `KeyboardInterrupt`, which a shell shows as 130.
        assert terminal.end() == -signal.SIGINT
    assert f"mine: KeyboardInterrupt {LINE.removeprefix('fancypipe: ')}" in said(terminal)


@pytest.mark.every_python
@pytest.mark.fault(25)
def test_an_interactive_python_goes_on(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN, encoding="utf-8")
    with Terminal(tmp_path, [sys.executable, "-i", "plain.py"], {"WHERE": "serial"}) as terminal:
        reached(tmp_path, "slow-0", terminal)
        terminal.press()
        terminal.see(">>> ")
        terminal.press(b"print('still ' + 'here'); os._exit(5)\n")
        terminal.see("still here")
        assert terminal.end() == 5
    assert LINE in said(terminal)


AWAITED = """\
import asyncio, os, sys, time
from fancypipe_core import Session, errors, task

@task
def slow(gate):
    open("slow-0.begun", "w").close()
    while not os.path.exists(gate): time.sleep(0.005)
    return 7

async def other(session):
    while not os.path.exists("slow-0.begun"): await asyncio.sleep(0.005)
    session.cancel()
    return "others go on"

async def main(session):
    mine = asyncio.to_thread(session.run, [slow("never") for _ in range(3)])
    print(await asyncio.gather(mine, other(session), return_exceptions=True))
    open("gate", "w").close()
    print(await asyncio.to_thread(session.run, slow("gate")))

if __name__ == "__main__":
    with Session(backend=sys.argv[1], workers=1, grace=0.0) as session:
        asyncio.run(main(session))
"""


@pytest.mark.every_python
@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", ["procs"])
def test_a_loop_of_asyncio_goes_on(tmp_path: Path, backend: str) -> None:
    (tmp_path / "awaited.py").write_text(AWAITED, encoding="utf-8")
    with Terminal(tmp_path, [sys.executable, "awaited.py", backend]) as terminal:
        assert terminal.end() == 0
    assert "[Cancelled('cancelled: 0 tasks done, 3 not'), 'others go on']\n7\n" in said(terminal)


@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_the_main_thread_may_be_cancelled_by_another(tmp_path: Path, backend: str) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"

    def interrupt() -> None:
        wait_until(begun.exists)
        session.cancel()
        gate.touch()

    with Session(backend, 1, grace=300.0) as session:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(errors.Cancelled, match=r"cancelled: \d+ tasks? done") as caught:
            session.run([wait_for(str(gate), str(begun)) for _ in range(2000)])
        thread.join()
        assert not isinstance(caught.value, KeyboardInterrupt)
        assert session.run(wait_for(str(gate), str(begun))) == 1


@pytest.mark.fault(29)
def test_sigterm_is_the_programs_own_and_its_children_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "session.py").write_text(SESSION, encoding="utf-8")
    with Terminal(tmp_path, [sys.executable, "session.py", "procs"]) as terminal:
        reached(tmp_path, "slow-0", terminal)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == -signal.SIGTERM
