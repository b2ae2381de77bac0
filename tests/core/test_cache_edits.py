"""Who edits code while a run goes on gets no result of one code under the key of another."""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import run
from tests.core.test_resume import Store

STUDY = """\
from pathlib import Path
from fancypipe_core import task

@task
def first(path, old, new):
    Path(path).write_text(Path(path).read_text().replace(old, new))
    return 1

@task
def second(x):
    return x + 1

@task
def third(x):
    return x + 10
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Return what loads the study anew, as the next process would."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "edited_study.py").write_text(STUDY)

    def load() -> Any:
        sys.modules.pop("edited_study", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return importlib.import_module("edited_study")

    yield load
    sys.modules.pop("edited_study", None)


def test_only_what_was_edited_is_not_kept(load: Callable[[], Any], tmp_path: Path) -> None:
    study = load()
    store = Store()
    way: dict[str, Any] = {"backend": "serial", "resume": True, "cache": tmp_path / "cache"}

    def asked(new: str) -> Any:
        one = study.first(str(tmp_path / "edited_study.py"), "x + 1\n", new)
        return run([study.second(one), study.third(one)], observers=[store], **way)

    assert asked("x + 2\n") == [2, 11]
    kept = [name for what, name in store.told if what == "kept"]
    assert sorted(kept) == ["first", "third"]
    [event] = [one for one in store.events if one.kind == "not-kept"]
    assert event.path.endswith("second")
    assert "`edited_study.second` was changed after it was loaded" in event.why
    study = load()
    store.told.clear()
    assert asked("x + 2\n") == [3, 11]
    assert [name for what, name in store.told if what == "kept"] == ["second"]
