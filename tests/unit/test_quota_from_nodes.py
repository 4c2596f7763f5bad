"""A queue whose quota follows the nodes: nodes come and go, others' pods take their part, and it says so."""

from __future__ import annotations

import msgspec
import pytest

from builders import a_job, a_queue, amounts
from taskjob.core.capacity import Node, Occupant, Unknown
from taskjob.core.model import PodUid, QuotaFromNodes
from taskjob.core.phases import Reason
from taskjob.kube.surroundings import parse_node, parse_occupant
from world import World

NODE = {
    "metadata": {"name": "n1", "labels": {"pool": "gpu"}},
    "status": {
        "allocatable": {"cpu": "3920m", "memory": "7Gi", "pods": "110", "nvidia.com/gpu": "1"},
        "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
    },
}


def a_node(name: str = "n1", cpu: float = 4, **labels: str) -> Node:
    return Node(name, frozenset(labels.items()), amounts(cpu=cpu, pods=110))


def occupant(uid: str = "p1", node: str = "n1", cpu: float = 1) -> Occupant:
    return Occupant(PodUid(uid), node, amounts(cpu=cpu))


def a_world(*nodes: Node, percent: int = 100, **labels: str) -> World:
    world = World()
    capacity = world.state.queues.capacity
    capacity.replace_nodes(nodes)
    capacity.is_known()
    world.put_queue(a_queue(quota_from_nodes=QuotaFromNodes(percent, tuple(sorted(labels.items())))))
    return world


def told(world: World, name: str) -> tuple[Reason, str]:
    status = world.status(name)
    return status.reason, status.message


def test_as_much_starts_as_the_nodes_have() -> None:
    world = a_world(a_node(cpu=2))
    world.submit(a_job("a"), a_job("b"), a_job("c"))
    world.run()
    assert world.names_launched() == ["a", "b"]
    assert told(world, "c") == (
        Reason.WAITING_FOR_QUOTA,
        'needs cpu 1; queue "default" has 0 of 2 left',
    )


def test_a_node_that_appears_lets_more_start_at_once() -> None:
    world = a_world(a_node(cpu=1))
    world.submit(a_job("a"), a_job("b"))
    world.run()
    world.state.queues.capacity.put_node(a_node("n2", cpu=1))
    world.run()
    assert world.names_launched() == ["a", "b"]


def test_a_node_that_vanishes_evicts_nobody_and_lets_nobody_start() -> None:
    world = a_world(a_node(cpu=1), a_node("n2", cpu=1))
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.state.queues.capacity.drop_node("n2")
    world.state.queues.capacity.drop_node("n1")
    world.submit(a_job("b"))
    world.run()
    assert (world.names_launched(), world.ended) == (["a"], [])
    assert told(world, "b")[0] is Reason.EXCEEDS_QUOTA


def test_pods_of_others_take_their_part_and_give_it_back() -> None:
    world = a_world(a_node(cpu=2))
    world.state.queues.capacity.put_occupant(occupant(cpu=1.5))
    world.submit(a_job("a"))
    world.run()
    assert world.names_launched() == []
    world.state.queues.capacity.drop_occupant(PodUid("p1"))
    world.run()
    assert world.names_launched() == ["a"]


def test_a_resource_that_no_node_has_is_not_to_be_had() -> None:
    world = a_world(a_node())
    world.submit(a_job("a").asking(cpu=1, **{"nvidia.com/gpu": 1}))
    world.run()
    reason, message = told(world, "a")
    assert (reason, "nvidia.com/gpu" in message) == (Reason.EXCEEDS_QUOTA, True)


def test_what_was_told_is_told_anew_when_it_is_no_longer_true() -> None:
    world = a_world(a_node(cpu=1))
    world.submit(a_job("a"), a_job("b").asking(cpu=2))
    world.run()
    reason, message = told(world, "b")
    assert (reason, "what the nodes give now (1)" in message) == (Reason.EXCEEDS_QUOTA, True)
    world.state.queues.capacity.put_node(a_node("n2", cpu=1))
    world.run()
    assert told(world, "b")[0] is Reason.WAITING_FOR_QUOTA
    world.state.queues.capacity.drop_node("n2")
    world.run()
    assert told(world, "b")[0] is Reason.EXCEEDS_QUOTA


def test_an_event_that_changes_no_quota_has_nothing_looked_at() -> None:
    world = a_world(a_node(cpu=1), pool="cpu")
    world.submit(a_job("a"))
    world.run()
    world.state.queues.capacity.put_occupant(occupant(node="elsewhere"))
    world.state.queues.capacity.put_node(a_node(cpu=1))
    assert not world.state.queues.capacity.changed


def test_without_the_right_to_watch_the_jobs_are_told_what_is_missing() -> None:
    world = a_world(a_node())
    world.state.queues.capacity.is_unknown(Unknown.FORBIDDEN, "nodes cannot be listed: grant it")
    world.submit(a_job("a"))
    world.run()
    reason, message = told(world, "a")
    assert (reason, world.names_launched()) == (Reason.QUEUE_NOT_FOUND, [])
    assert message == 'TaskQueue "default" cannot be used: nodes cannot be listed: grant it'
    world.state.queues.capacity.is_known()
    world.run()
    assert world.names_launched() == ["a"]


# ------------------------------------------------------------------ what is read of nodes and pods
def test_a_node_is_read_with_what_it_can_give() -> None:
    node = parse_node(msgspec.json.encode(NODE))
    assert node == Node(
        "n1",
        frozenset({("pool", "gpu")}),
        (("cpu", 3920), ("memory", 7 * 2**30), ("nvidia.com/gpu", 1), ("pods", 110)),
    )


@pytest.mark.parametrize(
    ("spec", "working", "tainted"),
    [
        ({"unschedulable": True}, False, False),
        ({"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}, False, False),
        ({"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}, True, True),
        ({"taints": [{"key": "a", "effect": "PreferNoSchedule"}]}, True, False),
    ],
)
def test_a_node_that_pods_are_kept_away_from_is_known(spec: object, working: bool, tainted: bool) -> None:
    node = parse_node(msgspec.json.encode({**NODE, "spec": spec}))
    assert (node.working, node.tainted) == (working, tainted)


def test_a_node_that_is_not_ready_does_not_work() -> None:
    assert not parse_node(msgspec.json.encode({**NODE, "status": {"conditions": []}})).working


def test_a_tainted_node_counts_only_where_nodes_are_chosen_by_their_labels() -> None:
    tainted = Node("n1", frozenset({("pool", "gpu")}), amounts(cpu=1), tainted=True)
    assert a_world(tainted).state.queues.capacity.quota(QuotaFromNodes(100)) == ()
    chosen = QuotaFromNodes(100, (("pool", "gpu"),))
    assert a_world(tainted).state.queues.capacity.quota(chosen) == amounts(cpu=1)


def test_a_pod_of_others_is_read_as_the_scheduler_counts_it() -> None:
    container = {"name": "main", "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "1Gi"}}}
    raw = {"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "n1", "containers": [container]}}
    assert parse_occupant(msgspec.json.encode(raw)) == Occupant(
        PodUid("u"), "n1", (("cpu", 250), ("memory", 2**30), ("pods", 1))
    )


def test_the_share_of_the_nodes_is_that_of_the_spec() -> None:
    world = a_world(a_node(cpu=4), percent=50)
    world.submit(*(a_job(name) for name in "abc"))
    world.run()
    assert world.names_launched() == ["a", "b"]
