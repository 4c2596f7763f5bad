"""What is around our pods: the nodes, and the pods on them that are not ours. Quotas that follow the nodes need both.

On the data path to `core.capacity`. Watched only once a TaskQueue asks for it and if this installation may: it takes
the right to list and watch nodes and pods in the whole cluster. The selectors leave the most to the API server: a pod
without a node occupies none, one that has ended is told of as deleted, and ours come through a watch of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol

import msgspec

from taskjob.core.amounts import QuantityError, parse
from taskjob.core.capacity import Node, Occupant, Unknown
from taskjob.core.model import PodUid
from taskjob.kube.fields import UNREADABLE
from taskjob.kube.http import KubeHttp
from taskjob.kube.informer import Informer, Kind, Told
from taskjob.kube.lists import ListError
from taskjob.kube.pods import JOB_UID
from taskjob.kube.requests import Container, Quantities, RequestError, Resources, effective_request
from taskjob.kube.schema import UnusableObjectError

_KEEPS_AWAY: Final = ("NoSchedule", "NoExecute")
_BY_KUBERNETES: Final = "node.kubernetes.io/"
_ON_A_NODE: Final = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
TO_GRANT: Final = "let it list and watch nodes and pods in the whole cluster (chart value rbac.watchCluster)"


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The needed part of an object's metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None


class _Taint(msgspec.Struct, frozen=True):
    key: str = ""
    effect: str = ""


class _NodeSpec(msgspec.Struct, frozen=True):
    unschedulable: bool | None = None
    taints: Sequence[_Taint] | None = None


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""


class _NodeStatus(msgspec.Struct, frozen=True):
    allocatable: Quantities | None = None
    conditions: Sequence[_Condition] | None = None


class NodeObject(msgspec.Struct, frozen=True):
    """A node as decoded."""

    metadata: Meta
    spec: _NodeSpec = _NodeSpec()
    status: _NodeStatus = _NodeStatus()


class _PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str | None = None
    containers: Sequence[Container] | None = None
    init_containers: Sequence[Container] | None = None
    resources: Resources | None = None
    overhead: Quantities | None = None


class OtherPod(msgspec.Struct, frozen=True):
    """A pod as decoded: where it is and what it requests."""

    metadata: Meta
    spec: _PodSpec = _PodSpec()


_decode_node = msgspec.json.Decoder(NodeObject).decode
_decode_pod = msgspec.json.Decoder(OtherPod).decode


def parse_node(raw: bytes | NodeObject) -> Node:
    """A node as the core sees it. Raises `UnusableObjectError`; an amount that cannot be read is left out."""
    try:
        node = raw if isinstance(raw, NodeObject) else _decode_node(raw)
    except UNREADABLE as error:
        raise UnusableObjectError(f"a node that cannot be read: {error}") from None
    allocatable: dict[str, int] = {}
    for resource, quantity in (node.status.allocatable or {}).items():
        try:
            allocatable[resource] = parse(resource, quantity)
        except QuantityError:
            continue
    taints = [taint for taint in node.spec.taints or () if taint.effect in _KEEPS_AWAY]
    by_kubernetes = [taint for taint in taints if taint.key.startswith(_BY_KUBERNETES)]
    ready = any(each.type == "Ready" and each.status == "True" for each in node.status.conditions or ())
    return Node(
        name=node.metadata.name,
        labels=frozenset((node.metadata.labels or {}).items()),
        allocatable=tuple(sorted(allocatable.items())),
        working=ready and not node.spec.unschedulable and not by_kubernetes,
        tainted=len(taints) > len(by_kubernetes),
    )


def parse_occupant(raw: bytes | OtherPod) -> Occupant:
    """A pod on a node as the core sees it. Raises `UnusableObjectError`; requests that cannot be read count as none."""
    pod = _read_pod(raw)
    spec = pod.spec
    try:
        request = effective_request(spec.containers or (), spec.init_containers or (), spec.resources, spec.overhead)
    except RequestError:
        request = (("pods", 1),)
    return Occupant(PodUid(pod.metadata.uid), spec.node_name or "", request)


def _read_pod(raw: bytes | OtherPod) -> OtherPod:
    try:
        return raw if isinstance(raw, OtherPod) else _decode_pod(raw)
    except UNREADABLE as error:
        raise UnusableObjectError(f"a pod that cannot be read: {error}") from None


class SurroundingsSink(Protocol):
    """Who is told. All are called in the event loop and must not block."""

    def replace_nodes(self, version: int, nodes: Sequence[Node]) -> object:
        """All nodes."""

    def observe_node(self, node: Node) -> object:
        """A node appeared or changed."""

    def forget_node(self, node: Node) -> object:
        """A node was deleted."""

    def replace_occupants(self, version: int, occupants: Sequence[Occupant]) -> object:
        """All pods on nodes that are not ours."""

    def observe_occupant(self, occupant: Occupant) -> object:
        """Such a pod appeared or changed."""

    def forget_occupant(self, occupant: Occupant) -> object:
        """Such a pod ended or was deleted."""

    def surroundings_known(self) -> object:
        """All of both have been told."""

    def surroundings_unknown(self, unknown: Unknown, why: str) -> object:
        """Nodes or pods cannot be listed."""


class Surroundings:
    """Follows nodes and the pods on them that are not ours, from when it is needed.

    An installation of named namespaces has its own watch of labelled pods there only: labelled pods of other
    namespaces are somebody else's.
    """

    def __init__(
        self, http: KubeHttp, sink: SurroundingsSink, needed: asyncio.Event, namespaces: Sequence[str]
    ) -> None:
        self._sink = sink
        self._needed = needed
        self._told = asyncio.Event()
        self._listed = {"nodes": False, "pods": False}
        self._nodes = Informer(
            http,
            Kind("nodes", NodeObject, parse_node),
            Told(self._replace_nodes, sink.observe_node, sink.forget_node),
            ["/api/v1/nodes"],
        )
        self._nodes.on_failure = lambda error: self._not_listed("nodes", error)
        ours = frozenset(namespaces)

        def parse_other(raw: bytes | OtherPod) -> Occupant | None:
            pod = _read_pod(raw)
            if JOB_UID in (pod.metadata.labels or ()) and pod.metadata.namespace in ours:
                return None
            return parse_occupant(pod)

        labels = None if ours else f"!{JOB_UID}"
        self._pods = Informer(
            http,
            Kind("pods", OtherPod, parse_other, label_selector=labels, field_selector=_ON_A_NODE),
            Told(self._replace_pods, self._observe_pod, self._forget_pod),
            ["/api/v1/pods"],
        )
        self._pods.on_failure = lambda error: self._not_listed("pods", error)

    async def run(self) -> NoReturn:
        """Wait until it is needed, then follow until cancelled."""
        await self._needed.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._nodes.run())
            group.create_task(self._pods.run())
        raise AssertionError("watches do not end")

    async def wait_told(self) -> None:
        """Wait until the surroundings are known, or known to be unknown; not at all if nobody needs them."""
        if self._needed.is_set():
            await self._told.wait()

    def _replace_nodes(self, version: int, nodes: Sequence[Node]) -> None:
        self._sink.replace_nodes(version, nodes)
        self._are_listed("nodes")

    def _replace_pods(self, version: int, found: Sequence[Occupant | None]) -> None:
        self._sink.replace_occupants(version, [occupant for occupant in found if occupant is not None])
        self._are_listed("pods")

    def _observe_pod(self, occupant: Occupant | None) -> None:
        if occupant is not None:
            self._sink.observe_occupant(occupant)

    def _forget_pod(self, occupant: Occupant | None) -> None:
        if occupant is not None:
            self._sink.forget_occupant(occupant)

    def _are_listed(self, what: str) -> None:
        self._listed[what] = True
        if all(self._listed.values()):
            self._sink.surroundings_known()
            self._told.set()

    def _not_listed(self, what: str, error: ListError) -> None:
        """The list is tried again for ever; only that it is forbidden is told, and by the first of both alone."""
        if error.code not in (401, 403):
            return
        self._listed[what] = False
        if what == "nodes" or self._listed["nodes"]:
            self._sink.surroundings_unknown(
                Unknown.FORBIDDEN,
                f"spec.quotaFromNodes cannot be followed, {error}: {TO_GRANT}, or write spec.quota instead",
            )
            self._told.set()
