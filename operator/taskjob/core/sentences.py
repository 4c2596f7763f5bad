"""The sentences that say why a job waits: with figures and names, for people."""

from __future__ import annotations

from collections.abc import Sequence

from taskjob.core import amounts
from taskjob.core.model import Dependency, Job, JobKey, JobName, QueueName
from taskjob.core.phases import PRIORITIES, ConcurrencyScope, Condition, Phase, Reason
from taskjob.core.why import RUNNING, Why

NAMED = 3
"""How many names a sentence lists before it counts the rest."""


def waiting_for(dependencies: Sequence[Dependency], missing: Sequence[Dependency]) -> str:
    """Which dependencies are not there yet, of those that have not ended; both in the order of the spec."""
    names = ", ".join(f'"{d.name}"{_asked(d.condition)}' for d in dependencies[:NAMED])
    more = f" and {len(dependencies) - NAMED} more" if len(dependencies) > NAMED else ""
    absent = ""
    if missing:
        listed = ", ".join(f'"{d.name}"' for d in missing[:NAMED])
        rest = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        absent = f" (not created yet: {listed}{rest})"
    return f"waits for {names}{more}{absent}"


def _asked(condition: Condition) -> str:
    match condition:
        case Condition.SUCCEEDED:
            return ""
        case Condition.FAILED:
            return " to fail"
        case Condition.FINISHED:
            return " to finish"


def impossible(dependency: Dependency, phase: Phase) -> str:
    """A dependency ended, and not as asked."""
    return f'dependency "{dependency.name}" ended {phase}, and {dependency.condition} was asked'


def cycle(path: Sequence[JobKey]) -> str:
    """A cycle of dependencies, spelled out from its first member by name, cut in the middle if it is long.

    `path` holds each member once, in the order of waiting.
    """
    names: list[str] = [key.name for key in path]
    first = names.index(min(names))
    names = names[first:] + names[:first] + [names[first]]
    if len(names) > 12:
        names = [*names[:6], f"({len(names) - 11} more)", *names[-5:]]
    return "its dependencies form a cycle: " + " -> ".join(names)


def key_taken(job: Job, holders: Sequence[JobName]) -> str:
    """Who holds a job's concurrency key, or is about to; of a queue's key only how many, since they may be of other
    namespaces."""
    if job.concurrency is None:
        return ""
    if job.concurrency.scope is ConcurrencyScope.QUEUE and holders:
        held = f"is held by {len(holders)} job{'s' if len(holders) != 1 else ''}"
        return f'concurrency key "{job.concurrency.key}" of queue "{job.queue}" {held} (limit {job.concurrency.limit})'
    names = ", ".join(f'"{name}"' for name in holders[:NAMED])
    more = f" and {len(holders) - NAMED} more" if len(holders) > NAMED else ""
    held = f"is held by {names}{more}" if holders else "goes to those before it first"
    of = "this namespace" if job.concurrency.scope is ConcurrencyScope.NAMESPACE else f'queue "{job.queue}"'
    return f'concurrency key "{job.concurrency.key}" of {of} {held} (limit {job.concurrency.limit})'


def waiting(why: Why) -> str:
    """What keeps a job in its queue; nothing to say of one that is next."""
    queue = f'queue "{why.queue}"'
    match why.reason:
        case Reason.QUEUE_NOT_FOUND if why.problem is not None:
            return f'TaskQueue "{why.queue}" cannot be used: {why.problem}'
        case Reason.QUEUE_NOT_FOUND:
            return f'there is no TaskQueue "{why.queue}": create it, or set spec.queue to one that exists'
        case Reason.QUEUE_HELD:
            return f'TaskQueue "{why.queue}" is held (spec.stopPolicy): nothing starts in it until it is released'
        case Reason.NAMESPACE_NOT_ALLOWED:
            return f"{queue} does not take jobs of this namespace (spec.namespaceSelector): name another in spec.queue"
        case Reason.EXCEEDS_QUOTA:
            asked, limit = amounts.show(why.resource, why.asked), amounts.show(why.resource, why.limit)
            if why.from_nodes:
                return (
                    f"asks for {why.resource} {asked}, more than {queue} can have of what the nodes give now "
                    f"({limit}): it waits until they give more; or ask for less"
                )
            return (
                f"asks for {why.resource} {asked}, more than all of the quota of {queue} ({limit}): "
                "ask for less, or raise the quota"
            )
        case Reason.RATE_LIMITED:
            return f"{queue} starts at most {why.limit} jobs a second (spec.maxStartsPerSecond)"
        case Reason.WAITING_FOR_QUOTA:
            return _shortage(why, queue)
        case _:
            return ""


def preempted(by: Job) -> str:
    """For whom an attempt made room; without a name, since who reads this may not know the other's namespace."""
    return f'preempted for a job of queue "{by.queue}", priority {_priority(by.priority)}'


def quota_lowered(queue: QueueName) -> str:
    """What an attempt made room for, if it was for nobody."""
    return f'queue "{queue}" uses more than its quota, which was lowered, and others come first (spec.preemption)'


def _priority(priority: int) -> str:
    return next((name for name, value in PRIORITIES.items() if value == priority), str(priority))


def _shortage(why: Why, queue: str) -> str:
    if why.resource == RUNNING:
        return f"{queue} runs {why.limit} jobs, as many as it may (spec.maxRunning)"
    if why.resource:
        asked, limit = amounts.show(why.resource, why.asked), amounts.show(why.resource, why.limit)
        return f"needs {why.resource} {asked}; {queue} has {amounts.show(why.resource, why.available)} of {limit} left"
    if why.behind is not None:
        return f"it would fit, but what is left in {queue} is kept for a job that comes first"
    return f"{queue} takes its quota from the nodes, which are not known yet"
