"""The Slurm backend of fancypipe: workers in jobs, which come with the work and leave when idle."""

from __future__ import annotations

from dataclasses import dataclass

from fancypipe_core.backend import BackendPlugin, Command, setting

__all__ = ["plugin"]

_SITE = "that of the site"


@dataclass(frozen=True)
class SlurmSettings:
    """Of a pipeline's run."""

    least: int = setting(0, help="How many jobs stay when nothing is to do.", value="N", least=0)
    most: int = setting(4, help="How many jobs there are at most.", value="N", least=1)
    cpus: int = setting(
        1, help="Cores of each job, and tasks that run in it at a time.", value="N", least=1
    )
    partition: str = setting("", help="Slurm's partition.", value="NAME", default_text=_SITE)
    account: str = setting("", help="Slurm's account.", value="NAME", default_text=_SITE)
    time: str = setting(
        "",
        help="How long each job may take.",
        value="[DAYS-]HH:MM:SS",
        default_text=_SITE,
    )
    memory: str = setting("", help="Memory of each job.", value="SIZE", default_text=_SITE)
    gpus: int = setting(0, help="GPUs of each job.", value="N", least=0)
    sbatch: str = setting(
        "",
        help="Further options for sbatch, as in a shell.",
        value="OPTIONS",
        default_text="none",
    )
    idle: float = setting(
        60.0, help="How long a job stays without work.", value="SECONDS", least=0.0
    )
    wait: float = setting(
        600.0, help="How long to wait for a worker while work waits.", value="SECONDS", least=0.0
    )
    host: str = setting(
        "", help="This machine, as nodes call it.", value="NAME", default_text="its name"
    )
    folder: str | None = setting(
        None,
        help="A folder that nodes see, for secret and logs.",
        value="FOLDER",
        default_text="in your home",
    )


plugin = BackendPlugin(
    name="slurm",
    aliases=("SLURM",),
    help="workers in jobs of Slurm, as many as there is work for",
    make="fancypipe_slurm._slurm:make",
    kills=True,
    unit="slot",
    settings=SlurmSettings,
    certificates="vague",
    understands=frozenset({"cpus", "memory", "gpu"}),
    commands={
        "slurm": Command(
            "Say which jobs of Slurm run workers.",
            "fancypipe_slurm._slurm:status",
            SlurmSettings,
            "status",
        )
    },
)
