"""Sealed messages between the manager and its peers, over TCP.

A message is a short list of byte strings.  It arrives whole or not at all, in the
order of its link, and nobody else can read or change it.  More is not promised: a
message may be lost whenever a link breaks, and nobody is told.  Who needs more asks
for receipts.

Nothing here waits, except `Waiter.wait`.  All objects belong to the thread that made
them, except a `Waker`, and none may be used after a fork.

libzmq is at home in this package only.  Its defaults lose, freeze and take memory from
strangers; each option below is there for a measured reason.
"""

from __future__ import annotations

from fancypipe_remote._transport._dialer import Dialer, Handshake, shake_hands
from fancypipe_remote._transport._link import MAX_PART, MAX_PARTS
from fancypipe_remote._transport._listener import Listener, Sent
from fancypipe_remote._transport._waiter import Source, Waiter, Waker

__all__ = [
    "MAX_PART",
    "MAX_PARTS",
    "Dialer",
    "Handshake",
    "Listener",
    "Sent",
    "Source",
    "Waiter",
    "Waker",
    "shake_hands",
]
