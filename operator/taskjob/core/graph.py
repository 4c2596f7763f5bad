"""The graph of dependencies between jobs that are there: edges, who is still named, cycles.

One per `state.State`, over its jobs. A change of one job costs what its own edges and its dependents cost; the
rest of the graph is not looked at. Cycles are looked for once a cycle of scheduling, for all that came together.
"""

from __future__ import annotations

from collections.abc import Callable

from taskjob.core import sentences
from taskjob.core.dependencies import Edge, cycles_of, edge, knots, worst
from taskjob.core.facts import Block
from taskjob.core.model import Job, JobKey, JobName, Status, Uid
from taskjob.core.phases import Condition, Phase, Reason
from taskjob.core.tracked import Cycle, TrackedJob


class Graph:
    """Edges by name: a dependency that does not exist yet is a reason to wait, not an error.

    Reads `jobs` and `by_key`; writes the edges of the tracked jobs, and marks in `dirty` whom a change concerns.
    `under_way` says whether an attempt of a job has begun, and its status does not show the end: that one waits for
    nobody, though its status may still say that it is pending.
    """

    __slots__ = ("_by_key", "_dirty", "_jobs", "_unchecked", "_under_way", "dependents", "live_dependents")

    def __init__(
        self,
        jobs: dict[Uid, TrackedJob],
        by_key: dict[JobKey, Uid],
        dirty: dict[Uid, None],
        under_way: Callable[[TrackedJob], bool],
    ) -> None:
        self._jobs = jobs
        self._by_key = by_key
        self._dirty = dirty
        self._under_way = under_way
        self._unchecked: dict[Uid, None] = {}  # jobs that may have closed a cycle
        self.dependents: dict[JobKey, dict[Uid, None]] = {}
        self.live_dependents: dict[JobKey, int] = {}  # of those, how many are not terminal

    def _at(self, key: JobKey) -> TrackedJob | None:
        uid = self._by_key.get(key)
        return self._jobs[uid] if uid is not None else None

    def outcome_of(self, key: JobKey) -> Phase | None:
        """How the job of that name ended; None if there is none, or it has not, or it is to run again."""
        tracked = self._at(key)
        return tracked.job.outcome if tracked is not None else None

    # ------------------------------------------------------------------ edges
    def add(self, tracked: TrackedJob) -> None:
        """Take up a job's dependencies."""
        job = tracked.job
        conditions: dict[JobName, tuple[Condition, ...]] = {}
        for dependency in job.depends_on:
            conditions[dependency.name] = (*conditions.get(dependency.name, ()), dependency.condition)
        for name, asked in conditions.items():
            key = JobKey(job.namespace, name)
            self.dependents.setdefault(key, {})[job.uid] = None
            value = worst(asked, self.outcome_of(key))
            tracked.edges[name] = (asked, value)
            tracked.waiting += value is Edge.WAITING
            tracked.impossible += value is Edge.IMPOSSIBLE
        if job.outcome is None:
            self._count_live(tracked, 1)
        self._unchecked[job.uid] = None

    def remove(self, tracked: TrackedJob) -> None:
        """Forget a job's dependencies."""
        job = tracked.job
        if job.outcome is None:
            self._count_live(tracked, -1)
        for name in tracked.edges:
            key = JobKey(job.namespace, name)
            watchers = self.dependents[key]
            watchers.pop(job.uid, None)
            if not watchers:
                del self.dependents[key]
        tracked.edges, tracked.waiting, tracked.impossible = {}, 0, 0
        self._open(tracked)
        self._unchecked.pop(job.uid, None)

    def phase_changed(self, tracked: TrackedJob, before: Job) -> None:
        """A job that stays in the graph changed its phase or outcome: who names it, and whom it names, are told."""
        phase, outcome = tracked.job.status.phase, tracked.job.outcome
        if (before.outcome is None) != (outcome is None):
            self._count_live(tracked, 1 if outcome is None else -1)
        if before.outcome is not outcome:
            self.tell_dependents(tracked.job.key)
        if before.status.phase.terminal or not self._may_be_member(tracked):
            self._open(tracked)
        if phase is Phase.PENDING:
            self.waits_again(tracked)

    def waits_again(self, tracked: TrackedJob) -> None:
        """Its attempt is over, or never began: what it waited for did not matter meanwhile, and now does."""
        self._unchecked[tracked.job.uid] = None

    def _count_live(self, tracked: TrackedJob, step: int) -> None:
        """A job that names others became live (1) or came to an end for good (-1)."""
        for name in tracked.edges:
            key = JobKey(tracked.job.namespace, name)
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
        phase = self.outcome_of(key)
        for uid in self.dependents.get(key, ()):
            tracked = self._jobs[uid]
            conditions, before = tracked.edges[key.name]
            after = worst(conditions, phase)
            if before is not after:
                tracked.edges[key.name] = (conditions, after)
                tracked.waiting += (after is Edge.WAITING) - (before is Edge.WAITING)
                tracked.impossible += (after is Edge.IMPOSSIBLE) - (before is Edge.IMPOSSIBLE)
                self._dirty[uid] = None
                if after is Edge.WAITING:  # it is to run again: the edge may be the one that closes a cycle
                    self._unchecked[uid] = None

    # ------------------------------------------------------------------ cycles
    def look_for_cycles(self) -> None:
        """Find the cycles that what happened since the last call has closed; all their members are told."""
        unchecked, self._unchecked = self._unchecked, {}
        starts: list[JobKey] = []
        for uid in unchecked:
            tracked = self._jobs[uid]
            job = tracked.job
            if job.depends_on and job.key in self.dependents and self._may_be_member(tracked):
                starts.append(job.key)
        if not starts:
            return
        for knot in map(tuple, knots(starts, self._waits_for)):
            cycles: dict[int, Cycle] = {}  # by the identity of the path that its members share
            for key, path in cycles_of(knot, self._waits_for).items():
                member = self._at(key)
                if member is None:
                    continue
                if id(path) not in cycles:
                    cycles[id(path)] = Cycle(knot, path, sentences.cycle(path))
                member.cycle = cycles[id(path)]
                self._dirty[member.job.uid] = None

    def _open(self, tracked: TrackedJob) -> None:
        """A job leaves its cycles: the others on them are looked at anew, they may wait in vain no longer."""
        if tracked.cycle is None:
            return
        for key in tracked.cycle.knot:
            member = self._at(key)
            if member is not None and member.cycle is not None:
                member.cycle = None
                self._unchecked[member.job.uid] = None
                self._dirty[member.job.uid] = None
        tracked.cycle = None

    def _waits_for(self, key: JobKey) -> list[JobKey]:
        """What a job waits for, among those that are there.

        A member of a cycle that is already written as failed is still a member for those that are not: an
        operator that restarts between two of these writes must end the others in the same way. (A job made
        after that end is none of them.)
        """
        tracked = self._at(key)
        if tracked is None or not self._may_be_member(tracked):
            return []
        job = tracked.job
        found = []
        for name, (_, value) in tracked.edges.items():
            other = self._at(JobKey(key.namespace, name))
            if other is None:
                continue
            if value is Edge.WAITING or (
                _ended_by_cycle(other.job.status)
                and other.job.status.finished_at is not None
                and job.since <= other.job.status.finished_at
            ):
                found.append(other.job.key)
        return found

    def _may_be_member(self, tracked: TrackedJob) -> bool:
        status = tracked.job.status
        return _ended_by_cycle(status) or (status.phase is Phase.PENDING and not self._under_way(tracked))

    # ------------------------------------------------------------------ what follows for one job
    def block_of(self, tracked: TrackedJob) -> Block | None:
        """What dependencies have against this job now, in a sentence."""
        if tracked.cycle is not None:
            return Block(Edge.IMPOSSIBLE, tracked.cycle.sentence, cycle=True)
        job = tracked.job
        if tracked.impossible:
            for dependency in job.depends_on:
                phase = self.outcome_of(JobKey(job.namespace, dependency.name))
                if phase is not None and edge(dependency.condition, phase) is Edge.IMPOSSIBLE:
                    return Block(Edge.IMPOSSIBLE, sentences.impossible(dependency, phase))
        if tracked.waiting:
            said = _said(tracked)
            if said is not None:
                # Naming them anew for each of 10,000 that end would be quadratic.
                return Block(Edge.WAITING, said)
            waiting = [d for d in job.depends_on if tracked.edges[d.name][1] is Edge.WAITING]
            missing = [d for d in waiting if JobKey(job.namespace, d.name) not in self._by_key]
            return Block(Edge.WAITING, sentences.waiting_for(waiting, missing))
        return None


def _ended_by_cycle(status: Status) -> bool:
    return status.phase is Phase.FAILED and status.reason is Reason.DEPENDENCY_CYCLE


def _said(tracked: TrackedJob) -> str | None:
    """What the job's status says, or is about to say, about the dependencies that it waits for."""
    job: Job = tracked.job
    asked = tracked.asked
    for status in (job.status, asked.status if asked is not None and asked.job is job else None):
        if (
            status is not None
            and status.reason is Reason.WAITING_FOR_DEPENDENCIES
            and status.observed_generation == job.generation
            and status.queued_at is not None
        ):
            return status.message
    return None
