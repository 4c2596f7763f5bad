"""Label selectors, read as Kubernetes reads them."""

from __future__ import annotations

import pytest

from taskjob.core.model import Requirement, Selector
from taskjob.core.phases import SelectorOperator
from taskjob.core.selectors import matches

TEAM_IN = Requirement("team", SelectorOperator.IN, ("a", "b"))
NOT_OLD = Requirement("age", SelectorOperator.NOT_IN, ("old",))
HAS_TEAM = Requirement("team", SelectorOperator.EXISTS)
NO_TEAM = Requirement("team", SelectorOperator.DOES_NOT_EXIST)


@pytest.mark.parametrize(
    ("selector", "labels", "holds"),
    [
        ((), {}, True),
        ((TEAM_IN,), {"team": "a"}, True),
        ((TEAM_IN,), {"team": "c"}, False),
        ((TEAM_IN,), {}, False),
        ((NOT_OLD,), {"age": "old"}, False),
        ((NOT_OLD,), {"age": "new"}, True),
        ((NOT_OLD,), {}, True),
        ((HAS_TEAM,), {"team": ""}, True),
        ((HAS_TEAM,), {}, False),
        ((NO_TEAM,), {}, True),
        ((NO_TEAM,), {"team": "a"}, False),
        ((TEAM_IN, NOT_OLD), {"team": "b", "age": "old"}, False),
        ((TEAM_IN, NOT_OLD), {"team": "b"}, True),
    ],
)
def test_a_selector_holds_when_all_its_requirements_hold(
    selector: Selector, labels: dict[str, str], holds: bool
) -> None:
    assert matches(selector, labels) is holds
