"""Secrets that are generated: random bytes as one word that is safe to copy."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

from fancypipe_core import errors

__all__ = ["TOKEN", "WORKER_KEY", "generate", "is_packed", "pack", "unpack"]

TOKEN = "fp1"
WORKER_KEY = "fpw1"
_SIZES = {TOKEN: 20, WORKER_KEY: 64}  # bytes
_PACKED = re.compile(rf"({'|'.join(_SIZES)})-(.*)", re.DOTALL)


def generate() -> str:
    """Return a new secret of 160 random bits, with a checksum against typing errors."""
    return pack(TOKEN, secrets.token_bytes(20))


def pack(prefix: str, data: bytes) -> str:
    """Write bytes as one word that is safe to copy: `fp1-...` or `fpw1-...`."""
    body = base64.b32encode(data).decode().rstrip("=").lower()
    return f"{prefix}-{body}{_checksum(prefix, body)}"


def is_packed(text: str) -> bool:
    """Tell whether a text begins like one of these words."""
    return _PACKED.match(text) is not None


def unpack(text: str, source: str) -> tuple[str, bytes]:
    """Return prefix and bytes of a word that `pack` has made.

    Raises:
        ConfigError: It is none, or not a whole one.
    """
    found = _PACKED.fullmatch(text)
    if found:
        prefix, rest = found.groups()
        body, check = rest[:-4], rest[-4:]
        try:
            data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
        except ValueError:
            data = b""
        if (
            len(data) == _SIZES[prefix]
            and rest == rest.lower()
            and check == _checksum(prefix, body)
        ):
            return prefix, data
    raise errors.ConfigError(
        f"the secret from {source} begins like a generated one, "
        "and there is a typing error in it: copy it again, whole"
    )


def _checksum(prefix: str, body: str) -> str:
    digest = hashlib.sha256(f"{prefix}-{body}".encode()).digest()
    return base64.b32encode(digest)[:4].decode().lower()
