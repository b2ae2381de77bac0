"""Starting is cheap: what was not asked for is not imported."""

from __future__ import annotations

import json

import pytest

from tests.meta.repo import python

ENGINE_ONLY = ["asyncio", "click", "cloudpickle", "msgspec", "numpy", "pluggy", "rich", "tblib"]

# The modules that were imported before, by the interpreter and by what starts with it.
CODE = """\
import sys
before = set(sys.modules)
{code}
import json
print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)
"""

HELP = """\
from fancypipe_core.cli import main
sys.argv = ["fancypipe", "--help"]
try:
    main()
except SystemExit as over:
    assert not over.code, over.code
"""


def imported_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter imports when it runs this code."""
    over = python(CODE.format(code=code))
    assert over.returncode == 0, over.stderr
    return set(json.loads(over.stderr.splitlines()[-1]))


def test_the_measure_sees_an_import() -> None:
    assert "msgspec" in imported_by("import msgspec")


@pytest.mark.parametrize(
    "code",
    ["import fancypipe_core", "from fancypipe_core import Module, Task, module, task, errors"],
)
def test_importing_the_core_imports_none_of(code: str) -> None:
    imported = imported_by(code)
    assert "fancypipe_core" in imported
    assert not imported & set(ENGINE_ONLY)


def test_help_imports_no_backend_and_no_engine() -> None:
    imported = imported_by(HELP)
    backends = {"fancypipe_core._worker.inline", "fancypipe_threads", "fancypipe_procs"}
    assert "fancypipe_core.cli" in imported
    assert not imported & (backends | {"cloudpickle", "tblib", "numpy", "asyncio"})
