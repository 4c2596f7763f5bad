"""What is scheduled over: jobs, pods, queues and what follows from them, changed one observation at a time.

Fed by `taskjob.control.mirror`, which decides what is fresh; read and advanced by `cycle.plan`. Everything
derived (edges of dependencies, usage, who waits where) is kept up to date by each call at a cost that depends on
what the call touches, and always equals a rebuild from the observations (a property test holds that).

Deterministic: the same calls in the same order give the same state; no clock, sets are insertion-ordered dicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from taskjob.core import chronicle
from taskjob.core.concurrency import Keys
from taskjob.core.decisions import SetStatus
from taskjob.core.facts import Facts, Refusal, under_way
from taskjob.core.graph import Graph
from taskjob.core.lifecycle import step
from taskjob.core.model import DEFAULT_CONTROLLER, AttemptId, Entry, Job, JobKey, Pod, Queue, QueueName, Uid
from taskjob.core.queues import Queues
from taskjob.core.retry import backoff_of_refusals
from taskjob.core.tracked import LogCare, TrackedJob, TrackedPod
from taskjob.core.values import replace
from taskjob.core.wakes import Wakes


@dataclass(slots=True, eq=False)
class State:
    """The mirror's contents as the scheduler sees them. `default_ttl_seconds` is the installation's.

    Jobs of queues that another installation serves (`controller` names this one) are here as well, since ours may
    depend on them; nothing is decided about them.
    """

    default_ttl_seconds: int = 3600
    controller: str = DEFAULT_CONTROLLER
    begun_at: datetime | None = None  # of the first cycle
    jobs: dict[Uid, TrackedJob] = field(default_factory=dict)
    by_key: dict[JobKey, Uid] = field(default_factory=dict)
    pods: dict[AttemptId, TrackedPod] = field(default_factory=dict)
    attempts_of: dict[Uid, list[AttemptId]] = field(default_factory=dict)  # sorted
    graph: Graph = field(init=False)
    queues: Queues = field(init=False)
    keys: Keys = field(init=False)
    # what the next cycle has to look at
    dirty_jobs: dict[Uid, None] = field(default_factory=dict)
    orphans: dict[AttemptId, None] = field(default_factory=dict)  # pods whose TaskJob is not there
    wakes: Wakes[Uid] = field(default_factory=Wakes)
    entries: list[Entry] = field(default_factory=list)  # for history, of jobs that have left

    def __post_init__(self) -> None:
        self.graph = Graph(self.jobs, self.by_key, self.dirty_jobs, self._under_way)
        self.queues = Queues(self.jobs, self.dirty_jobs, self.controller)
        self.keys = Keys(self.jobs, self.queues)

    def take_dirty(self) -> tuple[Uid, ...]:
        """The jobs that something happened to since the last call, in that order."""
        taken = tuple(self.dirty_jobs)
        self.dirty_jobs.clear()
        return taken

    # -------------------------------------------------------------- observations: jobs
    def put_job(self, job: Job) -> None:
        """A TaskJob as it now is."""
        tracked = self.jobs.get(job.uid)
        if tracked is None:
            tracked = self._add_job(job)
        else:
            self._change_job(tracked, job)
        self.dirty_jobs[job.uid] = None

    def _add_job(self, job: Job) -> TrackedJob:
        tracked = self.jobs[job.uid] = TrackedJob(job)
        holder = self.by_key.get(job.key)
        if holder is None or self.jobs[holder].job.version < job.version:
            # Of two under one name (deleted and made anew) the later was there last: versions only rise.
            self.by_key[job.key] = job.uid
        self.queues.join(tracked)
        self.graph.add(tracked)
        for attempt in self.attempts_of.get(job.uid, ()):
            self.orphans.pop(attempt, None)
        self.graph.tell_dependents(job.key)
        return tracked

    def _change_job(self, tracked: TrackedJob, job: Job) -> None:
        before = tracked.job
        if before.depends_on != job.depends_on:
            self.graph.remove(tracked)
        if (
            before.queue != job.queue
            or before.priority != job.priority
            or before.request != job.request
            or before.status.phase != job.status.phase
            or before.since != job.since
        ):
            self.keys.leave(tracked)
            self.queues.leave(tracked)
            tracked.job = job
            self.queues.join(tracked)
        if before.priority != job.priority:
            for attempt in self.attempts_of.get(job.uid, ()):
                if attempt in self.queues.charges:  # of a lower priority it may make room, in the queue that it runs in
                    self.queues.dirty[self.queues.charges[attempt][0]] = None
        tracked.job = job
        if before.depends_on != job.depends_on:
            self.graph.add(tracked)
            if before.outcome is not job.outcome:
                self.graph.tell_dependents(job.key)
        elif before.status.phase is not job.status.phase or before.outcome is not job.outcome:
            self.graph.phase_changed(tracked, before)
        elif before.status.attempt != job.status.attempt:
            self.graph.waits_again(tracked)
        tracked.removal_asked = False
        asked = tracked.asked
        if asked is not None and replace(job.status, epoch=0) == replace(asked.status, epoch=0):
            tracked.asked = None

    def drop_job(self, uid: Uid, now: datetime) -> None:
        """A TaskJob is gone. Its pods stay charged, as orphans, until they are gone as well."""
        tracked = self.jobs.get(uid)
        if tracked is None:
            return
        job = tracked.job
        if self.queues.serves(job.queue):
            self.entries.append(self._departure(tracked, now))
        self.keys.leave(tracked)
        self.queues.leave(tracked)
        self.graph.remove(tracked)
        del self.jobs[uid]
        self.wakes.forget(uid)
        if self.by_key.get(job.key) == uid:
            del self.by_key[job.key]
            self.graph.tell_dependents(job.key)
        self.look_at_attempts_of(uid, tracked)
        if tracked.launching is not None:
            # Its answer will say whether there is a pod; until then the quota stays reserved.
            tracked.launching = None
        for attempt in list(self.attempts_of.get(uid, ())):
            if self.pods[attempt].gone:
                self._forget_pod(attempt)
            else:
                self.pods[attempt].end_asked_at = None  # nobody would look again when its time to obey is over
                self.orphans[attempt] = None
        self.dirty_jobs.pop(uid, None)

    def _departure(self, tracked: TrackedJob, now: datetime) -> Entry:
        """What history is told of a TaskJob that is gone: how it ended, if anybody saw it, else that it was deleted."""
        job, pods = tracked.job, [each.pod for each in self.pods_of(tracked.job.uid)]
        current = self.current_pod(job)
        pod = current.pod if current is not None else None
        active = under_way(job, pod)
        if active and pod is not None and pod.phase.ended and not pod.deleting:
            # It was done, and only the status write came too late.
            ended = step(Facts(job=replace(job, deleting=False), pod=pod), now).status
            if ended.phase.terminal:
                job, active = replace(job, status=ended), False
        rows = chronicle.established(job, pods, active, tracked.told)
        if tracked.told < 0:
            rows = (chronicle.appearance(job), *rows)
        if not job.status.phase.terminal:
            last, status = chronicle.deletion(job, pod, active, now)
            job, rows = replace(job, status=status), (*rows, last)
        return Entry(job, rows, gone_at=now)

    # -------------------------------------------------------------- observations: pods
    def put_pod(self, pod: Pod) -> None:
        """A pod of ours as it now is; an older observation than the one held changes nothing."""
        attempt = pod.attempt
        tracked = self.pods.get(attempt)
        if tracked is None:
            self.pods[attempt] = TrackedPod(pod)
            siblings = self.attempts_of.setdefault(attempt.uid, [])
            siblings.append(attempt)
            siblings.sort()
        elif tracked.gone or (tracked.pod.uid == pod.uid and tracked.pod.version > pod.version):
            return
        else:
            tracked.pod = pod
        self.queues.settle(self.pods[attempt])
        self.keys.settle_pod(self.pods[attempt])
        job = self.jobs.get(attempt.uid)
        if job is None:
            self.orphans[attempt] = None
            return
        if job.launching == attempt:
            job.launching = None
            job.refusal, job.refusals = None, 0
        self.dirty_jobs[attempt.uid] = None

    def drop_pod(self, pod: Pod) -> None:
        """A pod is gone; `pod` is how it was last seen. Its outcome is remembered until the status shows it."""
        self.put_pod(pod)
        tracked = self.pods.get(pod.attempt)
        if tracked is None or tracked.pod.uid != pod.uid:
            return
        tracked.gone = True
        if tracked.log is LogCare.NONE:
            tracked.log = LogCare.KEPT  # nothing is left to read
        self.queues.settle(tracked)
        self.keys.settle_pod(tracked)
        job = self.jobs.get(pod.attempt.uid)
        if job is None:
            self._forget_pod(pod.attempt)
        else:
            self.dirty_jobs[pod.attempt.uid] = None

    def current_pod(self, job: Job) -> TrackedPod | None:
        """The pod, gone or not, of the attempt that the status names, or of a later one that it does not show yet.

        Never an earlier one: its outcome is not that of an attempt whose pod somebody removed.
        """
        attempts = self.attempts_of.get(job.uid)
        if not attempts or attempts[-1][1:] < (job.status.run, 0, job.status.attempt):
            return None
        return self.pods[attempts[-1]]

    def _under_way(self, tracked: TrackedJob) -> bool:
        latest = self.current_pod(tracked.job)
        return tracked.launching is not None or under_way(tracked.job, latest.pod if latest is not None else None)

    def pods_of(self, uid: Uid) -> Iterator[TrackedPod]:
        """All pods of a job, oldest attempt first."""
        return (self.pods[attempt] for attempt in self.attempts_of.get(uid, ()))

    def look_at_attempts_of(self, uid: Uid, tracked: TrackedJob) -> None:
        """Something happened to the job: whether its attempts may be evicted, and before whom, may have changed."""
        self.queues.look_again(self.attempts_of.get(uid, ()))
        if tracked.launching is not None:
            self.queues.look_again((tracked.launching,))

    def forget_gone_pods(self, tracked: TrackedJob) -> None:
        """Gone pods whose attempt's end the status shows, and history was told, are of no more use."""
        for attempt in list(self.attempts_of.get(tracked.job.uid, ())):
            if self.pods[attempt].gone and self.is_over(tracked.job, attempt):
                self._forget_pod(attempt)

    def _forget_pod(self, attempt: AttemptId) -> None:
        self.pods.pop(attempt, None)
        self.orphans.pop(attempt, None)
        siblings = self.attempts_of.get(attempt.uid)
        if siblings is not None and attempt in siblings:
            siblings.remove(attempt)
            if not siblings:
                del self.attempts_of[attempt.uid]

    @staticmethod
    def is_over(job: Job, attempt: AttemptId) -> bool:
        """Whether the job's status shows this attempt's end."""
        status = job.status
        seen = (attempt.run, attempt.attempt)
        current = (status.run, status.attempt)
        return seen < current or (seen == current and not status.phase.active) or status.phase.terminal

    # -------------------------------------------------------------- observations: queues
    def put_queue(self, queue: Queue) -> None:
        """A TaskQueue as it now is. All that waits in it is looked at again."""
        served, defaults = self.queues.serves(queue.name), self.queues.defaults_of(queue.name)
        self.queues.put(queue)
        self._settle_if(self.queues.serves(queue.name) is not served, queue.name)
        self._look_again_if(self.queues.defaults_of(queue.name) != defaults, queue.name)

    def drop_queue(self, name: QueueName) -> None:
        """A TaskQueue is gone: what runs goes on, what waits is told."""
        served, defaults = self.queues.serves(name), self.queues.defaults_of(name)
        self.queues.drop(name)
        self._settle_if(self.queues.serves(name) is not served, name)
        self._look_again_if(defaults is not None, name)

    def _settle_if(self, changed_hands: bool, name: QueueName) -> None:
        if changed_hands:
            for tracked in self.pods.values():
                if tracked.pod.queue == name:
                    self.queues.settle(tracked)

    def _look_again_if(self, defaults_changed: bool, name: QueueName) -> None:
        if defaults_changed:  # how long finished jobs are kept is said there, too: they are members of no queue
            for uid, tracked in self.jobs.items():
                if tracked.job.queue == name:
                    self.dirty_jobs[uid] = None

    # -------------------------------------------------------------- answers to what was decided
    def reserve(self, tracked: TrackedJob, attempt: AttemptId) -> None:
        """Assume that this attempt's pod exists: its quota is taken before the create is sent."""
        job = tracked.job
        tracked.launching = attempt
        self.queues.charge(attempt, job.queue, job.request)
        self.keys.reserve(job, attempt)

    def not_launched(self, attempt: AttemptId, refusal: str | None, now: datetime, *, asked: bool = True) -> None:
        """A definite answer: there is no pod for this attempt. `refusal` says why, None if nobody tried; not `asked`:
        why nobody did, which is not counted."""
        if attempt not in self.pods:
            self.queues.release(attempt)
            self.keys.release(attempt)
        tracked = self.jobs.get(attempt.uid)
        if tracked is None or tracked.launching != attempt:
            return
        tracked.launching = None
        self.graph.waits_again(tracked)
        if refusal is not None:
            tracked.refusals += asked
            seconds = backoff_of_refusals(tracked.refusals if asked else 1)
            tracked.refusal = Refusal(refusal, now + timedelta(seconds=seconds), asked)
        self.dirty_jobs[attempt.uid] = None

    def enqueue(self, tracked: TrackedJob) -> None:
        """Nothing but its concurrency key and its queue keeps the job: it waits for them."""
        concurrency = tracked.job.concurrency
        if concurrency is None:
            self.keys.leave(tracked)
            self.queues.enqueue(tracked)
        else:
            self.keys.park(tracked, concurrency)

    def unqueue(self, tracked: TrackedJob) -> None:
        """The job may not start (any more), or has."""
        if tracked.parked is not None:
            self.keys.leave(tracked)
        self.queues.unqueue(tracked)

    def still_wanted(self, decision: SetStatus) -> bool:
        """Whether a status write that waits its turn is still what the state asks for."""
        tracked = self.jobs.get(decision.job.uid)
        return tracked is not None and tracked.asked == decision

    def not_written(self, decision: SetStatus) -> None:
        """A status write did not happen: decide again on what is known now."""
        tracked = self.jobs.get(decision.job.uid)
        if tracked is not None and tracked.asked == decision:
            tracked.asked = None
            self.dirty_jobs[decision.job.uid] = None  # which also explains anew what waits in its queue

    def end_asked(self, pod: Pod, now: datetime | None) -> None:
        """A pod was told to end at `now`; None: it was not, ask again."""
        tracked = self.pods.get(pod.attempt)
        if tracked is not None:
            tracked.end_asked_at = now
            self._touch_pod(pod.attempt)

    def log_kept(self, attempt: AttemptId) -> None:
        """The attempt's log is in history, or known to be lost."""
        tracked = self.pods.get(attempt)
        if tracked is not None:
            tracked.log = LogCare.KEPT
            self._touch_pod(attempt)

    def pod_not_removed(self, pod: Pod) -> None:
        """The removal of an ended pod did not happen: ask again."""
        tracked = self.pods.get(pod.attempt)
        if tracked is not None:
            tracked.removal_asked = False
            self._touch_pod(pod.attempt)

    def job_not_removed(self, uid: Uid) -> None:
        """The removal of a finished TaskJob did not happen: ask again."""
        tracked = self.jobs.get(uid)
        if tracked is not None:
            tracked.removal_asked = False
            self.dirty_jobs[uid] = None

    def recorded(self, uid: Uid, n: int) -> None:
        """History holds the job's transitions up to number `n`."""
        tracked = self.jobs.get(uid)
        if tracked is None or n <= tracked.recorded:
            return
        tracked.recorded = n
        status = tracked.job.status
        over = status.phase.terminal or (status.attempt > 0 and not status.phase.active)
        if over or not all(pod.live for pod in self.pods_of(uid)):
            self.dirty_jobs[uid] = None  # what ended may wait for nothing but this

    def unrecorded(self, uid: Uid, n: int, *, tell: bool) -> None:
        """History holds the job's transitions only up to number `n`, though it had confirmed more. `tell`: all that the
        objects show is to be told anew, logs included; otherwise it is on its way already."""
        tracked = self.jobs[uid]
        tracked.recorded = n
        if tell:
            tracked.told, tracked.told_as = -1, None
            for pod in self.pods_of(uid):
                pod.log = LogCare.NONE if pod.log is LogCare.KEPT else pod.log
            self.dirty_jobs[uid] = None

    def tell_again(self) -> None:
        """History lost some of what it was told: tell it all that the live objects still show."""
        for uid, tracked in self.jobs.items():
            tracked.told, tracked.told_as = -1, None
            self.dirty_jobs[uid] = None

    def _touch_pod(self, attempt: AttemptId) -> None:
        if attempt.uid in self.jobs:
            self.dirty_jobs[attempt.uid] = None
        else:
            self.orphans[attempt] = None
