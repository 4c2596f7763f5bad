"""Random walks of a cluster in which every rule of admission is checked at every plan.

`Walk` is a state machine of Hypothesis: users, pods, administrators, time and dying operators in any order. What may
start is judged by an oracle of its own (`admission_oracle.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from admission_oracle import end, fits, free, order, used
from builders import a_job, a_queue, limits
from taskjob.core.cycle import plan
from taskjob.core.decisions import Launch, SetStatus
from taskjob.core.model import Amounts, AttemptId, Job, Namespace, Pod, Queue, QueueName, Uid
from taskjob.core.nomination import sort_in
from taskjob.core.phases import Phase, Preempt, Reason, Stopping, StopPolicy, Strategy
from taskjob.core.state import State
from taskjob.core.why import RUNNING, why
from world import World

CYCLES = 1000
NAMES = ["a", "b", "c"]
PRIORITIES = [0, -100, 100]
WAITING = {Reason.WAITING_FOR_QUOTA, Reason.EXCEEDS_QUOTA, Reason.QUEUE_HELD, Reason.RATE_LIMITED}


class Asked(NamedTuple):
    """What somebody submits; cpu in cores, memory in bytes."""

    queue: str
    priority: int
    cpu: int
    memory: int


# ------------------------------------------------------------------ what is drawn
def _some(most: int) -> st.SearchStrategy[Amounts]:
    return st.builds(limits, cpu=st.integers(0, most), memory=st.integers(0, most))


names = st.sampled_from(NAMES)
priorities = st.sampled_from(PRIORITIES)
asked = st.builds(Asked, names, priorities, st.sampled_from([1, 2, 3, 4, 0]), st.sampled_from([0, 0, 1, 3]))
terms = st.fixed_dictionaries(
    {
        "quota": st.fixed_dictionaries(
            {"cpu": st.sampled_from([3, 1, 2, 4, 6, 0])}, optional={"memory": st.integers(0, 6)}
        ),
        "cohort": st.sampled_from(["one", "one", "one", None]),
        "preemption_within_queue": st.sampled_from(Preempt),
        "preemption_reclaim": st.sampled_from(Preempt),
        "min_runtime_seconds": st.sampled_from([0, 0, 10]),
    },
    optional={
        "borrowing_limit": _some(3),
        "lending_limit": _some(4),
        "weight": st.integers(2, 3),
        "strategy": st.just(Strategy.STRICT_FIFO),
        "reserve_after_seconds": st.sampled_from([20, 0]),
        "aging_seconds": st.just(30),
        "max_running": st.sampled_from([0, 3]),
        "max_starts_per_second": st.sampled_from([0, 2]),
        "stop_policy": st.sampled_from([StopPolicy.NONE] * 4 + [StopPolicy.HOLD]),
    },
)
"""Of a queue: quotas of one or two resources, in a cohort or not, with limits and rules or without."""
queues = st.fixed_dictionaries(dict.fromkeys(NAMES, terms))


def derived(state: State) -> dict[str, dict[str, Any]]:
    """What of each queue follows from the observations, its part in the cohort and who could be evicted included."""
    found = {}
    for name, tracked in state.queues.by_name.items():
        standing, ledger, cohort = sort_in(state, tracked), tracked.ledger, tracked.cohort
        found[str(name)] = {
            "usage": ledger.usage,
            "available": ledger.available(),
            "capacity": tracked.capacity,
            "borrowed": ledger.borrowed(),
            "pool": (ledger.pool.lent, ledger.pool.used) if ledger.pool is not None else None,
            "cohort": (cohort.name, set(cohort.queues)) if cohort is not None else None,
            "line": sorted(key for row in tracked.line.rows.values() for key in row),
            "ending": set(standing.ending),
            "standing": standing.places,
            "behind all": sorted(standing.places, key=lambda attempt: (standing.places[attempt], attempt)),
        }
        assert list(standing.behind(BEFORE_ALL)) == found[str(name)]["behind all"]
    return found


BEFORE_ALL = (-float("inf"), 0.0, Namespace(""), "", Uid(""))


class Walk(RuleBasedStateMachine):
    """Random users, pods, administrators and time, with every rule checked at every plan."""

    preempting: ClassVar = False  # whether queues may have rules of preemption
    met: ClassVar[Counter[str]] = Counter()
    """What came to pass in all walks, how often: a rule that nothing came under was not tried."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(holding=True, history_away=True)
        self.names = 0
        self.starts: dict[QueueName, list[datetime]] = defaultdict(list)

    # -------------------------------------------------------------- steps
    @initialize(queues=queues, jobs=st.lists(asked, max_size=12))
    def begin(self, queues: dict[str, dict[str, Any]], jobs: Sequence[Asked] = ()) -> None:
        for name, its in queues.items():
            self.world.put_queue(a_queue(name, **self._kept(its)))
        self.go_on(jobs)

    @rule(
        jobs=st.lists(asked, max_size=4),
        ended=st.lists(st.integers(0, 9), max_size=3),
        seconds=st.sampled_from([0, 0, 0, 0.3, 1, 25, 70]),
        obey=st.booleans(),
    )
    def go_on(
        self, jobs: Sequence[Asked] = (), ended: Sequence[int] = (), seconds: float = 0, *, obey: bool = True
    ) -> None:
        """Time passes, pods end, jobs come. `obey`: who is told to end does so at once, and not when it is deleted."""
        self.world.pods_obey = obey
        self.world.now += timedelta(seconds=seconds)
        live = self.live()
        for number in dict.fromkeys(number % len(live) for number in ended if live):
            end(self.world, live[number])
        for each in jobs:
            self.names += 1
            job = a_job(f"j{self.names:04}").in_queue(each.queue).of_priority(each.priority)
            self.world.submit(job.asking(cpu=each.cpu, memory=each.memory))
        self.plan()

    @rule(name=names, its=terms)
    def change_queue(self, name: str, its: dict[str, Any]) -> None:
        self.world.put_queue(a_queue(name, **self._kept(its)))
        self.plan()

    @precondition(lambda self: bool(self.waiting()))
    @rule(number=st.integers(0, 9), priority=priorities, queue=names)
    def edit(self, number: int, priority: int, queue: str) -> None:
        waiting = self.waiting()
        self.world.edit(waiting[number % len(waiting)].name, priority=priority, queue=QueueName(queue))
        self.plan()

    @rule()
    def the_operator_dies(self) -> None:
        self.world.crash()
        for starts in self.starts.values():  # the next operator knows only the second of each
            starts[:] = [at.replace(microsecond=0) + timedelta(seconds=1) for at in starts]
        self.plan()

    def live(self) -> list[Pod]:
        return [pod for pod in self.world.pods.values() if not pod.phase.ended]

    def waiting(self) -> list[Job]:
        return [job for job in self.world.jobs.values() if job.status.phase is Phase.PENDING]

    def _kept(self, its: dict[str, Any]) -> dict[str, Any]:
        return its if self.preempting else {term: value for term, value in its.items() if "preemption" not in term}

    # -------------------------------------------------------------- rules
    def plan(self) -> None:
        """Plan and carry out until nothing is to be done, each plan twice."""
        world = self.world
        for _ in range(CYCLES):
            usage = used(world)
            world.holding = True
            made = world.cycle()
            launches = [decision for decision in made.decisions if isinstance(decision, Launch)]
            for number, launch in enumerate(launches):
                self._may_start(launch, usage, launches[number + 1 :])
            for decision in made.decisions:
                if isinstance(decision, SetStatus) and decision.status.stopping is Stopping.PREEMPTED:
                    self._may_be_evicted(decision, usage)
            again = plan(world.state, world.now, 10**6)
            assert (again.decisions, again.entries) == ((), ()), "planned again, it decided something new"
            world.confirm()
            held, world.pending = world.pending, []
            for each in held:
                world.carry_out(each)
            if not held and not world.state.dirty_jobs:
                break
        else:
            pytest.fail(f"at one instant there is always more to decide, the last: {made.decisions}")
        self._reservations_are_due()
        self._nothing_is_idle()
        self._who_waits_knows_why()
        self._the_state_is_what_a_rebuild_gives()

    def _may_be_evicted(self, stop: SetStatus, usage: dict[str, Counter[str]]) -> None:
        """Somebody gains by it whom the rules let, or the queue gives back what it has no quota for."""
        world, victim = self.world, stop.job
        attempt = AttemptId(victim.uid, victim.status.run, 0, stop.status.attempt)
        pod = world.pods[attempt]
        queue = world.queues[pod.queue]
        self.met["evicted"] += 1
        assert victim.status.stopping is None
        assert (world.now - (pod.started_at or pod.created_at)).total_seconds() >= queue.min_runtime_seconds
        borrows = any(usage[queue.name][resource] > amount for resource, amount in queue.quota)
        waiting = self._queued()

        def may(rule: Preempt, other: Job) -> bool:
            return rule is Preempt.ANY or (rule is Preempt.LOWER_PRIORITY and other.priority > victim.priority)

        def for_one(other: Job) -> bool:
            its = world.queues[other.queue]
            if its is queue:
                return may(its.preemption_within_queue, other) and order(other, queue) < order(victim, queue)
            quota = dict(its.quota)
            within = all(amount <= quota.get(resource, amount) for resource, amount in other.request)
            allies = its.cohort is not None and its.cohort == queue.cohort
            return allies and borrows and within and may(its.preemption_reclaim, other)

        gives_back = borrows and queue.preemption_within_queue is Preempt.ANY
        assert gives_back or any(map(for_one, waiting)), f"{victim.name} is evicted for nobody"

    def _the_state_is_what_a_rebuild_gives(self) -> None:
        world = self.world
        other = State(world.default_ttl_seconds, world.controller)
        for queue in reversed(world.queues.values()):
            other.put_queue(queue)
        for pod in reversed(world.pods.values()):
            other.put_pod(pod)
        for job in reversed(world.jobs.values()):
            other.put_job(job)
            other.recorded(job.uid, world.state.jobs[job.uid].recorded)  # history's word is an observation too
            other.jobs[job.uid].blocked_since = world.state.jobs[job.uid].blocked_since  # no status tells of it
        for queue_name, tracked in world.state.queues.by_name.items():
            other.queues.by_name[queue_name].starts = list(tracked.starts)  # those whose pods have gone nobody observes
        plan(other, world.now, 0)
        one, two = derived(world.state), derived(other)
        for name, parts in one.items():
            for part, value in parts.items():
                assert value == two[name][part], f"{part} of {name}"

    def _may_start(self, launch: Launch, usage: dict[str, Counter[str]], later: list[Launch]) -> None:
        world, job = self.world, launch.job
        queue = world.queues[job.queue]
        self.met["admitted"] += 1
        assert queue.stop_policy is StopPolicy.NONE
        assert fits(world, usage, queue, job.request), "admitted above quota plus borrowing"
        for other in self._queued():
            if other.queue == queue.name and order(other, queue) < order(job, queue):
                self._may_be_passed_by(other, job, usage, later)
        usage[queue.name].update(dict(job.request))
        started = self.starts[queue.name]
        started.append(world.now)
        here = sum(d.job.queue == queue.name for d in world.pending if isinstance(d, Launch))
        assert not queue.max_running or self._running(queue) + here <= queue.max_running
        assert not world.state.jobs[job.uid].queued

    def _may_be_passed_by(self, first: Job, job: Job, usage: dict[str, Counter[str]], later: list[Launch]) -> None:
        """One that comes first in its queue asks for something else, which was not there when the other started."""
        self.met["passed by"] += 1
        world, queue = self.world, self.world.queues[job.queue]
        assert first.request != job.request, f"{job.name} starts, {first.name} asks the same and comes first"
        never = not fits(world, defaultdict(Counter), queue, first.request)
        assert never or queue.strategy is not Strategy.STRICT_FIFO, f"{job.name} passes {first.name} by"
        if any(each.max_running for each in world.queues.values()):
            return  # one that is full by now has no reservation any more, and may have had one
        taken = self._with_reservations(usage, but=first)
        for launch in later:  # what started later may have been reserved until then
            taken[launch.job.queue].update(dict(launch.job.request))
        assert not fits(world, taken, queue, first.request), f"{job.name} starts, {first.name} fits and comes first"

    def _with_reservations(self, usage: dict[str, Counter[str]], but: Job) -> dict[str, Counter[str]]:
        """What is used, what is reserved for others than that one included."""
        taken = defaultdict(Counter, {name: Counter(held) for name, held in usage.items()})
        for name, tracked in self.world.state.queues.by_name.items():
            if tracked.claim is not None and tracked.claim.uid != but.uid:
                taken[name].update(dict(tracked.claim.request))
        return taken

    def _running(self, queue: Queue) -> int:
        return sum(pod.queue == queue.name for pod in self.live())

    def _queued(self) -> list[Job]:
        """Those that pass everything but their queues, and wait."""
        return [tracked.job for tracked in self.world.state.jobs.values() if tracked.queued]

    def _reservations_are_due(self) -> None:
        """They are for who has waited long enough, or for whom others are being evicted."""
        world = self.world
        for tracked in world.state.queues.by_name.values():
            if tracked.claim is None:
                continue
            self.met["reserved"] += 1
            job, queue = world.jobs[tracked.claim.uid], tracked.queue
            assert queue is not None
            assert job in self._queued()
            waited = (world.now - job.created_at).total_seconds() >= queue.reserve_after_seconds
            evicts = Preempt.NEVER is not queue.preemption_within_queue or Preempt.NEVER is not queue.preemption_reclaim
            assert waited or evicts, f"{job.name} has a reservation that it has not waited for"

    def _nothing_is_idle(self) -> None:
        """Who waits and fits, what is reserved for others counted as used, breaks a rule of its queue if it started."""
        world = self.world
        usage = used(world)
        waiting = self._queued()
        for job in waiting:
            queue = world.queues[job.queue]
            if not fits(world, self._with_reservations(usage, but=job), queue, job.request):
                continue
            before = [
                other for other in waiting if other.queue == job.queue and order(other, queue) < order(job, queue)
            ]
            just = [at for at in self.starts[queue.name] if world.now - at < timedelta(seconds=1)]
            excused = (
                queue.stop_policy is not StopPolicy.NONE
                or (queue.max_running and self._running(queue) >= queue.max_running)
                or (queue.max_starts_per_second and len(just) >= queue.max_starts_per_second)
                or (queue.strategy is Strategy.STRICT_FIFO and before)
            )
            assert excused, f"{job.name} fits and is not started"

    def _who_waits_knows_why(self) -> None:
        world = self.world
        usage = used(world)
        for tracked in world.state.jobs.values():
            if not tracked.queued:
                continue
            job, queue = tracked.job, world.queues[tracked.job.queue]
            told = tracked.job.status.reason
            assert told in WAITING, f"{job.name} is told {told}"
            answer = why(world.state.queues, tracked, world.now)
            # The limit of starts comes and goes each second: who was told of the quota is not told of it in between,
            # and who was told of the limit, not before it keeps nobody.
            limited = world.state.queues.by_name[job.queue].starts_again_at(world.now) is not None
            quick = limited and {told, answer.reason} == {Reason.WAITING_FOR_QUOTA, Reason.RATE_LIMITED}
            assert told is answer.reason or quick, f"{job.name} is told {told}: {answer}"
            self.met[told] += 1
            match answer.reason:
                case Reason.QUEUE_HELD:
                    assert queue.stop_policy is not StopPolicy.NONE
                case Reason.EXCEEDS_QUOTA:
                    assert not fits(world, defaultdict(Counter), queue, job.request)
                case Reason.RATE_LIMITED:
                    assert answer.until is not None
                    assert answer.until > world.now
                case Reason.WAITING_FOR_QUOTA:
                    assert fits(world, defaultdict(Counter), queue, job.request), "it can never fit, and is not told so"
                    if answer.resource == RUNNING:
                        assert self._running(queue) >= queue.max_running > 0
                    elif answer.behind is not None:
                        first = world.jobs[answer.behind]
                        assert first != job
                        assert first in self._queued()
                    else:
                        assert answer.asked == dict(job.request)[answer.resource]
                        assert answer.available == max(0, free(world, usage, queue, answer.resource)) < answer.asked
                case _:
                    pytest.fail(f"{job.name}: {answer}")


class WalkOfPreemptors(Walk):
    """In queues that preempt in their lines and in their cohort, or do not."""

    preempting = True
