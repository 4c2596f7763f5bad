"""A pod's effective request: the cases of the Kubernetes documentation on init containers, sidecars and overhead."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from taskjob.core.model import Amounts
from taskjob.kube.requests import PodSpec, RequestError, effective_request


def container(
    cpu: str | None = None, *, limit: str | None = None, sidecar: bool = False, gpus: str | None = None, **others: str
) -> dict[str, Any]:
    requests = {**({"cpu": cpu} if cpu is not None else {}), **others}
    if gpus is not None:
        requests["nvidia.com/gpu"] = gpus
    resources: dict[str, Any] = {"requests": requests} if requests else {}
    if limit is not None:
        resources["limits"] = {"cpu": limit}
    return {"name": "c", "resources": resources, **({"restartPolicy": "Always"} if sidecar else {})}


def request_of(spec: dict[str, Any]) -> Amounts:
    pod = msgspec.convert(spec, PodSpec)
    return effective_request(pod.containers or (), pod.init_containers or (), pod.resources, pod.overhead)


def asking(**amounts: int) -> Amounts:
    return tuple(sorted({**amounts, "pods": 1}.items()))


@pytest.mark.parametrize(
    ("case", "spec", "request_"),
    [
        ("a pod that asks nothing counts as a pod", {"containers": [container()]}, asking()),
        ("no resources at all", {"containers": [{"name": "c"}]}, asking()),
        ("one container", {"containers": [container("100m", memory="1Mi")]}, asking(cpu=100, memory=2**20)),
        ("containers are summed", {"containers": [container("1"), container("250m")]}, asking(cpu=1250)),
        ("a limit stands for a missing request", {"containers": [container(limit="300m")]}, asking(cpu=300)),
        ("a request wins over its limit", {"containers": [container("100m", limit="2")]}, asking(cpu=100)),
        (
            "of init containers the greatest counts, when it is more than the sum of the containers",
            {"containers": [container("1"), container("1")], "initContainers": [container("3"), container("2")]},
            asking(cpu=3000),
        ),
        (
            "a smaller init container changes nothing",
            {"containers": [container("1"), container("1")], "initContainers": [container("500m")]},
            asking(cpu=2000),
        ),
        (
            "the greatest is taken resource by resource",
            {"containers": [container("2", memory="1Gi")], "initContainers": [container("1", memory="4Gi")]},
            asking(cpu=2000, memory=4 * 2**30),
        ),
        (
            "a sidecar runs beside the containers",
            {"containers": [container("1")], "initContainers": [container("500m", sidecar=True)]},
            asking(cpu=1500),
        ),
        (
            "an init container runs beside the sidecars that were started before it",
            {
                "containers": [container("1")],
                "initContainers": [container("1", sidecar=True), container("2"), container("1", sidecar=True)],
            },
            asking(cpu=3000),  # 1 + 2 while starting; 1 + 1 + 1 while running
        ),
        (
            "an init container does not pay for the sidecars after it",
            {"containers": [container("1")], "initContainers": [container("5"), container("1", sidecar=True)]},
            asking(cpu=5000),
        ),
        (
            "sidecars are summed",
            {
                "containers": [container("1")],
                "initContainers": [container("1", sidecar=True), container("2", sidecar=True)],
            },
            asking(cpu=4000),
        ),
        (
            "overhead is added to whatever the containers need",
            {
                "containers": [container("1")],
                "initContainers": [container("3")],
                "overhead": {"cpu": "250m", "memory": "120Mi"},
            },
            asking(cpu=3250, memory=120 * 2**20),
        ),
        (
            "the pod's own request replaces the containers'",
            {"containers": [container("1", memory="1Gi")], "resources": {"requests": {"cpu": "4"}}},
            asking(cpu=4000, memory=2**30),
        ),
        (
            "the pod's own limit stands where nobody requests",
            {"containers": [container()], "resources": {"limits": {"cpu": "4", "memory": "1Gi"}}},
            asking(cpu=4000, memory=2**30),
        ),
        (
            "the containers' request stands against the pod's mere limit",
            {"containers": [container("1")], "resources": {"limits": {"cpu": "4"}}},
            asking(cpu=1000),
        ),
        (
            "the pod's own request knows only cpu, memory and hugepages",
            {"containers": [container("1", gpus="1")], "resources": {"requests": {"pods": "9"}}},
            (("cpu", 1000), ("nvidia.com/gpu", 1), ("pods", 1)),
        ),
        (
            "overhead comes on top of the pod's own request",
            {"containers": [container()], "resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "100m"}},
            asking(cpu=2100),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_effective_request(case: str, spec: dict[str, Any], request_: Amounts) -> None:
    assert request_of(spec) == request_, case


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"containers": [container("1"), container("much")]},
            'containers[1].resources.requests[cpu]: "much" is not a quantity',
        ),
        ({"containers": [container("-1")]}, 'containers[0].resources.requests[cpu]: "-1" is negative'),
        (
            {"containers": [container("1")], "initContainers": [container(limit="x")]},
            'initContainers[0].resources.limits[cpu]: "x" is not a quantity',
        ),
        ({"containers": [container("1")], "overhead": {"cpu": "?"}}, 'overhead[cpu]: "?" is not a quantity'),
    ],
)
def test_a_quantity_that_cannot_be_used_is_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as refused:
        request_of(spec)
    assert str(refused.value) == message
