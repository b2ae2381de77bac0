"""Stands in for `sbatch`, `squeue` and `scancel` of Slurm: jobs are processes of this machine.

Its first word is one of these names.  What it knows is in files in SLURM_STAND_IN: a job begins at
once, but only so many live at a time as the file `most` there says, if there is one.

It is started again and again while a test looks at the queue: it imports only what it needs.
"""

from __future__ import annotations

import os
import signal
import sys
import time

HERE = os.environ["SLURM_STAND_IN"]
# The job itself has the number that is written down; who has started it says how it ended.
RUN = '"$1.sh" & echo "$! $2" > "$1.new"; mv "$1.new" "$1.job"; wait $!; echo $? > "$1.code"'


def sbatch(options: dict[str, str], _ids: list[str]) -> None:
    import subprocess

    most = read("most")
    if most and sum(map(lives, numbers("job"))) >= int(most):
        sys.exit(
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"
        )
    number = str(1 + len(numbers("sh")))
    place = os.path.join(HERE, number)
    write(f"{number}.sh", sys.stdin.read())
    os.chmod(f"{place}.sh", 0o700)
    write(f"{number}.options", "\n".join(sys.argv[2:]))
    with open(options["output"].replace("%j", number), "wb") as log:
        subprocess.Popen(
            ["sh", "-c", RUN, "sh", place, options["job-name"]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "SLURM_JOB_ID": number},
        )
    while not read(f"{number}.job"):
        time.sleep(0.01)
    sys.stdout.write(f"{number}\n")


def squeue(options: dict[str, str], _ids: list[str]) -> None:
    for number in numbers("job"):
        name = read(f"{number}.job").split()[1]
        if options.get("name", name) != name:
            continue
        if lives(number):
            sys.stdout.write(f"{number}|RUNNING|{os.uname().nodename}|{name}\n")
        elif options.get("states") == "all":
            sys.stdout.write(f"{number}|{how_it_ended(number)}|{name}\n")


def how_it_ended(number: int) -> str:
    if os.path.exists(os.path.join(HERE, f"{number}.cancelled")):
        return f"CANCELLED|{os.uname().nodename}"
    if read(f"{number}.code").strip() == "0":
        return f"COMPLETED|{os.uname().nodename}"
    return "FAILED|(NonZeroExitCode)"


def scancel(options: dict[str, str], ids: list[str]) -> None:
    for number in numbers("job"):
        pid, name = read(f"{number}.job").split()
        wanted = str(number) in ids or name == options.get("name")
        if wanted and lives(number):
            if "signal" not in options:
                write(f"{number}.cancelled", "")
            os.kill(int(pid), getattr(signal, "SIG" + options.get("signal", "TERM")))


def lives(number: int) -> bool:
    pid = read(f"{number}.job").split()[0]
    # A process that is dead and not yet waited for is there, and its state is Z.
    return (read(f"/proc/{pid}/stat").rpartition(")")[2].split() or "Z")[0] != "Z"


def numbers(ending: str) -> list[int]:
    """Return which jobs have a file of this kind."""
    names = (name.split(".") for name in os.listdir(HERE))
    return sorted(int(number) for number, *rest in names if rest == [ending])


def read(name: str) -> str:
    """Return what is in a file; nothing if it is not there, or no longer."""
    try:
        with open(os.path.join(HERE, name), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def write(name: str, text: str) -> None:
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        file.write(text)


COMMANDS = {"sbatch": sbatch, "squeue": squeue, "scancel": scancel}

if __name__ == "__main__":
    command, *words = sys.argv[1:]
    given = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    COMMANDS[command](given, [word for word in words if not word.startswith("--")])
