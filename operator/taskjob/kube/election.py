"""Who leads: the decisions of one elector as a pure state machine. No I/O, no threads, no clock: time is a parameter.

What it rests on:

- one record (the Lease) that is changed by compare-and-swap only, each change seen by its `version`
- a leader acts for `renew_deadline` seconds after it SENT its last accepted write, and not a moment longer
- whoever waits takes over when it has not seen the record change for `lease` seconds of its OWN clock, counted from
  when it RECEIVED the record

Instants of different machines are never compared, so wall clocks may be as wrong as they like. What must hold is that
clocks run about equally fast: `renew_deadline * (1 + drift) <= lease * (1 - drift)`; `Timing` asks for a fifth more.

An acquisition always raises the epoch, also over a record that is our own: after a lost answer nobody knows whether a
write was carried out, and a second, greater number is cheaper than a proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, NamedTuple

SLACK: Final = 1.2
"""The lease lasts so many times longer than the deadline, at least: clocks drift, and a pause is noticed late."""


class Timing(NamedTuple):
    """Durations in seconds. Raises nothing; `valid` says whether two leaders are kept apart."""

    lease: float = 15
    renew_deadline: float = 10
    retry: float = 0.5  # between looks of those who wait, and after a failure

    @property
    def renew_every(self) -> float:
        """From one accepted renewal to the next."""
        return max(self.renew_deadline / 5, min(self.retry, self.renew_deadline / 2))

    @property
    def request(self) -> float:
        """What one request may take: so that several fit into the deadline."""
        return self.renew_deadline / 4

    @property
    def valid(self) -> bool:
        """Whether a leader stops well before anybody else begins."""
        return 0 < self.renew_deadline * SLACK <= self.lease and self.retry > 0


class Record(NamedTuple):
    """What the Lease says."""

    version: str  # resourceVersion: another one means that it was written
    holder: str  # "" for nobody
    epoch: int
    lease_seconds: float = 0  # as its holder wrote it


class Kind(Enum):
    """What a write is for."""

    ACQUIRE = "acquire"
    RENEW = "renew"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Look:
    """Read the record, and tell `saw`."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write the record over this version (None: make it), and tell `written`, `conflicted` or `unanswered`."""

    kind: Kind
    over: str | None
    holder: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """It is over: we resigned, or we led and do no longer. Nothing is to be done any more."""

    why: str


Step = Look | Write | Wait | Stop


class Candidacy:
    """One elector. Ask `next`, do it, tell what came of it; `now` are seconds of one clock that never stops.

    `identity` must be unique among the processes that live; a process whose record carries it takes over at once.
    """

    def __init__(self, identity: str, timing: Timing) -> None:
        self.identity = identity
        self.timing = timing
        self.epoch = 0  # ours; 0 before the first acquisition
        self.valid_until = -inf  # until then we may act
        self.record: Record | None = None  # as last seen
        self._seen_at = -inf  # when the record was last seen to have changed
        self._known = False  # whether `record` is what the server holds, as far as we know
        self._look_at = -inf
        self._renew_at = inf
        self._leads = False
        self._over = ""  # why, once it is
        self._to_release = False
        self._left_epoch = 0  # what the record is left with, if that is more than ours

    @property
    def leads(self) -> bool:
        """Whether we acquired the lease and have not seen that we lost it; see `valid_until` for how long it holds."""
        return self._leads

    def next(self, now: float, floor: int = 0) -> Step:
        """What to do at `now`. An acquired epoch is greater than `floor` and than the record's."""
        if self._to_release:
            return self._next_of_resigned(now)
        if self._over:
            return Stop(self._over)
        if self._leads:
            return self._next_of_leader(now)
        if now >= self._look_at:
            return Look()
        if self._known and now >= (vacant_at := self._vacant_at()):
            epoch = max(self.record.epoch if self.record is not None else 0, floor) + 1
            return Write(Kind.ACQUIRE, self._version(), self.identity, epoch)
        return Wait(min(self._look_at, vacant_at if self._known else inf) - now)

    def _next_of_leader(self, now: float) -> Step:
        if now >= self.valid_until:
            return self._lose(f"the lease could not be renewed for {self.timing.renew_deadline:g} s")
        if not self._known:
            return Look() if now >= self._look_at else Wait(min(self._look_at, self.valid_until) - now)
        if now >= self._renew_at:
            return Write(Kind.RENEW, self._version(), self.identity, self.epoch)
        return Wait(min(self._renew_at, self.valid_until) - now)

    def _next_of_resigned(self, now: float) -> Step:
        if not self._known:
            return Look() if now >= self._look_at else Wait(self._look_at - now)
        return Write(Kind.RELEASE, self._version(), "", max(self.epoch, self._left_epoch))

    def _vacant_at(self) -> float:
        """From when on the record may be taken over, if it does not change before."""
        record = self.record
        if record is None or record.holder in ("", self.identity):
            return -inf
        # The holder may have been told another duration than we were: the longer one is safe.
        return self._seen_at + max(self.timing.lease, record.lease_seconds)

    def _version(self) -> str | None:
        return self.record.version if self.record is not None else None

    def _lose(self, why: str) -> Stop:
        self._leads, self._to_release, self._over, self.valid_until = False, False, why, -inf
        return Stop(why)

    # ------------------------------------------------------------------ what came of it
    def saw(self, record: Record | None, at: float) -> None:
        """The record (None: there is none), read whole at `at`."""
        if record is None or record.version != self._version():
            self._seen_at = at  # unchanged, it counts from when it was first seen, whatever failed since
        self.record, self._known = record, True
        self._look_at = at + self.timing.retry
        if not self._leads and not self._to_release:
            return
        if record is None:
            self._lose("the Lease was deleted")
        elif (record.holder, record.epoch) != (self.identity, self.epoch):
            self._lose(f"epoch {record.epoch} of {record.holder or 'nobody'} holds the Lease, ours was {self.epoch}")

    def written(self, write: Write, version: str, sent_at: float, at: float) -> None:
        """A write that was sent at `sent_at` was accepted; the record now has that version."""
        self.record = Record(version, write.holder, write.epoch, self.timing.lease)
        self._seen_at, self._known, self._look_at = at, True, at + self.timing.retry
        if write.kind is Kind.RELEASE:
            self._to_release = False
            return
        valid_until = sent_at + self.timing.renew_deadline
        if write.kind is Kind.ACQUIRE:
            if self._over or at >= valid_until:  # we resigned, or slept: what was acquired is worth nothing
                self._known, self._look_at = False, at
                return
            self._leads, self.epoch = True, write.epoch
        if self._leads:
            self.valid_until = valid_until
            self._renew_at = sent_at + self.timing.renew_every

    def conflicted(self, at: float) -> None:
        """A write was refused because the record is no longer what we thought."""
        self._known, self._look_at = False, at

    def unanswered(self, at: float) -> None:
        """A look or a write had no definite answer: a write may or may not have been carried out."""
        self._known, self._look_at = False, at + self.timing.retry

    def resign(self, floor: int = 0) -> None:
        """Stop acting, now and for good. If we led, `next` goes on until the others are told; else it is over.

        The record is left with an epoch of at least `floor`: whoever comes next gets a greater one.
        """
        self._left_epoch = floor
        self._to_release, self._leads, self.valid_until = self._leads, False, -inf
        self._over = self._over or "it resigned"
