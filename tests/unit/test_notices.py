"""Events: what a person wants to read in `kubectl describe`, and nothing on the path of an ordinary success."""

from __future__ import annotations

import pytest

from applier_world import World, story
from builders import JobBuilder, a_job
from taskjob.control.apply import NOTICES_AT_ONCE, NOTICES_PER_SECOND
from taskjob.control.outbox import NOTICES_KEPT
from taskjob.core.model import RetryRule
from taskjob.core.phases import FailureClass, Phase, Reason, RetryAction
from taskjob.ports import Refused, Unreachable


async def a_running(world: World, job: JobBuilder) -> None:
    world.fake.create_job(job.build())
    await world.until(lambda: any(pod.job_name == job.name for pod in world.fake.pods.values()))
    world.fake.start(world.fake.pod_of(job.name))


async def announced(world: World, name: str) -> list[str]:
    await world.until(lambda: bool(world.fake.told_of(name)))
    return world.fake.told_of(name)


def test_an_ordinary_success_makes_no_event() -> None:
    async def tell(world: World) -> None:
        await a_running(world, a_job("a"))
        await world.pass_time(60)
        world.fake.succeed(world.fake.pod_of("a"))
        await world.until(lambda: world.fake.job_named("a").status.phase is Phase.SUCCEEDED)
        await world.pass_time(60)
        assert world.calls("announce") == 0

    story(tell)


def test_a_failed_attempt_says_why_and_when_it_is_tried_again_and_the_last_one_ends_it() -> None:
    async def tell(world: World) -> None:
        await a_running(world, a_job("a").retrying(1, initial_seconds=5))
        world.fake.fail(world.fake.pod_of("a"), 3, message="exited with code 3")
        (failed,) = await announced(world, "a")
        assert failed.startswith(
            "AttemptFailed: attempt 1 failed (ExitCode): exited with code 3; retry 1 of 1 not before"
        )
        await world.until(lambda: len(world.fake.created) == 2)
        world.fake.fail(world.fake.pod_of("a"), 3, message="exited with code 3")
        await world.until(lambda: len(world.fake.told_of("a")) == 2)
        assert world.fake.told_of("a")[1].endswith("the last of 2 allowed attempts")

    story(tell)


def test_a_skipped_job_says_because_of_whom() -> None:
    async def tell(world: World) -> None:
        world.fake.create_job(a_job("b").after("a").build())
        await a_running(world, a_job("a"))
        world.fake.fail(world.fake.pod_of("a"))
        (skipped,) = await announced(world, "b")
        assert skipped.startswith('DependencyNotSatisfied: dependency "a" ended Failed')

    story(tell)


def test_a_success_that_is_one_by_a_rule_says_so() -> None:
    async def tell(world: World) -> None:
        await a_running(world, a_job("a").ruled(RetryRule(RetryAction.SUCCEED)))
        world.fake.fail(world.fake.pod_of("a"), 3)
        (told,) = await announced(world, "a")
        assert told.endswith("spec.retry.rules[0] says Succeed")

    story(tell)


@pytest.mark.parametrize(
    ("change", "reason", "word"),
    [({"suspend": True}, "Suspended", "is not charged"), ({"cancel": True}, "CancelledByUser", "spec.cancel")],
)
def test_a_stopped_attempt_is_told_as_an_ordinary_thing(change: dict[str, bool], reason: str, word: str) -> None:
    async def tell(world: World) -> None:
        await a_running(world, a_job("a"))
        world.fake.change_job(world.fake.job_named("a"), **change)
        (told,) = await announced(world, "a")
        assert told.startswith(reason + ": ")
        assert word in told
        assert not next(iter(world.fake.notices.values())).warning

    story(tell)


def test_a_refused_pod_is_told_once_however_often_it_is_tried() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("launch", *[Refused(403, "exceeded quota: team")] * 4)
        world.fake.create_job(a_job("a").build())
        await world.until(lambda: world.calls("launch") == 4)
        assert world.fake.told_of("a") == ["PodRefused: exceeded quota: team"]
        assert world.calls("announce") == 1
        assert world.fake.job_named("a").status.reason is Reason.POD_REFUSED

    story(tell)


def test_an_event_that_cannot_be_made_is_let_go_and_nothing_waits_for_it() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("announce", Unreachable("away"))
        await a_running(world, a_job("a").retrying(1, initial_seconds=0))
        world.fake.fail(world.fake.pod_of("a"), failure=FailureClass.OOM_KILLED)
        await world.until(lambda: len(world.fake.created) == 2)
        await world.pass_time(5)
        assert world.calls("announce") == 1

    story(tell)


def test_events_are_paced_and_those_beyond_a_bound_are_dropped_while_the_jobs_go_on() -> None:
    async def tell(world: World) -> None:
        many = NOTICES_KEPT + NOTICES_AT_ONCE + 500
        for n in range(many):
            world.fake.create_job(a_job(f"j{n}").cancelled().build())
        ended = [False]

        def all_ended() -> bool:
            ended[0] = all(job.status.phase is Phase.CANCELLED for job in world.fake.jobs.values())
            return ended[0]

        await world.until(all_ended)
        await world.pass_time(10)
        assert world.calls("announce") <= NOTICES_AT_ONCE + 130 * NOTICES_PER_SECOND
        assert world.calls("announce") < many

    story(tell)
