"""A pod's effective request, as the Kubernetes scheduler computes it; what a queue's quota is charged with.

Pure. The rules, as documented for init containers, sidecars and pod-level resources:

1. The API server's defaults first: a container's request that is missing is its limit.
2. The containers are summed, and with them the restartable init containers (sidecars), which run beside them.
3. An init container needs its own request and that of every sidecar started before it. The pod needs the greatest
   of all these phases, resource by resource.
4. A pod-level request for cpu, memory or hugepages replaces the figure so far. Where only a pod-level limit is
   given, the containers' figure stands if there is one, else the limit.
5. Overhead is added, and `pods: 1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

from taskjob.core.amounts import QuantityError, parse
from taskjob.core.model import Amounts

Quantity = str | int | float
Quantities = dict[str, Quantity]


class Resources(msgspec.Struct, frozen=True):
    """`resources` of a container or of a pod."""

    requests: Quantities | None = None
    limits: Quantities | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a container that its request depends on."""

    resources: Resources | None = None
    restart_policy: str | None = None


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a pod's spec that its request depends on."""

    containers: Sequence[Container] | None = None
    init_containers: Sequence[Container] | None = None
    resources: Resources | None = None
    overhead: Quantities | None = None


class RequestError(ValueError):
    """A quantity cannot be used. The message names the field, relative to the pod's spec."""


_ONE_POD: Amounts = (("pods", 1),)


def effective_request(
    containers: Sequence[Container],
    init_containers: Sequence[Container] = (),
    pod_level: Resources | None = None,
    overhead: Mapping[str, Quantity] | None = None,
) -> Amounts:
    """The amounts that a pod is charged with. Raises `RequestError`."""
    if len(containers) == 1 and not init_containers and pod_level is None and not overhead:  # nearly all pods
        resources = containers[0].resources
        if resources is None or not (resources.requests or resources.limits):
            return _ONE_POD
        if not resources.limits and resources.requests is not None:
            return _single(tuple(resources.requests.items()))
    total: dict[str, int] = {}
    for n, container in enumerate(containers):
        _add(total, _container(container, f"containers[{n}]"))
    sidecars: dict[str, int] = {}
    starting: dict[str, int] = {}
    for n, container in enumerate(init_containers):
        asked = _container(container, f"initContainers[{n}]")
        if container.restart_policy == "Always":
            _add(total, asked)
            _add(sidecars, asked)
            asked = sidecars
        else:
            _add(asked, sidecars)
        _raise_to(starting, asked)
    _raise_to(total, starting)
    if pod_level is not None:
        requests = _quantities(pod_level.requests, "resources.requests")
        for resource, limit in _quantities(pod_level.limits, "resources.limits").items():
            if _at_pod_level(resource):
                requests.setdefault(resource, total.get(resource, limit))
        total.update((resource, amount) for resource, amount in requests.items() if _at_pod_level(resource))
    if overhead:
        _add(total, _quantities(overhead, "overhead"))
    total["pods"] = 1
    return tuple(sorted(total.items()))


@lru_cache(maxsize=1024)
def _single(requests: tuple[tuple[str, Quantity], ...]) -> Amounts:
    asked = _quantities(dict(requests), "containers[0].resources.requests")
    asked["pods"] = 1
    return tuple(sorted(asked.items()))


def _container(container: Container, field: str) -> dict[str, int]:
    if container.resources is None:
        return {}
    asked = _quantities(container.resources.limits, f"{field}.resources.limits")
    asked.update(_quantities(container.resources.requests, f"{field}.resources.requests"))
    return asked


def _quantities(quantities: Mapping[str, Quantity] | None, field: str) -> dict[str, int]:
    amounts: dict[str, int] = {}
    for resource, quantity in (quantities or {}).items():
        try:
            amounts[resource] = parse(resource, quantity)
        except QuantityError as error:
            raise RequestError(f"{field}[{resource}]: {error}") from None
    return amounts


def _at_pod_level(resource: str) -> bool:
    return resource in ("cpu", "memory") or resource.startswith("hugepages-")


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for resource, amount in more.items():
        total[resource] = total.get(resource, 0) + amount


def _raise_to(total: dict[str, int], floor: Mapping[str, int]) -> None:
    for resource, amount in floor.items():
        if amount > total.get(resource, -1):
            total[resource] = amount
