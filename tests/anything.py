"""Rules that hold whatever happens, in whatever order, and wherever the operator dies.

`Anything` does random things to a cluster and compares the incremental state with one that is built from the last
observations in another order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from builders import NOON, a_job, a_queue, amounts
from rebuilt import derived, rebuilt
from taskjob.core.concurrency import key_of
from taskjob.core.cycle import plan
from taskjob.core.decisions import Launch, Plan, SetStatus
from taskjob.core.dependencies import Edge, worst
from taskjob.core.model import AttemptId, Concurrency, Dependency, Job, JobKey, JobName, Pod, QueueName, Transition, Uid
from taskjob.core.phases import (
    TRANSITIONS,
    ConcurrencyScope,
    Condition,
    FailureClass,
    OnConflict,
    OnDependencyFailure,
    Phase,
    PodPhase,
    Preempt,
    Stopping,
    StopPolicy,
)
from world import World

KEYS = [
    None,
    None,
    Concurrency("db"),
    Concurrency("db", 2),
    Concurrency("db", 2, OnConflict.REJECT),
    Concurrency("db", 1, scope=ConcurrencyScope.QUEUE),
]
NAMES = list("abcde")
QUEUES = ["one", "two"]
names = st.sampled_from(NAMES)
dependencies = st.lists(
    st.builds(Dependency, st.sampled_from([*NAMES, "nobody"]).map(JobName), st.sampled_from(Condition)), max_size=3
).map(tuple)


class History:
    """Checks every row that is told against those told before."""

    def __init__(self) -> None:
        self.rows: dict[Uid, dict[int, tuple[Phase | None, Phase, AttemptId]]] = {}

    def tell(self, made: Plan) -> None:
        for entry in made.entries:
            rows = self.rows.setdefault(entry.job.uid, {})
            for row in entry.transitions:
                self._row(rows, row)

    @staticmethod
    def _row(rows: dict[int, tuple[Phase | None, Phase, AttemptId]], row: Transition) -> None:
        told = (row.from_phase, row.to_phase, row.attempt)
        assert rows.setdefault(row.n, told) == told, f"number {row.n} was told otherwise before"
        if row.n == 0:
            assert told[:2] == (None, Phase.PENDING)
            return
        assert row.n - 1 in rows, f"number {row.n} was told and {row.n - 1} was not"
        assert row.from_phase is rows[row.n - 1][1], "it begins where the one before ended"
        assert row.to_phase in TRANSITIONS[row.from_phase]


class Anything(RuleBasedStateMachine):
    """Users, pods, queues, time, slow answers, failed requests and dying operators, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(default_ttl_seconds=120, holding=True, history_away=True)
        self.history = History()
        self.uids = 0
        self.preempted: set[AttemptId] = set()  # by the operator that lives

    @initialize(cpu=st.integers(0, 4))
    def begin(self, cpu: int) -> None:
        self.world.put_queue(a_queue("one", quota={"cpu": cpu, "pods": 3}))

    # -------------------------------------------------------------- users
    @rule(
        name=names,
        queue=st.sampled_from(QUEUES),
        priority=st.integers(-1, 1),
        cpu=st.integers(1, 3),
        depends_on=dependencies,
        policy=st.sampled_from(OnDependencyFailure),
        retries=st.integers(0, 2),
        deadline=st.sampled_from([None, None, 30]),
        timeout=st.sampled_from([None, 10]),
        patience=st.sampled_from([None, None, 20]),
        concurrency=st.sampled_from(KEYS),
    )
    def submit(
        self,
        *,
        name: str,
        queue: str,
        priority: int,
        cpu: int,
        depends_on: tuple[Dependency, ...],
        policy: OnDependencyFailure,
        retries: int,
        deadline: int | None,
        timeout: int | None,
        patience: int | None,
        concurrency: Concurrency | None,
    ) -> None:
        if any(job.name == name for job in self.world.jobs.values()):
            queue_name = QueueName(queue)
            self.world.edit(name, depends_on=depends_on, priority=priority, queue=queue_name, concurrency=concurrency)
            return
        self.uids += 1
        job = (
            a_job(name).with_uid(f"{name}{self.uids}").in_queue(queue).of_priority(priority).asking(cpu=cpu)
        ).on_dependency_failure(policy)
        job = job.retrying(retries, initial_seconds=3).timing_out(timeout, deadline)
        rest = {"depends_on": depends_on, "concurrency": concurrency, "queue_timeout_seconds": patience}
        self.world.submit(replace(job, fields={**job.fields, **rest}))

    @rule(name=names, suspend=st.booleans())
    def suspend(self, name: str, suspend: bool) -> None:
        self._edit(name, suspend=suspend)

    @rule(name=names)
    def cancel(self, name: str) -> None:
        self._edit(name, cancel=True)

    @rule(name=names, by=st.integers(1, 2))
    def rerun(self, name: str, by: int) -> None:
        for job in [job for job in self.world.jobs.values() if job.name == name]:
            self.world.edit(name, rerun=job.rerun + by, cancel=False)

    @rule(name=names, problem=st.sampled_from([None, "it is wrong"]))
    def spoil(self, name: str, problem: str | None) -> None:
        self._edit(name, problem=problem)

    def _edit(self, name: str, **changes: object) -> None:
        if any(job.name == name for job in self.world.jobs.values()):
            self.world.edit(name, **changes)

    @rule(name=names, with_pods=st.booleans())
    def delete(self, name: str, with_pods: bool) -> None:
        if any(job.name == name for job in self.world.jobs.values()):
            self.world.delete(name, with_pods=with_pods)

    @rule(
        name=st.sampled_from(QUEUES),
        cpu=st.integers(0, 4),
        preempt=st.sampled_from(Preempt),
        promised=st.sampled_from([0, 5]),
        stop=st.sampled_from([StopPolicy.NONE, StopPolicy.NONE, *StopPolicy]),
    )
    def change_queue(
        self,
        name: str,
        cpu: int,
        preempt: Preempt = Preempt.NEVER,
        promised: int = 0,
        stop: StopPolicy = StopPolicy.NONE,
    ) -> None:
        rules: dict[str, Any] = {
            "preemption_within_queue": preempt,
            "min_runtime_seconds": promised,
            "stop_policy": stop,
        }
        self.world.put_queue(a_queue(name, quota={"cpu": cpu}, **rules))

    @rule(name=st.sampled_from(QUEUES))
    def drop_queue(self, name: str) -> None:
        if QueueName(name) in self.world.queues:
            self.world.delete_queue(name)

    # -------------------------------------------------------------- pods
    def _some_pod(self, number: int) -> Pod | None:
        live = [pod for pod in self.world.pods.values() if not pod.phase.ended]
        return live[number % len(live)] if live else None

    @rule(number=st.integers(0, 9), what=st.sampled_from(["start", "succeed", "fail", "break", "delete", "lose"]))
    def pod_goes_on(self, number: int, what: str) -> None:
        pod = self._some_pod(number)
        if pod is None:
            return
        second = self.world.now.replace(microsecond=0)
        started = {"node": "node", "started_at": pod.started_at or second}
        match what:
            case "start":
                self.world.put_pod(pod, phase=PodPhase.RUNNING, **started)
            case "succeed":
                self.world.put_pod(pod, phase=PodPhase.SUCCEEDED, finished_at=second, exit_code=0, **started)
            case "fail":
                failure = FailureClass.EXIT_CODE
                self.world.put_pod(pod, phase=PodPhase.FAILED, finished_at=second, failure=failure, **started)
            case "break":
                failure = FailureClass.EVICTED
                self.world.put_pod(pod, phase=PodPhase.FAILED, finished_at=second, failure=failure)
            case "delete":
                self.world.put_pod(pod, deleting=True)
            case "lose":
                job = self.world.jobs.get(pod.attempt.uid)
                shown = job is None or (job.status.attempt, job.status.phase) == (
                    pod.attempt.attempt,
                    Phase.STARTING if pod.started_at is None else Phase.RUNNING,
                )
                if shown:  # what a third party removes before any status shows it is promised nothing after a crash
                    self.world.lose_pod(pod)

    @rule(name=names, cpu=st.integers(1, 6))
    def admission_enlarges(self, name: str, cpu: int) -> None:
        self.world.admitted_as[JobName(name)] = amounts(cpu=cpu)

    # -------------------------------------------------------------- the operator
    @rule(seconds=st.sampled_from([0.25, 1, 3.7, 15, 60]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds * (NOON.replace(second=1) - NOON)
        self.operate()

    @rule()
    def operate(self) -> None:
        launching = [d for d in self.world.pending if isinstance(d, Launch)]
        made = self.world.cycle()
        self.history.tell(made)
        for decision in made.decisions:
            if isinstance(decision, Launch):
                self._may_launch(decision, launching)
                launching.append(decision)
        self._may_preempt(made)
        assert made.wake_at is None or made.wake_at > self.world.now
        again = plan(self.world.state, self.world.now, self.world.room)
        assert (again.decisions, again.entries) == ((), ()), "a second look at the same instant decided something"
        self.world.confirm()

    def _may_launch(self, launch: Launch, launching: list[Launch]) -> None:
        job = self.world.jobs[launch.job.uid]
        queue = self.world.queues[job.queue]
        live = [pod for pod in self.world.pods.values() if not pod.phase.ended]
        used: dict[str, int] = {}
        taken = [pod.request for pod in live if pod.queue == job.queue]
        taken += [other.job.request for other in launching if other.job.queue == job.queue]
        for request in (*taken, job.request):
            for resource, amount in request:
                used[resource] = used.get(resource, 0) + amount
        asked = dict(job.request)
        for resource, limit in queue.quota:
            assert resource not in asked or used[resource] <= limit, f"{resource} beyond the quota"
        assert not any(pod.attempt.uid == job.uid for pod in live), "it has a pod"
        assert not any(other.job.uid == job.uid for other in launching), "it is being launched"
        assert not any((job.suspend, job.cancel, job.deleting, job.problem))
        self._key_has_room(launch, launching)
        for dependency in job.depends_on:
            on = self.world.state.by_key.get(JobKey(job.namespace, dependency.name))
            phase = self.world.jobs[on].status.phase if on is not None else None
            assert worst([dependency.condition], phase) is Edge.MET

    def _may_preempt(self, made: Plan) -> None:
        for decision in made.decisions:
            if isinstance(decision, SetStatus) and decision.status.stopping is Stopping.PREEMPTED:
                victim = decision.job
                attempt = AttemptId(victim.uid, victim.status.run, 0, decision.status.attempt)
                # What was decided before is not undone by what changed since.
                if victim.status.stopping is not Stopping.PREEMPTED and attempt not in self.preempted:
                    self.preempted.add(attempt)
                    self._may_be_preempted(victim, self.world.pods[attempt])

    def _may_be_preempted(self, victim: Job, pod: Pod) -> None:
        queue = self.world.queues[pod.queue]  # of its TaskJob it may have been changed since
        assert queue.preemption_within_queue is not Preempt.NEVER
        ran = self.world.now - (pod.started_at or pod.created_at)
        assert ran.total_seconds() >= queue.min_runtime_seconds, "it was promised to run longer"
        if queue.preemption_within_queue is Preempt.LOWER_PRIORITY:
            waiting = [self.world.state.jobs[job.uid] for job in self.world.jobs.values() if job.queue == pod.queue]
            assert any(other.queued and other.job.priority > victim.priority for other in waiting), "for whom?"

    def _key_has_room(self, launch: Launch, launching: list[Launch]) -> None:
        """Among those that hold the key, this one included, nobody's limit is passed."""
        mine = launch.job.concurrency
        if mine is None:
            return
        key = key_of(mine, launch.job.namespace, launch.job.queue)
        live = [pod for pod in self.world.pods.values() if not pod.phase.ended]
        held = {pod.attempt: (pod.concurrency, pod.namespace, pod.queue) for pod in live}
        for other in (*launching, launch):
            held[other.attempt] = (other.job.concurrency, other.job.namespace, other.job.queue)
        limits = [
            said.limit
            for said, namespace, queue in held.values()
            if said is not None and key_of(said, namespace, queue) == key
        ]
        assert len(limits) <= min(limits), f"{key} is held by {len(limits)}"

    @invariant()
    def no_key_idles_while_somebody_waits_for_it(self) -> None:
        """Of each group that waits for a key as many stand in line as it has room for, the first ones."""
        state = self.world.state
        state.keys.settle()
        for tracked in state.keys.by_id.values():
            for group, row in tracked.rows.items():
                assert row.waiters == sorted(row.waiters)
                assert row.lined == min(tracked.room(group.limit), len(row.waiters))
                for at, order in enumerate(row.waiters):
                    assert at < row.lined or not state.jobs[Uid(order[-1])].queued

    @precondition(lambda self: self.world.pending)
    @rule(number=st.integers(0, 99), fails=st.booleans())
    def a_request_is_answered(self, number: int, fails: bool) -> None:
        decision = self.world.pending.pop(number % len(self.world.pending))
        state = self.world.state
        if fails and isinstance(decision, Launch):
            state.not_launched(decision.attempt, "no" if number % 2 else None, self.world.now)
        elif fails and isinstance(decision, SetStatus):
            state.not_written(decision)
        else:
            self.world.carry_out(decision)

    @rule()
    def all_requests_are_answered(self) -> None:
        held, self.world.pending = self.world.pending, []
        for decision in held:
            self.world.carry_out(decision)

    @rule(landed=st.integers(0, 9))
    def the_operator_dies(self, landed: int) -> None:
        """Some of its requests were carried out, and it never heard of it."""
        for decision in self.world.pending[:landed]:
            self.world.carry_out(decision)
        self.world.crash()
        self.preempted.clear()
        self.operate()

    # -------------------------------------------------------------- what must hold
    @invariant()
    def the_state_is_what_a_rebuild_gives(self) -> None:
        state = self.world.state
        launching = [d for d in self.world.pending if isinstance(d, Launch)]
        other = rebuilt(self.world, launching)
        one, two = derived(state), derived(other)
        for part, value in one.items():
            assert value == two[part], part

    @invariant()
    def who_may_start_is_what_a_rebuild_says(self) -> None:
        launching = [d for d in self.world.pending if isinstance(d, Launch)]
        state, other = self.world.state, rebuilt(self.world, launching)
        made = plan(state, self.world.now, 0)
        self.history.tell(made)
        self._may_preempt(made)
        self.world.entries.extend(made.entries)
        self.world.pending += made.decisions
        plan(other, self.world.now, 0)
        for uid, tracked in state.jobs.items():
            remembers = tracked.refusal is not None or any(pod.gone for pod in state.pods_of(uid))
            rejected = tracked.asked is not None and tracked.asked.status.phase.terminal  # its end is on its way
            if not remembers and not rejected:
                assert tracked.queued == other.jobs[uid].queued, tracked.job.name
                if tracked.place is not None:
                    rows = state.queues.by_name[tracked.job.queue].line.rows
                    assert tracked.place in rows[tracked.job.request]

    @invariant()
    def a_job_has_one_live_pod_at_most_and_attempts_rise(self) -> None:
        live: set[Uid] = set()
        last: dict[tuple[Uid, int], int] = {}
        for attempt, pod in self.world.pods.items():
            assert pod.phase.ended or attempt.uid not in live
            if not pod.phase.ended:
                live.add(attempt.uid)
        for attempt in self.world.launched:
            assert attempt.attempt == last.get(attempt[:2], 0) + 1
            last[attempt[:2]] = attempt.attempt
