"""Pods, purely: an attempt's manifest out, what became of a pod in.

On the data path: `manifest` makes the body that `client` sends; `parse_pod` reads what `informer` and `client`
received, decoding only the fields that are needed (a pod has some 200). Nothing here does I/O.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from taskjob.core.decisions import Launch
from taskjob.core.model import (
    Amounts,
    AttemptId,
    Concurrency,
    ContainerRun,
    Job,
    JobName,
    Namespace,
    Pod,
    PodUid,
    QueueName,
    Uid,
)
from taskjob.core.phases import ConcurrencyScope, PodPhase
from taskjob.kube.fields import UNREADABLE, cut, seconds, whole
from taskjob.kube.pod_ends import failure_of, state_of, trouble_of
from taskjob.kube.pod_shape import (
    ContainerState,
    PodByMeta,
    PodMeta,
    PodObject,
    PodSpecRead,
    PodStatus,
)
from taskjob.kube.requests import RequestError, effective_request
from taskjob.kube.schema import GROUP, VERSION, UnusableObjectError

JOB_UID: Final = f"{GROUP}/job-uid"
JOB_NAME: Final = f"{GROUP}/job-name"
RUN: Final = f"{GROUP}/run"
MEMBER: Final = f"{GROUP}/member"
ATTEMPT: Final = f"{GROUP}/attempt"
QUEUE: Final = f"{GROUP}/queue"
GROUP_LABEL: Final = f"{GROUP}/group"
EPOCH: Final = f"{GROUP}/epoch"
CONCURRENCY: Final = f"{GROUP}/concurrency"
"""What the pod holds until it ends: scope, limit and key, so that it is known when its TaskJob is gone."""
MAIN_CONTAINER: Final = "kubectl.kubernetes.io/default-container"

_LONGEST_NAME: Final = 63  # a pod's name is its hostname
_LONGEST_LABEL: Final = 63
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"  # as Kubernetes': no vowels, so no words
_NOT_DNS: Final = re.compile(r"[^a-z0-9-]+")


# ---------------------------------------------------------------- out
def pod_name(job_name: str, attempt: AttemptId) -> str:
    """`<job>-<5 of a hash of uid, run, member>-<attempt>`: a DNS label, the job's name cut where it must be."""
    digest = int.from_bytes(
        hashlib.blake2s(f"{attempt.uid}/{attempt.run}/{attempt.member}".encode(), digest_size=8).digest()
    )
    letters = []
    for _ in range(5):
        digest, letter = divmod(digest, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    tail = f"-{''.join(letters)}-{attempt.attempt}"
    stem = _NOT_DNS.sub("-", job_name.lower())[: _LONGEST_NAME - len(tail)].strip("-")
    return f"{stem or 'job'}{tail}"


def manifest(launch: Launch, epoch: int) -> bytes:
    """The pod of an attempt, as JSON: the job's template with our name, labels, owner and environment.

    Labels of ours win over the template's; variables that a container defines itself win over ours.
    Raises `ValueError` for a template that is no pod template (the job then has a `problem`).
    """
    job, attempt = launch.job, launch.attempt
    template = msgspec.json.decode(job.template)
    spec = template.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("containers"), list):
        raise ValueError("the pod template has no containers")
    meta = template.get("metadata") or {}
    labels, annotations = _marks(job, attempt, epoch)
    spec["restartPolicy"] = "Never"
    limits = [
        limit for limit in (spec.get("activeDeadlineSeconds"), launch.active_deadline_seconds) if isinstance(limit, int)
    ]
    if limits:
        spec["activeDeadlineSeconds"] = min(limits)
    variables = {
        "TASKJOB_NAME": job.name,
        "TASKJOB_NAMESPACE": job.namespace,
        "TASKJOB_UID": job.uid,
        "TASKJOB_RUN": str(attempt.run),
        "TASKJOB_ATTEMPT": str(attempt.attempt),
    }
    for container in (*spec["containers"], *(spec.get("initContainers") or ())):
        _add_variables(container, variables)
    return msgspec.json.encode(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod_name(job.name, attempt),
                "namespace": job.namespace,
                "labels": (meta.get("labels") or {}) | labels,
                "annotations": (meta.get("annotations") or {}) | annotations,
                "ownerReferences": [
                    {
                        "apiVersion": f"{GROUP}/{VERSION}",
                        "kind": "TaskJob",
                        "name": job.name,
                        "uid": job.uid,
                        "controller": True,
                        "blockOwnerDeletion": False,
                    }
                ],
            },
            "spec": spec,
        }
    )


def _marks(job: Job, attempt: AttemptId, epoch: int) -> tuple[dict[str, str], dict[str, str]]:
    """Labels carry the identity in clear. A name too long for a label stands as an annotation instead."""
    labels = {
        JOB_UID: str(attempt.uid),
        RUN: str(attempt.run),
        MEMBER: str(attempt.member),
        ATTEMPT: str(attempt.attempt),
    }
    annotations = {EPOCH: str(epoch)}
    if job.concurrency is not None:
        annotations[CONCURRENCY] = f"{job.concurrency.scope}:{job.concurrency.limit}:{job.concurrency.key}"
    for key, name in ((JOB_NAME, job.name), (QUEUE, job.queue)):
        (labels if len(name) <= _LONGEST_LABEL else annotations)[key] = name
    for key, value in job.labels:
        if key == GROUP_LABEL:
            labels[key] = value
    return labels, annotations


def _add_variables(container: dict[str, Any], variables: dict[str, str]) -> None:
    given = container.get("env") or []
    if not isinstance(given, list):
        return  # the API server will say what is wrong with it
    defined = {item.get("name") for item in given if isinstance(item, dict)}
    # Ours go first: a variable may refer to those before it, as $(TASKJOB_NAME).
    ours = [{"name": name, "value": value} for name, value in variables.items() if name not in defined]
    container["env"] = [*ours, *given]


# ---------------------------------------------------------------- in: what it means
_decode_pod = msgspec.json.Decoder(PodObject).decode
_decode_meta = msgspec.json.Decoder(PodByMeta).decode


def parse_pod(raw: bytes | PodObject, clean: Callable[[str], str] = str) -> Pod:
    """A pod of ours as the core sees it. `clean` takes what must not be stored out of a line of a log: of that of a
    container that failed the kubelet may have put a part into the status.

    Raises `UnusableObjectError` if its metadata do not say which attempt it is. A pod whose spec or status cannot
    be read counts as running: it stays charged until it is gone.
    """
    if isinstance(raw, PodObject):
        return _read(raw, clean)
    try:
        return _read(_decode_pod(raw), clean)
    except UNREADABLE as error:
        try:
            meta = _decode_meta(raw).metadata
        except UNREADABLE:
            raise UnusableObjectError(f"a pod that cannot be read: {error}") from None
        return _read(PodObject(meta, status=PodStatus(phase="Running", message=f"cannot be read: {error}")), clean)


def _read(pod: PodObject, clean: Callable[[str], str]) -> Pod:
    meta, spec, status = pod.metadata, pod.spec, pod.status
    labels, annotations = meta.labels or {}, meta.annotations or {}
    attempt = _attempt(meta, labels)
    try:
        request = effective_request(spec.containers or (), spec.init_containers or (), spec.resources, spec.overhead)
    except RequestError:
        request = _ONE_POD
    phase = _PHASES.get(status.phase or "Pending", PodPhase.RUNNING)
    main = _main(annotations, spec)
    main_state = state_of(status.container_statuses, main)
    failure, exit_code, message, container, trouble = None, None, "", "", None
    if phase is PodPhase.FAILED:
        failure, exit_code, message, container = failure_of(pod, main, clean)
    elif phase is PodPhase.SUCCEEDED:
        exit_code = 0
    else:
        trouble, message = trouble_of(status, pending=phase is PodPhase.PENDING)
    created_at = meta.creation_timestamp
    if created_at is None:
        raise UnusableObjectError(f"pod {meta.namespace}/{meta.name}: metadata.creationTimestamp is missing")
    return Pod(
        uid=PodUid(meta.uid),
        name=meta.name,
        namespace=Namespace(meta.namespace),
        version=whole(meta.resource_version),
        attempt=attempt,
        queue=QueueName(labels.get(QUEUE) or annotations.get(QUEUE) or ""),
        request=request,
        phase=phase,
        created_at=created_at,
        epoch=whole(annotations.get(EPOCH)),
        concurrency=_concurrency(annotations.get(CONCURRENCY)),
        job_name=JobName(labels.get(JOB_NAME) or annotations.get(JOB_NAME) or ""),
        node=spec.node_name or None,
        started_at=_started_at(main_state),
        finished_at=_finished_at(status) if phase.ended else None,
        exit_code=exit_code,
        failure=failure,
        container=container,
        trouble=trouble,
        message=cut(message),
        deleting=meta.deletion_timestamp is not None,
        gone_by=meta.deletion_timestamp,
        active_deadline_seconds=spec.active_deadline_seconds,
        grace_seconds=seconds(spec.termination_grace_period_seconds, 30),
        containers=tuple(_ran(status, main)),
    )


_ONE_POD: Final[Amounts] = (("pods", 1),)
_PHASES: Final = {member.value: member for member in PodPhase}


def _attempt(meta: PodMeta, labels: dict[str, str]) -> AttemptId:
    try:
        found = AttemptId(Uid(labels[JOB_UID]), int(labels[RUN]), int(labels[MEMBER]), int(labels[ATTEMPT]))
    except (KeyError, ValueError) as error:
        raise UnusableObjectError(
            f"pod {meta.namespace}/{meta.name}: its labels do not say which attempt it is ({error})"
        ) from None
    if not (meta.uid and meta.name and found.uid):
        raise UnusableObjectError(f"pod {meta.namespace}/{meta.name}: metadata has no usable name and uid")
    return found


def owned_by(pod: PodObject, uid: str) -> bool:
    """Whether the TaskJob of that uid is the pod's controller."""
    return any(owner.uid == uid and owner.controller for owner in pod.metadata.owner_references or ())


def _concurrency(said: str | None) -> Concurrency | None:
    scope, _, rest = (said or "").partition(":")
    limit, _, key = rest.partition(":")
    if scope not in list(ConcurrencyScope) or not key or whole(limit) < 1:
        return None
    return Concurrency(key, whole(limit), scope=ConcurrencyScope(scope))


def _main(annotations: dict[str, str], spec: PodSpecRead) -> str:
    containers = spec.containers or ()
    named = annotations.get(MAIN_CONTAINER)
    if named is not None and any(container.name == named for container in containers):
        return named
    return containers[0].name if containers else ""


def _ran(status: PodStatus, main: str) -> Iterator[ContainerRun]:
    """The containers that have something to log: those that started, in their order."""
    for container in (*(status.init_container_statuses or ()), *(status.container_statuses or ())):
        state = container.state
        if state is not None and (state.running is not None or state.terminated is not None):
            yield ContainerRun(container.name, _started_at(state), state.running is None, container.name == main)


def _started_at(state: ContainerState | None) -> datetime | None:
    if state is None:
        return None
    seen = state.running or state.terminated
    started_at = seen.started_at if seen is not None else None
    # Of a container that could not be started containerd reports the year 1970.
    return started_at if started_at is not None and started_at.year > 1970 else None


def _finished_at(status: PodStatus) -> datetime | None:
    """When the last container ended; for a pod whose containers say nothing, its last change of condition."""
    ends = [
        container.state.terminated.finished_at
        for container in (*(status.container_statuses or ()), *(status.init_container_statuses or ()))
        if container.state is not None and container.state.terminated is not None
    ]
    known = [at for at in ends if at is not None and at.year > 1970]
    if not known:
        changes = (condition.last_transition_time for condition in status.conditions or ())
        known = [at for at in changes if at is not None]
    return max(known) if known else None
