"""The fields of a pod that are decoded: a handful of some two hundred, so that an event costs microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from taskjob.kube.requests import Container, Quantities, Resources


class OwnerReference(msgspec.Struct, frozen=True):
    """One owner of a pod."""

    uid: str = ""
    controller: bool | None = None


class PodMeta(msgspec.Struct, frozen=True, rename="camel"):
    """The needed part of a pod's metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: Sequence[OwnerReference] | None = None


class PodContainer(Container, frozen=True, rename="camel"):
    """A container of a pod's spec."""

    name: str = ""


class PodSpecRead(msgspec.Struct, frozen=True, rename="camel"):
    """The needed part of a pod's spec."""

    node_name: str | None = None
    containers: Sequence[PodContainer] | None = None
    init_containers: Sequence[PodContainer] | None = None
    resources: Resources | None = None
    overhead: Quantities | None = None
    active_deadline_seconds: int | None = None
    termination_grace_period_seconds: int | None = None


class Running(msgspec.Struct, frozen=True, rename="camel"):
    """The state of a running container."""

    started_at: datetime | None = None


class Terminated(msgspec.Struct, frozen=True, rename="camel"):
    """The state of a container that ended."""

    exit_code: int = 0
    reason: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Waiting(msgspec.Struct, frozen=True):
    """The state of a container that has not started."""

    reason: str | None = None
    message: str | None = None


class ContainerState(msgspec.Struct, frozen=True):
    """One of three."""

    running: Running | None = None
    terminated: Terminated | None = None
    waiting: Waiting | None = None


class ContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What became of one container."""

    name: str = ""
    state: ContainerState | None = None


class PodCondition(msgspec.Struct, frozen=True, rename="camel"):
    """One condition of a pod."""

    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    last_transition_time: datetime | None = None


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The needed part of a pod's status."""

    phase: str | None = None
    reason: str | None = None
    message: str | None = None
    conditions: Sequence[PodCondition] | None = None
    container_statuses: Sequence[ContainerStatus] | None = None
    init_container_statuses: Sequence[ContainerStatus] | None = None


class PodObject(msgspec.Struct, frozen=True):
    """A pod as decoded: the needed fields, and nothing else."""

    metadata: PodMeta
    spec: PodSpecRead = PodSpecRead()
    status: PodStatus = PodStatus()


class PodByMeta(msgspec.Struct, frozen=True):
    """A pod whose other parts cannot be read."""

    metadata: PodMeta
