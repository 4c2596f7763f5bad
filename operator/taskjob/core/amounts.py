"""Integer resource arithmetic: Kubernetes quantities in and out, and sums of them.

An amount is an integer: milli-CPU for `cpu`, bytes or whole units for everything else. Quantities are parsed
exactly (no floats) and rounded up, as the Kubernetes scheduler rounds them; negative ones are refused. Many
amounts together are `model.Amounts`: pairs sorted by resource name, each name once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from taskjob.core.model import Amounts
from taskjob.core.values import shown

GREATEST: Final = 2**63 - 1
"""The greatest amount; Kubernetes bounds its quantities likewise."""

_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_QUANTITY: Final = re.compile(
    r"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:([KMGTPE]i)|[eE]([+-]?[0-9]+)|([numkMGTPE]?))", re.ASCII
)
_LONGEST: Final = 64  # characters; beyond it nothing sensible is meant, and the work of parsing stays bounded
_LARGEST_EXPONENT: Final = 64
_BYTES: Final = ("memory", "ephemeral-storage", "storage")


class QuantityError(ValueError):
    """A text that is no usable quantity; the message says why and stands well behind a field's name."""


def parse(resource: str, quantity: object) -> int:
    """The amount of `resource` that a quantity ("100m", "1.5Gi", "1e3", 2) means, rounded up.

    Raises `QuantityError` if it is not a quantity, negative, or beyond `GREATEST`.
    """
    if isinstance(quantity, bool) or not isinstance(quantity, str | int | float):
        raise QuantityError(f"{shown(quantity)} is not a quantity")
    if isinstance(quantity, int) and not -GREATEST <= quantity <= GREATEST:
        raise QuantityError("the number is too large")
    return _parse(resource == "cpu", quantity if isinstance(quantity, str) else str(quantity))


@lru_cache(maxsize=4096)
def _parse(milli: bool, text: str) -> int:
    found = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        raise QuantityError(f"{shown(text)} is not a quantity")
    sign, whole, fraction, bare_fraction, binary, exponent, decimal = found.groups()
    fraction = fraction or bare_fraction or ""
    digits = int((whole or "") + fraction)
    if sign == "-" and digits:
        raise QuantityError(f"{shown(text)} is negative")
    ten = -len(fraction) + (3 if milli else 0)
    if exponent is not None:
        # Past these bounds the answer no longer depends on the exponent: too large, or rounded up to 1.
        ten += max(-2 * _LARGEST_EXPONENT, min(int(exponent), 2 * _LARGEST_EXPONENT))
    elif binary is None:
        ten += _DECIMAL[decimal]
    digits *= 1024 ** _BINARY[binary] if binary is not None else 1
    amount: int = digits * 10**ten if ten >= 0 else -(-digits // 10**-ten)
    if amount > GREATEST:
        raise QuantityError(f"{shown(text)} is too large")
    return amount


def show(resource: str, amount: int) -> str:
    """The canonical quantity of an amount: `parse(resource, show(resource, amount)) == amount`.

    CPU as cores ("2") or milli-CPU ("1500m"), bytes with the largest binary suffix that is exact, else digits.
    """
    if resource == "cpu":
        return f"{amount}m" if amount % 1000 else str(amount // 1000)
    if is_bytes(resource):
        for suffix, power in reversed(_BINARY.items()):
            unit = 1024**power
            if amount >= unit and amount % unit == 0:
                return f"{amount // unit}{suffix}"
    return str(amount)


@lru_cache(maxsize=1024)
def quantities(request: Amounts) -> Mapping[str, str]:
    """A pod's request as people write it: a quantity by resource, and not that it is one pod."""
    return {resource: show(resource, amount) for resource, amount in request if resource != "pods"}


def is_bytes(resource: str) -> bool:
    """Whether its amounts are bytes."""
    return resource in _BYTES or resource.startswith("hugepages-")


def amounts(pairs: Mapping[str, int] | Iterable[tuple[str, int]]) -> Amounts:
    """The canonical form: sorted by name. Of a name given twice the last amount stands."""
    return tuple(sorted(dict(pairs).items()))


def add(one: Amounts, other: Amounts) -> Amounts:
    """The sum, resource by resource."""
    total = dict(one)
    for resource, amount in other:
        total[resource] = total.get(resource, 0) + amount
    return tuple(sorted(total.items()))
