"""Where the secret comes from, and where it does not go."""

from __future__ import annotations

import copy
import io
import os
import pickle
import re
import stat
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pexpect
import pytest

from fancypipe_core import errors
from fancypipe_remote._auth import secret as _secret
from fancypipe_remote._auth import secret_file, token
from fancypipe_remote._auth.secret import Secret, find

Env = dict[str, str]


def private(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def env(tmp_path: Path) -> Env:
    """An environment with a secret in each place."""
    private(tmp_path / "config" / "fancypipe" / "jobauth", "of the user's file")
    return {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "FANCYPIPE_JOBAUTH": "of the variable",
        "FANCYPIPE_JOBAUTH_FILE": private(tmp_path / "named", "of the named file"),
    }


# ---- the order -----------------------------------------------------------------


def test_the_first_source_counts(env: Env, tmp_path: Path) -> None:
    file = private(tmp_path / "given", "of the given file\n")
    found = [
        find("of the argument", env=dict(env)),
        find(f"@{file}", env=dict(env)),
        find("-", env=dict(env), stdin=io.StringIO("of standard input\nmore")),
        find(env=dict(env)),
        find(env={name: env[name] for name in env if name != "FANCYPIPE_JOBAUTH"}),
        find(env={"XDG_CONFIG_HOME": env["XDG_CONFIG_HOME"]}),
    ]
    assert [one.reveal() for one in found] == [
        "of the argument",
        "of the given file",
        "of standard input",
        "of the variable",
        "of the named file",
        "of the user's file",
    ]
    assert [one.source for one in found] == [
        "-jobauth",
        f"{file} (-jobauth)",
        "standard input",
        "FANCYPIPE_JOBAUTH",
        f"{tmp_path}/named (FANCYPIPE_JOBAUTH_FILE)",
        f"{tmp_path}/config/fancypipe/jobauth",
    ]


def test_a_file_in_the_variable(env: Env, tmp_path: Path) -> None:
    env["FANCYPIPE_JOBAUTH"] = "@" + private(tmp_path / "other", "of a file in the variable")
    assert find(env=env).reveal() == "of a file in the variable"


def test_the_users_file_without_xdg(tmp_path: Path) -> None:
    assert secret_file.user_file({"HOME": "/h"}) == "/h/.config/fancypipe/jobauth"
    assert secret_file.user_file({"HOME": "/h", "XDG_CONFIG_HOME": "relative"}) == (
        "/h/.config/fancypipe/jobauth"
    )


def test_the_command_line_is_warned_of(env: Env) -> None:
    assert find("typed", env=dict(env)).remarks == (
        (
            "a secret on the command line can be read by everybody on this machine, in the "
            "list of processes: -jobauth=@FILE, -jobauth=- and the user's file are safer"
        ),
    )
    assert find(env=dict(env)).remarks == ()


@pytest.mark.parametrize("place", ["argument", "variable", "file"])
def test_the_historic_default_is_no_secret(env: Env, tmp_path: Path, place: str) -> None:
    given = None
    if place == "argument":
        given, source, left = "abracadabra", "-jobauth", "of the variable"
    elif place == "variable":
        env["FANCYPIPE_JOBAUTH"] = "abracadabra"
        source, left = "FANCYPIPE_JOBAUTH", "of the named file"
    else:
        del env["FANCYPIPE_JOBAUTH"]
        private(tmp_path / "named", "abracadabra")
        source, left = f"{tmp_path}/named (FANCYPIPE_JOBAUTH_FILE)", "of the user's file"
    found = find(given, env=env)
    assert found.reveal() == left
    assert found.remarks == (
        (
            f"{source}: the secret 'abracadabra' is known to everybody, "
            "and is taken as if none was given"
        ),
    )


# ---- what is no source ---------------------------------------------------------


def refused(
    given: str | None = None, env: Env | None = None, stdin: io.StringIO | None = None
) -> str:
    with pytest.raises(errors.ConfigError) as caught:
        find(given, env=env or {}, stdin=stdin)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_none_at_all(tmp_path: Path) -> None:
    path = f"{tmp_path}/fancypipe/jobauth"
    assert refused(env={"XDG_CONFIG_HOME": str(tmp_path)}) == (
        f"there is no secret: {path} is not there, and neither -jobauth=@FILE nor "
        "FANCYPIPE_JOBAUTH_FILE names another file; copy that file from the manager's machine "
        "(`fancypipe secret show-path` says there where it is)"
    )
    assert not os.path.exists(path), "only a manager makes one"
    assert refused("abracadabra", {"XDG_CONFIG_HOME": str(tmp_path)}).startswith(
        "-jobauth: the secret 'abracadabra' is known to everybody, and is taken as if none was "
        "given; there is no secret: "
    )


def test_a_named_file_that_is_not_there_is_not_passed_over(env: Env, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert refused(f"@{gone}", dict(env)) == (
        f"{gone} (-jobauth): cannot be read: No such file or directory"
    )
    del env["FANCYPIPE_JOBAUTH"]
    env["FANCYPIPE_JOBAUTH_FILE"] = str(gone)
    assert refused(env=env) == (
        f"{gone} (FANCYPIPE_JOBAUTH_FILE): cannot be read: No such file or directory"
    )


def test_what_is_empty_is_not_passed_over(env: Env, tmp_path: Path) -> None:
    assert refused("", dict(env)) == "-jobauth: there is no secret in it, it is empty"
    assert "is empty" in refused("@" + private(tmp_path / "f", " \n"), dict(env))
    assert "is empty" in refused("-", dict(env), stdin=io.StringIO(""))
    assert "cannot be read" in refused("@", dict(env))
    assert refused(env={**env, "FANCYPIPE_JOBAUTH": ""}) == (
        "FANCYPIPE_JOBAUTH: there is no secret in it, it is empty"
    )


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o601])
def test_a_file_that_others_can_use(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "f", "secret")
    os.chmod(path, mode)
    message = refused(f"@{path}")
    assert message == (
        f"{path} (-jobauth): others can get at this secret (mode {mode:04o}): run "
        f"`chmod 600 {path}`, and make a new secret if somebody may have read it"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    path = private(tmp_path / "f", "secret")
    os.chown(path, 12345, -1)
    assert refused(f"@{path}") == (
        f"{path} (-jobauth): belongs to user 12345, and a secret must belong to who uses it, user 0"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = private(tmp_path / "f", "secret")
    os.chmod(path, 0)
    assert "cannot be read: Permission denied for user" in refused(f"@{path}")


def test_what_is_no_file_of_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert refused(f"@{tmp_path}/pipe") == f"{tmp_path}/pipe (-jobauth): is not a file"
    (tmp_path / "folder").mkdir(0o700)
    assert refused(f"@{tmp_path}/folder") == f"{tmp_path}/folder (-jobauth): is not a file"
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "binary").chmod(0o600)
    assert refused(f"@{tmp_path}/binary") == f"{tmp_path}/binary (-jobauth): is not a text"
    for text in ("two\nlines", "x" * 5000):
        assert "a secret is one line of text" in refused("@" + private(tmp_path / "long", text))


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(private(tmp_path / "f", "linked"))
    assert find(f"@{tmp_path}/link", env={}).reveal() == "linked"


# ---- generated secrets ---------------------------------------------------------


def test_a_generated_secret() -> None:
    many = {token.generate() for _ in range(100)}
    assert len(many) == 100
    for text in many:
        assert re.fullmatch("fp1-[a-z2-7]{36}", text)
        assert Secret(text, "x").kind == "token"
        assert len(token.unpack(text, "x")[1]) * 8 == 160


def test_a_typing_error_is_found_here() -> None:
    text = token.generate()
    wrong = [text[:-1], text + "a", text[:4] + text[5:], text.upper().replace("FP1", "fp1")]
    wrong += ["fp1-", "fpw1-", f"fpw1-{text[4:]}", text[:10] + text[11] + text[10] + text[12:]]
    for place in range(4, len(text)):
        for other in "a7" if text[place] not in "a7" else "b6":
            wrong.append(text[:place] + other + text[place + 1 :])
    for one in set(wrong) - {text}:
        with pytest.raises(errors.ConfigError) as caught:
            Secret(one, "the file")
        assert str(caught.value) == (
            "the secret from the file begins like a generated one, and there is a typing error "
            "in it: copy it again, whole"
        )


def test_a_manager_makes_the_users_file(tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    made = find(env=dict(env), create=True)
    path = tmp_path / "config" / "fancypipe" / "jobauth"
    assert made.kind == "token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["jobauth"], "nothing else is left there"
    assert made.remarks == (
        (
            f"a new secret was made, in {path}: clients and workers that have other home "
            "folders need a copy of this file"
        ),
    )
    assert made.reveal() not in made.remarks[0]
    again = find(env=dict(env), create=True)
    assert (again.reveal(), again.remarks) == (made.reveal(), ())


def test_managers_that_start_together_make_one(tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    barrier = threading.Barrier(8)
    found: list[str] = []

    def start() -> None:
        barrier.wait(30)
        found.append(find(env=dict(env), create=True).reveal())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "fancypipe").write_text("not a folder")
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    with pytest.raises(errors.ConfigError, match=r"jobauth: cannot be written: "):
        find(env=env, create=True)


# ---- secrets that are good enough ----------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_very_short_secret_is_for_nobody(host: str) -> None:
    assert _secret.check_listening(Secret("8 letter", "-jobauth"), host) == []
    with pytest.raises(errors.UsageError) as caught:
        _secret.check_listening(Secret("abc", "-jobauth"), host)
    assert str(caught.value) == (
        f"the secret from -jobauth has 3 characters, and {host!r} can be reached by other users "
        "of this machine: it must have 8 or more; `fancypipe secret new` makes a good one"
    )


def test_a_short_secret_is_for_this_machine_only() -> None:
    short = Secret("eleven-char", "-jobauth")
    assert _secret.check_listening(short, "127.0.0.1") == []
    with pytest.raises(errors.UsageError) as caught:
        _secret.check_listening(short, "0.0.0.0")
    assert str(caught.value) == (
        "the secret from -jobauth has 11 characters, and '0.0.0.0' can be reached from other "
        "machines: it must have 12 or more; `fancypipe secret new` makes a good one"
    )


@pytest.mark.parametrize(
    ("text", "weak"),
    [
        ("twelve-chars", True),
        ("onlylettersbutlong", True),
        ("1234567890123456789", True),
        ("ab1ab1ab1ab1ab1ab1", True),
        ("correct-horse 7 battery", False),
        (token.pack(token.TOKEN, bytes(20)), False),
    ],
)
def test_a_weak_secret_is_warned_of(text: str, weak: bool) -> None:
    remarks = _secret.check_listening(Secret(text, "x"), "10.0.0.1")
    assert [remark.split(" for somebody")[0] for remark in remarks] == (
        ["the secret from x is easy to guess"] if weak else []
    )
    assert not any(text in remark for remark in remarks)


# ---- where it does not go ------------------------------------------------------


def test_it_does_not_show() -> None:
    text = token.generate()
    secret = Secret(text, "the file")
    shown = f"{secret} {secret!r} {[secret]} {secret.remarks}"
    shown += "".join(traceback.format_exception(ValueError(secret)))
    assert "<Secret: token, from the file>" in shown
    assert text[4:] not in shown
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="a secret is not pickled"):
            travel(secret)
    assert not hasattr(secret, "__dict__")


def test_children_do_not_get_it() -> None:
    code = """\
import os, subprocess, sys
from fancypipe_remote._auth import secret as _secret
first = _secret.find().reveal()
child = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
assert "JOBAUTH" not in child and "sesame" not in child, child
assert "FANCYPIPE_JOBAUTH" not in os.environ
assert first == _secret.find().reveal() == "open sesame", "found again in this process"
"""
    env = {**os.environ, "FANCYPIPE_JOBAUTH": "open sesame"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)


def test_children_do_not_get_it_as_a_setting_either() -> None:
    """The engine reads it there and gives it to us: not as if it was on the command line."""
    code = """\
import os
from fancypipe_remote._auth import secret as _secret
found = _secret.find(os.environ["FANCYPIPE_REMOTE_JOBAUTH"])
assert (found.source, found.remarks) == ("FANCYPIPE_REMOTE_JOBAUTH", ()), found
assert "FANCYPIPE_REMOTE_JOBAUTH" not in os.environ
assert _secret.find().reveal() == "open sesame"
assert _secret.find("typed").source == "-jobauth"
"""
    env = {**os.environ, "FANCYPIPE_REMOTE_JOBAUTH": "open sesame", "FANCYPIPE_JOBAUTH": "other"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)


def test_arguments_are_scrubbed() -> None:
    argv = ["prog", "-jobauth=s3", "--jobauth", "s3", "x=s3", "-n=4"]
    _secret.scrub("s3", argv)
    assert argv == ["prog", "-jobauth=***", "--jobauth", "***", "x=s3", "-n=4"]
    for given in (None, "-", "@s3"):
        kept = ["prog", f"-jobauth={given}"]
        _secret.scrub(given, kept)
        assert kept[1] == f"-jobauth={given}"


def test_at_a_terminal_it_is_asked_for_and_not_shown() -> None:
    code = "from fancypipe_remote._auth.secret import find; print(len(find('-').reveal()))"
    child = pexpect.spawn(sys.executable, ["-c", code], encoding="utf-8", timeout=60)
    child.expect_exact("Secret: ")
    child.sendline("open sesame")
    child.expect_exact("11")
    assert "sesame" not in child.before
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
