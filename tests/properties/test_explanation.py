"""Every pending job has exactly one reason, and it is the one for which it was held: explain and admission agree."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from builders import JobBuilder, a_job, a_queue
from taskjob.core.explanation import explanation
from taskjob.core.model import CohortName, Queue
from taskjob.core.phases import PRIORITIES, Phase, Reason, StopPolicy, Strategy
from world import World

NAMES = [f"j{n}" for n in range(8)]


@st.composite
def jobs(draw: st.DrawFn) -> list[JobBuilder]:
    """Jobs of two queues, one of which may not be there, with dependencies, retries and suspensions."""
    made = []
    for name in NAMES[: draw(st.integers(1, len(NAMES)))]:
        job = a_job(name).in_queue(draw(st.sampled_from(["one", "other"]))).asking(cpu=draw(st.integers(0, 4)))
        job = job.of_priority(draw(st.sampled_from(sorted(PRIORITIES)))).retrying(draw(st.integers(0, 1)))
        job = job.suspended(draw(st.booleans()) and draw(st.booleans()))
        if draw(st.integers(0, 3)) == 0:
            job = job.holding("key", draw(st.integers(1, 2)))
        made.append(job.after(*draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True))))
    return made


@st.composite
def queues(draw: st.DrawFn) -> list[Queue]:
    """Two queues, one of which may not be there, alone or in a cohort, with and without rules of their own."""
    cohort = draw(st.sampled_from([None, CohortName("c")]))
    made = [
        replace(
            a_queue(name, quota={"cpu": draw(st.integers(0, 5))}),
            cohort=cohort,
            strategy=draw(st.sampled_from(Strategy)),
            max_running=draw(st.sampled_from([0, 0, 1])),
            stop_policy=draw(st.sampled_from([StopPolicy.NONE, StopPolicy.NONE, StopPolicy.HOLD])),
        )
        for name in ("one", "other")
    ]
    return made[: draw(st.integers(1, 2))]


@given(jobs(), queues(), st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=6))
def test_the_reason_of_every_pending_job_is_the_one_that_it_is_held_for(
    submitted: list[JobBuilder], made: list[Queue], ends: list[tuple[str, bool]]
) -> None:
    world = World()
    for queue in made:
        world.put_queue(queue)
    world.submit(*submitted)
    world.run()
    check(world)
    for name, well in ends:
        if any(pod.job_name == name and not pod.phase.ended for pod in world.pods.values()):
            world.start(name)
            (world.finish if well else world.fail)(name)
            check(world)


def check(world: World) -> None:
    places: dict[str, list[int]] = {}
    for job in world.jobs.values():
        told = explanation(world.state, world.state.jobs[job.uid], world.now)
        assert told.status.phase is job.status.phase or not job.status.phase.terminal
        if told.status.phase is not Phase.PENDING:
            continue
        assert told.status.reason is job.status.reason, (job.name, told.status, job.status)
        assert told.status.reason is not Reason.QUEUED, "nothing is left undone, so something is against it"
        assert bool(told.awaited) == (told.status.reason is Reason.WAITING_FOR_DEPENDENCIES)
        assert (told.place is not None) == (told.status.reason is Reason.WAITING_FOR_QUOTA)
        if told.lack is not None:
            assert told.lack.asked > told.lack.available
            if world.queues[job.queue].cohort is None:
                assert told.lack.limit - told.lack.available == sum(holder.amount for holder in told.holders)
        if told.place is not None:
            places.setdefault(job.queue, []).append(told.place.position)
            assert told.place.position <= told.place.of
    for positions in places.values():
        assert sorted(positions) == list(range(1, len(positions) + 1)), (
            "each stands in one place, and no place is empty"
        )
