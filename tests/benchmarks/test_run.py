"""The command: it measures, writes its files, says what is wrong, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks import measure, run
from benchmarks.measure import ROOT, Subject, in_rounds
from benchmarks.memory import family
from tests.meta.repo import call
from tests.waiting import wait_until

OURS = "--ours=serial,procs"


def test_a_run_leaves_tables_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.json"
    words = ["chain", "memory", "--n=20", "--rounds=2", OURS, "--peers=inline", f"--json={kept}"]
    assert run.main([*words, f"--table={tmp_path / 'docs'}"]) == 0
    said = capsys.readouterr().out
    assert "### chain: chain of 20" in said
    content = json.loads(kept.read_text("utf-8"))
    chain, _ = content["measured"]
    assert set(chain["runs"]) == {"serial", "procs", "inline"}
    assert all(len(figures) == 2 for figures in chain["runs"].values())
    assert {one["verdict"] for one in content["lines"] if one["workload"] == "chain"} == {
        "not measured: threads: left out of this run",
        "not measured: remote: left out of this run",
    }
    assert str(ROOT) not in kept.read_text("utf-8"), "a folder of this machine"
    # The same page from the figures alone.
    page = (tmp_path / "docs" / "figures.md").read_text("utf-8")
    assert run.main([f"--figures={kept}", f"--table={tmp_path / 'again'}"]) == 0
    assert (tmp_path / "again" / "figures.md").read_text("utf-8") == page


def test_two_checkouts_in_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    for name in ("core", "procs"):
        place = other / f"fancypipe_{name}" / "src"
        place.parent.mkdir(parents=True)
        source = ROOT / f"fancypipe_{name}" / "src"
        call("cp", "-r", str(source), str(place))
    kept = tmp_path / "kept.json"
    words = ["chain", "--n=5", "--rounds=1", "--ours=procs", f"--against={other}"]
    assert run.main([*words, f"--json={kept}"]) == 0
    assert "| workload | ours  | this / other |" in capsys.readouterr().out
    (chain,) = json.loads(kept.read_text("utf-8"))["measured"]
    assert set(chain["runs"]) == {"procs", "procs @ other"}, chain["lacks"]


def test_a_checkout_without_our_packages_is_found_out(tmp_path: Path) -> None:
    found = in_rounds("chain", [Subject("serial", "serial", tmp_path)], 5, 1, 2)
    assert found.lacks == {"serial": "it used the packages of another checkout"}
    assert not found.runs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "there is no workload 'nothing'"),
        (["--ours=nobody"], "there is no contender 'nobody'"),
        (["--rounds=0"], "--rounds must be 1 or more"),
        (["--against=."], "is no checkout of fancypipe"),
        (["--figures=none.json"], "there is no file none.json"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        run.main(words)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_table_without_those_that_it_compares_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fancypipe_procs", None)
    figures = tmp_path / "figures.md"
    figures.touch()
    with pytest.raises(SystemExit) as end:
        run.main(["chain", "--n=5", f"--table={tmp_path}"])
    assert end.value.code == 2
    assert not figures.read_text("utf-8")
    said = capsys.readouterr().err
    assert "procs: fancypipe_procs cannot be imported: " in said
    assert "install them, or name with --ours and --peers" in said


@contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ctrl_c_ends_all_that_was_started() -> None:
    with command("sleeps", "--n=5000", "--ours=remote", "--peers=none") as process:
        # The measuring process, the manager, the worker, its host process and two children.
        wait_until(lambda: len(family(process.pid)) >= 7, "they did not all start")
        started = family(process.pid)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        wait_until(lambda: not any(map(alive, started)), "something is left")


def test_who_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_GRACE", 0.2)
    code = (
        "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(child.pid, flush=True); child.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        child = int(process.stdout.readline())
        measure._end(process)
        assert process.returncode == -signal.SIGKILL
        wait_until(lambda: not alive(child), "its child is left")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_the_relay_is_late_both_ways() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def echo() -> None:
            with server.accept()[0] as link:
                while data := link.recv(65536):
                    link.sendall(data)

        thread = threading.Thread(target=echo)
        thread.start()
        words = [sys.executable, "-m", "benchmarks.relay", address, "0.2"]
        with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as relay:
            assert relay.stderr is not None
            port = int(relay.stderr.readline().rpartition(":")[2].rstrip(",\n"))
            try:
                with socket.create_connection(("127.0.0.1", port)) as link:
                    begin = time.monotonic()
                    sent = os.urandom(200_000)
                    link.sendall(sent)
                    came = b""
                    while len(came) < len(sent):
                        came += link.recv(65536)
                    assert came == sent
                    assert time.monotonic() - begin >= 0.4, "no later than it has to be"
            finally:
                relay.terminate()
        thread.join(30)
