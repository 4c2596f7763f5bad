"""Those that wait in a queue, in the order of admission: the first that fits is found without looking at all of them.

What does not fit for one job does not fit for others that ask the same, so they stand in rows by their request, and
a search looks at the heads of the rows, in order. Where no two ask the same, the heads are as many as the jobs: they
stand in blocks, each of which knows the least that is asked in it of each resource, and a block in which even that is
too much is passed over.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from typing import Final

from taskjob.core.model import Amounts
from taskjob.core.ordering import AdmissionKey

BLOCK = 128
"""Heads in a block, at most twice as many: passing over a block costs about what looking at one head does."""

Found = tuple[AdmissionKey, Amounts]

NO_LIMITS: Final[Mapping[str, int]] = {}


def fits(request: Amounts, limits: Mapping[str, int]) -> bool:
    """Whether nothing is asked beyond the limits, none of which is negative; a resource without one is unlimited."""
    for resource, amount in request:  # noqa: SIM110  # the innermost loop of admission: a generator costs twice as much
        if amount > limits.get(resource, amount):
            return False
    return True


class Row:
    """Jobs that ask the same, sorted. The first leave most often, so they are skipped first and cut off in bulk."""

    __slots__ = ("_keys", "_start", "request")

    def __init__(self, request: Amounts) -> None:
        self.request = request
        self._keys: list[AdmissionKey] = []
        self._start = 0

    def __len__(self) -> int:
        return len(self._keys) - self._start

    def __iter__(self) -> Iterator[AdmissionKey]:
        return iter(self._keys[self._start :])

    @property
    def head(self) -> AdmissionKey:
        """The first; there is one."""
        return self._keys[self._start]

    def add(self, key: AdmissionKey) -> None:
        """Put it in its place."""
        insort(self._keys, key, self._start)

    def remove(self, key: AdmissionKey) -> None:
        """Take it out; it is there."""
        if key == self._keys[self._start]:
            self._start += 1
            if self._start > 32 and 2 * self._start > len(self._keys):
                del self._keys[: self._start]
                self._start = 0
        else:
            del self._keys[bisect_left(self._keys, key, self._start)]

    def before(self, key: AdmissionKey) -> int:
        """How many stand before that key."""
        return bisect_left(self._keys, key, self._start) - self._start


class _Block:
    """Some heads, sorted. `least` is asked at least by each of them; it may be too little after some have left."""

    __slots__ = ("exact", "heads", "least")

    def __init__(self, heads: list[tuple[AdmissionKey, Row]]) -> None:
        self.heads = heads
        self.least: Amounts = ()
        self.exact = False
        self.tighten()

    def tighten(self) -> None:
        if self.exact or not self.heads:
            return
        least = dict(self.heads[0][1].request)
        for _, row in self.heads:
            asked = dict(row.request)
            least = {name: min(amount, asked[name]) for name, amount in least.items() if name in asked}
        self.least = tuple(least.items())
        self.exact = True

    def lower(self, request: Amounts) -> None:
        """One more head asks this."""
        asked = dict(request)
        self.least = tuple((name, min(amount, asked[name])) for name, amount in self.least if name in asked)


class Line:
    """Keys of jobs by the order of admission, each with its request."""

    __slots__ = ("_blocks", "_firsts", "_rows")

    def __init__(self) -> None:
        self._rows: dict[Amounts, Row] = {}
        self._blocks: list[_Block] = []
        self._firsts: list[AdmissionKey] = []  # what is less than a block's stands in a block before it

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def __bool__(self) -> bool:
        return bool(self._rows)

    @property
    def rows(self) -> Mapping[Amounts, Row]:
        """Who waits, by what is asked."""
        return self._rows

    def add(self, key: AdmissionKey, request: Amounts) -> None:
        """A job begins to wait."""
        row = self._rows.get(request)
        if row is None:
            row = self._rows[request] = Row(request)
            row.add(key)
            self._show(key, row)
            return
        head = row.head
        row.add(key)
        if key < head:
            self._hide(head)
            self._show(key, row)

    def remove(self, key: AdmissionKey, request: Amounts) -> None:
        """A job waits no more; it is there."""
        first, row = self._blocks[0].heads[0]
        if first is not key:  # mostly it is the very first
            row = self._rows[request]
        head = row.head
        row.remove(key)
        if key == head:
            if row:
                self._move(head, row)
            else:
                self._hide(head)
                del self._rows[request]

    def first(self, limits: Mapping[str, int] = NO_LIMITS) -> Found | None:
        """The first whose request fits the limits, none of which is negative."""
        blocks = self._blocks
        if blocks:  # mostly it is the very first
            key, row = blocks[0].heads[0]
            if not limits or fits(row.request, limits):
                return key, row.request
        for block in blocks:
            if fits(block.least, limits):
                for key, row in block.heads:
                    if fits(row.request, limits):
                        return key, row.request
                block.tighten()
        return None

    def before(self, key: AdmissionKey) -> int:
        """How many stand before that key."""
        return sum(row.before(key) for row in self._rows.values())

    # ------------------------------------------------------------------ the heads of the rows
    def _show(self, key: AdmissionKey, row: Row) -> None:
        if not self._blocks:
            self._blocks.append(_Block([(key, row)]))
            self._firsts.append(key)
            return
        at = max(bisect_right(self._firsts, key) - 1, 0)
        block = self._blocks[at]
        self._firsts[at] = min(self._firsts[at], key)
        insort(block.heads, (key, row))
        block.lower(row.request)
        if len(block.heads) > 2 * BLOCK:
            later = _Block(block.heads[BLOCK:])
            del block.heads[BLOCK:]
            self._blocks.insert(at + 1, later)
            self._firsts.insert(at + 1, later.heads[0][0])
            block.exact = False
            block.tighten()

    def _move(self, before: AdmissionKey, row: Row) -> None:
        """The first of a row left: the next mostly belongs into the same block, whose least it does not change."""
        first = self._blocks[0].heads[0][1] is row  # as mostly, since the first in line leave first
        at = 0 if first else bisect_right(self._firsts, before) - 1
        if at + 1 == len(self._firsts) or row.head < self._firsts[at + 1]:
            heads = self._blocks[at].heads
            del heads[0 if first else bisect_left(heads, (before,))]
            insort(heads, (row.head, row))
        else:
            self._hide(before)
            self._show(row.head, row)

    def _hide(self, key: AdmissionKey) -> None:
        at = bisect_right(self._firsts, key) - 1
        block = self._blocks[at]
        del block.heads[bisect_left(block.heads, (key,))]
        block.exact = False
        if not block.heads:
            del self._blocks[at], self._firsts[at]
