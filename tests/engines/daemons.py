"""A Slurm of this machine's own, in a temporary folder: munged, slurmctld and one slurmd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import wait_until

__all__ = ["COMMANDS", "lacking", "slurm_here"]

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
KillWait=30
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores}
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2
PartitionName=down Nodes={host} MaxTime=INFINITE State=INACTIVE
"""
COMMANDS = ("sbatch", "squeue", "scancel")
DAEMONS = ("munged", "slurmctld", "slurmd")


def _path_of(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")


def lacking() -> str:
    """Say why no Slurm can be started here; empty if one can."""
    lacks = [name for name in (*DAEMONS, *COMMANDS) if _path_of(name) is None]
    if lacks:
        return f"Slurm is not installed here: there is no {lacks[0]}"
    return "" if os.getuid() == 0 else "Slurm's daemons must be started by root"


@contextmanager
def slurm_here(cores: int = 2) -> Iterator[dict[str, str]]:
    """Start one, and end it with the block; give the environment in which its commands work."""
    folder = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))  # the path of its socket is short
    folder.chmod(0o755)
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        ports = [one.getsockname()[1], other.getsockname()[1]]
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(host=host, ports=ports, folder=folder, cores=cores), encoding="utf-8"
    )
    files = {"key-file": "key", "socket": "munge", "pid-file": "pid", "log-file": "log"}
    files["seed-file"] = "seed"
    munged = [f"--{name}={folder / file}" for name, file in files.items()]
    commands = [
        ["munged", "--foreground", "--force", *munged],
        ["slurmctld", "-D", "-f", f"{folder}/slurm.conf"],
        ["slurmd", "-D", "-f", f"{folder}/slurm.conf"],
    ]
    env = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf"}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, *words in commands:
            with (folder / f"{name}.out").open("wb") as out:
                command = [str(_path_of(name)), *words]
                started.append(subprocess.Popen(command, env=env, stdout=out, stderr=out))
            if name == "munged":
                wait_until((folder / "munge").exists, "munged listens")
        wait_until(lambda: b" idle" in _sinfo(env), "the node is up")
        yield env
    finally:
        for daemon in reversed(started):
            daemon.terminate()
            daemon.wait(30)
        shutil.rmtree(folder)


def _sinfo(env: dict[str, str]) -> bytes:
    return subprocess.run(["sinfo"], env=env, capture_output=True, check=False).stdout
