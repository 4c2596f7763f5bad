"""Random walks of a cluster in which every rule of admission is checked at every plan.

    walk = Walk(seed, preempting=True)
    for _ in range(60):
        walk.step()

What may start is judged by an oracle of its own, which knows nothing of pools, rows and offers: sums over the pods.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from builders import a_job, a_queue, limits
from taskjob.core.cycle import plan
from taskjob.core.decisions import Launch, SetStatus
from taskjob.core.model import Amounts, AttemptId, CohortName, Job, Namespace, Pod, Queue, QueueName, Uid
from taskjob.core.nomination import sort_in
from taskjob.core.phases import Phase, PodPhase, Preempt, Reason, Stopping, StopPolicy, Strategy
from taskjob.core.state import State
from taskjob.core.why import why
from world import World

CYCLES = 1000
NAMES = ["a", "b", "c", "d", "e"]
WAITING = {Reason.WAITING_FOR_QUOTA, Reason.EXCEEDS_QUOTA, Reason.QUEUE_HELD, Reason.RATE_LIMITED}


def random_queue(dice: Random, name: str, *, preempting: bool = False) -> Queue:
    """Quotas of one or two resources, in a cohort or not, with limits or without."""

    def some(most: int) -> Amounts:
        return limits(cpu=dice.randint(0, most), memory=dice.randint(0, most))

    terms: dict[str, Any] = {
        "cohort": CohortName("one") if dice.random() < 0.8 else None,
        "borrowing_limit": some(3) if dice.random() < 0.3 else None,
        "lending_limit": some(4) if dice.random() < 0.3 else None,
        "weight": dice.randint(1, 3),
        "strategy": Strategy.STRICT_FIFO if dice.random() < 0.25 else Strategy.BEST_EFFORT_FIFO,
        "reserve_after_seconds": dice.choice([0, 20, 60]),
        "aging_seconds": dice.choice([0, 0, 30]),
        "max_running": dice.choice([0, 0, 0, 3]),
        "max_starts_per_second": dice.choice([0, 0, 0, 2]),
        "stop_policy": dice.choice([StopPolicy.NONE] * 5 + [StopPolicy.HOLD]),
    }
    if preempting:
        terms |= {
            "preemption_within_queue": dice.choice(list(Preempt)),
            "preemption_reclaim": dice.choice(list(Preempt)),
            "min_runtime_seconds": dice.choice([0, 0, 10]),
        }
    quota = {"cpu": dice.randint(0, 6)} | ({"memory": dice.randint(0, 6)} if dice.random() < 0.5 else {})
    return a_queue(name, quota, **terms)


# ------------------------------------------------------------------ the oracle
def used(world: World) -> dict[str, Counter[str]]:
    """What live pods hold, by queue and resource."""
    usage: dict[str, Counter[str]] = defaultdict(Counter)
    for pod in world.pods.values():
        if not pod.phase.ended:
            usage[pod.queue].update(dict(pod.request))
    return usage


def free(world: World, usage: dict[str, Counter[str]], queue: Queue, resource: str) -> float:
    """How much more of a resource a queue may use, from quotas, limits and usage alone."""
    quota = dict(queue.quota)
    if resource not in quota:
        return float("inf")

    def kept(other: Queue) -> int:
        amount = dict(other.quota)[resource]
        return amount - min(amount, dict(other.lending_limit or ()).get(resource, amount))

    mine = usage[queue.name][resource]
    if queue.cohort is None:
        return quota[resource] - mine
    lenders = [q for q in world.queues.values() if q.cohort == queue.cohort and resource in dict(q.quota)]
    pool = sum(dict(q.quota)[resource] - kept(q) for q in lenders)
    pool -= sum(max(0, usage[q.name][resource] - kept(q)) for q in lenders)
    left: float = max(0, kept(queue) - mine) + max(0, pool)
    most = dict(queue.borrowing_limit or ()).get(resource)
    return left if most is None else min(left, quota[resource] + most - mine)


def fits(world: World, usage: dict[str, Counter[str]], queue: Queue, request: Amounts) -> bool:
    return all(amount <= free(world, usage, queue, resource) for resource, amount in request if amount)


def end(world: World, pod: Pod) -> None:
    """The pod ends well; nobody has looked yet."""
    second = world.now.replace(microsecond=0)
    world.put_pod(pod, phase=PodPhase.SUCCEEDED, started_at=second, finished_at=second, exit_code=0)


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


class Walk:
    """Random users, pods, administrators and time, with every rule checked at every plan."""

    def __init__(self, seed: int, *, preempting: bool = False) -> None:
        self.dice = Random(seed)
        self.preempting = preempting
        self.evicted = 0
        self.world = World(holding=True, history_away=True)
        self.names = 0
        self.starts: dict[QueueName, list[datetime]] = defaultdict(list)
        for name in NAMES:
            self.world.put_queue(random_queue(self.dice, name, preempting=preempting))

    def step(self) -> None:
        world, dice = self.world, self.dice
        match dice.choices(["submit", "end", "time", "queue", "edit", "crash"], [8, 6, 3, 1, 1, 0.3])[0]:
            case "submit":
                for _ in range(dice.randint(1, 4)):
                    self.names += 1
                    job = (
                        a_job(f"j{self.names:04}").in_queue(dice.choice(NAMES)).of_priority(dice.choice([-100, 0, 100]))
                    )
                    world.submit(job.asking(cpu=dice.randint(0, 4), memory=dice.choice([0, 0, 1, 3])))
            case "end":
                live = [pod for pod in world.pods.values() if not pod.phase.ended]
                for pod in dice.sample(live, min(len(live), dice.randint(1, 3))):
                    end(world, pod)
            case "time":
                world.now += timedelta(seconds=dice.choice([0.3, 1, 25, 70]))
            case "queue":
                world.put_queue(random_queue(dice, dice.choice(NAMES), preempting=self.preempting))
            case "edit":
                waiting = [job for job in world.jobs.values() if job.status.phase is Phase.PENDING]
                if waiting:
                    world.edit(
                        dice.choice(waiting).name, priority=dice.choice([-100, 0, 100]), queue=dice.choice(NAMES)
                    )
            case "crash":
                world.crash()
                for starts in self.starts.values():  # the next operator knows only the second of each
                    starts[:] = [at.replace(microsecond=0) + timedelta(seconds=1) for at in starts]
        self.plan()

    def plan(self) -> None:
        """Plan and carry out until nothing is to be done, each plan twice."""
        world = self.world
        for _ in range(CYCLES):
            usage = used(world)
            world.holding = True
            made = world.cycle()
            for decision in made.decisions:
                if isinstance(decision, Launch):
                    self._may_start(decision, usage)
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
        self._nothing_is_idle()
        self._who_waits_knows_why()
        self._the_state_is_what_a_rebuild_gives()

    def _may_be_evicted(self, stop: SetStatus, usage: dict[str, Counter[str]]) -> None:
        """Somebody gains by it whom the rules let, or the queue gives back what it has no quota for."""
        world, victim = self.world, stop.job
        attempt = AttemptId(victim.uid, victim.status.run, 0, stop.status.attempt)
        pod = world.pods[attempt]
        queue = world.queues[pod.queue]
        self.evicted += 1
        assert victim.status.stopping is None
        assert (world.now - (pod.started_at or pod.created_at)).total_seconds() >= queue.min_runtime_seconds
        borrows = any(usage[queue.name][resource] > amount for resource, amount in queue.quota)
        waiting = [tracked.job for tracked in world.state.jobs.values() if tracked.queued]

        def may(rule: Preempt, other: Job) -> bool:
            return rule is Preempt.ANY or (rule is Preempt.LOWER_PRIORITY and other.priority > victim.priority)

        def for_one(other: Job) -> bool:
            its = world.queues[other.queue]
            if its is queue:
                return may(its.preemption_within_queue, other) and _order(other, queue) < _order(victim, queue)
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

    def _may_start(self, launch: Launch, usage: dict[str, Counter[str]]) -> None:
        world, job = self.world, launch.job
        queue = world.queues[job.queue]
        assert queue.stop_policy is StopPolicy.NONE
        assert fits(world, usage, queue, job.request), "admitted above quota plus borrowing"
        usage[queue.name].update(dict(job.request))
        running = sum(pod.queue == queue.name and not pod.phase.ended for pod in world.pods.values())
        started = self.starts[queue.name]
        started.append(world.now)
        here = sum(d.job.queue == queue.name for d in world.pending if isinstance(d, Launch))
        assert not queue.max_running or running + here <= queue.max_running
        same_row = [
            other
            for other in world.jobs.values()
            if other.queue == queue.name and other.request == job.request and world.state.jobs[other.uid].queued
        ]
        key = world.state.jobs[job.uid]
        assert key.place is None
        for other in same_row:
            assert _order(job, queue) < _order(other, queue), "one that asks the same and comes first still waits"

    def _nothing_is_idle(self) -> None:
        """Who waits and fits, what is reserved for others counted as used, breaks a rule of its queue if it started."""
        world = self.world
        usage = used(world)
        waiting = [tracked.job for tracked in world.state.jobs.values() if tracked.queued]
        reserved = [(tracked, tracked.claim) for tracked in world.state.queues.by_name.values() if tracked.claim]
        for job in waiting:
            queue = world.queues[job.queue]
            with_claims = defaultdict(Counter, {name: Counter(held) for name, held in usage.items()})
            for tracked, claim in reserved:
                if claim.uid != job.uid and tracked.queue is not None:
                    with_claims[tracked.queue.name].update(dict(claim.request))
            if not fits(world, with_claims, queue, job.request):
                continue
            before = [
                other for other in waiting if other.queue == job.queue and _order(other, queue) < _order(job, queue)
            ]
            running = sum(pod.queue == queue.name and not pod.phase.ended for pod in world.pods.values())
            just = [at for at in self.starts[queue.name] if world.now - at < timedelta(seconds=1)]
            excused = (
                queue.stop_policy is not StopPolicy.NONE
                or (queue.max_running and running >= queue.max_running)
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
                    if answer.resource in dict(job.request):
                        assert answer.asked == dict(job.request)[answer.resource]
                        assert answer.available == max(0, free(world, usage, queue, answer.resource)) < answer.asked
                case _:
                    pytest.fail(f"{job.name}: {answer}")


def _order(job: Any, queue: Queue) -> tuple[float, float, str]:
    created = job.created_at.timestamp()
    aged = created - job.priority * queue.aging_seconds / 100 if queue.aging_seconds else -job.priority
    return (aged, created, job.name)
