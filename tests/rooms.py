"""A room for `preemption.choose` that is easy to see through: queues of one cohort that lend all that is idle."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from builders import NOON, at
from taskjob.core.model import Amounts, AttemptId, Namespace, QueueName, Uid
from taskjob.core.phases import Preempt
from taskjob.core.preemption import Candidate, Contender

_numbers = count()


@dataclass
class Cohort:
    """Queues by name with their quotas, and what each of them uses. A cohort of one queue lends and borrows nothing."""

    quotas: dict[str, dict[str, int]]
    usage: dict[str, dict[str, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.usage = {queue: dict.fromkeys(quota, 0) for queue, quota in self.quotas.items()}

    def charge(self, queue: QueueName, request: Amounts) -> None:
        self._count(queue, request, 1)

    def release(self, queue: QueueName, request: Amounts) -> None:
        self._count(queue, request, -1)

    def _count(self, queue: str, request: Amounts, sign: int) -> None:
        used = self.usage[queue]
        for resource, amount in request:
            used[resource] += sign * amount
            assert used[resource] >= 0, "more was released than was charged"

    def used(self, resource: str) -> int:
        return sum(used[resource] for used in self.usage.values())

    def fits(self, queue: QueueName, request: Amounts) -> bool:
        return all(
            self.used(resource) + amount <= sum(quota[resource] for quota in self.quotas.values())
            for resource, amount in request
        )

    def within_quota(self, queue: QueueName, request: Amounts) -> bool:
        return all(
            self.usage[queue][resource] + amount <= self.quotas[queue][resource]
            for resource, amount in request
            if amount
        )


def a_contender(
    queue: str,
    priority: int = 0,
    created: float = 0,
    within: Preempt = Preempt.LOWER_PRIORITY,
    reclaim: Preempt = Preempt.NEVER,
    **request: int,
) -> Contender:
    """What a job asks for, in whole units of whatever resource."""
    name = f"{queue}-{next(_numbers):06}"
    place = (-priority, at(created).timestamp(), Namespace("team"), name, Uid(name))
    return Contender(QueueName(queue), tuple(sorted(request.items())), priority, place, within, reclaim)


def running(room: Cohort, contender: Contender, since: float = 0) -> Candidate:
    """An attempt of such a job that began so many seconds after noon, charged to the room."""
    room.charge(contender.queue, contender.request)
    assert since >= 0, f"before {NOON}"
    return Candidate(AttemptId(Uid(contender.place[-1]), 0, 0, 1), contender.request, at(since), contender)
