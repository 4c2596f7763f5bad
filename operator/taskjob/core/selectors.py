"""Label selectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from taskjob.core.model import Requirement, Selector
from taskjob.core.phases import SelectorOperator


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether all requirements hold, as Kubernetes reads them: `NotIn` also holds where the label is absent."""
    return all(_holds(requirement, labels.get(requirement.key)) for requirement in selector)


def _holds(requirement: Requirement, value: str | None) -> bool:
    match requirement.operator:
        case SelectorOperator.IN:
            return value in requirement.values
        case SelectorOperator.NOT_IN:
            return value not in requirement.values
        case SelectorOperator.EXISTS:
            return value is not None
        case SelectorOperator.DOES_NOT_EXIST:
            return value is None
        case never:
            assert_never(never)
