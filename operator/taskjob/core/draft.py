"""A plan in the making: what the steps of a cycle decide, and what history is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from taskjob.core import chronicle
from taskjob.core.decisions import Decision, Fault, SetStatus, Urgency
from taskjob.core.model import Entry, Status, Transition
from taskjob.core.state import State
from taskjob.core.tracked import TrackedJob
from taskjob.core.values import replace


@dataclass(slots=True, eq=False)
class Draft:
    """Collects one cycle's decisions and entries; the state is advanced by them, so that they are decided once."""

    state: State
    now: datetime
    decisions: list[Decision] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def ask(self, tracked: TrackedJob, status: Status, urgency: Urgency) -> None:
        """Ask for a status write, unless the status is so already, or that very write is on its way."""
        before = tracked.job.status
        if status is before or (status.reason is before.reason and status == before):
            tracked.asked = None
            return
        decision = SetStatus(tracked.job, status, urgency)
        if decision != tracked.asked:
            tracked.asked = decision
            self.decisions.append(decision)

    def tell(self, tracked: TrackedJob, shown: Status, *, active: bool = False) -> None:
        """Tell history what newly happened; a wait for a new reason refreshes the job's row.

        `active`: an attempt is under way (`lifecycle.under_way`).
        """
        job = tracked.job
        rows: tuple[Transition, ...] = ()
        if active or job.status.transition > tracked.told:
            pods = [each.pod for each in self.state.pods_of(job.uid)]
            rows = chronicle.established(job, pods, active, tracked.told)
        if tracked.told < 0:
            rows = (chronicle.appearance(job), *rows)
        told_as = (shown.phase, shown.reason, job.priority, job.generation)
        if rows or told_as != tracked.told_as:
            self.entries.append(Entry(job if shown is job.status else replace(job, status=shown), rows))
            tracked.told_as = told_as
            if rows:
                tracked.told = rows[-1].n
