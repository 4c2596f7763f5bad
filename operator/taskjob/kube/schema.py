"""TaskJob and TaskQueue objects to core values. With `patches`, the way back, all that knows the CRDs' shape.

On the data path between the API server's JSON (as decoded: plain dicts) and the core. The CRD's schema has
normally refused what is wrong; what was written past it (an older CRD, say) must harm nobody else, so parsing
never raises on odd content: it gives a value with `problem` set, a sentence that names the field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from taskjob.core import amounts
from taskjob.core.model import (
    DEFAULT_CONTROLLER,
    NO_RETRY,
    Amounts,
    CohortName,
    Concurrency,
    Defaults,
    Dependency,
    Job,
    JobName,
    Namespace,
    ObservedCondition,
    Queue,
    QueueName,
    QuotaFromNodes,
    Retry,
    RetryRule,
    Status,
    Uid,
)
from taskjob.core.phases import (
    PRIORITIES,
    ConcurrencyScope,
    Condition,
    FailureClass,
    OnConflict,
    OnDependencyFailure,
    Phase,
    PodRetention,
    Preempt,
    Reason,
    RetryAction,
    Stopping,
    StopPolicy,
    Strategy,
)
from taskjob.core.values import shown
from taskjob.kube.fields import Object, Reader, instant, whole
from taskjob.kube.selectors import read_selector
from taskjob.kube.templates import read_template

GROUP: Final = "taskjobs.dev"
VERSION: Final = "v1beta1"

_PRIORITY_MAX: Final = 1_000_000
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)

_PHASES: Final = {member.value: member for member in Phase}
_REASONS: Final = {member.value: member for member in Reason}
_STOPPINGS: Final = {member.value: member for member in Stopping}
_ORDINARY_REASON: Final = {
    Phase.PENDING: Reason.QUEUED,
    Phase.STARTING: Reason.LAUNCHED,
    Phase.RUNNING: Reason.STARTED,
    Phase.SUCCEEDED: Reason.COMPLETED,
    Phase.FAILED: Reason.ATTEMPT_FAILED,
    Phase.CANCELLED: Reason.CANCELLED_BY_USER,
    Phase.SKIPPED: Reason.DEPENDENCY_NOT_SATISFIED,
}
"""What stands for a reason that this version does not know."""


class UnusableObjectError(ValueError):
    """An object without the metadata by which it could even be reported on."""


def parse_job(obj: Object) -> Job:
    """A TaskJob as the core sees it.

    Never raises on odd content: `Job.problem` names the first field that cannot be used, and safe values stand for
    all such fields. Raises `UnusableObjectError` only if metadata has no usable uid, namespace or name.
    """
    uid, namespace, name, meta = _identity(obj)
    if not namespace:
        raise UnusableObjectError(f"TaskJob {name}: metadata.namespace is missing")
    read = Reader()
    spec = read.mapping(obj, "spec", "")
    given = spec.get("priority")
    priority = PRIORITIES["Normal"] if given is None else PRIORITIES.get(given) if isinstance(given, str) else None
    if type(given) is int and abs(given) <= _PRIORITY_MAX:
        priority = given
    if priority is None:
        read.complain(
            "spec.priority",
            f"{shown(given)} is not one of {', '.join(PRIORITIES)}, nor a whole number up to {_PRIORITY_MAX}",
        )
        priority = PRIORITIES["Normal"]
    template = read_template(spec, read)
    labels = read.mapping(meta, "labels", "metadata.")
    depends_on = _dependencies(spec, read) if "dependsOn" in spec else ()
    retry = _retry(spec, read, "spec.") if spec.get("retry") is not None else None
    queue = read.text(spec, "queue", "spec.", "default")
    on_dependency_failure = read.choice(spec, "onDependencyFailure", "spec.", OnDependencyFailure.SKIP)
    concurrency = _concurrency(spec, read) if spec.get("concurrency") is not None else None
    timeout_seconds = read.optional_integer(spec, "timeoutSeconds", "spec.", 1)
    deadline_seconds = read.optional_integer(spec, "deadlineSeconds", "spec.", 1)
    queue_timeout_seconds = read.optional_integer(spec, "queueTimeoutSeconds", "spec.", 1)
    start_timeout_seconds = read.optional_integer(spec, "startTimeoutSeconds", "spec.", 1)
    ttl_seconds = read.optional_integer(spec, "ttlSecondsAfterFinished", "spec.", 0)
    suspend = read.boolean(spec, "suspend", "spec.")
    cancel = read.boolean(spec, "cancel", "spec.")
    rerun = read.integer(spec, "rerun", "spec.", 0)
    pod_retention = _pod_retention(spec, read, "spec.")
    status = _status(read.mapping(obj, "status", ""), read)
    return Job(
        uid=Uid(uid),
        namespace=Namespace(namespace),
        name=JobName(name),
        version=whole(meta.get("resourceVersion")),
        generation=whole(meta.get("generation")),
        created_at=instant(meta.get("creationTimestamp")) or _BEGINNING,
        queue=QueueName(queue),
        priority=priority,
        request=template.request,
        template=template.body,
        labels=tuple(sorted((key, value) for key, value in labels.items() if isinstance(value, str))) if labels else (),
        depends_on=depends_on,
        on_dependency_failure=on_dependency_failure,
        retry=retry,
        concurrency=concurrency,
        timeout_seconds=timeout_seconds,
        deadline_seconds=deadline_seconds,
        queue_timeout_seconds=queue_timeout_seconds,
        start_timeout_seconds=start_timeout_seconds,
        suspend=suspend,
        cancel=cancel,
        rerun=rerun,
        ttl_seconds=ttl_seconds,
        pod_retention=pod_retention,
        deleting=meta.get("deletionTimestamp") is not None,
        problem=read.problem,
        status=status,
    )


def parse_queue(obj: Object) -> Queue:
    """A TaskQueue as the core sees it; like `parse_job` it never raises on odd content."""
    _, _, name, meta = _identity(obj)
    read = Reader()
    spec = read.mapping(obj, "spec", "")
    quota = _amounts_of(spec, "quota", read) or ()
    cohort = read.text(spec, "cohort", "spec.", "")
    preemption = read.mapping(spec, "preemption", "spec.")
    from_nodes = _quota_from_nodes(spec, read) if spec.get("quotaFromNodes") is not None else None
    if from_nodes is not None and quota:
        read.complain("spec.quotaFromNodes", "stands beside spec.quota: say the quota in one way")
    return Queue(
        name=QueueName(name),
        version=whole(meta.get("resourceVersion")),
        generation=whole(meta.get("generation")),
        quota_from_nodes=from_nodes,
        controller=read.text(spec, "controllerName", "spec.", DEFAULT_CONTROLLER),
        quota=quota,
        cohort=CohortName(cohort) if cohort else None,
        borrowing_limit=_amounts_of(spec, "borrowingLimit", read),
        lending_limit=_amounts_of(spec, "lendingLimit", read),
        weight=read.integer(spec, "weight", "spec.", 1, 1),
        strategy=read.choice(spec, "strategy", "spec.", Strategy.BEST_EFFORT_FIFO),
        reserve_after_seconds=read.integer(spec, "reserveAfterSeconds", "spec.", 60),
        aging_seconds=read.integer(spec, "agingSeconds", "spec.", 0),
        max_running=read.integer(spec, "maxRunning", "spec.", 0),
        max_starts_per_second=read.integer(spec, "maxStartsPerSecond", "spec.", 0),
        preemption_within_queue=read.choice(preemption, "withinQueue", "spec.preemption.", Preempt.NEVER),
        preemption_reclaim=read.choice(preemption, "reclaimWithinCohort", "spec.preemption.", Preempt.NEVER),
        min_runtime_seconds=read.integer(preemption, "minRuntimeSeconds", "spec.preemption.", 60),
        stop_policy=read.choice(spec, "stopPolicy", "spec.", StopPolicy.NONE),
        namespace_selector=read_selector(spec, "namespaceSelector", "spec.", read),
        defaults=_defaults(spec, read) if spec.get("defaults") is not None else None,
        problem=read.problem,
        conditions=_conditions_of(read.mapping(obj, "status", "")),
    )


def _amounts_of(spec: Object, field: str, read: Reader) -> Amounts | None:
    if spec.get(field) is None:
        return None
    found: dict[str, int] = {}
    for resource, quantity in read.mapping(spec, field, "spec.").items():
        try:
            found[resource] = amounts.parse(resource, quantity)
        except amounts.QuantityError as error:
            read.complain(f"spec.{field}[{resource}]", str(error))
    return amounts.amounts(found)


def _conditions_of(status: Object) -> tuple[ObservedCondition, ...]:
    found = status.get("conditions")
    seen = []
    for each in found if isinstance(found, list) else ():
        kind, since = (
            (each.get("type"), instant(each.get("lastTransitionTime"))) if isinstance(each, dict) else (0, None)
        )
        if isinstance(kind, str) and since is not None:
            seen.append(ObservedCondition(kind, each.get("status") == "True", since))
    return tuple(seen)


def _quota_from_nodes(spec: Object, read: Reader) -> QuotaFromNodes:
    where = "spec.quotaFromNodes."
    of = read.mapping(spec, "quotaFromNodes", "spec.")
    percent = read.integer(of, "percent", where, 100, 1)
    if percent > 100:
        read.complain(where + "percent", f"{percent} is more than 100")
    labels: dict[str, str] = {}
    for key, value in read.mapping(of, "nodeSelector", where).items():
        if isinstance(value, str):
            labels[key] = value
        else:
            read.complain(f"{where}nodeSelector[{key}]", f"{shown(value)} is not a text")
    return QuotaFromNodes(min(percent, 100), tuple(sorted(labels.items())))


def _identity(obj: Object) -> tuple[str, str, str, Object]:
    meta = obj.get("metadata") if isinstance(obj, Mapping) else None
    if not isinstance(meta, Mapping):
        raise UnusableObjectError("an object without metadata")
    uid, namespace, name = meta.get("uid"), meta.get("namespace", ""), meta.get("name")
    if not (isinstance(uid, str) and uid and isinstance(name, str) and name and isinstance(namespace, str)):
        raise UnusableObjectError("an object whose metadata has no usable uid, namespace or name")
    return uid, namespace, name, meta


def _dependencies(spec: Object, read: Reader) -> tuple[Dependency, ...]:
    items = spec["dependsOn"]
    if not isinstance(items, list):
        if items is not None:
            read.complain("spec.dependsOn", f"{shown(items)} is not a list")
        return ()
    found: dict[Dependency, None] = {}  # a dict keeps the order and drops what is said twice
    for n, item in enumerate(items):
        where = f"spec.dependsOn[{n}]"
        if not isinstance(item, dict):
            read.complain(where, f"{shown(item)} is not an object")
            continue
        name = read.text(item, "name", where + ".", "")
        if not name:
            read.complain(where + ".name", "is missing")
            continue
        found[Dependency(JobName(name), read.choice(item, "condition", where + ".", Condition.SUCCEEDED))] = None
    return tuple(found)


def _concurrency(spec: Object, read: Reader) -> Concurrency | None:
    said, where = read.mapping(spec, "concurrency", "spec."), "spec.concurrency."
    key = read.text(said, "key", where, "")
    if not key:
        read.complain(where + "key", "is missing")
        return None
    return Concurrency(
        key=key,
        limit=read.integer(said, "limit", where, 1, 1),
        on_conflict=read.choice(said, "onConflict", where, OnConflict.QUEUE),
        scope=read.choice(said, "scope", where, ConcurrencyScope.NAMESPACE),
    )


def _defaults(spec: Object, read: Reader) -> Defaults:
    said, where = read.mapping(spec, "defaults", "spec."), "spec.defaults."
    return Defaults(
        retry=_retry(said, read, where) if said.get("retry") is not None else None,
        timeout_seconds=read.optional_integer(said, "timeoutSeconds", where, 1),
        queue_timeout_seconds=read.optional_integer(said, "queueTimeoutSeconds", where, 1),
        start_timeout_seconds=read.optional_integer(said, "startTimeoutSeconds", where, 1),
        ttl_seconds=read.optional_integer(said, "ttlSecondsAfterFinished", where, 0),
        pod_retention=_pod_retention(said, read, where),
    )


def _pod_retention(of: Object, read: Reader, where: str) -> PodRetention | None:
    said = of.get("podRetention") is not None
    return read.choice(of, "podRetention", where, PodRetention.DELETE) if said else None


def _retry(of: Object, read: Reader, within: str) -> Retry:
    retry, at = read.mapping(of, "retry", within), within + "retry."
    backoff, where = read.mapping(retry, "backoff", at), at + "backoff."
    return Retry(
        limit=read.integer(retry, "limit", at, NO_RETRY.limit),
        initial_seconds=read.integer(backoff, "initialSeconds", where, NO_RETRY.initial_seconds),
        factor=read.integer(backoff, "factor", where, NO_RETRY.factor, 1),
        max_seconds=read.integer(backoff, "maxSeconds", where, NO_RETRY.max_seconds),
        jitter_percent=read.integer(backoff, "jitterPercent", where, NO_RETRY.jitter_percent),
        rules=tuple(_rules(retry, read, at)),
        allow_overlap=read.boolean(retry, "allowOverlap", at),
    )


def _rules(retry: Object, read: Reader, within: str) -> Iterator[RetryRule]:
    for n, item in enumerate(read.items(retry, "rules", within)):
        where = f"{within}rules[{n}]."
        if not isinstance(item, dict):
            read.complain(where.rstrip("."), f"{shown(item)} is not an object")
            continue
        if "action" not in item:
            read.complain(where + "action", "is missing")
        codes = read.mapping(item, "exitCodes", where)
        excluded = "notIn" in codes
        named = "notIn" if excluded else "in"
        if codes and ("in" in codes) is excluded:
            read.complain(where + "exitCodes", "needs either 'in' or 'notIn'")
        listed = tuple(read.items(codes, named, where + "exitCodes."))
        if any(type(code) is not int for code in listed):
            read.complain(where + "exitCodes." + named, "is not a list of integers")
        yield RetryRule(
            action=read.choice(item, "action", where, RetryAction.RETRY),
            classes=tuple(
                read.choice({"classes": word}, "classes", where, FailureClass.EXIT_CODE)
                for word in read.items(item, "classes", where)
            ),
            exit_codes=listed if codes else None,
            exit_codes_excluded=excluded,
            container=read.text(item, "container", where, "") or None,
        )


def _status(status: Object, read: Reader) -> Status:
    if not status or status == _NEVER_WRITTEN:
        return _FRESH
    phase = _PHASES.get(status.get("phase", "Pending")) if isinstance(status.get("phase", ""), str) else None
    if phase is None:
        # Not a phase: identity and attempts still hold, and `problem` keeps the job from being acted on.
        read.complain("status.phase", f"{shown(status.get('phase'))} is not a phase")
        phase = Phase.PENDING
    message, stopping = status.get("message"), status.get("stopping")
    pod_name, node_name, exit_code = status.get("podName"), status.get("nodeName"), status.get("exitCode")
    reason, previous = status.get("reason"), status.get("previousPhase")
    return Status(
        phase=phase,
        reason=(_REASONS.get(reason) if isinstance(reason, str) else None) or _ORDINARY_REASON[phase],
        message=message if isinstance(message, str) else "",
        run=read.integer(status, "run", "status.", 0),
        run_at=instant(status.get("runAt")),
        previous_phase=_PHASES.get(previous) if isinstance(previous, str) else None,
        attempt=read.integer(status, "attempt", "status.", 0),
        retries=read.integer(status, "retries", "status.", 0),
        transition=read.integer(status, "transition", "status.", 0),
        epoch=read.integer(status, "epoch", "status.", 0),
        stopping=_STOPPINGS.get(stopping) if isinstance(stopping, str) else None,
        queued_at=instant(status.get("queuedAt")),
        admitted_at=_admitted_at(status.get("conditions")),
        started_at=instant(status.get("startedAt")),
        finished_at=instant(status.get("finishedAt")),
        not_before=instant(status.get("notBefore")),
        pod_name=pod_name if isinstance(pod_name, str) and pod_name else None,
        node_name=node_name if isinstance(node_name, str) and node_name else None,
        exit_code=exit_code if type(exit_code) is int else None,
        observed_generation=whole(status.get("observedGeneration")),
    )


_FRESH: Final = Status()
_NEVER_WRITTEN: Final = {"phase": _FRESH.phase.value, "reason": _FRESH.reason.value}
"""What the CRD's default shows where nobody has written a status yet."""


def _admitted_at(conditions: object) -> datetime | None:
    if isinstance(conditions, list):
        for condition in conditions:
            if isinstance(condition, dict) and condition.get("type") == "Admitted":
                return instant(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None
    return None
