"""Settings: one table, five sources, and messages that name the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from fancypipe_core import errors
from fancypipe_core._base import cores as _cores
from fancypipe_core._base.declarations import setting
from fancypipe_core._plugins import discovery
from fancypipe_core._settings import table as _table
from fancypipe_core._settings.table import ENGINE, Settings, Table, lines_of


class Places:
    """A home and a project of our own."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config"
        self.project = folder / "project"
        self.deep = self.project / "a" / "b"
        self.deep.mkdir(parents=True)
        (self.config / "fancypipe").mkdir(parents=True)
        self.env = {"XDG_CONFIG_HOME": str(self.config), "HOME": str(folder)}

    def user(self, text: str) -> Path:
        file = self.config / "fancypipe" / "config.toml"
        file.write_text(text)
        return file

    def shared(self, text: str, name: str = "fancypipe.toml") -> Path:
        file = self.project / name
        file.write_text(text)
        return file

    def resolve(
        self, arguments: Mapping[str, object] | None = None, **env: str
    ) -> _table.Resolved[Settings]:
        return ENGINE.resolve(arguments or {}, {**self.env, **env}, self.deep)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_later_sources_beat_earlier_ones(places: Places) -> None:
    seen = []
    resolved = places.resolve()
    seen.append((resolved.settings.max_losses, resolved.origins["max_losses"].kind))
    user = places.user("max-losses = 4")
    resolved = places.resolve()
    seen.append((resolved.settings.max_losses, str(resolved.origins["max_losses"])))
    shared = places.shared("max_losses = 5")
    resolved = places.resolve()
    seen.append((resolved.settings.max_losses, str(resolved.origins["max_losses"])))
    resolved = places.resolve(FANCYPIPE_MAX_LOSSES="6")
    seen.append((resolved.settings.max_losses, str(resolved.origins["max_losses"])))
    resolved = places.resolve({"max_losses": 7}, FANCYPIPE_MAX_LOSSES="6")
    seen.append((resolved.settings.max_losses, str(resolved.origins["max_losses"])))
    assert seen == [
        (3, "default"),
        (4, f"user file: {user}, key max-losses"),
        (5, f"project file: {shared}, key max_losses"),
        (6, "environment: FANCYPIPE_MAX_LOSSES"),
        (7, "argument: max_losses"),
    ]


def test_a_project_may_use_its_pyproject(places: Places) -> None:
    places.shared('[project]\nname = "x"\n[tool.fancypipe]\nworkertype = "T"', "pyproject.toml")
    assert places.resolve().settings.backend == "T"
    # The file of its own beats it, and the nearest folder beats those above.
    places.shared('backend = "S"')
    assert places.resolve().settings.backend == "S"
    (places.project / "a" / "pyproject.toml").write_text("[tool.fancypipe]\nbackend = 'P'")
    assert places.resolve().settings.backend == "P"


def test_what_others_wrote_is_not_judged(places: Places) -> None:
    places.shared("this is not TOML", "pyproject.toml")
    assert places.resolve().settings.max_losses == 3


def test_a_folder_in_a_file_begins_at_that_file(places: Places) -> None:
    places.shared('tempdir = "scratch"')
    assert places.resolve().settings.tempdir == str(places.project / "scratch")
    assert places.resolve({"tempdir": "here"}).settings.tempdir == "here"


def test_an_empty_variable_is_not_set(places: Places) -> None:
    assert places.resolve(FANCYPIPE_MAX_LOSSES="").settings.max_losses == 3


def test_defaults_of_the_caller(places: Places) -> None:
    resolved = ENGINE.resolve({}, places.env, places.deep, defaults={"progress": True})
    assert resolved.settings.progress is True
    assert resolved.origins["progress"] == ("default", "true")
    assert ENGINE.resolve({"progress": "0"}, places.env, places.deep).settings.progress is False


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("workers", "12", 12),
        ("workers", 12, 12),
        ("workers", "auto", _cores.usable_cores()),
        ("grace", "2.5", 2.5),
        ("grace", 0, 0.0),
        ("keep_going", "yes", True),
        ("keep_going", False, False),
        ("debug", "OFF", False),
        ("tempdir", Path("x"), "x"),
        ("backend", " P ", "P"),
    ],
)
def test_values(places: Places, name: str, value: object, result: object) -> None:
    assert getattr(places.resolve({name: value}).settings, name) == result


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", 0),
        ("workers", "many"),
        ("workers", 2.0),
        ("workers", True),
        ("max_losses", "0"),
        ("grace", -1),
        ("grace", "nan"),
        ("grace", False),
        ("keep_going", "maybe"),
        ("backend", ""),
        ("backend", 3),
        ("tempdir", 3),
    ],
)
def test_bad_values(places: Places, name: str, value: object) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        places.resolve({name: value})
    line = next(line for line in ENGINE.lines if line.name == name)
    assert str(caught.value) == f"argument {name} must be {line.expected}, not {value!r}"
    assert caught.value.exit_code == 2


def test_a_bad_value_names_its_source(places: Places) -> None:
    with pytest.raises(
        errors.ConfigError, match=r"^environment variable FANCYPIPE_WORKERS must be"
    ):
        places.resolve(FANCYPIPE_WORKERS="x")
    with pytest.raises(errors.ConfigError, match=r"^argument -numworkers must be a whole"):
        ENGINE.resolve(
            {"workers": "x"}, places.env, places.deep, spelled={"workers": "-numworkers"}
        )
    file = places.user("workers = 'x'")
    with pytest.raises(errors.ConfigError) as caught:
        places.resolve()
    assert str(caught.value).startswith(f"{file}: workers must be a whole number")


def test_an_unknown_name_has_a_near_one(places: Places) -> None:
    with pytest.raises(errors.ConfigError, match=r"argument 'wokers' .* did you mean workers\?"):
        places.resolve({"wokers": 1})
    # It has this name on the command line only.
    with pytest.raises(errors.ConfigError, match=r"'numworkers' .* did you mean workers\?"):
        places.resolve({"numworkers": 1})
    with pytest.raises(errors.ConfigError, match="'zzz' is not a setting; there are: back"):
        places.resolve({"zzz": 1})
    file = places.shared("keep-goin = true")
    with pytest.raises(errors.ConfigError) as caught:
        places.resolve()
    assert str(caught.value) == (
        f"{file}: key 'keep-goin' is not a setting; did you mean keep-going?"
    )


def test_a_variable_that_looks_like_ours_is_remarked(places: Places) -> None:
    remarks = places.resolve(FANCYPIPE_WORKER="3", FANCYPIPE_NUMWORKERS="3", OTHER="1").remarks
    assert sorted(remarks) == [
        "FANCYPIPE_NUMWORKERS in the environment is no setting; did you mean FANCYPIPE_WORKERS?",
        "FANCYPIPE_WORKER in the environment is no setting; did you mean FANCYPIPE_WORKERS?",
    ]
    assert places.resolve(FANCYPIPE_SECRET="x").remarks == ()


def test_a_file_that_is_not_toml(places: Places) -> None:
    file = places.shared("workers = ")
    with pytest.raises(errors.ConfigError, match="is not a TOML file") as caught:
        places.resolve()
    assert str(file) in str(caught.value)


def test_the_default_backend(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    for installed in (["procs", "serial", "threads"], ["serial", "threads"], ["serial"]):
        monkeypatch.setattr(discovery, "is_installed", installed.__contains__)
        chosen.append(places.resolve().settings.backend)
    assert chosen == ["procs", "threads", "serial"]


def test_every_setting_is_explained_and_spelled_once() -> None:
    lines = ENGINE.lines
    names = [name.replace("-", "_") for line in lines for name in (*line.options, *line.off)]
    assert len(names) == len(set(names))
    for line in lines:
        assert line.help.endswith(".")
        assert line.default
        assert bool(line.value) != bool(line.off)


def test_a_record_of_ones_own(places: Places) -> None:
    @dataclass(frozen=True)
    class Remote:
        port: int = setting(5432, help="Its port.", expected="a port", least=1, value="N")

    table = Table("remote", Remote, lines_of(Remote, "remote"))
    resolved = table.resolve({}, {**places.env, "FANCYPIPE_REMOTE_PORT": "7"}, places.deep)
    assert resolved.settings.port == 7
    assert str(resolved.origins["port"]) == "environment: FANCYPIPE_REMOTE_PORT"
    with pytest.raises(errors.ConfigError, match=r"^argument port must be a port, not 0$"):
        table.resolve({"port": 0}, places.env, places.deep)


class Groups:
    """A made-up `/proc` and `/sys`."""

    def __init__(self, root: Path, membership: str) -> None:
        self.root = root
        self.write("proc/self/cgroup", membership)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def quota(self) -> float | None:
        return _cores.quota(str(self.root))


def test_quota_of_version_2(tmp_path: Path) -> None:
    groups = Groups(tmp_path, "0::/user/job\n")
    assert groups.quota() is None
    groups.write("sys/fs/cgroup/user/job/cpu.max", "max 100000\n")
    assert groups.quota() is None
    groups.write("sys/fs/cgroup/user/job/cpu.max", "250000 100000\n")
    assert groups.quota() == 2.5
    groups.write("sys/fs/cgroup/user/cpu.max", "150000 100000\n")
    assert groups.quota() == 1.5


def test_quota_of_version_1_in_a_container(tmp_path: Path) -> None:
    groups = Groups(tmp_path, "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n")
    # The group's name is that of the host; inside, the mount is the group.
    groups.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    groups.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert groups.quota() is None
    groups.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n")
    assert groups.quota() == 3


def test_workers_are_the_cores_that_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    counts = []
    for quota in (None, 2.5, 0.2, 64.0):
        monkeypatch.setattr(_cores, "quota", lambda quota=quota: quota)
        counts.append(_cores.usable_cores())
    assert counts == [8, 3, 1, 8]


@pytest.mark.parametrize(
    "text",
    [
        "[tool.fancypipe]\nworkers = 7",
        "[tool]\nfancypipe.workers = 7",
        "[tool . 'fancypipe' ]\nworkers = 7",
        'tool = {"fancypipe" = {workers = 7}}',
        "[tool]\nfancypipe\t= {workers = 7}",
    ],
)
def test_a_project_file_is_read_however_our_table_is_spelled(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert ENGINE.resolve({}, {"HOME": str(tmp_path)}, tmp_path).settings.workers == 7


def test_a_project_file_that_only_needs_us_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('dependencies = ["fancypipe>=1"\n[broken')
    ENGINE.resolve({}, {"HOME": str(tmp_path)}, tmp_path)
