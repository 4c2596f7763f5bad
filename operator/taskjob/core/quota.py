"""A queue's quota and what queues of a cohort lend each other: what is charged, what fits, what can never fit.

Of each resource a queue lends what its `lending_limit` allows of its quota, and keeps the rest to itself. What is lent
lies in the cohort's pool, the queue's own part of it included; a queue uses first what it keeps, then the pool. So

    available = what is left of what it keeps + what is left in the pool
                but never more than quota + borrowing_limit - usage

and the pool's use never passes what was put in, however quotas change: nothing is admitted that does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from taskjob.core.model import Amounts

NOTHING: Final[Mapping[str, int]] = {}


class Pool:
    """What the queues of a cohort lend each other, by resource: `lent` is put in, `used` is in use, by whomever."""

    __slots__ = ("lent", "used")

    def __init__(self) -> None:
        self.lent: dict[str, int] = {}
        self.used: dict[str, int] = {}

    def left(self, resource: str) -> int:
        """What nobody uses; negative while more is in use than is lent now."""
        return self.lent.get(resource, 0) - self.used.get(resource, 0)


class Ledger:
    """The usage of one queue against its quota.

    A resource that the quota does not name is counted but not limited. Usage may stand above the quota: by what it
    borrows, or when the quota was lowered, or admission made a pod larger. Nothing is taken back.
    """

    __slots__ = ("_borrowing", "_kept", "_lending", "charges", "pool", "quota", "usage", "weight")

    def __init__(self) -> None:
        self.quota: dict[str, int] = {}
        self.usage: dict[str, int] = {}
        self.charges = 0  # how many attempts are charged
        self.weight = 1
        self.pool: Pool | None = None
        self._borrowing: dict[str, int] = {}
        self._lending: dict[str, int] = {}
        self._kept: dict[str, int] = {}  # of the quota, what is not lent

    # ------------------------------------------------------------------ terms
    def leave_pool(self) -> None:
        """Take quota and usage out of the cohort; before either of quota, limits and cohort changes."""
        self._enter(-1)
        self.pool = None

    def join_pool(self, pool: Pool, borrowing: Amounts | None, lending: Amounts | None) -> None:
        """Lend to the cohort and borrow from it, within the limits; a resource that they do not name has none."""
        self.pool = pool
        self._borrowing, self._lending = dict(borrowing or ()), dict(lending or ())
        self._kept = {
            resource: quota - min(quota, self._lending.get(resource, quota)) for resource, quota in self.quota.items()
        }
        self._enter(1)

    def _enter(self, sign: int) -> None:
        if self.pool is None:
            return
        for resource, quota in self.quota.items():
            kept = self._kept[resource]
            _add(self.pool.lent, resource, sign * (quota - kept))
            _add(self.pool.used, resource, sign * max(0, self.usage.get(resource, 0) - kept))

    # ------------------------------------------------------------------ charges
    def charge(self, request: Amounts) -> None:
        """Count an attempt's request."""
        self.charges += 1
        self._use(request, 1)

    def release(self, request: Amounts) -> None:
        """Take back what `charge` counted."""
        self.charges -= 1
        self._use(request, -1)

    def _use(self, request: Amounts, sign: int) -> None:
        usage, pool = self.usage, self.pool
        for resource, amount in request:  # as `borrows`, for each admission
            before = usage.get(resource, 0)
            after = before + sign * amount
            if after:
                usage[resource] = after
            else:
                usage.pop(resource, None)
            if pool is not None and (kept := self._kept.get(resource)) is not None:
                more = (after if after > kept else kept) - (before if before > kept else kept)
                if more:
                    used = pool.used[resource] = pool.used.get(resource, 0) + more
                    if not used:
                        del pool.used[resource]

    # ------------------------------------------------------------------ what fits
    def _available(self, resource: str, quota: int, claimed: int = 0) -> int:
        used = self.usage.get(resource, 0)
        pool = self.pool
        if pool is None:
            return quota - used if used < quota else 0
        kept = self._kept[resource]
        left = pool.lent.get(resource, 0) - pool.used.get(resource, 0) - claimed
        available = (kept - used if used < kept else 0) + (left if left > 0 else 0)
        if resource in self._borrowing:
            available = max(min(available, quota + self._borrowing[resource] - used), 0)
        return available

    def available(self, claimed: Mapping[str, int] = NOTHING) -> dict[str, int]:
        """What fits now, by resource; `claimed` of the pool is left to others. Never negative."""
        if not claimed:
            return {resource: self._available(resource, quota) for resource, quota in self.quota.items()}
        return {
            resource: self._available(resource, quota, claimed.get(resource, 0))
            for resource, quota in self.quota.items()
        }

    def own(self) -> dict[str, int]:
        """What fits now without borrowing, by resource. Never negative."""
        usage = self.usage
        return {
            resource: max(0, min(quota - usage.get(resource, 0), self._available(resource, quota)))
            for resource, quota in self.quota.items()
        }

    def capacity(self) -> dict[str, int]:
        """What fits when nobody uses anything, by resource: what asks for more can never fit."""
        return {resource: self._capacity(resource, quota) for resource, quota in self.quota.items()}

    def _capacity(self, resource: str, quota: int) -> int:
        if self.pool is None:
            return quota
        most = self._kept[resource] + self.pool.lent.get(resource, 0)
        borrowing = self._borrowing.get(resource)
        return most if borrowing is None else min(most, quota + borrowing)

    def fits(self, request: Amounts) -> bool:
        """Whether all of it fits now, with what may be borrowed."""
        return self.borrows(request) is not None

    def borrows(self, request: Amounts) -> bool | None:
        """Whether something of it would be borrowed; None if it does not fit now."""
        quota, usage, pool = self.quota, self.usage, self.pool
        if pool is None:
            return False if self.within_quota(request) else None
        lent, used, limited = pool.lent, pool.used, self._borrowing
        borrows = False
        for resource, amount in request:  # the innermost loop of admission
            limit = quota.get(resource)
            if limit is None or not amount:
                continue
            if usage.get(resource, 0) + amount > limit:
                borrows = True
            left = lent.get(resource, 0) - used.get(resource, 0)
            if (amount > left or resource in limited) and amount > self._available(resource, limit):
                return None
        return borrows

    def within_quota(self, request: Amounts) -> bool:
        """Whether, with it, the queue stays within its own quota in what is asked: nothing of it is borrowed."""
        quota, usage = self.quota, self.usage
        for resource, amount in request:
            limit = quota.get(resource)
            if limit is not None and amount and usage.get(resource, 0) + amount > limit:
                return False
        return True

    def shortage(self, request: Amounts) -> tuple[str, int, int] | None:
        """The first resource, by name, that does not fit now: (resource, asked, available); None if all fit."""
        for resource, amount in request:
            quota = self.quota.get(resource)
            if quota is not None and amount:
                available = self._available(resource, quota)
                if amount > available:
                    return resource, amount, available
        return None

    def excess(self, request: Amounts) -> tuple[str, int, int] | None:
        """The first resource of which more is asked than ever fits: (resource, asked, capacity)."""
        for resource, amount in request:
            quota = self.quota.get(resource)
            if quota is not None and amount:
                capacity = self._capacity(resource, quota)
                if amount > capacity:
                    return resource, amount, capacity
        return None

    # ------------------------------------------------------------------ shares
    def claim(self, request: Amounts) -> dict[str, int]:
        """What of the pool the request would use, by resource."""
        claimed = {}
        for resource, amount in request:
            kept = self._kept.get(resource) if self.pool is not None else None
            if kept is not None:
                used = self.usage.get(resource, 0)
                claimed[resource] = max(0, used + amount - kept) - max(0, used - kept)
        return claimed

    def share(self, request: Amounts = ()) -> float:
        """The weighted dominant share, with the request on top: of the resource of which the queue would have borrowed
        most, measured against what the cohort lends of it, that part, over the queue's weight. 0 without borrowing."""
        pool = self.pool
        if pool is None:
            return 0.0
        asked, usage, most = dict(request), self.usage, 0.0
        for resource, quota in self.quota.items():
            beyond = usage.get(resource, 0) + asked.get(resource, 0) - quota
            if beyond > 0:
                lent = pool.lent.get(resource, 0)
                if lent and beyond / lent > most:
                    most = beyond / lent
        return most / self.weight

    def overused(self) -> dict[str, int]:
        """What is in use beyond what the queue may use now, by resource, as after its quota was lowered."""
        over = {}
        for resource, borrowed in self.borrowed().items():
            beyond = borrowed
            if self.pool is not None:
                limit = self._borrowing.get(resource, borrowed)
                beyond = max(min(borrowed, -self.pool.left(resource)), borrowed - limit)
            if beyond > 0:
                over[resource] = beyond
        return over

    def borrowed(self) -> dict[str, int]:
        """What is used beyond the quota, by resource: borrowed, or left over from a larger quota."""
        return {
            resource: self.usage[resource] - quota
            for resource, quota in self.quota.items()
            if self.usage.get(resource, 0) > quota
        }


def _add(amounts: dict[str, int], resource: str, more: int) -> None:
    total = amounts.get(resource, 0) + more
    if total:
        amounts[resource] = total
    else:
        amounts.pop(resource, None)


def less(limits: Mapping[str, int], request: Amounts) -> dict[str, int]:
    """The limits without what the request asks. Never negative."""
    left = dict(limits)
    for resource, amount in request:
        if resource in left:
            left[resource] = max(0, left[resource] - amount)
    return left
