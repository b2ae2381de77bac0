"""Bugs to be planted in a copy of the threads backend, and the rule that each of them breaks."""

from __future__ import annotations

import inspect
from typing import NamedTuple

from fancypipe_threads import _pool

PLUGIN = """

def _make_planted(options):
    return ThreadsBackend(options)


from fancypipe_core.backend import BackendPlugin

plugin = BackendPlugin("planted", (), "a copy of threads", _make_planted, shares_memory=True)
"""


class Bug(NamedTuple):
    """A change of the source.

    Attributes:
        rule: The rule that it breaks.
        old: What stands there, once.
        new: What is put there.
        tests: The rule whose tests are run, if that is another.
    """

    rule: int
    old: str
    new: str
    tests: int = 0


_EACH = "                events.append(event)\n"
_TOLD = "                sink(events)\n"
_KEEP = "        self._all = [*getattr(self, '_all', ()), *jobs]\n"
_BUSY = """                break
        from time import sleep
        while len(self._idle) < self._count:
            sleep(0.001)
"""

BUGS = {
    "never says that it is up": Bug(
        1, ") from error\n        self._say_slots()\n", ") from error\n"
    ),
    "submit waits for the jobs": Bug(
        2,
        "                return  # all are at work, and look for more when they are done\n",
        _BUSY,
    ),
    "a result is told twice": Bug(3, _EACH, _EACH + "                events.append(event)\n"),
    "a result is lost": Bug(3, _EACH, "                if event.id[0] % 97:\n    " + _EACH),
    "the list of events is used again": Bug(4, _TOLD, _TOLD + "                events.clear()\n"),
    "cancelled jobs end without a word": Bug(5, "lost.append(job.id)", "continue"),
    "a cancelled job counts as guilty": Bug(
        5,
        "self._emit([Lost(id, NOT_BEGUN) for id in lost])",
        "self._emit([Lost(id, Certificate('cancelled', '', '', 0, False)) for id in lost])",
    ),
    "recall does nothing": Bug(
        5,
        "        lost: list[JobId] = []\n        kept",
        "        unwanted = set()\n        lost: list[JobId] = []\n        kept",
    ),
    "one worker fewer than it says": Bug(
        7, "in range(self._count):", "in range(max(1, self._count - 1)):"
    ),
    "jobs are kept": Bug(
        8, "        self._jobs.extend(jobs)\n", "        self._jobs.extend(jobs)\n" + _KEEP
    ),
    "results are kept for ever": Bug(
        8, _TOLD, _TOLD + "                globals().setdefault('kept', []).extend(events)\n"
    ),
    "a file is left in the current folder": Bug(
        9,
        "        self._sink = sink\n",
        "        self._sink = sink\n        open('left-by-the-backend', 'w').close()\n",
    ),
    "a temporary file is left": Bug(
        9,
        "        self._sink = sink\n",
        "        self._sink = sink\n        __import__('tempfile').mkstemp()\n",
    ),
    "lost, and no word why": Bug(
        4,
        "self._emit([Lost(id, NOT_BEGUN) for id in lost])",
        "self._emit([Lost(id, None) for id in lost])",
        5,
    ),
    "threads are left": Bug(9, "        self._stopping = True\n", ""),
    "a descriptor is left": Bug(
        9,
        "        self._sink = sink\n",
        "        self._sink = sink\n        __import__('os').pipe()\n",
    ),
    "events come after the end": Bug(
        9, "        self._sink = None\n        self._jobs.clear()\n", ""
    ),
    "limits are ignored without a word": Bug(
        10, "            if job.time_limit is not None:\n", "            if False:\n"
    ),
    "a job is let go of without a word": Bug(
        10, 'self._emit([Note(None, "warning", said), ', "self._emit(["
    ),
    "followers of what has no value end without a word": Bug(
        11,
        "self._followers.ended(done)\n        if lost:",
        "self._followers.ended(done)\n        if False:",
    ),
    "followers cannot be recalled": Bug(11, "        lost += self._followers.recall(ids)\n", ""),
    "followers of what was recalled wait for ever": Bug(
        11, "        lost += self._followers.gone(lost)\n", ""
    ),
    "a follower is told of before what it needs": Bug(
        11, "            ended.append(done)\n", "            ended.appendleft(done)\n"
    ),
    "a job that brings its devices is handed others": Bug(
        12,
        "        self._jobs.extend(jobs)\n",
        "        self._jobs.extend([job.with_devices(()) for job in jobs])\n",
    ),
}


def source(bug: Bug | None) -> str:
    """Return the source of a module with the backend, and with the bug in it.

    Raises:
        ValueError: The backend has changed: the bug has no place in it any more.
    """
    text = inspect.getsource(_pool)
    if bug is not None:
        if text.count(bug.old) != 1:
            raise ValueError(f"{bug.old!r} stands {text.count(bug.old)} times in {_pool.__file__}")
        text = text.replace(bug.old, bug.new)
    return text + PLUGIN
