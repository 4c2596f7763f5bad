"""The life of one job against a model of a few lines: whatever happens to it, and a restart between any two steps.

The model counts attempts and charges as `docs/lifecycle.md` says; the operator must agree after each step.
"""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from builders import a_job, a_queue
from taskjob.core.deadlines import START_TIMEOUT_SECONDS
from taskjob.core.model import RetryRule
from taskjob.core.phases import TRANSITIONS, FailureClass, Phase, PodPhase, RetryAction
from taskjob.core.retry import judge
from world import World

RULES = st.lists(
    st.builds(
        RetryRule,
        action=st.sampled_from(RetryAction),
        classes=st.lists(st.sampled_from(FailureClass), min_size=1, max_size=3).map(tuple),
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


class TheLifeOfAJob(RuleBasedStateMachine):
    """One job in a world in which requests succeed; `expected` is what the model says of its end."""

    @initialize(limit=st.integers(0, 2), rules=RULES, overlap=st.booleans())
    def submit(self, limit: int, rules: tuple[RetryRule, ...], overlap: bool) -> None:
        self.world = World()
        self.world.put_queue(a_queue())
        job = a_job("a").retrying(limit, initial_seconds=1).ruled(*rules)
        self.world.submit(job.overlapping() if overlap else job)
        self.retry = self.world.job("a").retrying
        self.attempts, self.retries, self.stopped = 1, 0, False
        self.end: Phase | None = None
        self.world.run()

    def runs(self) -> bool:
        """Whether an attempt's pod is live."""
        return self.end is None and not self.stopped

    def over(self, failure: FailureClass) -> None:
        """The model: an attempt failed; then time passes until the next one runs, if there is to be one."""
        action = judge(self.retry, failure).action
        if action is RetryAction.SUCCEED:
            self.end = Phase.SUCCEEDED
        elif action is RetryAction.FAIL or (action is RetryAction.RETRY and self.retries >= self.retry.limit):
            self.end = Phase.FAILED
        else:
            self.retries += action is RetryAction.RETRY
            self.attempts += 1
        self.world.let_pass(3600)

    # ------------------------------------------------------------------ what happens
    @rule()
    def the_operator_dies(self) -> None:
        self.world.crash()
        self.world.run()

    @rule(seconds=st.integers(1, 3600))
    def time_passes(self, seconds: int) -> None:
        self.world.let_pass(seconds)

    @precondition(lambda self: self.runs())
    @rule()
    def the_container_starts(self) -> None:
        if self.world.pod("a").started_at is None:
            self.world.start("a")

    @precondition(lambda self: self.runs())
    @rule()
    def it_succeeds(self) -> None:
        self.world.finish("a")
        self.end = Phase.SUCCEEDED

    @precondition(lambda self: self.runs())
    @rule(failure=OF_A_POD, started=st.booleans(), dies=st.booleans())
    def it_fails(self, failure: FailureClass, started: bool, dies: bool) -> None:
        pod = self.world.pod("a")
        changed = {"phase": PodPhase.FAILED, "failure": failure, "finished_at": self.world.now.replace(microsecond=0)}
        if started and pod.started_at is None:
            changed["started_at"] = self.world.now.replace(microsecond=0)
        self.world.put_pod(pod, **changed)
        if dies:
            self.world.crash()
        self.over(failure)

    @precondition(lambda self: self.runs())
    @rule()
    def somebody_deletes_its_pod(self) -> None:
        self.world.lose_pod(self.world.pod("a"))
        self.over(FailureClass.POD_DELETED)

    @precondition(lambda self: self.runs() and self.world.pod("a").started_at is None)
    @rule(trouble=HANGS, dies=st.booleans())
    def it_hangs(self, trouble: FailureClass, dies: bool) -> None:
        self.world.put_pod(self.world.pod("a"), trouble=trouble, message="it hangs")
        self.world.let_pass(START_TIMEOUT_SECONDS / 2)
        if dies:
            self.world.crash()
        self.over(trouble)

    @precondition(lambda self: self.runs())
    @rule(dies=st.booleans())
    def its_node_is_lost_and_comes_back(self, dies: bool) -> None:
        pod = self.world.put_pod(self.world.pod("a"), deleting=True, gone_by=self.world.now + timedelta(seconds=30))
        self.world.let_pass(60)
        if dies:
            self.world.crash()
        self.world.let_pass(3600)
        overlaps = self.retry.allow_overlap
        if overlaps:
            self.over(FailureClass.NODE_LOST)
        self.world.put_pod(pod, phase=PodPhase.FAILED, failure=FailureClass.EVICTED, finished_at=self.world.now)
        self.world.run()
        if not overlaps:
            self.over(FailureClass.EVICTED)

    @precondition(lambda self: self.runs())
    @rule(dies=st.booleans())
    def it_is_suspended(self, dies: bool) -> None:
        self.world.edit("a", suspend=True)
        if dies:
            self.world.crash()
        self.world.run()
        self.stopped = True

    @precondition(lambda self: self.stopped and self.end is None)
    @rule()
    def it_is_resumed(self) -> None:
        self.world.edit("a", suspend=False)
        self.world.let_pass(3600)
        self.stopped = False
        self.attempts += 1

    @precondition(lambda self: self.end is None)
    @rule(dies=st.booleans())
    def it_is_cancelled(self, dies: bool) -> None:
        self.world.edit("a", cancel=True)
        if dies:
            self.world.crash()
        self.world.run()
        self.end = Phase.CANCELLED

    # ------------------------------------------------------------------ what must hold
    @invariant()
    def the_operator_agrees_with_the_model(self) -> None:
        status = self.world.status("a")
        if self.end is not None:
            assert status.phase is self.end
        elif self.stopped:
            assert status.phase is Phase.PENDING
        else:
            assert not status.phase.terminal
        assert status.retries == self.retries
        launched = [attempt.attempt for attempt in self.world.launched]
        assert launched == list(range(1, self.attempts + 1)), "each attempt once, in order"

    @invariant()
    def history_tells_a_path_of_the_table(self) -> None:
        rows = {row.n: row for entry in self.world.entries for row in entry.transitions}
        assert sorted(rows) == list(range(len(rows)))
        for n in range(1, len(rows)):
            before, row = rows[n - 1], rows[n]
            assert row.from_phase is before.to_phase
            assert row.to_phase in TRANSITIONS[before.to_phase]

    @invariant()
    def what_has_ended_holds_nothing(self) -> None:
        if self.end is not None or self.stopped:
            assert self.world.state.queues.charges == {}


TestTheLifeOfAJob = TheLifeOfAJob.TestCase
TestTheLifeOfAJob.settings = settings(max_examples=150, stateful_step_count=15, deadline=None, derandomize=True)
