"""The settings of client, manager and worker."""

from __future__ import annotations

from dataclasses import dataclass

from fancypipe_core.backend import setting

__all__ = [
    "ClientSettings",
    "ManagerSettings",
    "SecretSettings",
    "StatusSettings",
    "WorkerSettings",
]

_DEFAULT = "localhost:51423"
_ADDRESS = "HOST[:PORT]"
_SECRET = "SECRET|@FILE|-"
_AUTH = (
    "The secret, a file that holds it, or - to read it; a secret that is written here can be seen "
    "by everybody on this machine."
)
_AUTH_DEFAULT = (
    "from FANCYPIPE_JOBAUTH, FANCYPIPE_JOBAUTH_FILE or your own file, see `fancypipe secret`"
)
_CLUSTER = "A name, to keep managers with the same secret apart."


@dataclass(frozen=True)
class _Party:
    """Of everybody who meets at a manager."""

    jobmanager: str = setting(
        _DEFAULT, help="Where the manager is.", also=("jobserver",), value=_ADDRESS
    )
    jobauth: str | None = setting(
        None, help=_AUTH, value=_SECRET, default_text=_AUTH_DEFAULT, secret=True
    )
    cluster: str = setting("", help=_CLUSTER, value="NAME", default_text="none")


@dataclass(frozen=True)
class ClientSettings(_Party):
    """Of a pipeline's run."""

    jobmanager: str = setting(
        _DEFAULT, help="Where the manager is.", also=("jobserver",), value=_ADDRESS, implies=True
    )
    wait: float = setting(
        30.0,
        help="How long to wait for the manager and the first worker.",
        value="SECONDS",
        least=0.0,
    )
    away: float = setting(
        60.0,
        help="How long the manager, or all workers, may be away before a run gives up.",
        value="SECONDS",
        least=0.0,
    )


@dataclass(frozen=True)
class StatusSettings(_Party):
    """Of `fancypipe status`."""

    wait: float = setting(0.0, help="How long to wait for the manager.", value="SECONDS", least=0.0)
    tempdir: str | None = setting(
        None,
        help="Say which workers see this folder.",
        value="FOLDER",
        default_text="the system's folder for temporary files",
    )


@dataclass(frozen=True)
class ManagerSettings(_Party):
    """Of `fancypipe manager`."""

    jobmanager: str = setting(
        _DEFAULT,
        help="Where to listen; only this machine can reach localhost.",
        also=("jobserver",),
        value=_ADDRESS,
    )


@dataclass(frozen=True)
class SecretSettings:
    """Of `fancypipe secret`."""

    jobauth: str | None = setting(
        None,
        help="The secret of a worker key, as for the manager.",
        value=_SECRET,
        default_text=_AUTH_DEFAULT,
        secret=True,
    )
    cluster: str = setting("", help=_CLUSTER, value="NAME", default_text="none")
    replace: bool = setting(False, help="With `new`: also if there is a secret already.")


@dataclass(frozen=True)
class WorkerSettings(_Party):
    """Of `fancypipe worker`."""

    numworkers: int | None = setting(
        None,
        help="How many jobs run at the same time.",
        value="N",
        default_text="one for each core",
        least=1,
    )
    workertype: str | None = setting(
        None,
        help="The local backend that runs them.",
        value="NAME",
        default_text="procs if installed, else threads, else serial",
    )
    memory: str | None = setting(
        None,
        help="What tasks that say what they need may have together, such as 64G.",
        value="SIZE",
        default_text="all that the machine has",
    )
    devices: str | None = setting(
        None,
        help="Names of the devices for tasks, such as 0,1.",
        value="NAMES",
        default_text="all that this process sees",
    )
    tempdir: str | None = setting(
        None,
        help="The folder for temporary files.",
        value="FOLDER",
        default_text="the system's folder for temporary files",
    )
    wait: float | None = setting(
        None,
        help="How long to seek the manager before it gives up.",
        value="SECONDS",
        default_text="for ever",
        least=0.0,
    )
    grace: float = setting(
        30.0,
        help="How long running jobs have when the worker is told to stop.",
        value="SECONDS",
        least=0.0,
    )
    once: bool = setting(False, help="Serve one client, and leave when it does.")
