"""Why a pod failed, and what is known against one that has not ended; purely, from what its status says.

The classes are `core.phases.FailureClass`; `docs/lifecycle.md` has the whole list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from taskjob.core.phases import FailureClass
from taskjob.kube.fields import seconds
from taskjob.kube.pod_shape import (
    ContainerState,
    ContainerStatus,
    PodCondition,
    PodMeta,
    PodObject,
    PodSpecRead,
    PodStatus,
    Terminated,
)

_EVICTIONS: Final = frozenset(
    {
        "Evicted",
        "NodeAffinity",
        "NodeShutdown",
        "Preempted",
        "Preempting",
        "Shutdown",
        "Terminated",
        "UnexpectedAdmissionError",
    }
)
"""Reasons of a failed pod by which the node or the scheduler took its place away, or the node did not let it in."""

_CANNOT_START: Final = frozenset(
    {"StartError", "ContainerCannotRun", "CreateContainerError", "CreateContainerConfigError", "RunContainerError"}
)
_NO_IMAGE: Final = frozenset(
    {
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_ORDINARY_WAITS: Final = frozenset({"ContainerCreating", "PodInitializing"})


_STOPPED_BY: Final = frozenset({128 + 15, 128 + 9})
"""Exit codes of SIGTERM and SIGKILL, which the kubelet sends when a pod is deleted."""

_CLOCK_SKEW: Final = timedelta(seconds=30)
"""So far a node's clock may be behind the API server's."""


class Failure(NamedTuple):
    """Why a pod failed; `container` is the one that did, if one did."""

    kind: FailureClass
    exit_code: int | None
    message: str
    container: str = ""


def failure_of(pod: PodObject, main: str, clean: Callable[[str], str]) -> Failure:
    """Class, exit code and a sentence of a failed pod; `clean` is for what a container said last (`pods.parse_pod`).

    Looked at in this order: the pod's own reason (its deadline), what took it off its node (a lost node, an eviction),
    whether somebody deleted it, then the container that failed: an init container, else the main one, else the first.
    """
    status = pod.status
    failed = _first_failed(pod.spec, status, main)
    exit_code, container = (failed[2].exit_code, failed[1]) if failed is not None else (None, "")
    if status.reason == "DeadlineExceeded":
        if exit_code is None:
            state = state_of(status.container_statuses, main)
            exit_code = state.terminated.exit_code if state is not None and state.terminated is not None else None
        told = status.message or "ran longer than its activeDeadlineSeconds"
        return Failure(FailureClass.TIMEOUT, exit_code, told, container)
    disruption = _disruption(status)
    if _lost_its_node(status, disruption):
        return Failure(FailureClass.NODE_LOST, exit_code, _lost(status, disruption), container)
    reason = status.reason or ""
    if disruption is not None or reason in _EVICTIONS or reason.startswith("OutOf"):
        return Failure(FailureClass.EVICTED, exit_code, _evicted(status, disruption), container)
    if _deleted_before(pod.metadata, failed):
        return Failure(FailureClass.POD_DELETED, exit_code, "its pod was deleted", container)
    if failed is None:
        told = ": ".join(part for part in (reason, status.message or "") if part)
        return Failure(FailureClass.START_ERROR, None, told or "failed before any container ran")
    kind, name, end = failed
    note = clean((end.message or "").strip().partition("\n")[0])
    if end.reason == "OOMKilled":
        sentence, failure = f'{kind} "{name}" ran out of memory', FailureClass.OOM_KILLED
    elif end.reason in _CANNOT_START:
        sentence, failure = f'{kind} "{name}" could not be started ({end.reason})', FailureClass.START_ERROR
    else:
        sentence, failure = f'{kind} "{name}" exited with code {end.exit_code}', FailureClass.EXIT_CODE
    return Failure(failure, exit_code, f"{sentence}: {note}" if note else sentence, name)


def trouble_of(status: PodStatus, *, pending: bool) -> tuple[FailureClass | None, str]:
    """What is known against a pod that has not ended: what is to end it, or why it does not start; and a sentence."""
    disruption = _disruption(status)
    if _lost_its_node(status, disruption, ended=False):
        return FailureClass.NODE_LOST, _lost(status, disruption)
    if disruption is not None:
        return FailureClass.EVICTED, _evicted(status, disruption)
    if not pending:
        return None, status.message or ""
    for container in (*(status.init_container_statuses or ()), *(status.container_statuses or ())):
        waiting = container.state.waiting if container.state is not None else None
        if waiting is not None and waiting.reason and waiting.reason not in _ORDINARY_WAITS:
            told = f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason
            kind = FailureClass.IMAGE_PULL if waiting.reason in _NO_IMAGE else FailureClass.START_ERROR
            return kind, f'container "{container.name}" waits: {told}'
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return FailureClass.UNSCHEDULABLE, f"not scheduled: {condition.message}" if condition.message else ""
    return None, ""


def state_of(statuses: Sequence[ContainerStatus] | None, name: str) -> ContainerState | None:
    """The state of the container of that name."""
    for status in statuses or ():
        if status.name == name:
            return status.state
    return None


def _disruption(status: PodStatus) -> PodCondition | None:
    return next((c for c in status.conditions or () if c.type == "DisruptionTarget" and c.status == "True"), None)


def _evicted(status: PodStatus, disruption: PodCondition | None) -> str:
    word = status.reason or (disruption.reason if disruption is not None else None) or "Evicted"
    told = status.message or (disruption.message if disruption is not None else None)
    return f"{word}: {told}" if told else word


def _lost_its_node(status: PodStatus, disruption: PodCondition | None, *, ended: bool = True) -> bool:
    """A kubelet calls a pod failed when its containers have ended; who does so while one runs has no kubelet to ask."""
    if status.reason == "NodeLost" or (disruption is not None and disruption.reason == "DeletionByPodGC"):
        return True
    states = [container.state for container in status.container_statuses or ()]
    return ended and any(state is not None and state.running is not None for state in states)


def _lost(status: PodStatus, disruption: PodCondition | None) -> str:
    told = status.message or (disruption.message if disruption is not None else None)
    return f"its node was lost: {told}" if told else "its node was lost before it told of the end"


def _deleted_before(meta: PodMeta, failed: tuple[str, str, Terminated] | None) -> bool:
    """Whether the deletion came before the end: what ended by itself and was deleted then has its own outcome.

    The end is told by the node's clock, the deletion by the API server's. Where the end is what a deletion does, clocks
    that differ do not matter.
    """
    asked_at = _deletion_asked_at(meta)
    if asked_at is None:
        return False
    end = failed[2] if failed is not None else None
    if end is None or end.finished_at is None:
        return True
    stopped = end.exit_code in _STOPPED_BY and end.reason != "OOMKilled"
    return end.finished_at >= asked_at - (_CLOCK_SKEW if stopped else timedelta())


def _deletion_asked_at(meta: PodMeta) -> datetime | None:
    """`deletionTimestamp` is when the grace period ends, not when the deletion was asked for."""
    if meta.deletion_timestamp is None:
        return None
    return meta.deletion_timestamp - timedelta(seconds=seconds(meta.deletion_grace_period_seconds, 0))


def _first_failed(spec: PodSpecRead, status: PodStatus, main: str) -> tuple[str, str, Terminated] | None:
    sidecars = {container.name for container in spec.init_containers or () if container.restart_policy == "Always"}
    for init in status.init_container_statuses or ():
        end = init.state.terminated if init.state is not None else None
        if end is not None and end.exit_code and init.name not in sidecars:  # a sidecar's end fails no pod
            return "init container", init.name, end
    for container in sorted(status.container_statuses or (), key=lambda one: one.name != main):
        end = container.state.terminated if container.state is not None else None
        if end is not None and (end.exit_code or end.reason == "OOMKilled"):
            return "container", container.name, end
    return None
