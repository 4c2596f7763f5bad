"""Whether a failed attempt is followed by another, and when."""

from __future__ import annotations

from zlib import crc32

from taskjob.core.model import AttemptId, Retry


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
