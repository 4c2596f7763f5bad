"""One cycle of scheduling: `plan(state, now, room)` -> what to do.

The whole story, in the order in which it happens:

1. time passes: jobs whose instant has come (backoff, deadline, timeout, time to live) are looked at
2. life: each job that something happened to is decided by `lifecycle.step`: status, stop, may it be admitted
   (one whose concurrency key has room, or no key, then stands in the line of its queue)
3. admission: the queues that something happened to, and their cohorts, admit what fits, in the order of `offers`,
   and reserve its quota at once
4. explanation: what was looked at and not admitted is told why; `nomination` evicts for those that may preempt
5. care: ended pods are captured and removed, finished jobs removed when their time is over
6. history is told what newly happened, and the next instant to look is named

The state is advanced by what is decided here (reserved, asked), so that the next cycle does not decide it again.
"""

from __future__ import annotations

from datetime import datetime

from taskjob.core import retention, sentences
from taskjob.core.admission import admit
from taskjob.core.deadlines import earliest
from taskjob.core.decisions import EndPod, Fault, Plan
from taskjob.core.defaults import settled
from taskjob.core.draft import Draft
from taskjob.core.facts import Eviction, Facts, under_way
from taskjob.core.failures import is_lost
from taskjob.core.lifecycle import step
from taskjob.core.model import Job, JobKey, Pod
from taskjob.core.phases import Phase, Reason, Stopping, StopPolicy
from taskjob.core.state import State
from taskjob.core.tracked import TrackedJob, TrackedPod
from taskjob.core.why import Why


def plan(state: State, now: datetime, room: int) -> Plan:
    """Decide what to do at `now`, launching at most `room` pods (what the applier can send soon).

    Less room than there is to admit leaves the rest for the next cycle, so that a job of higher priority
    that arrives meanwhile still goes first.
    """
    if state.begun_at is None:
        state.begun_at = now
    draft = Draft(state, now, entries=state.entries)
    state.entries = []
    _pass_time(state, now)
    state.queues.follow_nodes()
    state.graph.look_for_cycles()
    _look(draft)
    admit(draft, room)
    _look(draft)  # at those that are evicted
    draft.decisions.extend(retention.orphans(state, now))
    wake_at = earliest(state.wakes.next_at, state.queues.wakes.next_at)
    return Plan(tuple(draft.decisions), tuple(draft.entries), wake_at, tuple(draft.faults))


# ------------------------------------------------------------------ 1. time
def _pass_time(state: State, now: datetime) -> None:
    state.queues.pass_time(now)
    state.dirty_jobs.update((uid, None) for uid in state.wakes.due(now) if uid in state.jobs)


# ------------------------------------------------------------------ 2. life
def _look(draft: Draft) -> None:
    for uid in draft.state.take_dirty():
        tracked = draft.state.jobs.get(uid)
        if tracked is not None:
            try:
                _live(draft, tracked)
            except Exception as error:  # one job's fault must not stop the others
                draft.state.unqueue(tracked)
                draft.faults.append(Fault(uid, repr(error)))
            draft.state.look_at_attempts_of(uid, tracked)


def _live(draft: Draft, tracked: TrackedJob) -> None:
    state, now = draft.state, draft.now
    job = tracked.job
    if not state.queues.serves(job.queue):
        state.unqueue(tracked)
        tracked.asked = None
        return
    latest = state.current_pod(job)
    if latest is not None and latest.end_asked_at is None and _was_told_to_end(job, latest.pod):
        latest.end_asked_at = now
    if latest is not None:
        latest.note_trouble(now)
    facts = facts_of(state, tracked, now)
    active = under_way(job, facts.pod)
    decided = step(facts, now)
    if not active or job.status.stopping is not None:
        tracked.eviction = None  # it is done, or the status says it from now on
    if decided.eligible:
        state.enqueue(tracked)
        _withdraw(tracked)
    else:
        state.unqueue(tracked)
        draft.ask(tracked, decided.status, decided.urgency)
    if decided.end is not None and latest is not None:
        latest.end_asked_at = now
        draft.decisions.append(EndPod(latest.pod, decided.end, decided.why))
    state.wakes.at(job.uid, decided.wake_at)
    care, wake_at = retention.care(state, tracked, now)
    draft.decisions.extend(care)
    state.wakes.at(job.uid, wake_at)
    shown = tracked.asked.status if decided.eligible and tracked.asked is not None else decided.shown
    draft.tell(tracked, shown, active=active)
    state.forget_gone_pods(tracked)


def facts_of(state: State, tracked: TrackedJob, now: datetime) -> Facts:
    """What `lifecycle.step` decides about a job by."""
    latest = state.current_pod(tracked.job)
    pod = latest.pod if latest is not None else None
    active = under_way(tracked.job, pod)
    job = settled(tracked.job, state.queues.defaults_of(tracked.job.queue), pod if active else None)
    pending = not job.status.phase.terminal and not active
    return Facts(
        job=job,
        pod=pod,
        pod_gone=latest is not None and latest.gone,
        launching=tracked.launching is not None,
        occupied=pending
        and job.uid in state.attempts_of
        and any(_occupies(job, other, now) for other in state.pods_of(job.uid)),
        end_asked_at=latest.end_asked_at if latest is not None else None,
        hangs_since=latest.hangs_since if latest is not None else None,
        block=state.graph.block_of(tracked) if pending else None,
        ready_at=_ready_at(state, job) if pending and job.queue_timeout_seconds is not None else None,
        refusal=tracked.refusal,
        eviction=_eviction(state, tracked) if active else None,
        recorded=tracked.recorded >= job.status.transition,
        begun_at=state.begun_at,
    )


def _eviction(state: State, tracked: TrackedJob) -> Eviction | None:
    """Why the system wants the attempt under way to end, if it does: the queue is drained, or it makes room."""
    name = tracked.job.queue
    queue = state.queues.by_name[name].queue if name in state.queues.by_name else None
    if queue is not None and queue.stop_policy is StopPolicy.HOLD_AND_DRAIN:
        return Eviction(Stopping.QUEUE_HELD, sentences.waiting(Why(Reason.QUEUE_HELD, name)))
    return tracked.eviction


def _occupies(job: Job, pod: TrackedPod, now: datetime) -> bool:
    """Whether another attempt must wait for this pod's end."""
    return pod.live and not (job.retrying.allow_overlap and is_lost(pod.pod, now))


def _ready_at(state: State, job: Job) -> datetime | None:
    """When the last of its dependencies ended, as far as they are there."""
    uids = (state.by_key.get(JobKey(job.namespace, dependency.name)) for dependency in job.depends_on)
    ends = (state.jobs[uid].job.status.finished_at for uid in uids if uid is not None)
    return max((end for end in ends if end is not None), default=None)


def _was_told_to_end(job: Job, pod: Pod) -> bool:
    """By an operator before us: from now on it has the same time to obey."""
    return job.status.stopping is not None and pod.active_deadline_seconds == 1


def _withdraw(tracked: TrackedJob) -> None:
    """A job that may be admitted keeps asking for the explanation that is on its way, and for nothing else."""
    asked = tracked.asked
    if asked is not None and (asked.job is not tracked.job or asked.status.phase is not Phase.PENDING):
        tracked.asked = None
