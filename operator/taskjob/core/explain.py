"""The sentences that say why a job waits: with figures and names, for people."""

from __future__ import annotations

from collections.abc import Sequence

from taskjob.core import amounts
from taskjob.core.model import Dependency, JobKey, QueueName
from taskjob.core.phases import Condition, Phase
from taskjob.core.quota import Ledger

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


def shortage(queue: QueueName, ledger: Ledger, lacking: tuple[str, int, int]) -> str:
    """What does not fit now."""
    resource, asked, available = lacking
    quota = ledger.quota[resource]
    return (
        f'needs {resource} {amounts.show(resource, asked)}; queue "{queue}" has '
        f"{amounts.show(resource, available)} of {amounts.show(resource, quota)} left"
    )


def excess(queue: QueueName, exceeding: tuple[str, int, int]) -> str:
    """What can never fit."""
    resource, asked, quota = exceeding
    return (
        f"asks for {resource} {amounts.show(resource, asked)}, more than all of the quota of queue "
        f'"{queue}" ({amounts.show(resource, quota)}): ask for less, or raise the quota'
    )


def queue_not_found(queue: QueueName) -> str:
    """The queue does not exist."""
    return f'there is no TaskQueue "{queue}": create it, or set spec.queue to one that exists'


def queue_held(queue: QueueName) -> str:
    """The queue's stopPolicy."""
    return f'TaskQueue "{queue}" is held (spec.stopPolicy): nothing starts in it until it is released'


def queue_unusable(queue: QueueName, problem: str) -> str:
    """The queue's own spec cannot be used."""
    return f'TaskQueue "{queue}" cannot be used: {problem}'
