"""The memory that the client and a worker process share."""

from __future__ import annotations

import struct

__all__ = ["BUSY", "CELL", "CELL_SIZE", "CHANNEL_LOST", "RECALLS", "RECALLS_AT"]

CELL = struct.Struct("<QQ")
"""What the shared cell holds first: task and attempt of the job that began last.

Behind it the client counts the recalls that it has sent: no job begins until the child
has obeyed as many.  The child writes its job and then looks at the count; the client
counts, waits far longer than a store takes to be seen, and then reads the job.  So what
was recalled and stands behind that job in the order of sending has not begun and
never will, also when a task keeps the child from answering.

The next byte is the child's: whether it is among tasks, so that its silence
means nothing.
"""
RECALLS = struct.Struct("<I")
RECALLS_AT = CELL.size
BUSY = RECALLS_AT + RECALLS.size
CELL_SIZE = BUSY + 4

CHANNEL_LOST = 76
"""The exit code of a child that lost its channel; the client sees it only if it is not gone."""
