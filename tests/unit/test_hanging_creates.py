"""Creates that hang, or are slow, in one namespace: what becomes of its other jobs, and of everybody else's."""

from __future__ import annotations

from functools import partial

from applier_world import World, story
from builders import a_job, a_queue
from taskjob.core.decisions import Launch
from taskjob.core.model import RetryRule
from taskjob.core.phases import Phase, Reason, RetryAction


def test_pods_whose_creates_hang_in_one_namespace_keep_nobody_elses_from_being_started() -> None:
    async def tell(world: World) -> None:
        world.kube.hangs.add("x")
        for number in range(40):
            world.fake.create_job(a_job(f"x-{number}").in_namespace("x").build())
        earlier = world.fake.create_job(a_job("earlier").in_namespace("y").cancelled().build())
        await world.until(lambda: world.job(earlier).status.phase is Phase.CANCELLED, seconds=0.1)
        for number in range(3):
            name = f"y-{number}"
            job = world.fake.create_job(a_job(name).in_namespace("y").build())
            await world.until(partial(world.has_pod, name), seconds=5 if number == 0 else 0.1)
            world.fake.succeed(world.fake.pod_of(name))
            await world.until(partial(world.is_in, job, Phase.SUCCEEDED), seconds=0.1)
            await world.pass_time(20)
        assert not any(world.has_pod(f"x-{number}") for number in range(40))
        world.kube.hangs.clear()
        await world.until(lambda: all(world.has_pod(f"x-{number}") for number in range(40)), seconds=600)
        assert len(world.fake.created) == 43

    story(tell)


def test_what_waits_behind_creates_that_hang_is_told_and_gives_its_quota_to_others() -> None:
    async def tell(world: World) -> None:
        world.fake.create_queue(a_queue("shared", {"pods": 20}))
        world.kube.hangs.add("x")
        hung = [
            world.fake.create_job(a_job(f"x-{number}").in_namespace("x").in_queue("shared").build())
            for number in range(20)
        ]
        await world.pass_time(1)
        world.fake.create_job(a_job("other").in_namespace("y").in_queue("shared").build())
        for number in range(15):  # the API server answers otherwise
            world.fake.create_job(a_job(f"noise-{number}").in_namespace("y").suspended().build())
            await world.pass_time(1)
        assert world.has_pod("other")
        told = [said for job in hung if (said := world.job(job).status).reason is Reason.POD_REFUSED]
        assert len(told) == 15, "all but the four that may have a pod, and one whose quota is the other's now"
        assert 'creating pods in namespace "x" is answered slowly or not at all' in told[0].message

    story(tell)


def test_a_job_that_was_not_asked_for_is_not_failed_by_a_rule_for_those_that_are_refused() -> None:
    async def tell(world: World) -> None:
        world.kube.hangs.add("x")
        never_twice = RetryRule(RetryAction.FAIL)
        jobs = [
            world.fake.create_job(a_job(f"x-{number}").in_namespace("x").ruled(never_twice).build())
            for number in range(20)
        ]
        for number in range(15):  # the API server answers otherwise
            world.fake.create_job(a_job(f"noise-{number}").in_namespace("y").suspended().build())
            await world.pass_time(1)
        assert any(world.job(job).status.reason is Reason.POD_REFUSED for job in jobs)
        world.kube.hangs.clear()
        await world.until(lambda: all(world.has_pod(f"x-{number}") for number in range(20)), seconds=60)
        assert not any(world.is_in(job, Phase.FAILED) for job in jobs)

    story(tell)


def test_after_a_namespace_was_stuck_for_a_moment_others_have_their_turn_again_soon() -> None:
    async def tell(world: World) -> None:
        world.fake.create_queue(a_queue("others"))
        world.kube.hangs.add("x")
        for number in range(200):
            world.fake.create_job(a_job(f"x-{number}").in_namespace("x").build())
        await world.pass_time(5)
        world.kube.hangs.clear()
        world.kube.slow["x"] = 2.0
        await world.until(lambda: any(world.has_pod(f"x-{number}") for number in range(200)), seconds=30)
        world.fake.create_job(a_job("other").in_namespace("y").in_queue("others").build())
        await world.until(lambda: world.has_pod("other"), seconds=5)
        await world.until(lambda: all(world.has_pod(f"x-{number}") for number in range(200)), seconds=600)

    story(tell)


def test_a_job_that_is_cancelled_while_it_waits_behind_creates_that_hang_ends_without_them() -> None:
    async def tell(world: World) -> None:
        world.kube.hangs.add("x")
        jobs = [world.fake.create_job(a_job(f"x-{number}").in_namespace("x").build()) for number in range(8)]
        await world.pass_time(1)
        asked = {launch.job.uid for _, launch in world.fake.calls if isinstance(launch, Launch)}
        waiting = [job for job in jobs if job.uid not in asked]
        assert len(waiting) == 4
        for job in waiting:
            world.fake.change_job(job, cancel=True)
        await world.until(lambda: all(world.is_in(job, Phase.CANCELLED) for job in waiting), seconds=5)

    story(tell)


def test_in_an_outage_launches_wait_for_its_end_and_none_counts_as_refused() -> None:
    async def tell(world: World) -> None:
        world.kube.trouble = 2  # nothing arrives
        jobs = [world.fake.create_job(a_job(f"x-{number}").build()) for number in range(40)]
        await world.pass_time(60)
        assert not world.fake.created
        world.kube.trouble = 0
        await world.until(lambda: len(world.fake.created) == len(jobs), seconds=10)
        assert all(world.shell.mirror.state.jobs[job.uid].refusals == 0 for job in jobs)

    story(tell)
