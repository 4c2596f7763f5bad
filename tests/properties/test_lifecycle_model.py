"""The life of one job against the tables of docs/lifecycle.md: whatever happens to it, with a restart at every step.

`life_model.Model` knows the page; the operator must agree with it after each step. After each step, too, an operator
that begins from the objects alone knows what the one that was there knows, and has nothing to do. Once more the same is
played with an operator that dies after each single request that it makes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from builders import a_job, a_queue
from life_model import DELETED, Model, seconds_of
from lifecycle_page import HAPPENS, MAY_BECOME
from rebuilt import derived, rebuilt
from taskjob.core.cycle import plan
from taskjob.core.model import AttemptId, Dependency, JobName, Pod, Retry, RetryRule, Transition, Uid
from taskjob.core.phases import FailureClass, Phase, PodPhase, RetryAction, StopPolicy
from world import World

RULES = st.lists(
    st.builds(
        RetryRule,
        action=st.sampled_from(RetryAction),
        classes=st.lists(st.sampled_from(FailureClass), max_size=3).map(tuple),  # none: all of them
    ),
    max_size=3,
).map(tuple)
HANGS = st.sampled_from([FailureClass.IMAGE_PULL, FailureClass.UNSCHEDULABLE, FailureClass.START_ERROR])
OF_A_POD = st.sampled_from(
    [
        FailureClass.EXIT_CODE,
        FailureClass.OOM_KILLED,
        FailureClass.EVICTED,
        FailureClass.NODE_LOST,
        FailureClass.POD_DELETED,
        FailureClass.START_ERROR,
    ]
)
START_TIMEOUT = 60
SECONDS = st.sampled_from([1, 2, 5, 11, 20, 41, 60, 3600])
GRACE = 30


@dataclass(frozen=True)
class Said:
    """What its manifest says."""

    retry: Retry
    timeout: int | None
    deadline: int | None
    patience: int | None
    obeys: bool


SAID = st.builds(
    Said,
    retry=st.builds(
        Retry,
        limit=st.integers(0, 2),
        initial_seconds=st.just(1),
        jitter_percent=st.just(0),
        rules=RULES,
        allow_overlap=st.booleans(),
    ),
    timeout=st.sampled_from([None, None, 5, 50]),
    deadline=st.sampled_from([None, None, 40, 200]),
    patience=st.sampled_from([None, None, 3, 30]),
    obeys=st.booleans(),
)


class TheLifeOfAJob(RuleBasedStateMachine):
    """One job in a world in which requests succeed, and the model of it."""

    tried: ClassVar[set[tuple[str, int]]]
    mortal: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(mortal=self.mortal)
        self.world.put_queue(a_queue())
        self.world.submit(a_job("never").cancelled())
        self.world.run()
        self.made = 0
        self.lost: list[AttemptId] = []  # their nodes are silent
        self.there = False

    @property
    def uid(self) -> Uid:
        return Uid(f"uid-{self.made}")

    @property
    def pod(self) -> Pod:
        """The pod of the attempt under way."""
        return self.world.pods[AttemptId(self.uid, self.model.run, 0, self.model.attempts)]

    def runs(self) -> bool:
        """Whether an attempt's pod is live, and its node is there."""
        return self.there and self.model.phase.active and self.model.lost_at is None

    def waits(self) -> bool:
        return self.there and self.model.phase is Phase.PENDING

    def goes_on(self, dies: bool = False) -> None:
        """The operator does what is to be done now, if one dies, then another."""
        if dies:
            self.world.crash()
        self.pass_time(0)

    def pass_time(self, seconds: int) -> None:
        if not self.there:
            self.world.let_pass(seconds)
            return
        self.model.pass_to(self.model.now + seconds, self._let_pass)

    def _let_pass(self, seconds: int) -> int:
        self.world.let_pass(seconds)
        return seconds_of(self.world.begun_at)

    # ------------------------------------------------------------------ users
    @initialize(said=SAID, dies=st.booleans())
    def it_is_created(self, said: Said, dies: bool) -> None:
        self.made += 1
        job = a_job("a").with_uid(self.uid).timing_out(said.timeout, said.deadline).starting_within(START_TIMEOUT)
        job = job.waiting_at_most(said.patience) if said.patience is not None else job
        self.world.submit(replace(job, fields={**job.fields, "retry": said.retry}))
        self.world.pods_obey = said.obeys
        held = any(queue.stop_policy is not StopPolicy.NONE for queue in self.world.queues.values())
        self.model = Model(
            said.retry,
            said.timeout,
            said.deadline,
            said.patience,
            START_TIMEOUT,
            seconds_of(self.world.now),
            self.tried,
            said.obeys,
            self.mortal,
            held=held,
        )
        self.there = True
        self.goes_on(dies)

    @precondition(lambda self: not self.there)
    @rule(said=SAID, dies=st.booleans())
    def it_is_created_anew(self, said: Said, dies: bool) -> None:
        self.it_is_created(said, dies)

    @precondition(lambda self: self.there)
    @rule(dies=st.booleans())
    def it_is_suspended_or_resumed(self, dies: bool) -> None:
        suspend = not self.model.suspended
        self.world.edit("a", suspend=suspend)
        self.model.suspend(suspend)
        self.goes_on(dies)

    @precondition(lambda self: self.there)
    @rule(dies=st.booleans())
    def it_is_cancelled(self, dies: bool) -> None:
        self.world.edit("a", cancel=True)
        self.model.cancel()
        self.goes_on(dies)

    @precondition(lambda self: self.there)
    @rule(by=st.integers(1, 2), dies=st.booleans())
    def it_is_rerun(self, by: int, dies: bool) -> None:
        self.world.edit("a", rerun=self.model.wanted + by, cancel=False)
        self.model.rerun(by)
        self.goes_on(dies)

    @precondition(lambda self: self.waits() and not self.model.attempts)
    @rule(dies=st.booleans())
    def it_is_made_to_depend_on_what_will_not_be(self, dies: bool) -> None:
        self.world.edit("a", depends_on=(Dependency(JobName("never")),))
        self.model.cannot_be()
        self.goes_on(dies)

    @precondition(lambda self: self.there)
    @rule(with_pods=st.booleans())
    def it_is_deleted(self, with_pods: bool) -> None:
        self.world.delete("a", with_pods=with_pods)
        self.lost = [attempt for attempt in self.lost if attempt in self.world.pods]
        self.model.happens(DELETED)
        self.there = False
        self.goes_on()

    @rule(held=st.booleans(), dies=st.booleans())
    def its_queue_is_held_or_released(self, held: bool, dies: bool) -> None:
        self.world.put_queue(a_queue(stop_policy=StopPolicy.HOLD if held else StopPolicy.NONE))
        if self.there:
            self.model.stop(held, drained=False)
        self.goes_on(dies)

    @precondition(lambda self: self.there and self.model.phase.active)
    @rule(dies=st.booleans())
    def its_queue_is_drained(self, dies: bool) -> None:
        self.world.put_queue(a_queue(stop_policy=StopPolicy.HOLD_AND_DRAIN))
        self.model.stop(True, drained=True)
        self.goes_on(dies)

    # ------------------------------------------------------------------ time, and the operator
    @rule(seconds=SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.pass_time(seconds)

    @precondition(lambda self: self.there and self.model.deadline is not None)
    @rule()
    def its_deadline_comes(self) -> None:
        self.pass_time(max(self.model.since + (self.model.deadline or 0) - self.model.now, 0))

    @rule()
    def the_operator_dies(self) -> None:
        self.goes_on(dies=True)

    # ------------------------------------------------------------------ its pod
    @precondition(lambda self: self.runs())
    @rule()
    def the_container_starts(self) -> None:
        if self.pod.started_at is None:
            begun = {"node": "node", "started_at": self.world.now, "trouble": None, "message": ""}
            self.world.put_pod(self.pod, phase=PodPhase.RUNNING, **begun)
            self.model.starts()
            self.goes_on()

    def _ends(self, pod: Pod, failure: FailureClass | None, dies: bool, *, started: bool = True) -> None:
        if started and pod.started_at is None:
            pod = self.world.put_pod(pod, started_at=self.world.now)
        phase = PodPhase.FAILED if failure is not None else PodPhase.SUCCEEDED
        self.world.put_pod(pod, phase=phase, failure=failure, finished_at=self.world.now)
        if pod.attempt == self.pod.attempt:
            if started:
                self.model.starts()
            self.model.ends(failure, succeeded=failure is None)
        self.goes_on(dies)

    @precondition(lambda self: self.runs())
    @rule(failure=st.one_of(st.none(), OF_A_POD), started=st.booleans(), dies=st.booleans())
    def it_ends(self, failure: FailureClass | None, started: bool, dies: bool) -> None:
        self._ends(self.pod, failure, dies, started=started or failure is None)

    @precondition(lambda self: self.runs())
    @rule(early=st.booleans(), dies=st.booleans())
    def its_kubelet_enforces_its_limit(self, early: bool, dies: bool) -> None:
        """Maybe a second too early: a pod's start is cut to the second."""
        attempt, limit = self.pod.attempt, self.pod.active_deadline_seconds
        left = self.model.launched_at + (limit or 0) - early - self.model.now
        if limit is not None and left > 0:
            self.pass_time(left)
            if self.runs() and self.pod.attempt == attempt:
                self._ends(self.pod, FailureClass.TIMEOUT, dies, started=False)

    @precondition(lambda self: self.runs())
    @rule()
    def somebody_deletes_its_pod(self) -> None:
        self.world.lose_pod(self.pod)
        self.model.unseen = True
        self.model.ends(FailureClass.POD_DELETED)
        self.model.unseen = False
        self.goes_on()

    @precondition(lambda self: self.runs() and self.model.started_at is None)
    @rule(trouble=HANGS, dies=st.booleans())
    def it_hangs(self, trouble: FailureClass, dies: bool) -> None:
        if self.model.hang is None:
            node = None if trouble is FailureClass.UNSCHEDULABLE else self.pod.node
            self.world.put_pod(self.pod, trouble=trouble, message="it hangs", node=node)
            self.model.hang, self.model.hangs_since = trouble, self.model.now
            self.goes_on(dies)

    @precondition(lambda self: self.runs() and self.pod.node is not None)
    @rule(dies=st.booleans())
    def its_node_falls_silent(self, dies: bool) -> None:
        """And its pod's deletion is asked for."""
        self.world.put_pod(self.pod, deleting=True, gone_by=self.world.now + timedelta(seconds=GRACE))
        self.model.lost_at = self.model.now + GRACE + 10
        self.lost.append(self.pod.attempt)
        self.goes_on(dies)

    @precondition(lambda self: self.lost)
    @rule(failure=st.sampled_from([None, FailureClass.EVICTED]), dies=st.booleans())
    def the_node_is_back_and_ends_it(self, failure: FailureClass | None, dies: bool) -> None:
        pod = self.world.pods[self.lost.pop()]
        if self.there and self.model.phase.active and pod.attempt == self.pod.attempt:
            self._ends(pod, failure, dies, started=failure is None)
        else:
            self.world.put_pod(pod, phase=PodPhase.FAILED, failure=FailureClass.EVICTED, finished_at=self.world.now)
            self.goes_on(dies)

    @precondition(lambda self: self.lost)
    @rule()
    def the_node_is_called_off(self) -> None:
        """By the taint out-of-service: Kubernetes removes its pods."""
        pod = self.world.pods[self.lost.pop()]
        current = self.there and self.model.phase.active and pod.attempt == self.pod.attempt
        self.world.lose_pod(pod)
        if current:
            self.model.unseen = True
            self.model.ends(FailureClass.POD_DELETED)
            self.model.unseen = False
        self.goes_on()

    # ------------------------------------------------------------------ what must hold
    @property
    def rows(self) -> dict[int, Transition]:
        """History's rows of the job, by number."""
        return {row.n: row for entry in self.world.entries if entry.job.uid == self.uid for row in entry.transitions}

    @invariant()
    def the_operator_agrees_with_the_page(self) -> None:
        if not self.made:
            return
        model, rows = self.model, self.rows
        last = rows[max(rows)]
        assert last.to_phase is model.phase, f"{model} and {last}"
        launched = [attempt[1:] for attempt in self.world.launched if attempt.uid == self.uid]
        assert launched == [(run, 0, n + 1) for run, count in sorted(model.launches.items()) for n in range(count)]
        if not self.there:
            assert model.reason is last.reason
            return
        status = self.world.status("a")
        if not model.phase.active:  # of one under way the status may not tell yet, it costs a write
            assert status.phase is model.phase
            assert model.reason in (None, status.reason), f"{model} and {status}"
        assert status.retries == model.retries or model.phase.active
        if model.phase.terminal or model.attempts:
            assert status.run == model.run or model.phase.active

    @invariant()
    def history_tells_a_way_of_the_table(self) -> None:
        rows = self.rows
        assert sorted(rows) == list(range(len(rows)))
        for n in range(1, len(rows)):
            assert rows[n].from_phase is rows[n - 1].to_phase
            assert rows[n].to_phase in MAY_BECOME[rows[n - 1].to_phase]

    @invariant()
    def a_restart_forgets_nothing_and_does_nothing(self) -> None:
        kept, known = derived(self.world.state), derived(rebuilt(self.world))
        for part, value in kept.items():
            assert value == known[part], part
        made = plan(self.world.another(), self.world.now, 1)
        assert made.decisions == ()
        rows = self.rows
        for entry in made.entries:
            for row in entry.transitions if entry.job.uid == self.uid else ():
                told = rows[row.n]
                assert (row.from_phase, row.to_phase, row.attempt) == (told.from_phase, told.to_phase, told.attempt)

    @invariant()
    def what_has_ended_holds_nothing(self) -> None:
        if not self.lost and not (self.there and self.model.phase.active):
            assert self.world.state.queues.charges == {}


class WhoseOperatorLives(TheLifeOfAJob):
    """It dies where a rule says so."""

    tried, mortal = set(), False


class WhoseOperatorDies(TheLifeOfAJob):
    """It dies after each request that it makes."""

    tried, mortal = set(), True


@pytest.mark.parametrize("life", [WhoseOperatorLives, WhoseOperatorDies])
def test_what_becomes_of_a_job_is_what_the_page_says_wherever_the_operator_dies(life: type[TheLifeOfAJob]) -> None:
    bounds = settings(max_examples=400, stateful_step_count=30, derandomize=True)
    run_state_machine_as_test(life, settings=settings(bounds, suppress_health_check=[HealthCheck.too_slow]))
    cells = {(event, at) for event, row in HAPPENS.items() for at, cell in enumerate(row) if cell is not None}
    assert life.tried == cells, "what the page tells was not all tried"
