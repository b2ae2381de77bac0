"""The toolkit of those who write backends: public, and above the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fancypipe_core.toolkit.futures import FuturesBackend

__all__ = ["FuturesBackend"]


def __getattr__(name: str) -> Any:
    if name != "FuturesBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # When it is asked for: it stands above the machine, which is in here too.
    from fancypipe_core.toolkit.futures import FuturesBackend

    return FuturesBackend
