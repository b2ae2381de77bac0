"""The file that holds a secret: for one user only, whole or not there."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress

from fancypipe_core import errors
from fancypipe_remote._auth import token

__all__ = ["create_user_file", "one_line", "read", "user_file", "write"]

_MOST = 4096  # bytes; what is longer is some other file


def user_file(env: Mapping[str, str] | None = None) -> str | None:
    """Return the path of the user's file, whether it is there or not; None without a home."""
    env = os.environ if env is None else env
    folder = env.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):
        home = env.get("HOME") or os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        folder = os.path.join(home, ".config")
    return os.path.join(folder, "fancypipe", "jobauth")


def create_user_file(path: str, *, replace: bool = False) -> bool:
    """Write a new secret into the user's file.

    Args:
        path: The file; its folder is made if it is not there.
        replace: Do so even if there is one.

    Returns:
        Whether it was written; False if there is one already.

    Raises:
        ConfigError: It cannot be written.
    """
    return write(path, token.generate(), replace=replace)


def write(path: str, text: str, *, replace: bool = False) -> bool:
    """Write a secret into a file of mode 0600, whole or not at all.

    Returns:
        Whether it was written; False if the file is there already.

    Raises:
        ConfigError: It cannot be written.
    """
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:  # also that it is a file
        raise errors.ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        # Made with O_EXCL and mode 0600, and given its name when it is whole: nobody reads half.
        descriptor, temporary = tempfile.mkstemp(prefix=".jobauth-", dir=folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(f"{text}\n")
                stream.flush()
                os.fsync(stream.fileno())
            (os.replace if replace else os.link)(temporary, path)
            return True
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        raise errors.ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def read(path: str, name: str) -> str:
    """Return the secret in a file, if nobody else can read or change it.

    Args:
        path: The file.
        name: What named it, for messages.

    Raises:
        ConfigError: It cannot be read, others can, or it holds no secret.
    """
    path = os.path.expanduser(path)
    try:
        # Without waiting for a writer, if it is a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) and error.errno == errno.EACCES:
            why = f"{why} for user {os.geteuid()}"
        raise errors.ConfigError(f"{path or '@'} ({name}): cannot be read: {why}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise errors.ConfigError(f"{path} ({name}): is not a file")
        if status.st_uid != os.geteuid():
            raise errors.ConfigError(
                f"{path} ({name}): belongs to user {status.st_uid}, and a secret must belong to "
                f"who uses it, user {os.geteuid()}"
            )
        if status.st_mode & 0o077:
            raise errors.ConfigError(
                f"{path} ({name}): others can get at this secret (mode "
                f"{stat.S_IMODE(status.st_mode):04o}): run `chmod 600 {path}`, and make a new "
                "secret if somebody may have read it"
            )
        data = os.read(descriptor, _MOST + 1)
    except OSError as error:
        raise errors.ConfigError(f"{path} ({name}): cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    try:
        return one_line(data.decode(), f"{path} ({name})")
    except UnicodeDecodeError:
        raise errors.ConfigError(f"{path} ({name}): is not a text") from None


def one_line(text: str, source: str) -> str:
    """Return a secret without the space around it; raise ConfigError if it is none."""
    text = text.strip()
    if not text:
        raise errors.ConfigError(f"{source}: there is no secret in it, it is empty")
    if len(text.encode()) >= _MOST or not text.isprintable():
        raise errors.ConfigError(f"{source}: a secret is one line of text, of at most 4,000 bytes")
    return text
