"""Random jobs of every class of failure and success, and an oracle of how each must end, attempt by attempt.

The oracle knows nothing of the operator: it computes each job's end from its manifest and from what its attempts are
fated to meet. What an attempt meets is either played by its simulated pod (an exit code, `OOMKilled`) or done to it
by a hand from outside (an eviction, a cancel: see `life_hand`). A pod that something is done to runs until it is
done, so that nothing is left to a race, however often the operator is killed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cluster_api import Object, a_job, after
from kill_story import MET

PLAYED: Final = {"OOM": "OOMKilled", "NotStarted": "StartError", "NoImage": "ImagePullBackOff"}
"""Fates that the simulated pod plays by itself; a number is an exit code, and every other one runs until the end comes
from outside."""

FAILURES: Final[dict[str, frozenset[str]]] = {
    "OOM": frozenset({"OOMKilled"}),
    "NotStarted": frozenset({"StartError"}),
    "NoImage": frozenset({"ImagePull"}),
    "Nowhere": frozenset({"Unschedulable"}),
    "TooLong": frozenset({"Timeout"}),
    "Evict": frozenset({"Evicted", "PodDeleted"}),  # the latter if the pod went while no operator looked
    "Delete": frozenset({"PodDeleted"}),
    "LoseNode": frozenset({"NodeLost"}),
    "Preempt": frozenset({"Preempted"}),
}
"""How an attempt of that fate may be classified."""

FREE: Final = frozenset({"Unschedulable", "Evicted", "PodDeleted", "NodeLost", "Preempted"})
NEVER_RAN: Final = frozenset({"NotStarted", "NoImage", "Nowhere"})
AT_ONCE: Final[dict[str, Any]] = {"initialSeconds": 0, "factor": 1, "maxSeconds": 1}


@dataclass(slots=True)
class Life:
    """One job, what its attempts will meet, and what else will be done to it."""

    name: str
    kind: str
    fates: list[str]  # of each attempt, the last goes on; again in each run
    limit: int = 0
    rules: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.2
    depends_on: list[tuple[str, str]] = field(default_factory=list)
    policy: str = "Skip"
    spec: dict[str, Any] = field(default_factory=dict)
    pod: dict[str, Any] = field(default_factory=dict)
    backoff: dict[str, Any] = field(default_factory=lambda: AT_ONCE)
    requests: dict[str, str] = field(default_factory=dict)
    own_queue: bool = False  # a narrow one, where it makes room for who goes first
    then: str | None = None  # what the hand does to it besides: "resume", "cancel" while it waits, or "rerun"
    by_hand: bool = False  # created by the hand, not with the others

    def fate(self, attempt: int) -> str:
        """Of an attempt, from 1."""
        return self.fates[min(attempt, len(self.fates)) - 1]

    def manifest(self, queue: str) -> Object:
        """The TaskJob."""
        played = (fate if fate.isdigit() else PLAYED.get(fate, "Never") for fate in self.fates)
        if self.own_queue:
            queue = f"{queue}-{self.name.removesuffix('-first')}"
        elif self.kind != "refused":  # those must come to be refused before the quota that refuses them goes
            queue = f"{queue}-narrow"
        return a_job(
            self.name,
            seconds=self.seconds,
            exits=",".join(played),
            queue=queue,
            dependsOn=[edge for name, condition in self.depends_on for edge in after(name, condition=condition)],
            onDependencyFailure=self.policy,
            retry={"limit": self.limit, "backoff": self.backoff, "rules": self.rules},
            requests=self.requests,
            pod=self.pod,
            **self.spec,
        )


# ------------------------------------------------------------------ all sorts of them
def random_lives(seed: int, size: int) -> list[Life]:
    """So many jobs of all kinds; the same seed gives the same. Edges lead back only, so there is no cycle."""
    draw = random.Random(seed)
    lives: list[Life] = []
    kinds = list(_KINDS)
    while len(lives) < size:
        # each kind once, then at random: so that a small story has all of them, too
        kind = kinds[len(lives)] if len(lives) < len(kinds) else draw.choices(kinds, list(_WEIGHTS.values()))[0]
        life = _KINDS[kind](draw, f"j{len(lives):04d}")
        life.kind = kind
        if kind in ("failing", "lasting", "rerun") and not life.by_hand:
            near = [other for other in lives[-40:] if not other.by_hand]
            for other in draw.sample(near, min(len(near), draw.choice((0, 0, 1, 1, 2)))):
                life.depends_on.append((other.name, draw.choices(("Succeeded", "Finished", "Failed"), (8, 7, 2))[0]))
            life.policy = draw.choice(("Skip", "Skip", "Fail"))
        lives.append(life)
        if kind == "preempted":
            lives.append(
                Life(f"{life.name}-first", kind, ["0"], own_queue=True, by_hand=True, spec={"priority": "High"})
            )
    return lives


def _rule(action: str, *classes: str, codes: list[int] | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {"action": action}
    return said | ({"classes": list(classes)} if classes else {}) | ({"exitCodes": {"in": codes}} if codes else {})


def _failing(draw: random.Random, name: str) -> Life:
    fates = ("1", "1", "3", "4", "5", "OOM", "NotStarted", "Evict", "Delete", "LoseNode", "Suspend")
    rules = (
        _rule("Fail", codes=[3]),
        _rule("Succeed", codes=[4]),
        _rule("RetryFree", codes=[5]),
        _rule("Fail", "OOMKilled"),
        _rule("RetryFree", "StartError"),
        _rule("Retry", "Evicted", "PodDeleted", "NodeLost"),
        _rule("Fail", "NodeLost"),
    )
    return Life(
        name,
        "",
        [*draw.choices(fates, k=draw.randint(0, 3)), draw.choice(("0", "0", "0", "0", "7", "OOM"))],
        limit=draw.randint(0, 3),
        rules=draw.sample(rules, draw.choice((0, 0, 1, 2))),
        seconds=round(draw.random() / 2, 2),
    )


def _lasting(draw: random.Random, name: str) -> Life:
    fates = [*draw.choices(("TooLong", "1", "OOM"), k=draw.randint(0, 2)), draw.choice(("0", "TooLong"))]
    free = fates[-1] == "0" and draw.random() < 0.5
    rules = [_rule("RetryFree", "Timeout")] if free else []
    return Life(name, "", fates, limit=draw.randint(0, 2), rules=rules, spec={"timeoutSeconds": 1})


def _imageless(draw: random.Random, name: str) -> Life:
    rules = [[], [_rule("Fail", "ImagePull")], [_rule("RetryFree", "ImagePull")]]
    return Life(name, "", ["NoImage", "0"], draw.randint(0, 1), draw.choice(rules), spec={"startTimeoutSeconds": 1})


def _nowhere(draw: random.Random, name: str) -> Life:
    rules = [_rule(draw.choice(("Fail", "Retry", "Succeed")), "Unschedulable")]
    return Life(
        name,
        "",
        ["Nowhere"],
        draw.randint(0, 1),
        rules,
        spec={"startTimeoutSeconds": 1},
        pod={"nodeSelector": {"no": "such-node"}},
    )


def _preempted(draw: random.Random, name: str) -> Life:
    return Life(name, "", ["Preempt", draw.choice(("0", "0", "1"))], draw.randint(0, 1), own_queue=True)


def _refused(draw: random.Random, name: str) -> Life:
    rules = [_rule("Fail", "PodRefused")] if draw.random() < 0.5 else []
    return Life(name, "", ["0"], rules=rules, requests={"ephemeral-storage": "1Gi"})


def _late(draw: random.Random, name: str) -> Life:
    return Life(name, "", ["Last"], spec={"deadlineSeconds": draw.randint(1, 8)})


def _cancelled(draw: random.Random, name: str) -> Life:
    if draw.random() < 0.4:
        return Life(name, "", ["Never"], then="cancel", spec={"suspend": True})
    if draw.random() < 0.4:
        patient = {"initialSeconds": 600, "maxSeconds": 600}
        return Life(name, "", ["1"], limit=3, then="cancel", backoff=patient)
    return Life(name, "", [*draw.choices(("1", "Evict"), k=draw.randint(0, 1)), "Cancel"], limit=1)


def _born_suspended(_: random.Random, name: str) -> Life:
    return Life(name, "", ["0"], then="resume", spec={"suspend": True})


def _rerun(draw: random.Random, name: str) -> Life:
    fates = [*draw.choices(("1", "OOM", "Evict"), k=draw.randint(0, 2)), draw.choice(("0", "7"))]
    return Life(name, "", fates, limit=draw.randint(0, 2), then="rerun")


_KINDS: Final = {
    "failing": _failing,
    "lasting": _lasting,
    "imageless": _imageless,
    "nowhere": _nowhere,
    "preempted": _preempted,
    "refused": _refused,
    "late": _late,
    "cancelled": _cancelled,
    "born-suspended": _born_suspended,
    "rerun": _rerun,
}
_WEIGHTS: Final = dict(zip(_KINDS, (60, 8, 3, 2, 3, 3, 3, 8, 3, 7), strict=True))


# ------------------------------------------------------------------ how each must end
@dataclass(frozen=True, slots=True)
class Ending:
    """How a job must end, and what each attempt of a run must be called. `attempts` None: nobody can say how many."""

    phase: str
    reasons: frozenset[str]
    retries: int
    attempts: list[str] | None  # their fates

    @property
    def charged(self) -> bool:
        """Whether the number of its retries is known."""
        return self.attempts is not None


def endings(lives: Iterable[Life]) -> dict[str, Ending]:
    """Of all."""
    found: dict[str, Ending] = {}
    for life in lives:
        if any(found[name].phase not in MET[condition] for name, condition in life.depends_on):
            phase = {"Skip": "Skipped", "Fail": "Failed"}[life.policy]
            found[life.name] = Ending(phase, frozenset({"DependencyNotSatisfied"}), 0, [])
        else:
            found[life.name] = _ending(life)
    return found


def _ending(life: Life) -> Ending:
    if life.kind == "late":
        return Ending("Failed", frozenset({"DeadlineExceeded"}), 0, None)
    if life.kind == "refused" and life.rules:
        return Ending("Failed", frozenset({"PodRefused"}), 0, [])
    if life.then == "cancel" and life.spec.get("suspend"):
        return Ending("Cancelled", frozenset({"CancelledByUser"}), 0, [])
    retries, met = 0, list[str]()
    while True:
        fate = life.fate(len(met) + 1)
        met.append(fate)
        if fate == "0":
            return Ending("Succeeded", frozenset({"Completed"}), retries, met)
        if fate == "Cancel":
            return Ending("Cancelled", frozenset({"CancelledByUser"}), retries, met)
        if fate == "Suspend":
            continue
        action = _follows(life, fate)
        if action == "Succeed":
            return Ending("Succeeded", frozenset({"Completed"}), retries, met)
        if action == "Fail" or (action == "Retry" and retries >= life.limit):
            unseen = {"OutcomeUnknown"} if "PodDeleted" in FAILURES.get(fate, ()) else set()
            return Ending("Failed", frozenset({"AttemptFailed", *unseen}), retries, met)
        retries += action == "Retry"
        if life.then == "cancel":  # while it backs off
            return Ending("Cancelled", frozenset({"CancelledByUser"}), retries, met)


def _follows(life: Life, fate: str) -> str:
    classes = FAILURES.get(fate, frozenset({"ExitCode"}))
    for rule in life.rules:
        codes = rule.get("exitCodes", {}).get("in")
        if codes is not None and (not fate.isdigit() or int(fate) not in codes):
            continue
        named = set(rule.get("classes", classes))
        if classes & named:
            assert classes <= named, f"{life.name}: a rule must not tell {classes} apart"
            return str(rule["action"])
    return "RetryFree" if classes & FREE else "Retry"


def exit_codes(fate: str) -> frozenset[int | None]:
    """What history may say an attempt of that fate exited with."""
    if fate.isdigit():
        return frozenset({int(fate)})
    if fate in NEVER_RAN:
        return frozenset({None, 128})
    return frozenset({137}) if fate == "OOM" else frozenset({143, None})


def counted(lives: Iterable[Life], ends: Mapping[str, Ending]) -> dict[str, int]:
    """How many attempts of each fate there will be: that no class is missing."""
    found: dict[str, int] = {}
    for life in lives:
        for fate in ends[life.name].attempts or ():
            word = fate if not fate.isdigit() else "ExitCode" if fate != "0" else "Success"
            found[word] = found.get(word, 0) + 1
    return found
