"""Electors over a Lease in simulated time: slow, lossy, late, paused, on clocks that run apart.

Everything happens at an instant of the true time; each elector sees only its own clock. Requests are carried out
at an instant of the server's, one after the other, whether or not their sender still waits for the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, pairwise
from math import inf
from random import Random

from taskjob.kube.election import Candidacy, Kind, Look, Record, Stop, Timing, Wait, Write


class FakeLease:
    """The record at the server: compare-and-swap, and a note of every acquisition."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.acquired: list[tuple[str, int]] = []
        self._versions = count(1)

    def read(self) -> Record | None:
        return self.record

    def write(self, write: Write, lease_seconds: float) -> str | None:
        """The new version; None for a conflict."""
        if write.over != (self.record.version if self.record is not None else None):
            return None
        self.record = Record(str(next(self._versions)), write.holder, write.epoch, lease_seconds)
        if write.kind is Kind.ACQUIRE:
            self.acquired.append((write.holder, write.epoch))
        return self.record.version

    def delete(self) -> None:
        self.record = None


@dataclass(eq=False)
class Elector:
    """One process: its clock, its pauses, its candidacy."""

    name: str
    candidacy: Candidacy
    offset: float
    rate: float
    stopped: str = ""
    paused_until: float = -inf
    asked: int = 0  # requests so far; an answer to an earlier one than the last comes too late

    def clock(self, true: float) -> float:
        return self.offset + self.rate * true

    def may_act(self, true: float) -> bool:
        """As `kube.lease.Elector.may_act` would say at that instant."""
        return self.clock(true) < self.candidacy.valid_until


@dataclass(eq=False)
class Play:
    """The world. `trouble` is the share of requests that get lost there or back; `late`: seconds they may take."""

    random: Random
    timing: Timing = field(default_factory=Timing)
    trouble: float = 0.0
    late: float = 0.2
    now: float = 0.0
    lease: FakeLease = field(default_factory=FakeLease)
    electors: list[Elector] = field(default_factory=list)
    floor: int = 0
    faults: list[str] = field(default_factory=list)
    writes_under_way: int = 0  # sent, and neither answered nor lost: also those that nobody waits for any more
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)

    # ------------------------------------------------------------------ what happens to whom
    def enter(self, name: str, *, rate: float = 1.0, offset: float | None = None) -> Elector:
        """A process starts."""
        start = self.random.uniform(0, 10_000) if offset is None else offset
        elector = Elector(name, Candidacy(name, self.timing), start, rate)
        self.electors.append(elector)
        self._at(self.now, lambda: self._step(elector))
        return elector

    def kill(self, elector: Elector) -> None:
        """It is gone; what it had sent still arrives."""
        elector.stopped = "killed"

    def pause(self, elector: Elector, seconds: float) -> None:
        """It does nothing for a while, and does not know."""
        elector.paused_until = max(elector.paused_until, self.now + seconds)

    def resign(self, elector: Elector) -> None:
        """SIGTERM."""
        elector.candidacy.resign()

    def restart(self, elector: Elector, name: str) -> Elector:
        """Another process in its stead."""
        self.kill(elector)
        return self.enter(name, rate=elector.rate, offset=elector.offset)

    # ------------------------------------------------------------------ time
    def run(self, seconds: float) -> None:
        """Let so much time pass, and look at every instant who may act."""
        until = self.now + seconds
        while self._agenda and self._agenda[0][0] <= until:
            at, _, act = heappop(self._agenda)
            self.now = max(self.now, at)
            act()
            self._judge()
        self.now = until

    def until(self, holds: Callable[[], bool], seconds: float) -> float:
        """Run until something holds; after how many seconds it did."""
        began = self.now
        while not holds():
            assert self.now - began < seconds, f"not within {seconds} s: {self.lease.record}, {self.who()}"
            self.run(0.05)
        return self.now - began

    def who(self) -> list[Elector]:
        """Those who may act now."""
        return [each for each in self.electors if each.stopped != "killed" and each.may_act(self.now)]

    def leader(self) -> Elector | None:
        """The one who may act now."""
        acting = self.who()
        return acting[0] if acting else None

    def _at(self, at: float, act: Callable[[], None]) -> None:
        heappush(self._agenda, (at, next(self._order), act))

    def _judge(self) -> None:
        acting = self.who()
        if len(acting) > 1:
            names = ", ".join(f"{each.name} as epoch {each.candidacy.epoch}" for each in acting)
            self.faults.append(f"at {self.now:.3f} s both may act: {names}")
        epochs = [epoch for _, epoch in self.lease.acquired]
        if any(later <= earlier for earlier, later in pairwise(epochs)):
            self.faults.append(f"epochs do not rise: {epochs}")

    # ------------------------------------------------------------------ one elector's life
    def _awake(self, elector: Elector, act: Callable[[], None]) -> bool:
        """Whether it may go on now; a paused one does the same when it wakes up."""
        if elector.stopped:
            return False
        if elector.paused_until > self.now:
            self._at(elector.paused_until, act)
            return False
        return True

    def _step(self, elector: Elector) -> None:
        if not self._awake(elector, lambda: self._step(elector)):
            return
        step = elector.candidacy.next(elector.clock(self.now), self.floor)
        match step:
            case Stop(why):
                elector.stopped = why
            case Wait(seconds):
                # as the thread does: at least a little, and woken now and then in case it is to resign
                wait = min(max(seconds, 0.001), 0.5) / elector.rate
                self._at(self.now + wait, lambda: self._step(elector))
            case Look() | Write():
                self._send(elector, step)

    def _send(self, elector: Elector, step: Look | Write) -> None:
        elector.asked += 1
        number, sent_at = elector.asked, elector.clock(self.now)
        gives_up_at = self.now + self.timing.request / elector.rate
        arrives_at = self.now + self.random.uniform(0, self.late)
        lost_there, lost_back = (self.random.random() < self.trouble / 2 for _ in range(2))

        writes = isinstance(step, Write)

        def arrive() -> None:
            found: Record | str | None
            found = self.lease.read() if isinstance(step, Look) else self.lease.write(step, self.timing.lease)
            if not lost_back:
                self._at(self.now + self.random.uniform(0, self.late), lambda: answer(found))
            else:
                self.writes_under_way -= writes

        def answer(found: Record | str | None) -> None:
            if elector.paused_until <= self.now or elector.stopped:
                self.writes_under_way -= writes
            if elector.asked != number or not self._awake(elector, lambda: answer(found)):
                return
            if isinstance(step, Write) and isinstance(found, str):
                elector.candidacy.written(step, found, sent_at, elector.clock(self.now))
            elif isinstance(step, Write):
                elector.candidacy.conflicted(elector.clock(self.now))
            else:
                assert not isinstance(found, str)
                elector.candidacy.saw(found, elector.clock(self.now))
            elector.asked += 1
            self._step(elector)

        def give_up() -> None:
            if elector.asked != number or not self._awake(elector, give_up):
                return
            elector.asked += 1
            elector.candidacy.unanswered(elector.clock(self.now))
            self._step(elector)

        if not lost_there:
            self.writes_under_way += writes
            self._at(arrives_at, arrive)
        self._at(gives_up_at, give_up)
