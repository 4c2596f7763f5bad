"""A state that is built anew from the last observations, and what of two states must be equal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskjob.core.decisions import Launch
from taskjob.core.phases import Phase
from taskjob.core.state import State
from world import World


def derived(state: State) -> dict[str, Any]:
    """Everything in a state that follows from its observations."""
    state.graph.look_for_cycles()
    return {
        "by_key": state.by_key,
        "edges": {uid: tracked.edges for uid, tracked in state.jobs.items()},
        "waiting": {uid: (tracked.waiting, tracked.impossible) for uid, tracked in state.jobs.items()},
        "cycles": {
            uid: tracked.cycle and tracked.cycle.path
            for uid, tracked in state.jobs.items()
            if tracked.job.status.phase is Phase.PENDING
        },
        "dependents": {key: set(uids) for key, uids in state.graph.dependents.items()},
        "live_dependents": state.graph.live_dependents,
        "charges": state.queues.charges,
        "queues": {
            name: (tracked.queue, tracked.ledger.usage, tracked.ledger.charges, tracked.ledger.quota)
            for name, tracked in state.queues.by_name.items()
        },
        "holders": {name: set(tracked.holders) for name, tracked in state.queues.by_name.items()},
        "members": {name: set(tracked.members) for name, tracked in state.queues.by_name.items()},
        "keys": {key: tracked.holders for key, tracked in state.keys.by_id.items() if tracked.holders},
        "pods": {attempt: tracked.pod for attempt, tracked in state.pods.items() if not tracked.gone},
    }


def rebuilt(world: World, launching: Iterable[Launch] = ()) -> State:
    """A state from the last observations alone, in another order than they came; what is being created is reserved."""
    state = State(world.default_ttl_seconds, world.controller, begun_at=world.state.begun_at)
    for pod in reversed(world.pods.values()):
        state.put_pod(pod)
    for job in sorted(world.jobs.values(), key=lambda job: job.name, reverse=True):
        state.put_job(job)
        state.recorded(job.uid, world.state.jobs[job.uid].recorded)  # history's word is an observation too
    for queue in world.queues.values():
        state.put_queue(queue)
    for launch in launching:
        if launch.job.uid in state.jobs:
            state.jobs[launch.job.uid].launching = launch.attempt
        state.queues.charge(launch.attempt, launch.job.queue, launch.job.request)  # as it was when it was launched
        state.keys.reserve(launch.job, launch.attempt)
    return state
