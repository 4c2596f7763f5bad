"""Quantities as Kubernetes writes them, as exact integers."""

from __future__ import annotations

from decimal import Decimal
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskjob.core import amounts
from taskjob.core.amounts import GREATEST, QuantityError, add, parse, show
from taskjob.core.model import Amounts

RESOURCES = st.sampled_from(["cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "pods", "nvidia.com/gpu"])
AMOUNTS = st.dictionaries(RESOURCES, st.integers(0, 10**15)).map(amounts.amounts)


@pytest.mark.parametrize(
    ("resource", "quantity", "amount"),
    [
        ("cpu", "100m", 100),
        ("cpu", "2", 2000),
        ("cpu", 2, 2000),
        ("cpu", 0.5, 500),
        ("cpu", "1.5", 1500),
        ("cpu", ".25", 250),
        ("cpu", "1.", 1000),
        ("cpu", "0.0001", 1),  # rounded up to a whole milli-CPU
        ("cpu", "100u", 1),
        ("cpu", "1k", 1_000_000),
        ("cpu", "+1", 1000),
        ("cpu", "-0", 0),
        ("memory", "64Mi", 64 * 2**20),
        ("memory", "1.5Gi", 3 * 2**29),
        ("memory", "1e3", 1000),
        ("memory", "12E6", 12_000_000),  # an exponent, not exa
        ("memory", "1E", 10**18),
        ("memory", "1e-3", 1),
        ("memory", "128974848000m", 128_974_848),
        ("memory", "0", 0),
        ("memory", "8Ei", None),
        ("memory", "7Ei", 7 * 2**60),
        ("pods", "100", 100),
        ("nvidia.com/gpu", 4, 4),
    ],
)
def test_a_quantity_means_this_amount(resource: str, quantity: object, amount: int | None) -> None:
    if amount is None:
        with pytest.raises(QuantityError, match="too large"):
            parse(resource, quantity)
    else:
        assert parse(resource, quantity) == amount


@pytest.mark.parametrize(
    ("quantity", "why"),
    [
        ("", '"" is not a quantity'),
        ("much", '"much" is not a quantity'),
        ("1 Gi", '"1 Gi" is not a quantity'),
        ("1GiB", '"1GiB" is not a quantity'),
        ("0x10", "is not a quantity"),
        ("1e", "is not a quantity"),
        (".", "is not a quantity"),
        ("٣", "is not a quantity"),  # a digit, but not one of Kubernetes'
        ("-1", '"-1" is negative'),
        (-1, '"-1" is negative'),
        ("1e99", '"1e99" is too large'),
        ("1e999999999", "is too large"),
        ("9" * 65, "is not a quantity"),
        (float("nan"), "is not a quantity"),
        (True, "true is not a quantity"),
        (None, "null is not a quantity"),
        ({}, "an object is not a quantity"),
        ([1], "a list is not a quantity"),
    ],
)
def test_what_is_no_quantity_is_refused_with_a_reason(quantity: object, why: str) -> None:
    with pytest.raises(QuantityError) as refused:
        parse("memory", quantity)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("resource", "amount", "quantity"),
    [
        ("cpu", 1500, "1500m"),
        ("cpu", 2000, "2"),
        ("cpu", 0, "0"),
        ("memory", 64 * 2**20, "64Mi"),
        ("memory", 2**30 + 1, "1073741825"),
        ("memory", 0, "0"),
        ("hugepages-2Mi", 2**22, "4Mi"),
        ("pods", 1024, "1024"),
    ],
)
def test_an_amount_is_shown_as_people_write_it(resource: str, amount: int, quantity: str) -> None:
    assert show(resource, amount) == quantity


@pytest.mark.parametrize("power", [64, 5000])
def test_a_number_beyond_all_bounds_is_refused(power: int) -> None:
    for number in (10**power, -(10**power)):
        with pytest.raises(QuantityError, match="too large"):
            parse("memory", number)


@given(RESOURCES, st.integers(0, GREATEST))
def test_what_is_shown_is_read_back(resource: str, amount: int) -> None:
    assert parse(resource, show(resource, amount)) == amount


@given(
    st.decimals(0, 10**12, allow_nan=False, allow_infinity=False, places=6),
    st.sampled_from(["", "k", "M", "m", "u", "n", "Ki", "Mi", "e3", "E-2"]),
)
def test_an_amount_is_the_exact_value_rounded_up(number: Decimal, suffix: str) -> None:
    factors = {"": "1", "k": "1e3", "M": "1e6", "m": "1e-3", "u": "1e-6", "n": "1e-9"}
    factors |= {"Ki": "1024", "Mi": "1048576", "e3": "1e3", "E-2": "1e-2"}
    exact = number * Decimal(factors[suffix])
    text = f"{number:f}{suffix}"
    for resource, amount in (("memory", ceil(exact)), ("cpu", ceil(exact * 1000))):
        if amount <= GREATEST:
            assert parse(resource, text) == amount
        else:
            with pytest.raises(QuantityError, match="too large"):
                parse(resource, text)


@given(st.decimals(0, 10**9, places=4), st.decimals(0, 10**9, places=4))
def test_the_greater_quantity_is_never_the_smaller_amount(one: Decimal, other: Decimal) -> None:
    smaller, greater = sorted((one, other))
    assert parse("cpu", f"{smaller:f}") <= parse("cpu", f"{greater:f}")


@given(st.text(max_size=80))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    try:
        amount = parse("cpu", text)
    except QuantityError:
        return
    assert 0 <= amount <= GREATEST


@given(AMOUNTS, AMOUNTS)
def test_a_sum_names_what_either_names_in_order_and_does_not_depend_on_theirs(one: Amounts, other: Amounts) -> None:
    total = add(one, other)
    assert total == add(other, one)
    assert total == tuple(sorted(total))
    assert {resource for resource, _ in total} == {resource for resource, _ in (*one, *other)}
    assert sum(amount for _, amount in total) == sum(amount for _, amount in (*one, *other))
