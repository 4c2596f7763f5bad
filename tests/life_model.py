"""What docs/lifecycle.md says must become of one job: a model that knows the page, and nothing of the operator.

Phases and reasons are the page's tables (`lifecycle_page`); here stand the counts (attempts, charges) and the instants,
in whole seconds after noon. What happens is told by the methods; `pass_to` lets happen what time brings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from builders import NOON
from lifecycle_page import CHARGED, HAPPENS, MAY_BECOME, WITHOUT_A_RULE, column
from taskjob.core.model import Retry
from taskjob.core.phases import FailureClass, Phase, Reason, RetryAction

SUCCEEDS, CALLED_A_SUCCESS = "its pod succeeds", "an attempt fails, a rule calls it a success"
FOLLOWED, NOT_FOLLOWED = "an attempt fails, another follows", "an attempt fails, none follows"
UNKNOWN, IMPOSSIBLE = "its pod was deleted, none follows", "its dependency can no longer be met"
CANCELLED, SUSPENDED, DRAINED = "it is cancelled", "it is suspended", "its queue is drained"
DEADLINE, WAITED_OUT = "its deadline is over", "its wait took too long"
TURN, STARTS, RERUN, DELETED = (
    "its turn comes",
    "its container starts",
    "a rerun is asked for",
    "its TaskJob is deleted",
)
TIMEOUT, HANGS = "its timeout is over", "it hangs for too long"  # no words of the table: it fails of them
LAST: Final = (CANCELLED, DEADLINE, SUSPENDED, DRAINED)
"""Why an attempt may have to end before its time; the first that applies is what it ends of."""

PATIENCE: Final = 40
"""So long a pod that was told to end may take: its grace period and 10 s. Then it is deleted."""

SLACK: Final = 10
"""So much later than the kubelet the operator enforces a timeout, and calls a silent node lost."""


@dataclass
class Model:
    """One job, from its creation at `now`. `tried` collects which cells of the table were used."""

    retry: Retry
    timeout: int | None
    deadline: int | None
    patience: int | None  # queueTimeoutSeconds
    start_timeout: int
    now: int
    tried: set[tuple[str, int]]
    obeys: bool  # else its pods end by their deletion alone
    mortal: bool  # the operator that writes why an attempt ends dies of it
    phase: Phase = Phase.PENDING
    reason: Reason | None = None  # None: nothing is said of it
    run: int = 0
    wanted: int = 0
    again: bool = False  # this run was begun by a rerun
    attempts: int = 0  # of this run
    retries: int = 0
    launches: dict[int, int] = field(default_factory=dict)  # by run
    suspended: bool = False
    cancelled: bool = False
    held: bool = False
    impossible: bool = False
    since: int = 0
    queued_at: int = 0
    not_before: int = 0
    launched_at: int = 0
    started_at: int | None = None
    ending: str | None = None  # why the attempt has to end: a lost node's goes on with that
    end_asked_at: int = 0
    shown_started: bool = False  # the status that told it to end says that its container ran
    hang: FailureClass | None = None
    hangs_since: int = 0
    lost_at: int | None = None  # when its node counts as lost
    unseen: bool = False  # its pod is gone, and nobody saw its end

    def __post_init__(self) -> None:
        self.since = self.queued_at = self.now

    # ------------------------------------------------------------------ by the table
    def happens(self, event: str) -> None:
        """What the table says becomes of it."""
        cell = HAPPENS[event][column(self.phase)]
        if cell is None:
            return
        self.tried.add((event, column(self.phase)))
        assert cell.phase is self.phase or cell.phase in MAY_BECOME[self.phase], (event, self.phase)
        self.phase, self.reason = cell
        if self.phase.terminal and event != DELETED and self.wanted > self.run:
            self._run_again()

    def _run_again(self) -> None:
        self.run, self.attempts, self.retries, self.not_before, self.again = self.wanted, 0, 0, 0, True
        self.since = self.queued_at = self.now
        self.happens(RERUN)
        self.reason = None if self.held else self.reason
        self._waits()

    def _waits(self) -> None:
        """It is pending: what was said of it before counts now."""
        for event, counts in ((CANCELLED, self.cancelled), (IMPOSSIBLE, self.impossible), (SUSPENDED, self.suspended)):
            if counts and self.phase is Phase.PENDING:
                self.happens(event)

    # ------------------------------------------------------------------ what time brings
    def pass_to(self, instant: int, let_pass: Callable[[int], int]) -> None:
        """Time passes until then. `let_pass` lets it pass in the world, and says when its operator of then began."""
        began = let_pass(0)
        while True:
            first = self._let_come(began)
            if self.now == instant:
                return
            ahead = min(first if first is not None else instant, instant) - self.now
            if ahead > 1:  # an operator may die on the way: who is there at that instant is known the second before
                began = let_pass(self._later(ahead - 1))
            else:
                then = let_pass(self._later(1))
                self._let_come(began)
                began = then

    def _let_come(self, began: int) -> int | None:
        """What is due happens; when there is something next."""
        while due := sorted(self._due(began), key=lambda each: each[:2]):
            if due[0][0] > self.now:
                return due[0][0]
            due[0][2]()
        return None

    def _later(self, seconds: int) -> int:
        self.now += seconds
        if self.phase is Phase.PENDING and not self.suspended:
            self.reason = None
        return seconds

    def _due(self, began: int) -> Iterator[tuple[int, int, Callable[[], None]]]:
        """What is to come, by instant; of one instant the first counts."""
        if self.phase.terminal:
            return
        if self.phase.active and self.retry.allow_overlap and self.lost_at is not None:
            yield self.lost_at, 0, lambda: self.ends(FailureClass.NODE_LOST)
        if self.deadline is not None and self.ending not in (CANCELLED, DEADLINE):
            yield self.since + self.deadline, 1, lambda: self.must_end(DEADLINE)
        if self.phase is Phase.PENDING:
            if self.patience is not None and not self.suspended:
                yield max(self.queued_at, self.not_before) + self.patience, 2, lambda: self.happens(WAITED_OUT)
            if not self.suspended and not self.held:
                yield max(self.not_before, self.now), 3, self._launch
            return
        if self.ending is not None and self.lost_at is None:  # told to end by one before, it has as long again
            yield max(self.end_asked_at, began) + PATIENCE, 4, self._is_deleted
        if self.timeout is not None and self.started_at is not None and self.ending not in (*LAST, TIMEOUT):
            yield self.started_at + self.timeout + SLACK, 2, lambda: self.must_end(TIMEOUT)
        if self.hang is not None and self.started_at is None and self.ending is None:
            # A pod without a node shows since when; else an operator that takes over begins to count again.
            since = self.launched_at if self.hang is FailureClass.UNSCHEDULABLE else max(self.hangs_since, began)
            yield since + self.start_timeout, 3, lambda: self.must_end(HANGS)

    def _launch(self) -> None:
        self.happens(TURN)
        self.attempts += 1
        self.launches[self.run] = self.attempts
        self.launched_at, self.started_at, self.ending, self.hang, self.lost_at = self.now, None, None, None, None

    # ------------------------------------------------------------------ what happens to an attempt
    def starts(self) -> None:
        """Its container starts."""
        if self.started_at is None:
            self.started_at, self.hang = self.now, self.hang if self.ending == HANGS else None
            self.happens(STARTS)

    def must_end(self, why: str) -> None:
        """Time or somebody asks for its end: it is at once, unless its node is silent."""
        if self.phase is Phase.PENDING or self.phase.terminal:
            self.happens(why)
            return
        if why in LAST[:3] and self.ending in LAST and LAST.index(self.ending) < LAST.index(why):
            return
        if why == DRAINED and self.ending is not None:
            return
        if self.ending is None or self.mortal:
            self.end_asked_at = self.now
        self.ending, self.shown_started = why, self.started_at is not None
        if self.lost_at is None and (self.obeys or self.hang is FailureClass.UNSCHEDULABLE):
            self.ends(None)  # what has no node needs no kubelet to end it

    def _is_deleted(self) -> None:
        """It did not end in time. That its container ran is written before its pod goes, by one who may die of it."""
        if self.mortal and self.started_at is not None and not self.shown_started:
            self.shown_started, self.end_asked_at = True, self.now
        else:
            self.ends(None)

    def ends(self, failure: FailureClass | None, *, succeeded: bool = False) -> None:
        """Its pod has ended, or is given up: of that failure, or, where none is said, as it was told to.

        A pod that was deleted and ends with 0 has not succeeded if it was told to end.
        """
        ending, self.ending = self.ending, None
        hang, lost, self.hang, self.lost_at = self.hang, self.lost_at is not None, None, None
        self.queued_at = self.now
        late = self.deadline is not None and self.now >= self.since + self.deadline - 2
        if succeeded and not (lost and ending is not None):
            self.happens(SUCCEEDS)
        elif ending in (CANCELLED, DEADLINE, SUSPENDED):
            self.happens(ending)
            if self.phase is Phase.PENDING and not self.suspended:
                self.reason = None  # it was resumed meanwhile
        elif ending is None and failure is FailureClass.TIMEOUT and late:
            self.happens(DEADLINE)
        elif ending == DRAINED and self._rule(FailureClass.PREEMPTED) is None:
            self.happens(DRAINED)
        elif ending == DRAINED:
            self._failed(FailureClass.PREEMPTED)
        elif ending == TIMEOUT:
            self._failed(FailureClass.TIMEOUT)
        elif ending == HANGS:
            assert hang is not None
            self._failed(hang)
        else:
            assert failure is not None
            self._failed(failure)
        if self.phase is Phase.PENDING and self.attempts:
            self._waits()

    def _rule(self, failure: FailureClass) -> RetryAction | None:
        return next((rule.action for rule in self.retry.rules if not rule.classes or failure in rule.classes), None)

    def _failed(self, failure: FailureClass) -> None:
        action = self._rule(failure) or WITHOUT_A_RULE[failure]
        charged = CHARGED[action]
        if action is RetryAction.SUCCEED:
            self.happens(CALLED_A_SUCCESS)
        elif action is RetryAction.FAIL or (charged and self.retries >= self.retry.limit):
            self.happens(UNKNOWN if failure is FailureClass.POD_DELETED and self.unseen else NOT_FOLLOWED)
        else:
            free = self.attempts - self.retries  # this one included
            self.retries += charged
            doublings = (self.retries if charged else free) - 1
            backoff = min(self.retry.initial_seconds * self.retry.factor**doublings, self.retry.max_seconds)
            self.not_before = self.now + 1 + backoff
            self.happens(FOLLOWED)

    # ------------------------------------------------------------------ what users do
    def suspend(self, suspend: bool) -> None:
        """`spec.suspend`."""
        self.suspended = suspend
        if suspend:
            self.must_end(SUSPENDED)
        elif self.phase is Phase.PENDING:
            self.queued_at, self.reason = self.now, None

    def cancel(self) -> None:
        """`spec.cancel`."""
        self.cancelled = True
        self.must_end(CANCELLED)

    def rerun(self, by: int) -> None:
        """`spec.rerun` is raised, and `spec.cancel` is taken back."""
        self.wanted, self.cancelled = self.wanted + by, False
        if self.phase.terminal:
            self._run_again()
        elif self.phase is Phase.PENDING and not self.attempts and not self.again:
            self.run = self.wanted  # nothing has begun: this is the run that is wanted

    def stop(self, held: bool, drained: bool) -> None:
        """The queue's `stopPolicy`."""
        self.held = held
        if drained and self.phase.active:
            self.must_end(DRAINED)
        elif self.phase is Phase.PENDING and not self.suspended:
            self.reason = None

    def cannot_be(self) -> None:
        """It depends on what will not be."""
        self.impossible = True
        self._waits()


def seconds_of(instant: datetime) -> int:
    """An instant of the world, in whole seconds after noon."""
    return int((instant - NOON).total_seconds())
