"""Whether a failed attempt is followed by another, and when."""

from __future__ import annotations

from typing import Final, NamedTuple
from zlib import crc32

from taskjob.core.model import AttemptId, Retry, RetryRule
from taskjob.core.phases import FailureClass, RetryAction

FREE_RETRIES_MAX: Final = 100
"""Of one run: after so many attempts that were not charged, failures are charged whatever their class, so that nothing
loops for ever."""


class Verdict(NamedTuple):
    """What follows a failure. `rule` is the number of the rule that says so, None for the default."""

    action: RetryAction
    rule: int | None = None

    def said(self, field: str) -> str:
        """Which rule says so, to stand after what failed; `field` is where the rules stand."""
        retry, of, queue = field.partition(" of ")
        return f"; {retry}.rules[{self.rule}]{of}{queue} says {self.action}"


def judge(retry: Retry, failure: FailureClass, exit_code: int | None = None, container: str = "") -> Verdict:
    """By the first rule that matches; by default a fault of the cluster is free, and any other is charged."""
    for number, rule in enumerate(retry.rules):
        if _matches(rule, failure, exit_code, container):
            return Verdict(rule.action, number)
    return Verdict(RetryAction.RETRY_FREE if failure.fault_of_the_cluster else RetryAction.RETRY)


def _matches(rule: RetryRule, failure: FailureClass, exit_code: int | None, container: str) -> bool:
    if rule.classes and failure not in rule.classes:
        return False
    if rule.exit_codes is not None:
        if exit_code is None or not (rule.classes or failure is FailureClass.EXIT_CODE):
            return False
        if (exit_code in rule.exit_codes) is rule.exit_codes_excluded:
            return False
    return rule.container is None or rule.container == container


def jitter_fraction(attempt: AttemptId) -> float:
    """A number in [0, 1) that is the attempt's own: restarts of the operator do not throw the dice again."""
    return crc32("/".join(map(str, attempt)).encode()) / 2**32


def backoff_seconds(retry: Retry, retries: int, fraction: float) -> float:
    """How long to wait before retry number `retries` (from 1): exponential, capped, then jittered upwards.

    `fraction` in [0, 1) chooses within the jitter. Jitter only ever adds, so that `initialSeconds` is a promise.
    """
    # In integers, and bounded before the power is taken: 2**1000 seconds are no one's backoff, and no float.
    exponent = min(max(retries - 1, 0), 64)
    base: int = min(retry.initial_seconds * retry.factor**exponent, retry.max_seconds)
    return base * (1 + retry.jitter_percent / 100 * fraction)


def backoff_of_refusals(refusals: int) -> float:
    """How long a job is held after its pod was refused `refusals` times: 5 s doubling to 5 minutes."""
    return float(min(5 * 2 ** min(max(refusals - 1, 0), 6), 300))
