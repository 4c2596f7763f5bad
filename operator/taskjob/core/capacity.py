"""What nodes can give us: the allocatable of those that take pods, less what pods that are not ours request there.

Part of `state.State`: the quota of a queue with `quota_from_nodes` follows it. An event costs what it touches: its
node, and each selector that a queue has chosen nodes by; never all nodes or pods. Always equal to a rebuild from the
nodes and the occupants (a property test holds that).

Which nodes count, by the selector's labels:

1. the node is ready and not cordoned, and has no taint of the kind that Kubernetes sets on a node that does not work
2. it has all labels of the selector
3. it has no other taint that keeps pods away, unless the selector names a label: whoever picks nodes by their labels
   has jobs that tolerate them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from taskjob.core.model import Amounts, Labels, PodUid, QuotaFromNodes


@dataclass(frozen=True, slots=True)
class Node:
    """A node as last observed."""

    name: str
    labels: frozenset[tuple[str, str]]
    allocatable: Amounts
    working: bool = True  # ready, not cordoned, not tainted by Kubernetes itself
    tainted: bool = False  # some taint keeps pods away that do not tolerate it


@dataclass(frozen=True, slots=True)
class Occupant:
    """A pod that is not ours, has a node and has not ended."""

    uid: PodUid
    node: str
    request: Amounts  # `pods: 1` included
    labelled: bool = False  # another installation's: the watch of pods with our label tells of it


class Unknown(StrEnum):
    """Why it is not known what nodes can give."""

    NOT_LISTED = "NodesNotListed"
    FORBIDDEN = "QuotaFromNodesForbidden"


@dataclass(slots=True, eq=False)
class _Selection:
    """The nodes that one selector picks, and the sums over them."""

    nodes: dict[str, None] = field(default_factory=dict)
    allocatable: dict[str, int] = field(default_factory=dict)
    occupied: dict[str, int] = field(default_factory=dict)


class Capacity:
    """Nodes and the pods on them that are not ours."""

    __slots__ = ("_occupied", "_selections", "changed", "nodes", "occupants", "unknown", "why_unknown")

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.occupants: dict[PodUid, Occupant] = {}
        self._occupied: dict[str, dict[str, int]] = {}  # by node, be it known or not
        self._selections: dict[Labels, _Selection] = {}
        self.unknown: Unknown | None = Unknown.NOT_LISTED
        self.why_unknown = "the nodes and their pods have not been listed yet"
        self.changed = False  # since it was last set to False: some quota may have changed

    def is_known(self) -> None:
        """Nodes and pods have been listed."""
        self.changed = self.changed or self.unknown is not None
        self.unknown, self.why_unknown = None, ""

    def is_unknown(self, unknown: Unknown, why: str) -> None:
        """Nodes or pods cannot be listed; `why` is for people."""
        if (self.unknown, self.why_unknown) != (unknown, why):
            self.unknown, self.why_unknown, self.changed = unknown, why, True

    def quota(self, of: QuotaFromNodes) -> Amounts:
        """So many percent of what the chosen nodes can allocate, less what others request there; never below zero.

        A share of something that is counted in whole units is rounded up: of a single GPU 90 percent is that GPU.
        """
        selection = self._selections.get(of.node_selector)
        if selection is None:
            selection = self._select(of.node_selector)
        occupied = selection.occupied
        return tuple(
            sorted(
                (resource, max(0, -(-amount * of.percent // 100) - occupied.get(resource, 0)))
                for resource, amount in selection.allocatable.items()
            )
        )

    # ------------------------------------------------------------------ nodes
    def put_node(self, node: Node) -> None:
        """A node as it now is."""
        if self.nodes.get(node.name) != node:  # else a heartbeat
            self.drop_node(node.name)
            self.nodes[node.name] = node
            for selector, selection in self._selections.items():
                if counts(node, selector):
                    self._take_in(selection, node)
                    self.changed = True

    def drop_node(self, name: str) -> None:
        """A node is gone; its pods are told of by themselves."""
        node = self.nodes.pop(name, None)
        if node is None:
            return
        for selection in self._selections.values():
            if name in selection.nodes:
                del selection.nodes[name]
                _subtract(selection.allocatable, node.allocatable)
                _subtract(selection.occupied, self._occupied.get(name, {}).items())
                self.changed = True

    def replace_nodes(self, nodes: Iterable[Node]) -> None:
        """A complete list."""
        listed = {node.name: node for node in nodes}
        for name in [name for name in self.nodes if name not in listed]:
            self.drop_node(name)
        for node in listed.values():
            self.put_node(node)

    def _select(self, selector: Labels) -> _Selection:
        selection = self._selections[selector] = _Selection()
        for node in self.nodes.values():
            if counts(node, selector):
                self._take_in(selection, node)
        return selection

    def _take_in(self, selection: _Selection, node: Node) -> None:
        selection.nodes[node.name] = None
        _add(selection.allocatable, node.allocatable)
        _add(selection.occupied, self._occupied.get(node.name, {}).items())

    # ------------------------------------------------------------------ pods that are not ours
    def put_occupant(self, occupant: Occupant) -> None:
        """A pod that is not ours, as it now is."""
        before = self.occupants.get(occupant.uid)
        if before == occupant:
            return
        if before is not None:
            self._occupy(before, _subtract)
        self.occupants[occupant.uid] = occupant
        self._occupy(occupant, _add)

    def drop_occupant(self, uid: PodUid) -> None:
        """A pod that is not ours has ended or is gone."""
        occupant = self.occupants.pop(uid, None)
        if occupant is not None:
            self._occupy(occupant, _subtract)

    def replace_occupants(self, occupants: Iterable[Occupant]) -> None:
        """A complete list of those that do not carry our label."""
        listed = {occupant.uid: occupant for occupant in occupants}
        for uid in [uid for uid, held in self.occupants.items() if uid not in listed and not held.labelled]:
            self.drop_occupant(uid)
        for occupant in listed.values():
            self.put_occupant(occupant)

    def _occupy(self, occupant: Occupant, change: Callable[[dict[str, int], Iterable[tuple[str, int]]], None]) -> None:
        held = self._occupied.setdefault(occupant.node, {})
        change(held, occupant.request)
        if not held:
            del self._occupied[occupant.node]
        for selection in self._selections.values():
            if occupant.node in selection.nodes:
                change(selection.occupied, occupant.request)
                self.changed = True


def counts(node: Node, selector: Labels) -> bool:
    """Whether a node counts for queues that choose by these labels."""
    return node.working and (bool(selector) or not node.tainted) and node.labels.issuperset(selector)


def _add(total: dict[str, int], more: Iterable[tuple[str, int]]) -> None:
    for resource, amount in more:
        if amount:
            total[resource] = total.get(resource, 0) + amount


def _subtract(total: dict[str, int], less: Iterable[tuple[str, int]]) -> None:
    for resource, amount in less:
        if amount:
            left = total[resource] - amount
            if left:
                total[resource] = left
            else:
                del total[resource]
