"""How a client's code and large buffers come to a worker on another machine, whatever carries them.

A client makes a `Bundle` of its own code: what its imports reach outside of what is
installed.  A worker that does not see these files unpacks them, and enters a `Place`
where the client's imports work.  `Sharing` and `Keeping` are the ends of a channel
that carries nothing large twice; what goes into a `ValueFolder` it does not carry at all.
"""

from fancypipe_core._wire.value_folder import FolderPassage, ValueFolder
from fancypipe_core.toolkit.shipping.bundle import (
    Bundle,
    Code,
    Place,
    has_code,
    this_platform,
    unpack,
)
from fancypipe_core.toolkit.shipping.client_files import ClientFiles
from fancypipe_core.toolkit.shipping.shared_buffers import Keeping, Sharing
from fancypipe_core.toolkit.shipping.shared_folder import prove, sees, unprove

__all__ = [
    "Bundle",
    "ClientFiles",
    "Code",
    "FolderPassage",
    "Keeping",
    "Place",
    "Sharing",
    "ValueFolder",
    "has_code",
    "prove",
    "sees",
    "this_platform",
    "unpack",
    "unprove",
]
