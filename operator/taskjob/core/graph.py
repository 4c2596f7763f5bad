"""The graph of dependencies between jobs that are there: edges, who is still named, cycles.

One per `state.State`, over its jobs. A change of one job costs what its own edges and its dependents cost; the
rest of the graph is not looked at.
"""

from __future__ import annotations

from taskjob.core import explain
from taskjob.core.dependencies import Edge, edge, find_cycle
from taskjob.core.lifecycle import Block
from taskjob.core.model import Job, JobKey, Uid
from taskjob.core.phases import Phase, Reason
from taskjob.core.tracked import TrackedJob


class Graph:
    """Edges by name: a dependency that does not exist yet is a reason to wait, not an error.

    Reads `jobs` and `by_key`; writes the edges of the tracked jobs, and marks in `dirty` whom a change concerns.
    """

    __slots__ = ("_by_key", "_dirty", "_jobs", "dependents", "live_dependents")

    def __init__(self, jobs: dict[Uid, TrackedJob], by_key: dict[JobKey, Uid], dirty: dict[Uid, None]) -> None:
        self._jobs = jobs
        self._by_key = by_key
        self._dirty = dirty
        self.dependents: dict[JobKey, dict[Uid, None]] = {}
        self.live_dependents: dict[JobKey, int] = {}  # of those, how many are not terminal

    def phase_of(self, key: JobKey) -> Phase | None:
        """The phase of the job of that name, None if there is none."""
        uid = self._by_key.get(key)
        return self._jobs[uid].job.status.phase if uid is not None else None

    def add(self, tracked: TrackedJob) -> None:
        """Take up a job's dependencies."""
        job = tracked.job
        live = not job.status.phase.terminal
        for dependency in job.depends_on:
            key = JobKey(job.namespace, dependency.name)
            self.dependents.setdefault(key, {})[job.uid] = None
            value = edge(dependency.condition, self.phase_of(key))
            tracked.edges[dependency.name] = (dependency.condition, value)
            tracked.waiting += value is Edge.WAITING
            tracked.impossible += value is Edge.IMPOSSIBLE
        if live:
            self.count_live(job, 1)

    def remove(self, tracked: TrackedJob) -> None:
        """Forget a job's dependencies."""
        job = tracked.job
        if not job.status.phase.terminal:
            self.count_live(job, -1)
        for dependency in job.depends_on:
            key = JobKey(job.namespace, dependency.name)
            watchers = self.dependents[key]
            watchers.pop(job.uid, None)
            if not watchers:
                del self.dependents[key]
        tracked.edges, tracked.waiting, tracked.impossible, tracked.cycle = {}, 0, 0, None

    def count_live(self, job: Job, step: int) -> None:
        """A job that names others became live (1) or terminal (-1)."""
        for dependency in job.depends_on:
            key = JobKey(job.namespace, dependency.name)
            count = self.live_dependents.get(key, 0) + step
            if count:
                self.live_dependents[key] = count
            else:
                self.live_dependents.pop(key, None)
                uid = self._by_key.get(key)
                if uid is not None:  # nobody live names it any more: it may be removed
                    self._dirty[uid] = None

    def tell_dependents(self, key: JobKey) -> None:
        """The job of that name appeared, ended or is gone: its dependents' edges follow."""
        phase = self.phase_of(key)
        for uid in self.dependents.get(key, ()):
            tracked = self._jobs[uid]
            condition, before = tracked.edges[key.name]
            after = edge(condition, phase)
            if before is not after:
                tracked.edges[key.name] = (condition, after)
                tracked.waiting += (after is Edge.WAITING) - (before is Edge.WAITING)
                tracked.impossible += (after is Edge.IMPOSSIBLE) - (before is Edge.IMPOSSIBLE)
                self._dirty[uid] = None

    def look_for_cycle(self, tracked: TrackedJob) -> None:
        """A cycle closes when a job appears that waits and is waited for; all its members are told."""
        if tracked.waiting and tracked.job.key in self.dependents:
            path = find_cycle(tracked.job.key, self._waits_for)
            if path is not None:
                for key in path[:-1]:
                    uid = self._by_key[key]
                    self._jobs[uid].cycle = path
                    self._dirty[uid] = None

    def _waits_for(self, key: JobKey) -> list[JobKey]:
        uid = self._by_key.get(key)
        if uid is None:
            return []
        tracked = self._jobs[uid]
        if tracked.job.status.phase is not Phase.PENDING:
            return []
        return [JobKey(key.namespace, name) for name, (_, value) in tracked.edges.items() if value is Edge.WAITING]

    def block_of(self, tracked: TrackedJob) -> Block | None:
        """What dependencies have against this job now, in a sentence."""
        if tracked.cycle is not None:
            return Block(Edge.IMPOSSIBLE, explain.cycle(tracked.cycle), cycle=True)
        if tracked.impossible:
            for dependency in tracked.job.depends_on:
                if tracked.edges[dependency.name][1] is Edge.IMPOSSIBLE:
                    phase = self.phase_of(JobKey(tracked.job.namespace, dependency.name))
                    if phase is not None:
                        return Block(Edge.IMPOSSIBLE, explain.impossible(dependency, phase))
        if tracked.waiting:
            job = tracked.job
            if job.status.reason is Reason.WAITING_FOR_DEPENDENCIES:
                # Already said: naming them anew for each of 10,000 that end would be quadratic.
                return Block(Edge.WAITING, job.status.message)
            waiting = [d for d in job.depends_on if tracked.edges[d.name][1] is Edge.WAITING]
            missing = [d for d in waiting if JobKey(job.namespace, d.name) not in self._by_key]
            return Block(Edge.WAITING, explain.waiting_for(waiting, missing))
        return None
