"""Spans of time in words."""

from __future__ import annotations

__all__ = ["clock_text", "span_text"]


def clock_text(seconds: float) -> str:
    """Return a time span as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def span_text(seconds: float) -> str:
    """Return a time span in seconds, or by the clock if it is long."""
    return f"{seconds:.3g} s" if seconds < 100 else clock_text(seconds)
