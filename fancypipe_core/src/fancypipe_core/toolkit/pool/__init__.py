"""The pool machine: who runs which job, decided apart from how workers are reached.

In come events (a worker is up, has reported, has died; the engine submits,
cancels, recalls) and the time; out go actions (start, send, recall, kill, tell).
A backend is a shell around it: it carries out actions and reports events.  What
is not its affair: processes, sockets, bytes, values, the graph.
"""

from fancypipe_core.toolkit.pool.machine import Pool
from fancypipe_core.toolkit.pool.workers import Rules

__all__ = ["Pool", "Rules"]
