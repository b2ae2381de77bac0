"""A client whose tasks need what others of the same worker need as well, and write down when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import sleep, time

from fancypipe_core import Session, current, task

_FOREVER = [sys.executable, "-c", "import time; time.sleep(3600)"]


@task(retries=0)
def uses(name: str, number: int, folder: str, seconds: float) -> int:
    """Have it for so long, and at least until there is a file `go`."""
    begin = time()
    mine = Path(folder, f"{name}-{number}")
    mine.with_suffix(".begun").touch()
    while not Path(folder, "go").exists():
        sleep(0.01)
    sleep(seconds)
    device = ",".join(current().devices)
    mine.with_suffix(".part").write_text(f"{device or '-'} {begin} {time()}")
    mine.with_suffix(".part").rename(mine.with_suffix(".txt"))
    return number


@task
def starts_a_program(folder: str) -> None:
    """Leave a program in a session of its own, and run for as long as that."""
    program = subprocess.Popen(_FOREVER, start_new_session=True)
    Path(folder, "pid.part").write_text(str(program.pid))
    Path(folder, "pid.part").rename(Path(folder, "pid"))
    program.wait()


@task
def sees(folder: str) -> bool:
    """Whether that program lives."""
    try:
        stat = Path("/proc", Path(folder, "pid").read_text(), "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@task
def plain(number: int) -> int:
    """Need nothing."""
    return number


def main(manager: str, kind: str, name: str, folder: str, count: str, seconds: str) -> None:
    """Run tasks of one kind."""
    value: object
    needs = {"memory": "2G"} if kind == "memory" else {"gpu": 1}
    with Session("remote", jobmanager=manager) as session:
        if kind == "leaves":
            value = session.run(starts_a_program(folder).with_options(needs=needs))
        elif kind == "sees":
            value = session.run(sees(folder).with_options(needs=needs))
        elif kind == "plain":
            value = session.run([plain(number) for number in range(int(count))])
        else:
            made = [uses(name, n, folder, float(seconds)) for n in range(int(count))]
            value = session.run([one.with_options(needs=needs) for one in made])
    sys.stdout.write(repr(value))


if __name__ == "__main__":
    main(*sys.argv[1:])
