"""Label selectors as manifests have them: `matchLabels` and `matchExpressions` to the core's requirements."""

from __future__ import annotations

from typing import Final

from taskjob.core.model import Requirement, Selector
from taskjob.core.phases import SelectorOperator
from taskjob.core.values import shown
from taskjob.kube.fields import Object, Reader

_TAKES_VALUES: Final = (SelectorOperator.IN, SelectorOperator.NOT_IN)


def read_selector(of: Object, name: str, within: str, read: Reader) -> Selector:
    """The selector that stands in a field, none: one that matches everything. Complains of what is wrong with it."""
    selector, where = read.mapping(of, name, within), f"{within}{name}."
    found: list[Requirement] = []
    for key, value in sorted(read.mapping(selector, "matchLabels", where).items()):
        if isinstance(value, str):
            found.append(Requirement(key, SelectorOperator.IN, (value,)))
        else:
            read.complain(f"{where}matchLabels[{key}]", f"{shown(value)} is not a text")
    for n, item in enumerate(read.items(selector, "matchExpressions", where)):
        at = f"{where}matchExpressions[{n}]."
        if not isinstance(item, dict):
            read.complain(at.rstrip("."), f"{shown(item)} is not an object")
            continue
        if "operator" not in item or not item.get("key"):
            read.complain(at.rstrip("."), "needs 'key' and 'operator'")
        operator = read.choice(item, "operator", at, SelectorOperator.IN)
        values = read.items(item, "values", at)
        if any(not isinstance(value, str) for value in values):
            read.complain(at + "values", "is not a list of texts")
        elif bool(values) is not (operator in _TAKES_VALUES):
            wrong = "must be absent" if values else "is missing"
            read.complain(at + "values", f"{wrong} for {operator}")
        found.append(Requirement(read.text(item, "key", at, ""), operator, tuple(map(str, values))))
    return tuple(found)
