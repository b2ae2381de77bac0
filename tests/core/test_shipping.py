"""Which files are a client's code, and how a worker has them where nothing is shared."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from fancypipe_core._base import installed as installed_files
from fancypipe_core.toolkit.shipping import bundle as _bundle
from fancypipe_core.toolkit.shipping import code_files as _reach
from fancypipe_core.toolkit.shipping import roots as _roots
from fancypipe_core.toolkit.shipping.bundle import Bundle, Code, Place

LIMIT = 60.0


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that comes first on `sys.path`; what is imported from there is forgotten."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    # Elsewhere than all of this process's temporary files.
    monkeypatch.setattr(_roots, "tempfile", type("", (), {"gettempdir": lambda: "/nowhere"}))
    before = set(sys.modules)
    importlib.invalidate_caches()
    yield folder
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def found(folder: Path, script: Path | None = None) -> list[str]:
    """Return the files below a folder that are sent, by their paths from there."""
    main = ("file", str(script)) if script is not None else None
    return below(folder, _reach.reach(main).files)


def below(folder: Path, paths: Sequence[str]) -> list[str]:
    start = os.path.join(folder, "")
    return sorted(path.removeprefix(start) for path in paths if path.startswith(start))


def test_of_a_home_only_what_is_imported_comes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(project))
    put(project / "letters.py")
    put(project / "notes.txt")
    put(project / "work" / "secret.py")
    put(project / "unmentioned" / "__init__.py")
    put(project / "used" / "__init__.py", "import late\n")
    put(project / "used" / "table.csv")
    put(project / "used" / ".git" / "config")
    put(project / "used" / "__pycache__" / "x.pyc")
    put(project / "used" / "deep" / "more.py")
    put(project / "late.py")
    script = put(project / "run.py", "def f():\n    from used import table\n")
    expected = ["late.py", "run.py", "used/__init__.py", "used/deep/more.py", "used/table.csv"]
    assert found(project, script) == expected


def test_of_a_project_all_python_files_come(project: Path) -> None:
    put(project / "steps" / "one.py")
    put(project / "data" / "table.csv")
    put(project / ".venv" / "x.py")
    put(project / "env" / "pyvenv.cfg")
    put(project / "env" / "x.py")
    put(project / "build" / "lib" / "x.py")
    script = put(project / "run.py")
    assert found(project, script) == ["run.py", "steps/one.py"]


def test_beside_very_many_files_only_what_is_imported_comes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reach, "_MOST_ENTRIES", 20)
    for number in range(30):
        put(project / "archive" / f"{number}.py")
    put(project / "helper.py")
    put(project / "unused.py")
    assert found(project, put(project / "run.py", "import helper")) == ["helper.py", "run.py"]


@pytest.mark.parametrize(
    "text",
    [
        "import space.mod",
        "import os, space.mod as m; print()",
        "from space import mod",
        "from space import (  # it\n    other,\n    mod as m,\n)",
        "from space \\\n    import mod",
        "import importlib\nimportlib.import_module('space.mod')",
        "def f():\n    if True: import space.mod",
    ],
)
def test_imports_are_read_off_the_text(
    project: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("HOME", str(project))
    put(project / "space" / "mod.py", "from . import beside\nfrom .inner.deep import x\n")
    put(project / "space" / "beside.py")
    put(project / "space" / "inner" / "deep.py", "from ..up import x\n")
    put(project / "space" / "up.py")
    put(project / "space" / "unused.py")
    inside = ["beside.py", "inner/deep.py", "mod.py", "up.py"]
    expected = ["run.py", *(f"space/{name}" for name in inside)]
    assert found(project, put(project / "run.py", text)) == expected


def test_a_namespace_may_lie_in_several_folders(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    put(project / "space" / "one.py")
    put(tmp_path / "more" / "space" / "two.py")
    script = put(project / "run.py", "import space.one, space.two")
    assert found(tmp_path, script) == [
        "more/space/two.py",
        "project/run.py",
        "project/space/one.py",
    ]


def test_what_was_imported_at_run_time_comes(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a hook of an editable install, and from a file that no import finds."""
    monkeypatch.setenv("HOME", str(tmp_path))
    put(project / "computed.py")
    put(tmp_path / "dev" / "hooked" / "__init__.py")
    put(tmp_path / "dev" / "hooked" / "data.json")
    put(tmp_path / "dev" / "unused.py")

    class Hook:
        @staticmethod
        def find_spec(name: str, *_: object) -> object:
            if name != "hooked":
                return None
            file = tmp_path / "dev" / "hooked" / "__init__.py"
            return importlib.util.spec_from_file_location(name, file)

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Hook])
    importlib.import_module("computed")
    importlib.import_module("hooked")
    plugin = put(tmp_path / "plugins" / "plugin.py")
    spec = importlib.util.spec_from_file_location("any.name", plugin)
    assert spec is not None
    monkeypatch.setitem(sys.modules, "any.name", importlib.util.module_from_spec(spec))
    reached = _reach.reach(None)
    assert below(tmp_path, reached.files) == [
        "dev/hooked/__init__.py",
        "dev/hooked/data.json",
        "plugins/plugin.py",
        "project/computed.py",
    ]
    assert reached.roots.before[0] == str(project)
    assert reached.roots.after[-1] == str(tmp_path / "dev")


def test_an_editable_install_comes_with_what_it_says_of_itself(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project / "mine.py")
    installed = tmp_path / "lib"
    info = installed / "mine-1.0.dist-info"
    put(info / "METADATA", "Name: mine\nVersion: 1.0\n")
    told = {"url": (project).as_uri(), "dir_info": {"editable": True}}
    put(info / "direct_url.json", json.dumps(told))
    put(project / "old.egg-info" / "PKG-INFO", "Name: old\nVersion: 2\n")
    # What is really installed stays so, or all that the tests have imported comes too; and what
    # is kept from one call to the next does not know of this folder.
    folders, _ = (
        (*installed_files.installed_folders(), str(installed)),
        installed_files._installed_starts(),
    )
    monkeypatch.setattr(installed_files, "installed_folders", lambda: folders)
    monkeypatch.setattr(_roots, "installed_folders", lambda: folders)
    bundle = Bundle(None)
    code = bundle.code
    there = _bundle.unpack(bundle.archive(_bundle.this_platform()), str(tmp_path / "there"))
    path = there.search(code, [])
    ask = "from importlib.metadata import version; print(version('mine'), version('old'))"
    over = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {ask}"],
        check=True, timeout=LIMIT, capture_output=True, text=True,
    )  # fmt: skip
    assert over.stdout == "1.0 2\n"
    assert str(installed) not in path
    assert _bundle.has_code(msgspec.structs.replace(code, files=dict(code.files)))


def test_what_is_too_large_is_named_and_code_comes_before_data(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What this process has imported, these tests among it, is code too and counts.
    monkeypatch.setattr(_reach, "_MOST_BYTES", 12 * 2**20)
    monkeypatch.setenv("HOME", str(project))
    put(project / "used" / "__init__.py")
    put(project / "used" / "a.bin", "x" * 12 * 2**20)
    put(project / "used" / "b.bin", "x" * 2**20)
    put(project / "used" / "z.py", "x" * 2**20)
    bundle = Bundle(("file", str(put(project / "run.py", "import used"))))
    expected = ["run.py", "used/__init__.py", "used/b.bin", "used/z.py"]
    assert below(project, [os.fsdecode(path) for path in bundle.code.files]) == expected
    assert bundle.lacks == f"{project}/used/a.bin (12 MiB)"


def test_machine_code_goes_to_its_own_platform_only(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(project))
    put(project / "fast.abi3.so")
    put(project / "used" / "__init__.py")
    put(project / "used" / "libs" / "libx.so.3")
    bundle = Bundle(("file", str(put(project / "run.py", "import fast, used"))))
    ours = _bundle.this_platform()
    assert bundle.unfit(ours) == ""
    assert bundle.unfit("other") == f"{project}/fast.abi3.so and {project}/used/libs/libx.so.3"
    for platform, expected in ((ours, 4), ("other", 2)):
        place = _bundle.unpack(bundle.archive(platform), str(tmp_path / platform))
        there = Path(place.of(str(project)))
        assert len([path for path in there.rglob("*") if path.is_file()]) == expected


def test_links_are_followed_but_not_in_a_circle(project: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "part.py")
    put(project / "used" / "__init__.py")
    (project / "used" / "part").symlink_to(tmp_path / "elsewhere")
    (project / "used" / "again").symlink_to(project / "used")
    (project / "used" / "gone").symlink_to(tmp_path / "nothing")
    script = put(project / "run.py", "import used")
    assert found(project, script) == ["run.py", "used/__init__.py", "used/part/part.py"]


def test_a_name_may_be_of_any_bytes(project: Path, tmp_path: Path) -> None:
    odd = project / os.fsdecode(b"caf\xe9")
    script = put(odd / "run.py")
    bundle = Bundle(("file", str(script)))
    place = _bundle.unpack(bundle.archive(_bundle.this_platform()), str(tmp_path / "there"))
    assert place.of(str(script)) == str(tmp_path / "there") + str(script)
    assert _bundle.has_code(bundle.code)
    script.write_text("changed")
    assert not _bundle.has_code(bundle.code)


def test_what_is_not_here_keeps_its_path(tmp_path: Path) -> None:
    put(tmp_path / "root" / "client" / "helper.py")
    place = Place(str(tmp_path / "root"))
    assert place.of("/client/helper.py") == str(tmp_path / "root/client/helper.py")
    assert place.of("/client/other.py") == "/client/other.py"
    code = Code({}, [b"/client", b"/gone"], [os.fsencode(tmp_path)])
    expected = [str(tmp_path / "root" / "client"), "/usr", str(tmp_path), str(tmp_path / "root")]
    assert place.search(code, ["/usr", str(tmp_path)]) == expected


@pytest.mark.parametrize(
    "path",
    [b"relative", b"", b"/", b"/../x", b"/a/../../x", b"/a/./x", b"/a//x", b"/a/x/", b"/..",
     b"/a\0b", b"/taken", b"/taken/x"],
)  # fmt: skip
def test_a_bundle_cannot_leave_its_folder(tmp_path: Path, path: bytes) -> None:
    archive = zlib.compress(msgspec.msgpack.encode([(b"/taken", False, b""), (path, False, b"x")]))
    (tmp_path / "kept").write_text("")
    with pytest.raises((ValueError, OSError)):
        _bundle.unpack(archive, str(tmp_path / "code"))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["code", "kept", "taken"]


@pytest.mark.parametrize("archive", [b"", b"nothing", zlib.compress(b"\xc1"), zlib.compress(b"")])
def test_a_bundle_that_cannot_be_read(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        _bundle.unpack(archive, str(tmp_path / "code"))


def test_a_bundle_that_grows_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bundle, "_MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="larger than"):
        _bundle.unpack(zlib.compress(bytes(10_000)), str(tmp_path / "code"))
