"""A queue's quota: what is charged, what fits, what can never fit."""

from __future__ import annotations

from taskjob.core.model import Amounts


class Ledger:
    """The usage of one queue against its quota.

    A resource that the quota does not name is counted but not limited. Usage may stand above the quota: when
    the quota was lowered, or admission made a pod larger. Then nothing is admitted, and nothing is taken back.
    """

    __slots__ = ("charges", "quota", "usage")

    def __init__(self) -> None:
        self.quota: dict[str, int] = {}
        self.usage: dict[str, int] = {}
        self.charges = 0  # how many attempts are charged

    def charge(self, request: Amounts) -> None:
        """Count an attempt's request."""
        self.charges += 1
        for resource, amount in request:
            self.usage[resource] = self.usage.get(resource, 0) + amount

    def release(self, request: Amounts) -> None:
        """Take back what `charge` counted."""
        self.charges -= 1
        for resource, amount in request:
            left = self.usage[resource] - amount
            if left:
                self.usage[resource] = left
            else:
                del self.usage[resource]

    def shortage(self, request: Amounts) -> tuple[str, int, int] | None:
        """The first resource, by name, that does not fit now: (resource, asked, available); None if all fit."""
        for resource, amount in request:
            limit = self.quota.get(resource)
            if limit is not None and amount:
                available = limit - self.usage.get(resource, 0)
                if amount > available:
                    return resource, amount, max(available, 0)
        return None

    def excess(self, request: Amounts) -> tuple[str, int, int] | None:
        """The first resource of which more is asked than the whole quota: (resource, asked, quota)."""
        for resource, amount in request:
            limit = self.quota.get(resource)
            if limit is not None and amount > limit:
                return resource, amount, limit
        return None
