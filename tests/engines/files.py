"""Uses files on an engine whose workers see nothing in the client's folder.

    python -m tests.engines.files BACKEND FOLDER [ADDRESS]

It ends with exit code 0 if all went well.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from fancypipe_core import Dir, File, Session, errors
from tests.conformance import filed as f
from tests.engines import tasks as t


def main(backend: str, folder: str, *address: str) -> None:
    """Use them."""
    root = Path(folder)
    settings: dict[str, Any] = {"address": address[0]} if address else {}
    proof = root / "proof.txt"
    proof.write_text("")
    with Session(backend, 2, tempdir=folder, **settings) as session:
        sees, first = session.run(f.moves("x", [], str(proof)))
        assert not sees, "its workers are to see nothing here"
        assert first.read_text() == "x"
        there_and_back(session, root)
        goes_wrong(session, root)


def there_and_back(session: Session, root: Path) -> None:
    """Files of the client's and of tasks go to all workers, and come back."""
    mine = root / "mine.txt"
    mine.write_text("mine")
    made = f.writes("made")
    assert session.run(
        f.reads(made),
        f.joins([made, mine], {"a": made}, mine),
        f.lists(f.fills("a", "b")),
        f.reads(f.copies(f.copies(made))),
        f.reads.map(f.writes.map(["1", "2"])),
    ) == ("one.txt: made", "mademinemademine", ["a", "b"], "one.txt: made!!",
          ["one.txt: 1", "one.txt: 2"])  # fmt: skip
    assert session.run([f.reads(mine) for _ in range(50)]) == ["mine.txt: mine"] * 50
    large = root / "large"
    large.write_bytes(os.urandom(1 << 20) * 20)
    back, folder = session.run(t.doubled(t.doubled(large)), f.fills("x"))
    assert (type(back), type(folder)) == (File, Dir)
    assert back.read_bytes() == large.read_bytes() * 4
    assert back.is_relative_to(session.directory)


def goes_wrong(session: Session, root: Path) -> None:
    """What is not there is told, and a worker that dies costs nothing."""
    gone = root / "gone"
    gone.write_text("x")
    made = f.reads(gone)
    gone.unlink()
    try:
        session.run(made)
    except errors.BadInput as error:
        assert "from where it was to come" in str(error), error  # noqa: PT017 - no pytest here
    else:
        raise AssertionError("it is not there")
    large, mark = root / "large", root.parent / f"{root.name}-died"
    assert session.run(t.dies_once(large, str(mark))) == large.stat().st_size
    assert mark.exists()


if __name__ == "__main__":
    main(*sys.argv[1:])
