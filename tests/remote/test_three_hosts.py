"""The walk-through on three hosts: network namespaces of our own, joined by a bridge."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote.clients import PIPELINE
from tests.remote.cluster import LIMIT, Cluster, Party


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=LIMIT)


class Hosts(Cluster):
    """Three hosts A, B and C; a manager on A, and a worker on each."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # Names are the whole machine's, and are free again some time after their end.
        self.number = secrets.randbelow(60000)
        self.subnet = f"10.{200 + self.number % 50}.{self.number // 50 % 250}"
        self.address_a = f"{self.subnet}.1:5432"
        self.bridge = f"fpb{self.number}"
        self.names = {host: f"fp{host}{self.number}" for host in "abc"}

    def set_up(self) -> None:
        ip("link", "add", self.bridge, "type", "bridge")
        ip("link", "set", self.bridge, "up")
        for number, (host, name) in enumerate(self.names.items(), 1):
            ip("netns", "add", name)
            ip(
                "link",
                "add",
                f"v{host}{self.number}",
                "type",
                "veth",
                "peer",
                "eth0",
                "netns",
                name,
            )
            ip("link", "set", f"v{host}{self.number}", "master", self.bridge, "up")
            ip("-n", name, "addr", "add", f"{self.subnet}.{number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def tear_down(self) -> None:
        self.close()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False, timeout=LIMIT)
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, timeout=LIMIT)

    def on(self, host: str, *command: str, hidden: Path | None = None) -> list[str]:
        """Return a command that runs on a host; there, a folder may be hidden by an empty one."""
        inside = ["ip", "netns", "exec", self.names[host]]
        if hidden is None:
            return [*inside, *command]
        # `ip netns exec` makes a mount namespace, so only this host sees this mount.
        return [
            *inside,
            "sh",
            "-c",
            f"mount -t tmpfs none '{hidden}' && exec \"$@\"",
            "sh",
            *command,
        ]

    def start(self, host: str, name: str, *arguments: str, hidden: Path | None = None) -> Party:
        log = self.folder / f"{name}-{host}.log"
        command = self.on(
            host, sys.executable, "-m", "fancypipe_core.cli", name, *arguments, hidden=hidden
        )
        party = Party(command, self.env, log, Path("/"))
        self.parties.append(party)
        return party


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    try:
        try:
            made.set_up()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this machine lets nobody have networks of its own: {error}")
        manager = made.start("a", "manager", f"-jobmanager={made.address_a}")
        manager.says(f"listening on {made.address_a}")
        yield made
    finally:
        made.tear_down()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipeline.py").write_text(PIPELINE)
    (folder / "helper.py").write_text("def plus(a, b):\n    return a + b\n")
    return folder / "pipeline.py"


@pytest.mark.parametrize("shared", [True, False], ids=["shared folder", "no shared folder"])
def test_the_walk_through_on_three_hosts(three: Hosts, script: Path, shared: bool) -> None:
    for host in "abc":
        worker = three.start(
            host,
            "worker",
            f"-jobmanager={three.address_a}",
            "-numworkers=1",
            hidden=None if shared or host == "b" else script.parent,
        )
        worker.says("connected to the manager")
    command = [sys.executable, "-m", "fancypipe_core.cli", "--workertype", "remote"]
    status = subprocess.run(
        three.on("b", *command, f"-jobmanager={three.address_a}"),
        check=False, env=three.env, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert status.returncode == 0, status.stderr
    assert "3 workers with 3 slots" in status.stdout
    assert status.stdout.count("does not see") == 0
    over = subprocess.run(
        three.on("b", *command, f"-jobmanager={three.address_a}", str(script), "--x1", "5"),
        check=False, env=three.env, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert (over.stdout, over.returncode) == ("41.0\n", 0), over.stderr
