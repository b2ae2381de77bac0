"""The parity tests in a script that a user started: its pipelines are the main module's.

`write` makes the script of the text of `pipelines`; what the script does is `check`.
"""

from __future__ import annotations

import inspect
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fancypipe_core import Session
from tests.conformance import pipelines, test_parity

HEAD = """\
from __future__ import annotations

import contextvars
{early}
from tests.conformance import started
"""

TAIL = """

@task
def loads() -> bool:
    import concurrent.futures
    import multiprocessing

    return multiprocessing.get_start_method(allow_none=True) is None


@task
def checked() -> str:
    with started.Session("procs", 2, debug=True) as session:
        session.run(loads())
        # As if no task ran here: `check` asks for that too.
        return contextvars.Context().run(started.check, {space}, session)


if __name__ == "__main__":
    print(checked.main())
"""


def write(path: Path, *, local: bool, early: bool) -> None:
    """Write the script: `local` pipelines stand in a function, `early` imports stand on top."""
    text = Path(pipelines.__file__).read_text(encoding="utf-8")
    text = text.split("from __future__ import annotations\n", 1)[1]
    top = "import multiprocessing, concurrent.futures, cloudpickle" if early else ""
    parts = [HEAD.format(early=top)]
    if local:
        body = text + "\nreturn locals()\n"
        parts += ["from fancypipe_core import task\n\ndef make():\n"]
        parts += [textwrap.indent(body, "    "), TAIL.format(space="make()")]
    else:
        parts += [text, TAIL.format(space="globals()")]
    path.write_text("".join(parts), encoding="utf-8")


def check(space: Mapping[str, Any], session: Session) -> str:
    """Run the parity tests that need a session and nothing else; tell how many."""
    made = SimpleNamespace(**{**space, "__file__": space["square"].main.__code__.co_filename})
    vars(test_parity)["p"] = made
    count = 0
    for name, function in vars(test_parity).items():
        wants = set(inspect.signature(function).parameters) if name.startswith("test_") else None
        if wants is None or not wants <= {"session", "tmp_path"}:
            continue
        with tempfile.TemporaryDirectory() as folder:
            given = {"session": session, "tmp_path": Path(folder)}
            try:
                function(**{want: given[want] for want in wants})
            except BaseException as error:
                raise AssertionError(f"{name}: {error!r}") from error
        count += 1
    return f"{count} are right"
