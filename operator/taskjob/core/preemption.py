"""Whom to evict so that a job that does not fit its queue can start: the victims, or nobody.

Pure choice over small values. `nomination` gathers them from the state for the heads that are blocked, and carries
the choice into the plan. Here stands who may be a victim, and which of those that may.

What is chosen

- is enough: with the victims gone the preemptor fits. Nobody is evicted in vain.
- is not too much: without any one of them it would not fit.
- has the lowest priorities: no victim stands above the lowest priority up to which all candidates together are enough.
- is few: what covers most of the lack is taken first, which where one resource lacks gives the fewest that are enough.
- is young: of those, whoever began latest loses least. (Where `Any` lets equals make room for each other it is whoever
  stands last in the order of admission: another would take back from that one what it lost.)
- is stable: in the state that follows, no victim that is submitted again may in turn preempt anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, assert_never

from taskjob.core.model import Amounts, AttemptId, Namespace, QueueName, Uid
from taskjob.core.ordering import AdmissionKey
from taskjob.core.phases import Preempt

EXCHANGES = 1000
"""How many exchanges are tried for younger victims; what was found so far is right in all else."""

CHOICES = 8
"""How many choices are looked at for one that is stable, before the preemptor is left waiting."""


class Room(Protocol):
    """What is charged to the queues, to be tried out: whoever releases and charges leaves it as it was."""

    def charge(self, queue: QueueName, request: Amounts) -> None:
        """Count it."""

    def release(self, queue: QueueName, request: Amounts) -> None:
        """Take back what `charge` counted."""

    def fits(self, queue: QueueName, request: Amounts) -> bool:
        """Whether the queue could admit it now, with what it may borrow."""

    def within_quota(self, queue: QueueName, request: Amounts) -> bool:
        """Whether, with it, the queue stays within its own quota in what it asks for: nothing of it is borrowed."""


@dataclass(frozen=True, slots=True)
class Contender:
    """What a job asks for in a queue, its place there among those that wait, and whom it may preempt."""

    queue: QueueName
    request: Amounts
    priority: int
    place: AdmissionKey
    within_queue: Preempt = Preempt.NEVER
    reclaim: Preempt = Preempt.NEVER


@dataclass(frozen=True, slots=True, eq=False)  # one object for one attempt: identity is cheap to compare
class Candidate:
    """An attempt that may be evicted: what it holds, and its job as a contender should it be queued again."""

    attempt: AttemptId
    held: Amounts
    since: datetime  # when its container started, else its pod's creation
    contender: Contender


def in_order_of_preference(candidates: Iterable[Candidate], rule: Preempt) -> list[Candidate]:
    """Who goes first, under the rule of the preemptor's queue.

    1. the lower priority
    2. the later start: it loses less. Under `Any` the later place in the order of admission
    3. the attempt's identity, which makes the order total
    """
    ordered = sorted(candidates, key=lambda each: each.attempt)
    if rule is Preempt.ANY:
        ordered.sort(key=lambda each: each.contender.place, reverse=True)
    else:
        ordered.sort(key=lambda each: each.since, reverse=True)
    ordered.sort(key=lambda each: each.contender.priority)
    return ordered


def may_preempt(preemptor: Contender, other: Contender) -> bool:
    """Whether the rules let one evict the other, if that helps.

    Within a queue only who stands behind the preemptor in the order of admission: so whatever `Any` lets happen, two
    jobs never preempt each other in turn. Of another queue only what it borrows, which `choose` looks after.
    """
    if preemptor.queue == other.queue:
        rule, behind = preemptor.within_queue, preemptor.place < other.place
    else:
        rule, behind = preemptor.reclaim, True
    match rule:
        case Preempt.NEVER:
            return False
        case Preempt.LOWER_PRIORITY:
            return behind and other.priority < preemptor.priority
        case Preempt.ANY:
            return behind
        case never:
            assert_never(never)


def choose(
    preemptor: Contender,
    candidates: Iterable[Candidate],
    room: Room,
    others: Callable[[Contender], Iterable[Candidate]] | None = None,
) -> tuple[Candidate, ...] | None:
    """The victims that let the preemptor start, most preferable first; None if there is no such set.

    None also where it fits already: then it needs nobody. `room` is left as it was found. `others` are those that a
    victim may preempt in its turn, or more; nobody but the candidates, if it is not given.
    """
    able = (each for each in candidates if may_preempt(preemptor, each.contender))
    pool = in_order_of_preference(able, preemptor.within_queue)
    if others is None:
        everybody = tuple(candidates)

        def others(_: Contender) -> Iterable[Candidate]:
            return everybody

    for _ in range(CHOICES):
        victims = _sufficient(preemptor, pool, room) if pool else None
        if not victims:
            return None
        striking_back = _who_would_strike_back(preemptor, victims, others, room)
        if not striking_back:
            return victims
        pool = [each for each in pool if each not in striking_back]
    return None


def choose_for_less(
    queue: QueueName, overused: Callable[[], Mapping[str, int]], running: Iterable[Candidate], room: Room
) -> tuple[Candidate, ...]:
    """Who of a queue's running has to go until nothing is `overused` there.

    The last in the order of admission, as far as they help: whoever goes stands behind all that stay and could have
    gone in its place. As many as there are, if all are not enough.
    """
    lacking = tuple(overused().items())
    useful = [each for each in in_order_of_preference(running, Preempt.ANY) if _use(each.held, lacking) > 0]
    nobody = Contender(queue, lacking, 0, (0, 0, Namespace(""), "", Uid("")))
    trial = Trial(nobody, room, _ranks(useful), lambda: not overused())
    if trial.fill(useful):
        _spare(trial)
        useful = trial.by_preference()
        trial.undo()
    return tuple(useful)


def _who_would_strike_back(
    preemptor: Contender,
    victims: Sequence[Candidate],
    others: Callable[[Contender], Iterable[Candidate]],
    room: Room,
) -> set[Candidate]:
    """The victims that, submitted again once the preemptor has started, would preempt somebody in their turn."""
    gone = set(victims)
    trial = Trial(preemptor, room)
    for victim in victims:
        trial.take(victim)
    room.charge(preemptor.queue, preemptor.request)
    found = set()
    for victim in victims:
        able = (e for e in others(victim.contender) if e not in gone and may_preempt(victim.contender, e.contender))
        pool = in_order_of_preference(able, preemptor.within_queue)
        if pool and _sufficient(victim.contender, pool, room):
            found.add(victim)
    room.release(preemptor.queue, preemptor.request)
    trial.undo()
    return found


def _sufficient(preemptor: Contender, pool: Sequence[Candidate], room: Room) -> tuple[Candidate, ...] | None:
    """The victims, whether or not they are stable. `pool` is in order of preference and holds only who may be one."""

    def fits(request: Amounts) -> bool:
        return room.fits(preemptor.queue, request)

    def is_its_own(request: Amounts) -> bool:
        return room.within_quota(preemptor.queue, request) and fits(request)

    if fits(preemptor.request):
        return None
    own = [each for each in pool if each.contender.queue == preemptor.queue]
    if room.within_quota(preemptor.queue, preemptor.request):
        return _fewest(preemptor, pool, room, fits)
    found = _fewest(preemptor, own, room, fits)
    if found is None and len(own) < len(pool):  # with its own out of the way its queue may be entitled to more
        found = _fewest(preemptor, pool, room, is_its_own)
    return found


@dataclass(slots=True, eq=False)
class Trial:
    """Victims taken out of the room to see what that gives."""

    preemptor: Contender
    room: Room
    rank: Mapping[Candidate, int] = field(default_factory=dict)  # the order of preference
    enough: Callable[[], bool] = lambda: True
    taken: dict[Candidate, None] = field(default_factory=dict)

    def take(self, candidate: Candidate) -> None:
        """As if it were gone."""
        self.room.release(candidate.contender.queue, candidate.held)
        self.taken[candidate] = None

    def give_back(self, candidate: Candidate) -> None:
        """As if it went on."""
        self.room.charge(candidate.contender.queue, candidate.held)
        del self.taken[candidate]

    def undo(self) -> None:
        """As if nothing had been tried."""
        for candidate in list(self.taken):
            self.give_back(candidate)

    def by_preference(self) -> list[Candidate]:
        """Those taken, the most preferable first."""
        return sorted(self.taken, key=self.rank.__getitem__)

    def try_to_take(self, candidate: Candidate) -> bool:
        """Take it, unless that would take more from its queue than it borrows."""
        self.take(candidate)
        if self.is_fair(candidate.contender.queue):
            return True
        self.give_back(candidate)
        return False

    def fill(self, candidates: Iterable[Candidate]) -> bool:
        """Take one after another until there is enough; nobody, if there is not."""
        for each in candidates:
            if self.try_to_take(each) and self.enough():
                return True
        self.undo()
        return False

    def is_fair(self, queue: QueueName) -> bool:
        """Whether each of those taken from another queue held what that queue had borrowed.

        That is: put back alone, it would be beyond its queue's own quota again. So it has no claim to come back.
        """
        return queue == self.preemptor.queue or not any(
            self.room.within_quota(queue, each.held) for each in self.taken if each.contender.queue == queue
        )


def _fewest(
    preemptor: Contender, pool: Sequence[Candidate], room: Room, suffices: Callable[[Amounts], bool]
) -> tuple[Candidate, ...] | None:
    """The least set with which the request `suffices`, by the criteria that the module lists."""
    request = preemptor.request
    lacking = [(resource, amount) for resource, amount in request if not suffices(((resource, amount),))]
    uses = {each: use for each in pool if (use := _use(each.held, lacking)) > 0}
    trial = Trial(preemptor, room, _ranks(pool), lambda: suffices(request))
    # 1. The lowest priority up to which there is enough. The largest first where taking in that order takes from a
    #    queue, with those that are no use in the end, all that it borrows.
    if not trial.fill(uses) and not trial.fill(_largest_first(uses)):
        return None
    level = max(each.contender.priority for each in trial.taken)
    first = list(trial.taken)
    trial.undo()
    # 2. Of those up to it, who gives most: so that few are enough.
    uses = {each: use for each, use in uses.items() if each.contender.priority <= level}
    if not trial.fill(_largest_first(uses)):
        for each in first:
            trial.take(each)
    # 3. Spare who is not needed; exchange who could be a younger one; once more, as that may have set somebody free.
    _spare(trial)
    _exchange(trial, list(uses))
    _spare(trial)
    victims = tuple(trial.by_preference())
    trial.undo()
    return victims


def _ranks(pool: Iterable[Candidate]) -> dict[Candidate, int]:
    return {each: n for n, each in enumerate(pool)}


def _largest_first(uses: Mapping[Candidate, float]) -> list[Candidate]:
    """By use; those of the same use stay in the order of preference."""
    return sorted(uses, key=lambda each: -uses[each])


def _use(held: Amounts, lacking: Sequence[tuple[str, int]]) -> float:
    """How much of what lacks an attempt's end would give, each resource as a share of what is asked."""
    gives = dict(held)
    return sum(min(gives.get(resource, 0), amount) / amount for resource, amount in lacking)


def _spare(trial: Trial) -> None:
    """Give back who is not needed, the least preferable first."""
    for each in reversed(trial.by_preference()):
        trial.give_back(each)
        if not trial.enough():
            trial.take(each)


def _exchange(trial: Trial, pool: Sequence[Candidate]) -> None:
    """Put more preferable ones in the place of others, one for one, the least preferable first."""
    tries = EXCHANGES
    for victim in reversed(trial.by_preference()):
        trial.give_back(victim)
        for other in pool:
            if other is victim or tries == 0:
                trial.take(victim)
                break
            if other in trial.taken:
                continue
            tries -= 1
            if trial.try_to_take(other):
                if trial.enough():
                    break
                trial.give_back(other)
