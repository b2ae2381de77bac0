"""Uses fancypipe in a Jupyter kernel as somebody with a notebook does, and says what was seen.

It is a program of its own, for the threads and sockets of Jupyter's client.

    python -m tests.system.in_a_kernel FOLDER
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEGIN = """
import os, time
from pathlib import Path
from fancypipe_core import Session, task

@task
def double(n: int) -> int:
    return 2 * n

@task
def nap(path: str) -> None:
    Path(path + ".new").write_text(str(os.getpid()))
    os.rename(path + ".new", path)
    time.sleep(600)

session = Session(backend="procs", workers=2, grace=0.5)
"""
AGAIN = """
@task
def double(n: int) -> int:
    return 20 * n

session.run([double(n) for n in range(3)])
"""
WATCHED = """
@task
def rest(n: int) -> int:
    time.sleep(1.5)
    return n

from fancypipe_core import run
run([rest(0), rest(1)], backend="procs", workers=1, progress=True)
"""


class Kernel:
    """A kernel, and what its cells show."""

    def __init__(self, folder: Path) -> None:
        from jupyter_client.manager import start_new_kernel

        self.folder = folder
        self.tables: list[str] = []  # what was shown as HTML, and shown again
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    def cell(self, code: str, meanwhile: Callable[[], None] | None = None) -> str:
        """Run a cell, and return the last line of what it shows; of an error, its class."""
        shown: list[str] = []

        def look(message: Any) -> None:
            content = message["content"]
            if table := content.get("data", {}).get("text/html"):
                self.tables.append(table)
            shown.append(content.get("text", content.get("data", {}).get("text/plain", "")))

        other = threading.Thread(target=meanwhile or (lambda: None))
        other.start()
        reply = self.client.execute_interactive(code, timeout=120, output_hook=look)
        other.join()
        error = str(reply["content"].get("ename", ""))
        return error or "".join(shown).strip().rpartition("\n")[2]

    def stop_button(self, name: str) -> Callable[[], None]:
        """Return what waits until the task has begun, and presses the button."""

        def press() -> None:
            _eventually((self.folder / name).exists, "the task begins")
            self.manager.interrupt_kernel()

        return press


def _eventually(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until, f"not in time: {what}"
        time.sleep(0.02)


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def main(folder: Path) -> None:
    """Look at each."""
    kernel = Kernel(folder)
    cell = kernel.cell
    try:
        assert cell(BEGIN) == ""
        assert cell("session.run([double(n) for n in range(3)])") == "[0, 2, 4]"
        assert cell(AGAIN) == "[0, 20, 40]", "the function was defined anew"
        assert cell("session.run(nap('run'))", kernel.stop_button("run")) == "KeyboardInterrupt"
        assert cell("session.run(double(4))") == "80", "the session goes on"
        waits = "future = session.submit(nap('result')); future.result()"
        assert cell(waits, kernel.stop_button("result")) == "KeyboardInterrupt"
        assert cell("future.done(), future.cancel()") == "(False, True)", "only the wait has ended"
        assert cell("import asyncio; await asyncio.wrap_future(session.submit(double(5)))") == "100"
        assert kernel.tables == [], "nobody has asked for a picture"
        assert cell(WATCHED) == "[0, 1]"
        assert "under way" in kernel.tables[0]
        assert "2 of 2" in kernel.tables[-1]
        assert cell("last = session.submit(nap('last'))") == ""
        _eventually((folder / "last").exists, "the last task begins")
        pids = [int((folder / name).read_text()) for name in ("run", "result", "last")]
        assert os.getpid() not in pids
        assert not _is_gone(pids[-1])
    finally:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)
    _eventually(lambda: all(map(_is_gone, pids)), "the workers end with the kernel")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
