"""Namespaces and their labels: queues with a `namespace_selector` choose whose jobs they take by them.

Part of `state.State`. Until all are known such a queue is not used: who may not use it must not slip in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from taskjob.core.model import Labels, Namespace, Selector
from taskjob.core.selectors import matches


class LabelledNamespace(NamedTuple):
    """A namespace as last observed."""

    name: Namespace
    labels: Labels


class Unknown(StrEnum):
    """Why the labels of namespaces are not known."""

    NOT_LISTED = "NamespacesNotListed"
    FORBIDDEN = "NamespaceSelectorForbidden"


class Namespaces:
    """All namespaces, once they are known."""

    __slots__ = ("_labels", "unknown", "why_unknown")

    def __init__(self) -> None:
        self._labels: dict[Namespace, Mapping[str, str]] = {}
        self.unknown: Unknown | None = Unknown.NOT_LISTED
        self.why_unknown = "the namespaces have not been listed yet"

    def put(self, namespace: LabelledNamespace) -> bool:
        """A namespace as it now is; whether its labels are others than before."""
        labels = dict(namespace.labels)
        if self._labels.get(namespace.name) == labels:
            return False
        self._labels[namespace.name] = labels
        return True

    def drop(self, name: Namespace) -> bool:
        """A namespace is gone; whether it was there."""
        return self._labels.pop(name, None) is not None

    def replace(self, namespaces: Iterable[LabelledNamespace]) -> None:
        """All namespaces: they are known from now on."""
        self._labels = {each.name: dict(each.labels) for each in namespaces}
        self.unknown, self.why_unknown = None, ""

    def is_unknown(self, unknown: Unknown, why: str) -> None:
        """They cannot be listed."""
        self.unknown, self.why_unknown = unknown, why

    def match(self, selector: Selector, name: Namespace) -> bool:
        """Whether the selector picks the namespace; one that nobody told of is as if it had no labels."""
        return matches(selector, self._labels.get(name, {}))
