"""The ledger of a queue: what is charged, what fits, what never can."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builders import amounts
from taskjob.core.quota import Ledger

requests = st.builds(amounts, cpu=st.integers(0, 4), memory=st.integers(0, 4), pods=st.integers(0, 1))


def a_ledger(**quota: int) -> Ledger:
    ledger = Ledger()
    ledger.quota = quota
    return ledger


def test_what_fits_exactly_fits() -> None:
    ledger = a_ledger(cpu=2000)
    ledger.charge(amounts(cpu=1))
    assert ledger.shortage(amounts(cpu=1)) is None
    ledger.charge(amounts(cpu=1))
    assert ledger.shortage(amounts(cpu=0.001)) == ("cpu", 1, 0)


def test_a_shortage_names_the_first_resource_by_name_with_what_is_left() -> None:
    ledger = a_ledger(cpu=2000, memory=10)
    ledger.charge(amounts(cpu=1.5, memory=9))
    assert ledger.shortage(amounts(cpu=1, memory=5)) == ("cpu", 1000, 500)
    assert ledger.shortage(amounts(cpu=0.5, memory=5)) == ("memory", 5, 1)


def test_above_the_quota_nothing_is_left_rather_than_less_than_nothing() -> None:
    ledger = a_ledger(cpu=1000)
    ledger.charge(amounts(cpu=3))
    assert ledger.shortage(amounts(cpu=1)) == ("cpu", 1000, 0)


def test_a_full_resource_does_not_hold_who_does_not_ask_for_it() -> None:
    ledger = a_ledger(gpu=1)
    ledger.charge(amounts(gpu=1))
    assert ledger.shortage(amounts(cpu=100)) is None
    assert ledger.shortage((("gpu", 0),)) is None


def test_excess_looks_at_the_quota_alone() -> None:
    ledger = a_ledger(cpu=2000)
    ledger.charge(amounts(cpu=2))
    assert ledger.excess(amounts(cpu=2)) is None
    assert ledger.excess(amounts(cpu=2.5)) == ("cpu", 2500, 2000)
    assert ledger.excess(amounts(memory=10**18)) is None


@given(st.lists(requests, max_size=20))
def test_releasing_all_that_was_charged_leaves_nothing(charged: list[tuple[tuple[str, int], ...]]) -> None:
    ledger = a_ledger()
    for request in charged:
        ledger.charge(request)
    for request in reversed(charged):
        ledger.release(request)
    assert (ledger.usage, ledger.charges) == ({}, 0)


@given(st.lists(requests, max_size=20), st.integers(0, 8), st.integers(0, 8))
def test_charging_only_what_fits_never_passes_the_quota(
    asked: list[tuple[tuple[str, int], ...]], cpu: int, memory: int
) -> None:
    ledger = a_ledger(cpu=cpu * 1000, memory=memory)
    for request in asked:
        if ledger.shortage(request) is None:
            ledger.charge(request)
    assert all(ledger.usage.get(resource, 0) <= limit for resource, limit in ledger.quota.items())
