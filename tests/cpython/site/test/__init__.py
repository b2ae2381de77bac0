"""The package `test` of the standard library, with what a distribution keeps of it elsewhere."""

from __future__ import annotations

import os
import sys
import sysconfig

_HOME = os.path.join(sysconfig.get_path("stdlib"), "test")
# Debian's, from libpython3.11-testsuite or the like, unless the user has another.
_MORE = f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}/test"
__path__ = [_HOME, os.environ.get("CPYTHON_TESTS", _MORE)]
