"""`Server`: any backend at the far end of a channel, whatever the client does."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fancypipe_core import errors
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import SocketChannel
from fancypipe_core.backend import (
    Call,
    Certificate,
    Done,
    Event,
    Job,
    JobId,
    Lost,
    Note,
    Ok,
    Payload,
    Sink,
    Slots,
)
from fancypipe_core.toolkit import server
from fancypipe_core.toolkit.server import Server
from tests.meta.repo import ROOT
from tests.waiting import wait_until


class Told:
    """A backend that writes down what it is told, and says what the test says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.sink: Sink
        self.ended = threading.Event()

    def start(self, sink: Sink) -> None:
        self.sink = sink
        sink([Slots(3, 4)])

    def submit(self, jobs: Sequence[Job]) -> None:
        self.said += [f"job {job.id[0]}" for job in jobs]

    def cancel(self, ids: Sequence[JobId]) -> None:
        self.said += [f"cancel {id[0]}" for id in ids]
        self.sink([Lost(id, Certificate("cancelled", "", "h", 7)) for id in ids])

    def recall(self, ids: Sequence[JobId]) -> None:
        self.said += [f"recall {id[0]}" for id in ids]

    def stop(self, grace: float) -> None:
        self.said.append(f"stop {grace:g}")
        self.ended.set()


class Driven(Told):
    """The same, driven: all but `wake` is to happen in one thread."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = threading.Event()
        self.threads: set[int] = set()

    def submit(self, jobs: Sequence[Job]) -> None:
        self.threads.add(threading.get_ident())
        super().submit(jobs)

    def drive(self, timeout: float | None) -> None:
        self.threads.add(threading.get_ident())
        self.woken.wait(timeout)
        self.woken.clear()

    def wake(self) -> None:
        self.woken.set()


class Selected(Driven):
    """The same, and somebody else waits for its descriptor."""

    due = None

    def __init__(self) -> None:
        super().__init__()
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)

    def fileno(self) -> int:
        return self.ours.fileno()

    def drive(self, timeout: float | None) -> None:
        assert timeout == 0, "it is not to wait"
        self.threads.add(threading.get_ident())
        self.ours.recv(100)

    def wake(self) -> None:
        raise AssertionError("it does not sleep")

    def stop(self, grace: float) -> None:
        super().stop(grace)
        self.ours.close()
        self.theirs.close()


class Served:
    """A backend that is being served, and the client's end of its channel."""

    def __init__(self, backend: Told, waits: bool, selects: bool = False) -> None:
        ours, theirs = socket.socketpair()
        self.backend = backend
        self.waits = waits
        self.selects = selects
        self.client = SocketChannel(ours, blocking=True)
        self.far = SocketChannel(theirs, blocking=True)
        self.raised: BaseException | None = None
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        self.reports = messages.Reports()

    def _serve(self) -> None:
        try:
            wait = self._wait if self.selects else None
            Server(self.far, waits=self.waits, wait=wait).serve(self.backend)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.raised = error

    def _wait(self, seconds: float, descriptors: Sequence[int]) -> list[int]:
        if threading.get_ident() != self.thread.ident:
            raise AssertionError("a thread that listens")
        return select.select([self.far.fileno(), *descriptors], [], [], seconds)[0]

    def tell(self, command: messages.Command) -> None:
        self.client.send(messages.encode_command(command))

    def hear(self) -> list[Event]:
        return self.reports.read(self.client.receive())

    def over(self) -> None:
        self.thread.join(60)
        assert not self.thread.is_alive(), "it does not end"


@pytest.fixture(
    params=[
        (Told, True, False),
        (Told, False, False),
        (Told, False, True),
        (Driven, True, False),
        (Driven, False, False),
        (Driven, False, True),  # what it waits for, nobody knows: it waits itself
        (Selected, False, True),
    ]
)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    backend, waits, selects = request.param
    made = Served(backend(), waits, selects)
    yield made
    made.client.close()
    made.over()
    made.far.close()


def test_commands_come_in_order_and_events_go_back(served: Served) -> None:
    assert served.hear() == [Slots(3, 4)]
    call = Call("it", (Payload(b"code"),))
    job = Job((5, 1), call, (Payload(b"inputs", (b"x" * 9000,)),), 1.5)
    served.client.send(*messages.ToWorker().jobs([job]))
    served.tell(messages.Cancel([(5, 1)]))
    assert served.hear() == [Lost((5, 1), Certificate("cancelled", "", "h", 7))]
    told: list[Event] = [
        Note((6, 1), "stdout", "hello", "a name"),
        Done((6, 1), Ok((Payload(b"6"),)), 0.5),
    ]
    served.backend.sink(told[::-1])
    assert served.hear() == told, "reports on a job come before its end"
    served.tell(messages.Recall([(8, 1)]))
    served.tell(messages.Stop(2.5))
    served.over()
    assert served.backend.said == ["job 5", "cancel 5", "recall 8", "stop 2.5"]
    assert served.raised is None
    if isinstance(served.backend, Driven):
        assert served.backend.threads == {served.thread.ident}
    with pytest.raises(errors.ConnectionLost):
        served.hear()


def test_a_client_that_is_gone_ends_it(served: Served) -> None:
    served.client.close()
    served.over()
    assert served.backend.said == ["stop 0"]
    assert isinstance(served.raised, errors.ConnectionLost)


def test_nonsense_ends_it_with_the_reason(served: Served) -> None:
    served.client.send(b"\xc1")
    served.over()
    assert served.backend.said == ["stop 0"]
    assert isinstance(served.raised, errors.ProtocolError)


@pytest.mark.parametrize("served", [(Told, True, False), (Driven, True, False)], indirect=True)
def test_a_client_that_does_not_read_holds_up_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LAST_WORDS", 0.2)
    served.hear()
    big = Ok((Payload(b"", (bytes(4 * 1024 * 1024),)),))
    for number in range(4):
        served.backend.sink([Done((number, 1), big, 0.0)])
    served.tell(messages.Cancel([(77, 1)]))
    wait_until(lambda: "cancel 77" in served.backend.said)
    served.tell(messages.Stop())
    assert served.backend.ended.wait(60)
    served.over()


def test_a_script_runs_on_procs_behind_a_channel(tmp_path: Path) -> None:
    """The worker's process was started by nobody who knows the script: it learns of it."""
    script = tmp_path / "script.py"
    script.write_text(
        "from fancypipe_core import Session, task\n"
        "from fancypipe_core._plugins import discovery as _plugins\n"
        "from tests.conformance_kit.backends import channel_procs\n"
        "import helper_of_the_script\n"
        "class Mine(Exception): ...\n"
        "@task\n"
        "def double(x): return helper_of_the_script.double(x)\n"
        "@task\n"
        "def fails(): raise Mine('mine')\n"
        "if __name__ == '__main__':\n"
        "    _plugins.find = lambda name, find=_plugins.find: (\n"
        "        channel_procs if name == 'channel-procs' else find(name))\n"
        "    with Session('channel-procs', 2) as session:\n"
        "        print(session.run([double(n) for n in range(5)]))\n"
        "        try:\n"
        "            session.run(fails())\n"
        "        except Mine as error:\n"
        "            print(repr(error.__cause__))\n"
    )
    (tmp_path / "helper_of_the_script.py").write_text("def double(x): return 2 * x\n")
    over = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert over.stdout == "[0, 2, 4, 6, 8]\nMine('mine')\n", over.stderr
