"""joblib on fancypipe: `parallel_config(backend="fancypipe")`, once this is imported.

    import fancypipe_core.adapters.joblib
    from joblib import parallel_config

    with parallel_config(backend="fancypipe", n_jobs=4):
        GridSearchCV(model, grid).fit(x, y)

What joblib puts together in a batch is one task.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from joblib import cpu_count, register_parallel_backend

# What the backends of other packages are built of; joblib has no public names for these.
from joblib._parallel_backends import AutoBatchingMixin, FallbackToBackend, SequentialBackend
from joblib.parallel import ParallelBackendBase

from fancypipe_core import Session, current, errors, task

__all__ = ["FancyPipeBackend"]


class FancyPipeBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # untyped
    """A parallel backend of joblib: each of its batches is a task.

    Inside a task of fancypipe it falls back to joblib's sequential backend; calls of `Parallel`
    that are nested in a batch use joblib's threads, as they do inside of loky.

    Args:
        nesting_level: As joblib gives it.
        session: The session to run in; by default one is opened, and kept for the next call
            that asks for the same.
        workertype: The backend of that, as `-workertype` takes it; by default as for `Session`.
        **settings: Further settings of that session, as `Session` takes them.

    Raises:
        UsageError: A session and settings of one are given both.
    """

    supports_retrieve_callback = True

    def __init__(
        self,
        nesting_level: int | None = None,
        session: Session | None = None,
        workertype: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level)
        if session is not None and (workertype is not None or settings):
            raise errors.UsageError("give either a session, or the settings of one")
        self._given = session
        self._settings = {"backend": workertype, **settings}
        self._session: Session | None = None
        self._futures: set[Future[Any]] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many batches run at a time; negative numbers count from all cores back."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or _is_in_task():
            return 1
        return n_jobs if n_jobs > 0 else max(cpu_count() + 1 + n_jobs, 1)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: Any = None,
        require: Any = None,
        **_: Any,
    ) -> int:
        """Have a session ready, and return how many batches run in it at a time.

        What is said of memory maps (`max_nbytes`, `temp_folder`, ...) has no meaning here.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._session = self._given or _kept.take(self._settings, n_jobs)
        return n_jobs

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None
    ) -> Future[Any]:
        """Have a batch run."""
        if self._session is None:
            raise errors.UsageError("submit() was called before configure()")
        future: Future[Any] = self._session.submit(_batch(func))
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return what a batch returned, or raise what it raised."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Give up what is under way; the session stays."""
        for future in list(self._futures):
            future.cancel()

    def terminate(self) -> None:
        """Let go of the session."""
        session, self._session = self._session, None
        if session is not None and session is not self._given:
            _kept.give_back(session)
        self.reset_batch_stats()


@task(name="joblib")
def _batch(call: Callable[[], Any]) -> Any:
    return call()


def _is_in_task() -> bool:
    try:
        current()
    except errors.UsageError:
        return False
    return True


class _Kept:
    """The session that was opened last, and those that are in use.

    Workers that were started for one call of `Parallel` are there for the next, as with loky.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[Any, Session] = {}
        self._users: dict[Session, int] = {}

    def take(self, settings: dict[str, Any], workers: int) -> Session:
        key = os.getpid(), workers, repr(sorted(settings.items()))
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                self._close([key for key, one in self._sessions.items() if not self._users[one]])
                session = self._sessions[key] = Session(workers=workers, **settings)
            self._users[session] = self._users.get(session, 0) + 1
        return session

    def give_back(self, session: Session) -> None:
        with self._lock:
            self._users[session] -= 1

    def close(self) -> None:
        with self._lock:
            self._close(list(self._sessions))

    def _close(self, keys: list[Any]) -> None:
        for key in keys:
            session = self._sessions.pop(key)
            del self._users[session]
            session.close(0.0)


_kept = _Kept()
atexit.register(_kept.close)
register_parallel_backend("fancypipe", FancyPipeBackend)
