"""What nodes can give: whatever comes in whatever order, the sums are those of a rebuild, and they are right."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from taskjob.core.capacity import Capacity, Node, Occupant, counts
from taskjob.core.model import Labels, PodUid, QuotaFromNodes

SELECTORS: list[Labels] = [(), (("pool", "gpu"),), (("pool", "cpu"), ("zone", "a"))]
RESOURCES = ["cpu", "memory", "nvidia.com/gpu", "pods"]
NAMES = ["n1", "n2", "n3"]

AMOUNTS = st.dictionaries(st.sampled_from(RESOURCES), st.integers(0, 9)).map(lambda found: tuple(sorted(found.items())))
LABELS = st.frozensets(st.sampled_from([("pool", "gpu"), ("pool", "cpu"), ("zone", "a"), ("zone", "b")]))
NODES = st.builds(Node, st.sampled_from(NAMES), LABELS, AMOUNTS, st.booleans(), st.booleans())
OCCUPANTS = st.builds(
    Occupant, st.sampled_from([PodUid(f"p{n}") for n in range(5)]), st.sampled_from([*NAMES, "unheard-of"]), AMOUNTS
)
OF = st.builds(QuotaFromNodes, st.integers(1, 100), st.sampled_from(SELECTORS))

Step = Callable[[Capacity], object]
STEPS: st.SearchStrategy[Step] = st.one_of(
    NODES.map(lambda node: lambda of: of.put_node(node)),
    st.sampled_from(NAMES).map(lambda name: lambda of: of.drop_node(name)),
    st.lists(NODES, max_size=3).map(lambda nodes: lambda of: of.replace_nodes(nodes)),
    OCCUPANTS.map(lambda occupant: lambda of: of.put_occupant(occupant)),
    OCCUPANTS.map(lambda occupant: lambda of: of.drop_occupant(occupant.uid)),
    st.lists(OCCUPANTS, max_size=4).map(lambda occupants: lambda of: of.replace_occupants(occupants)),
    OF.map(lambda asked: lambda of: of.quota(asked)),
)


def rebuilt(capacity: Capacity) -> Capacity:
    anew = Capacity()
    anew.replace_occupants(capacity.occupants.values())
    anew.replace_nodes(capacity.nodes.values())
    return anew


@given(st.lists(STEPS, max_size=30), st.integers(1, 100))
def test_the_sums_are_those_of_a_rebuild_after_every_event(steps: list[Step], percent: int) -> None:
    capacity = Capacity()
    for step in steps:
        step(capacity)
        for selector in SELECTORS:
            asked = QuotaFromNodes(percent, selector)
            assert capacity.quota(asked) == rebuilt(capacity).quota(asked)


@given(st.lists(STEPS, max_size=30), OF)
def test_a_quota_is_the_share_of_the_chosen_nodes_less_what_others_request_there(
    steps: list[Step], of: QuotaFromNodes
) -> None:
    capacity = Capacity()
    for step in steps:
        step(capacity)
    chosen = [node for node in capacity.nodes.values() if counts(node, of.node_selector)]
    names = {node.name for node in chosen}
    for resource, quota in capacity.quota(of):
        allocatable = sum(dict(node.allocatable).get(resource, 0) for node in chosen)
        occupied = sum(dict(pod.request).get(resource, 0) for pod in capacity.occupants.values() if pod.node in names)
        share = allocatable * of.percent / 100
        assert quota == 0 or share <= quota + occupied < share + 1
        assert quota <= max(0, allocatable - occupied), "never more than there is"
    assert {resource for resource, _ in capacity.quota(of)} == {
        resource for node in chosen for resource, amount in node.allocatable if amount
    }


@given(st.lists(STEPS, max_size=20), STEPS, OF)
def test_a_quota_never_changes_without_being_called_changed(before: list[Step], step: Step, of: QuotaFromNodes) -> None:
    capacity = Capacity()
    for each in before:
        each(capacity)
    quota = capacity.quota(of)
    capacity.changed = False
    step(capacity)
    assert capacity.changed or capacity.quota(of) == quota
