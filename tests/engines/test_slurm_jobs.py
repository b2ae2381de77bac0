"""Jobs of Slurm come with the work, leave one by one, may die, and none is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors
from tests.engines import elastic
from tests.engines.daemons import CONFIGURATION
from tests.waiting import wait_until

if find_spec("fancypipe_slurm") is None:
    pytest.skip("fancypipe-slurm is not installed", allow_module_level=True)


def listed(state: str = "") -> list[str]:
    """Return the jobs of a state, or all that have not ended."""
    command = ["squeue", "--noheader", "--format=%i|%T|%R|%j"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    jobs = [line.split("|") for line in text.splitlines()]
    return [job[0] for job in jobs if job[1] != "COMPLETING" and state in job[1]]


def opened(folder: Path, **settings: Any) -> Session:
    return Session("slurm", host="127.0.0.1", folder=str(folder / "own"), **settings)


def new(folder: Path) -> str:
    """Return an empty folder."""
    made = folder / f"empty-{len(list(folder.iterdir()))}"
    made.mkdir()
    return str(made)


@pytest.mark.slow
def test_jobs_come_with_the_work_and_each_leaves_when_idle(batch: str, tmp_path: Path) -> None:
    begun, end = new(tmp_path), new(tmp_path)
    with opened(tmp_path, least=0, most=2, idle=1.0) as session:
        here = new(tmp_path)
        session.run([elastic.meet(here, 2) for _ in range(2)])
        assert len(listed()) == 2
        held = session.submit(elastic.hold(begun, end))
        wait_until(lambda: len(listed()) == 1, "who is idle leaves while another has work")
        Path(end, "now").touch()
        assert held.result(60) == "held"
        wait_until(lambda: not listed(), "the last leaves, as none are to stay")
        again = new(tmp_path)
        session.run([elastic.meet(again, 2) for _ in range(2)])
    wait_until(lambda: not listed(), "none is left behind")
    assert not list((tmp_path / "own").iterdir())


@pytest.mark.slow
def test_as_many_stay_as_are_to(env: dict[str, str], tmp_path: Path, patched: None) -> None:
    with opened(tmp_path, least=1, most=3, idle=0.5) as session:
        here = new(tmp_path)
        session.run([elastic.meet(here, 3) for _ in range(3)])
        wait_until(lambda: len(listed()) == 1, "two of three leave")
        with pytest.raises(AssertionError, match="not within 4 s"):
            wait_until(lambda: not listed(), "the last stays", 4.0)
        assert session.run(elastic.nap(1, 0.0, new(tmp_path))) == 1


@pytest.fixture
def patched(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's commands are those of this process."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_in_the_queue(batch: str, tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "place").mkdir()
    command = [sys.executable, "-m", "tests.engines.elastic", str(tmp_path / "place")]
    env = {**os.environ, "TMPDIR": str(tmp_path)}  # who is killed leaves a folder there
    with (tmp_path / "said").open("wb") as said:
        client = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=env
        )
    try:
        begun = tmp_path / "place" / "begun"
        wait_until(lambda: begun.exists() and list(begun.iterdir()), "a task runs")
        wait_until(lambda: len(listed()) == 4, "all jobs were submitted")
        if batch == "slurm":
            assert len(listed("PENDING")) == 2, "it has two cores"
        client.send_signal(how)
        assert client.wait(60) == (-how if how == signal.SIGKILL else 130)
    finally:
        client.kill()
        client.wait(60)
    wait_until(lambda: not listed(), "none is left behind")
    wait_until(lambda: not list((tmp_path / "place" / "own").iterdir()), "nor its folder")


def naps(session: Session, folder: Path, count: int, harm: Callable[[], object]) -> int:
    """Run short tasks, do harm when a fifth has run, see the results; return the runs."""
    runs = Path(new(folder))

    def wait_and_harm() -> None:
        elastic.wait_for(runs, count // 5)
        harm()

    doer = threading.Thread(target=wait_and_harm)
    doer.start()
    given = session.run([elastic.nap(i, 0.03, str(runs)) for i in range(count)])
    assert not doer.is_alive(), "the harm came too late to show anything"
    assert given == list(range(count))
    assert {int(path.name.split("-")[0]) for path in runs.iterdir()} == set(range(count))
    return len(list(runs.iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize("signal_name", ["KILL", ""])
def test_a_job_that_dies_or_is_cancelled_costs_nothing(
    batch: str, tmp_path: Path, signal_name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def end_one() -> None:
        how = [f"--signal={signal_name}", "--full"] if signal_name else []
        subprocess.run(["scancel", *how, listed("RUNNING")[0]], check=True, timeout=60)

    with opened(tmp_path, least=2, most=2) as session:
        session.run([elastic.meet(str(tmp_path / "own"), 1)])
        runs = naps(session, tmp_path, 400, end_one)
        with capfd.disabled():
            sys.stdout.write(
                f"\n{runs} runs of 400 tasks ({batch}, {signal_name or 'cancelled'})\n"
            )
        assert runs <= 500, "what had ended does not run again"
        here = new(tmp_path)
        session.run([elastic.meet(here, 2) for _ in range(2)])  # another one has come for it
    assert re.search(r"Slurm's job \d+ is (FAILED|CANCELLED) ", capfd.readouterr().err)


@pytest.mark.slow
def test_a_preempted_job_costs_nothing(
    slurm: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    assert "PreemptMode=CANCEL" in CONFIGURATION

    def preempt() -> None:
        command = ["sbatch", "--partition=urgent", "--cpus-per-task=2", "--output=/dev/null"]
        subprocess.run([*command, "--wrap=true"], check=True, timeout=60, capture_output=True)

    with opened(tmp_path, least=2, most=2, max_losses=2) as session:
        for _ in range(3):
            naps(session, tmp_path, 200, preempt)


def test_a_full_queue_is_told_once_in_slurms_words_and_the_run_goes_on(
    patched: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jobs" / "most").write_text("1")
    with opened(tmp_path, most=3) as session:
        naps(session, tmp_path, 300, lambda: None)
        begun, end = new(tmp_path), new(tmp_path)
        held = [session.submit(elastic.hold(begun, end)) for _ in range(3)]
        elastic.wait_for(Path(begun), 1)
        (tmp_path / "jobs" / "most").unlink()
        elastic.wait_for(Path(begun), 3)  # they come as soon as they may
        Path(end, "now").touch()
        assert [one.result(60) for one in held] == ["held"] * 3
    words = "sbatch failed: QOSMaxSubmitJobPerUserLimit; Batch job submission failed: Job violates"
    assert capfd.readouterr().err.count(words) == 1


def test_jobs_that_come_to_nothing_end_the_run_with_the_reason(
    patched: None, tmp_path: Path
) -> None:
    (tmp_path / "bin" / "sbatch").rename(tmp_path / "sbatch")
    (tmp_path / "bin" / "sbatch").write_text(
        "#!/bin/sh\nprintf '#!/bin/sh\\necho no python here\\nexit 3\\n' | "
        f'{tmp_path / "sbatch"} "$@"\n'
    )
    (tmp_path / "bin" / "sbatch").chmod(0o700)
    with pytest.raises(errors.BackendError) as caught, opened(tmp_path, most=1) as session:
        session.run(elastic.nap(1, 0.0, new(tmp_path)))
    said = str(caught.value)
    assert "3 jobs failed before a worker in them could be used; the last: Slurm's job 3 is" in said
    assert "FAILED (NonZeroExitCode); its log ends with: 'no python here'" in said


def test_what_a_task_needs_is_what_a_job_has(patched: None, tmp_path: Path) -> None:
    with opened(tmp_path, most=1, cpus=2) as session:
        assert session.run(elastic.cores()) == 2
        with pytest.raises(errors.UnmetNeeds, match="there are 2 cpus in each job"):
            session.run(elastic.cores().with_options(needs={"cpus": 3}))
        with pytest.raises(errors.UnmetNeeds, match="there is no gpu in each job"):
            session.run(elastic.cores().with_options(needs={"gpu": 1}))
    (script,) = (tmp_path / "jobs").glob("*.sh")
    assert "-numworkers=2" in script.read_text()


def test_settings_are_said_to_sbatch(patched: None, tmp_path: Path) -> None:
    given = {"partition": "short", "account": "brains", "time": "01:00:00", "memory": "2G"}
    with opened(tmp_path, **given, cpus=2, gpus=1, sbatch="--qos=low '--comment=a b'") as session:
        assert session.run(elastic.nap(1, 0.0, new(tmp_path))) == 1
    (options,) = (tmp_path / "jobs").glob("*.options")
    said = set(options.read_text().splitlines())
    assert said > {"--partition=short", "--account=brains", "--time=01:00:00", "--mem=2G"}
    assert said > {"--cpus-per-task=2", "--gpus-per-node=1", "--qos=low", "--comment=a b"}
