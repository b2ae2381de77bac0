"""The secret that manager, workers and clients share: where it comes from.

Sources in their order; the first that is there counts, and one that is named but
cannot be read is an error:

1. `-jobauth=SECRET`, `-jobauth=@FILE`, `-jobauth=-` (one line of standard input)
2. `FANCYPIPE_JOBAUTH`, with a secret or `@FILE`
3. `FANCYPIPE_JOBAUTH_FILE`
4. the user's file, `fancypipe/jobauth` in the folder for configuration

There are three kinds of secrets: generated ones (`fp1-...`, 160 random bits),
worker keys (`fpw1-...`, made by `_auth.keys`, good for workers only), and typed ones.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from typing import NoReturn, TextIO

from fancypipe_core import errors
from fancypipe_remote._address import is_loopback
from fancypipe_remote._auth import secret_file, token

__all__ = ["FILE_VARIABLE", "VARIABLE", "Secret", "check_listening", "find", "scrub", "take"]

VARIABLE = "FANCYPIPE_JOBAUTH"
FILE_VARIABLE = "FANCYPIPE_JOBAUTH_FILE"
# As the engine names all settings of this backend; what it found there is given to `find`.
_SETTING = "FANCYPIPE_REMOTE_JOBAUTH"

# The default of the historic FancyPipe: everybody knows it.
_HISTORIC = "abracadabra"

# Characters that a typed secret must have; the second where only this machine can reach it.
_LEAST, _LEAST_NEAR = 12, 8

# What stood in the environment of this process until `find` took it out.
_from_environment: dict[str, str] = {}


class Secret:
    """A secret.  It shows itself to nobody but `_auth.keys`, and does not travel.

    Attributes:
        source: Where it is from, for messages.
        kind: `token`, `worker key` or `typed`.
        remarks: What the user should be told, once.
    """

    __slots__ = ("_text", "kind", "remarks", "source")

    def __init__(self, text: str, source: str, remarks: tuple[str, ...] = ()) -> None:
        """Take a secret as it is.

        Raises:
            ConfigError: It looks like a generated one, and has a typing error in it.
        """
        self._text = text
        self.source = source
        self.remarks = remarks
        self.kind = "typed"
        if token.is_packed(text):
            prefix, _ = token.unpack(text, source)
            self.kind = "token" if prefix == token.TOKEN else "worker key"

    def __repr__(self) -> str:
        return f"<Secret: {self.kind}, from {self.source}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def reveal(self) -> str:
        """Return the secret itself.  Only `_auth.keys` has a use for it."""
        return self._text


def find(
    given: str | None = None,
    *,
    create: bool = False,
    env: Mapping[str, str] | None = None,
    stdin: TextIO | None = None,
) -> Secret:
    """Return the secret of the first source that there is.

    Children of this process do not get it by the environment.  A later call in the same
    process finds it all the same.

    Args:
        given: The value of `-jobauth`; None if it was not given.
        create: Make the user's file if there is no secret at all: for managers only.
        env: The environment; by default that of this process, which is scrubbed.
        stdin: What `-jobauth=-` reads; by default standard input.

    Raises:
        ConfigError: A source cannot be read or holds no secret, or there is none.
    """
    remarks: list[str] = []
    variables = _take_variables(os.environ) if env is None else env
    for value, name in (
        (given, _SETTING if given == variables.get(_SETTING) else "-jobauth"),
        (variables.get(_SETTING), _SETTING),
        (variables.get(VARIABLE), VARIABLE),
        (_at(variables.get(FILE_VARIABLE)), FILE_VARIABLE),
    ):
        if value is None:
            continue
        text, source = _read(value, name, stdin)
        if text == _HISTORIC:
            remarks.append(
                f"{source}: the secret {_HISTORIC!r} is known to everybody, "
                "and is taken as if none was given"
            )
            continue
        if name == "-jobauth" and source == name:
            remarks.append(
                "a secret on the command line can be read by everybody on this machine, in the "
                "list of processes: -jobauth=@FILE, -jobauth=- and the user's file are safer"
            )
        return Secret(text, source, tuple(remarks))
    return _from_user_file(secret_file.user_file(variables), create, remarks)


def take(given: str | None, say: Callable[[str], object], *, create: bool = False) -> Secret:
    """Find the secret for this process: who reads its arguments does not, and remarks are said.

    Args:
        given: As for `find`.
        say: Takes a sentence for the user.
        create: As for `find`.

    Raises:
        ConfigError: A source cannot be read or holds no secret, or there is none.
    """
    secret = find(given, create=create)
    scrub(given, sys.argv)
    for remark in secret.remarks:
        say(remark)
    return secret


def scrub(given: str | None, argv: MutableSequence[str]) -> None:
    """Take the secret of `-jobauth=SECRET` out of a copy of the arguments, such as `sys.argv`."""
    if not given or given == "-" or given.startswith("@"):
        return
    for place, word in enumerate(argv):
        if word == given or (word.startswith("-") and word.endswith(f"={given}")):
            argv[place] = word[: len(word) - len(given)] + "***"


def check_listening(secret: Secret, host: str) -> list[str]:
    """See that a secret is good enough for a manager that listens there.

    Who records one connection can try secrets at leisure.  On loopback nobody records, and
    each guess has to be tried at the manager; other users of the machine can do that too.

    Returns:
        What the user should be told.

    Raises:
        UsageError: It is not good enough.
    """
    if secret.kind != "typed":
        return []
    text = secret.reveal()
    advice = "`fancypipe secret new` makes a good one"
    near = is_loopback(host)
    least = _LEAST_NEAR if near else _LEAST
    if len(text) < least:
        raise errors.UsageError(
            f"the secret from {secret.source} has {len(text)} characters, and {host!r} can be "
            f"reached {'by other users of this machine' if near else 'from other machines'}: "
            f"it must have {least} or more; {advice}"
        )
    if near:
        return []
    if len(text) < 16 or text.isalpha() or text.isdigit() or len(set(text)) < 8:
        remark = (
            f"the secret from {secret.source} is easy to guess for somebody who records "
            f"the traffic: use 16 or more characters of several kinds; {advice}"
        )
        return [remark]
    return []


# ---- sources -------------------------------------------------------------------


def _from_user_file(path: str | None, create: bool, remarks: list[str]) -> Secret:
    if path is None:
        raise errors.ConfigError(
            f"there is no secret, and no home folder to look for one: set {FILE_VARIABLE}"
        )
    made = create and not os.path.lexists(path) and secret_file.create_user_file(path)
    if made:
        remarks.append(
            f"a new secret was made, in {path}: clients and workers that have other home "
            "folders need a copy of this file"
        )
    if not os.path.lexists(path):
        raise errors.ConfigError(
            "".join(f"{remark}; " for remark in remarks)
            + f"there is no secret: {path} is not there, and neither -jobauth=@FILE nor "
            f"{FILE_VARIABLE} names another file; copy that file from the manager's "
            "machine (`fancypipe secret show-path` says there where it is)"
        )
    text = secret_file.read(path, "user file")
    if text == _HISTORIC:
        raise errors.ConfigError(
            f"{path}: the secret {_HISTORIC!r} is known to everybody; "
            "`fancypipe secret new -replace` makes another"
        )
    return Secret(text, path, tuple(remarks))


def _take_variables(environ: MutableMapping[str, str]) -> dict[str, str]:
    for name in (_SETTING, VARIABLE):
        if name in environ:
            _from_environment[name] = environ.pop(name)
    return {**environ, **_from_environment}


def _at(path: str | None) -> str | None:
    return None if path is None else f"@{path}"


def _read(value: str, name: str, stdin: TextIO | None) -> tuple[str, str]:
    """Return the secret and the words for where it is from."""
    if value.startswith("@"):
        return secret_file.read(value[1:], name), f"{value[1:]} ({name})"
    if value == "-" and name == "-jobauth":
        return _from_stdin(sys.stdin if stdin is None else stdin), "standard input"
    return secret_file.one_line(value, name), name


def _from_stdin(stdin: TextIO | None) -> str:
    if stdin is None or stdin.closed:
        raise errors.ConfigError("-jobauth=-: there is no standard input")
    if stdin.isatty():
        return secret_file.one_line(getpass.getpass("Secret: "), "standard input")
    return secret_file.one_line(stdin.readline(5000), "standard input")
