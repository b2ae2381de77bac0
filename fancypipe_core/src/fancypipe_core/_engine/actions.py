"""What the scheduler wants done, and how: each of its actions is carried out in here.

None of that waits.  What comes of it the scheduler is told by the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fancypipe_core import errors
from fancypipe_core._codec import failure
from fancypipe_core._codec.values import LiveValues, Values
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.means import Means
from fancypipe_core._engine.needs import NeedsCheck
from fancypipe_core._engine.node import Broken, Node
from fancypipe_core._engine.parts import Elements
from fancypipe_core._plugins.blame import Owner, blamed
from fancypipe_core.backend import Backend, Job, JobId, Live

if TYPE_CHECKING:
    from fancypipe_core._engine.job_copies import JobCopies
    from fancypipe_core._engine.resume import Resume  # few sessions have one

__all__ = ["Actions"]

# An attribute of an Enum costs ten times as much.
NEW, DONE = table.State.NEW, table.State.DONE


class Actions:
    """Carries out what the scheduler wants.

    Args:
        means: What tells the scheduler, and others.
        backend: Where jobs run.
        values: How values are carried.
        owner: Who is to blame for what the backend raises.
        resume: Takes results from before, and keeps those that come; None for neither.

    Attributes:
        needs: Sees whether what tasks need can be met; None if nobody asks.
        copies: Tells observers of jobs; None if nobody wants any.
    """

    def __init__(
        self,
        means: Means,
        backend: Backend,
        values: Values,
        owner: Owner,
        resume: Resume | None = None,
    ) -> None:
        self._reactor, self._report, self._files, self._stop_if_interrupted = means
        self._graph = means.reactor.graph
        self._maps = means.reactor.maps
        self._backend = backend
        self._owner = owner
        self._resume = resume
        self._live = Live if isinstance(values, LiveValues) else None
        self.needs: NeedsCheck | None = None
        self.copies: JobCopies | None = None
        means.reactor.performers.update(
            {
                table.Grow: self._grow,
                table.Submit: self._submit,
                table.Cancel: self._cancel,
                table.Retried: self._retried,
                table.Settled: self._settled,
                table.Release: self._release,
                table.Stuck: self._stuck,
            }
        )

    def _grow(self, action: table.Grow) -> None:
        grown: list[tuple[int, Sequence[int], bool, int, bool, bool]] = []
        graph, more, observed = self._graph, action.more, self._report.observed
        tasks = [*action.tasks]
        if observed:
            self._report.added([graph.nodes[number] for number in tasks])
        if self._resume is not None:
            tasks, more = self._unknown(self._resume, tasks), 0
            if not tasks:
                return
        before = len(tasks)
        for number in tasks:  # grows while we go, along a chain
            node = graph.nodes[number]
            latest = graph.latest
            try:
                needs = graph.grow(number)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
                self._stop_if_interrupted()
                self._report.failed(node, 0, failure.describe(error, Live, final=True), None)
                grown.append((number, (), False, 0, True, False))
            else:
                options = node.options
                delayed = options.retry_delay is not None
                grown.append((number, needs, node.local, options.retries, False, delayed))
                if more and graph.latest == latest + 1:
                    only = graph.nodes[graph.latest]
                    if only.state is NEW:
                        tasks.append(only.id)
                        more -= 1
                        if observed:
                            self._report.added([only])
        if len(tasks) > before:
            grown.reverse()
        self._reactor.handle(table.Grown(grown))

    def _unknown(self, resume: Resume, tasks: list[int]) -> list[int]:
        """Look tasks up; return those whose values are not there."""
        nodes = self._graph.nodes
        known = resume.look_up([nodes[number] for number in tasks])
        if not known:
            return tasks
        self._report.cached(known)
        numbers = {node.id: None for node in known}
        self._reactor.handle(table.Known(list(numbers)))
        return [number for number in tasks if number not in numbers]

    def _submit(self, action: table.Submit) -> None:
        if self._graph.fresh:
            self._tell_fresh()
        plain = self._graph.plain_jobs(action.ids)
        jobs = self._jobs(action) if plain is None else plain
        if jobs:
            if self._report.observed:
                self._report.submitted(jobs, self._graph.nodes, plain is not None)
            if self.copies is not None and self.copies.every:
                self.copies.submitted(jobs)
            try:
                self._backend.submit(jobs)
            except Exception as error:  # noqa: BLE001 - whatever it may raise
                raise self._owner.blamed("submit()", error)  # noqa: B904 - it has its cause

    def _jobs(self, action: table.Submit) -> list[Job]:
        """Make jobs one by one; fail the tasks of those that cannot be made."""
        jobs = []
        graph = self._graph
        live = self._live
        suspect = self._reactor.scheduler.suspect
        after = action.after
        for id in action.ids:
            node = graph.nodes[id[0]]
            needs = after.get(id[0], ()) if after else ()
            try:
                job = graph.job(node, id[1], live, id[1] > 1 and suspect(id), needs)
                if job.needs is not None and self.needs is not None:
                    self.needs.look(node, job.needs)
                jobs.append(job)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - an output or item that is not there
                self._reactor.fail(node, id, error)
        return jobs

    def _tell_fresh(self) -> None:
        fresh, self._graph.fresh = self._graph.fresh, []
        if fresh:
            self._report.fresh(fresh)

    def _cancel(self, action: table.Cancel) -> None:
        self.wish(self._backend.cancel, action.ids)

    def wish(self, method: Callable[[Sequence[JobId]], None], ids: Sequence[JobId]) -> None:
        """Have the backend cancel or recall jobs; if it cannot, that is said, and they go on.

        It must not hide why they are not wanted any more.
        """
        try:
            method(ids)
        except Exception as error:
            if self._owner.is_ours:
                raise
            self._report.warn(str(blamed(self._owner, f"{method.__name__}()", error)))

    def _retried(self, action: table.Retried) -> None:
        node = self._graph.nodes[action.id[0]]
        backoff = node.options.retry_delay
        delay = backoff.after(action.id[1]) if backoff is not None and action.later else 0.0
        if action.later:
            self._reactor.delay(node.id, delay)
        self._report.retried(node, delay)

    def _settled(self, action: table.Settled) -> None:
        if self._graph.fresh:
            self._tell_fresh()
        nodes = self._graph.nodes
        report, resumes = self._report, self._resume is not None
        done = 0
        observed, told = report.observed, list[Node]()
        for task, state, root in action.tasks:
            node = nodes[task]
            if state is DONE:
                if node.returned is not None or resumes:
                    self._finish(node)
                if type(node) is Node or (not node.hidden and node.part is None):
                    done += 1
                    if observed:
                        told.append(node)
                    continue
            if told:
                report.done(told)  # in their order
                told = []
            self._settled_otherwise(node, state, root)
        if told:
            report.done(told)
        report.counts["done"] += done
        watched = self._reactor.watched
        if watched:
            self._reactor.ended += [task for task, _, _ in action.tasks if task in watched]

    def _settled_otherwise(self, node: Node, state: table.State, root: int) -> None:
        """A task has come to another end than most, or is a part of a map."""
        self._report.settled(node, state, root)
        if self.copies is not None:
            self.copies.settled(node, state, root)
        if type(node.part) is Elements:
            for event in self._maps.settled(node, state, self._reactor.slots):
                self._reactor.handle(event)

    def _finish(self, node: Node) -> None:
        """A node is done: complete its value, and keep that before anybody is told."""
        if node.returned is not None:
            self._complete(node)
        if self._resume is not None:
            self._resume.keep(node)

    def _complete(self, node: Node) -> None:
        """What a node returned references to is there."""
        try:
            self._graph.complete(node)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - an output or item that is not there
            node.value = Broken(error)
        self._reactor.composer.sort_files(node)

    def _release(self, action: table.Release) -> None:
        if self._resume is not None:
            nodes = self._graph.nodes
            self._resume.forget([nodes[one] for one in action.tasks if one in nodes])
        self._graph.release(action.tasks)
        self._files.release(action.tasks)
        if self._maps.under_way:
            self._maps.forget(action.tasks)

    def _stuck(self, action: table.Stuck) -> None:
        nodes = self._graph.nodes
        paths = [nodes[task].path for task in action.circle if task in nodes]
        error = errors.GraphError(
            "what these tasks need waits for themselves, so they can never run: "
            + " -> ".join(paths)
        )
        for task in action.tasks:
            self._report.failed(nodes[task], 0, failure.describe(error, Live), None)
