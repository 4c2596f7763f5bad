"""What the applier makes of the API server's answers, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from applier_world import World, story
from builders import a_job
from taskjob.control.apply import REFUSED_STATUS_SECONDS
from taskjob.control.launcher import FAILED_CREATES
from taskjob.control.queues import REPORT_SECONDS
from taskjob.core.phases import Phase, Reason
from taskjob.ports import Deposed, DeposedError, Gone, Refused, Unreachable


def test_a_create_whose_answer_is_lost_is_asked_for_again_until_the_answer_is_known() -> None:
    async def tell(world: World) -> None:
        world.fake.hold_events()  # the watch cannot tell either
        world.fake.lose_next_answer("launch")
        world.fake.answer_next("launch", Unreachable("the API server is away"))
        job = world.fake.create_job(a_job("a").build())
        world.shell.mirror.observe_job(job)
        for _ in range(500):
            if world.calls("launch") == 3:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert world.calls("launch") == 3, world.fake.calls
        assert len(world.fake.created) == 1, "one pod, however often it was asked for"
        assert world.shell.mirror.state.jobs[job.uid].launching is None

    story(tell)


def test_a_refused_pod_holds_the_job_with_the_servers_words_and_is_tried_again_later() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("launch", Refused(403, "exceeded quota: pods=10"))
        job = world.fake.create_job(a_job("a").build())
        await world.until(lambda: world.job(job).status.reason is Reason.POD_REFUSED)
        assert world.job(job).status.message == "exceeded quota: pods=10"
        assert not world.fake.created
        await world.until(lambda: len(world.fake.created) == 1)

    story(tell)


def test_a_job_whose_namespace_is_gone_is_held_with_that_reason() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("launch", Gone())
        job = world.fake.create_job(a_job("a").build())
        await world.until(lambda: world.job(job).status.reason is Reason.POD_REFUSED)
        assert "namespace" in world.job(job).status.message

    story(tell)


def test_a_status_that_was_decided_on_an_old_observation_is_decided_anew() -> None:
    async def tell(world: World) -> None:
        job = world.fake.create_job(a_job("a").build())
        await world.until(lambda: bool(world.fake.pods))
        world.fake.hold_events()
        world.fake.change_job(job, labels=(("new", "label"),))  # the operator does not see it
        pod = world.fake.start(world.fake.pod_of("a"))
        world.shell.mirror.observe_pod(pod)
        await asyncio.sleep(5)
        assert world.job(job).status.phase is Phase.RUNNING
        assert world.job(job).labels == (("new", "label"),)

    story(tell)


def test_a_status_write_whose_answer_is_lost_is_found_to_be_done() -> None:
    async def tell(world: World) -> None:
        job = world.fake.create_job(a_job("a").build())
        await world.until(lambda: bool(world.fake.pods))
        world.fake.lose_next_answer("set_status")
        world.fake.succeed(world.fake.pod_of("a"))
        await world.until(lambda: world.job(job).status.phase is Phase.SUCCEEDED)
        await world.pass_time(5)
        assert world.job(job).status.transition == 3

    story(tell)


def test_a_refused_status_is_not_sent_again_at_once() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("set_status", Refused(422, "status.phase: unsupported value"))
        job = world.fake.create_job(a_job("a").suspended().build())
        await world.pass_time(20)
        assert world.calls("set_status") == 1
        assert any("suspend" in told for told in world.fake.told_of("a")), "at least an Event tells of it"
        await world.until(lambda: world.job(job).status.reason is Reason.SUSPENDED)
        assert world.calls("set_status") == 2

    story(tell)


def test_a_newer_epoch_in_a_status_ends_the_operator() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("set_status", Deposed("epoch 2 has written here"))
        world.fake.create_job(a_job("a").suspended().build())
        with pytest.raises(DeposedError, match="epoch 2"):
            await world.shell.applier.deposed

    story(tell)


def test_a_pod_that_is_refused_for_its_epoch_ends_the_operator() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("launch", Deposed("epoch 1 is over: the Lease is at 2"))
        job = world.fake.create_job(a_job("a").build())
        with pytest.raises(DeposedError, match="the Lease is at 2"):
            await world.shell.applier.deposed
        assert world.job(job).status.reason is not Reason.POD_REFUSED

    story(tell)


FAILED = Unreachable("resource name may not be empty", absent=True)


def test_a_pod_over_which_the_api_server_fails_again_and_again_is_told_of_and_gives_its_quota_back() -> None:
    async def tell(world: World) -> None:
        job = world.fake.create_job(a_job("odd").build())
        world.fake.answer_next("launch", *[FAILED] * FAILED_CREATES)
        await world.until(lambda: world.job(job).status.reason is Reason.POD_REFUSED)
        assert "resource name may not be empty" in world.job(job).status.message
        assert world.calls("launch") == FAILED_CREATES
        assert world.shell.mirror.state.jobs[job.uid].launching is None
        await world.until(lambda: len(world.fake.created) == 1)

    story(tell)


def test_while_one_create_was_not_answered_it_is_asked_for_again_whatever_fails() -> None:
    async def tell(world: World) -> None:
        job = world.fake.create_job(a_job("odd").build())
        world.fake.answer_next("launch", Unreachable("lost"), *[FAILED] * FAILED_CREATES)
        await world.until(lambda: len(world.fake.created) == 1)
        assert world.shell.mirror.state.jobs[job.uid].refusals == 0
        assert world.calls("launch") == FAILED_CREATES + 2

    story(tell)


def test_a_cancelled_job_that_waits_to_be_launched_gets_no_pod() -> None:
    async def tell(world: World) -> None:
        world.shell.applier._limit = 0  # nothing is sent yet
        world.shell.applier.room = lambda: 8  # type: ignore[method-assign]  # but may be decided
        job = world.fake.create_job(a_job("a").build())
        await world.pass_time(1)
        world.fake.change_job(job, cancel=True)
        await world.pass_time(1)
        world.shell.applier._limit = 8
        await world.until(lambda: world.job(job).status.phase is Phase.CANCELLED)
        assert not world.fake.created

    story(tell)


def test_a_pod_that_could_not_be_ended_is_tried_again() -> None:
    async def tell(world: World) -> None:
        job = world.fake.create_job(a_job("a").build())
        await world.until(lambda: bool(world.fake.pods))
        world.fake.start(world.fake.pod_of("a"))
        await world.until(lambda: world.job(job).status.phase is Phase.RUNNING)
        world.fake.answer_next("end_pod", Unreachable("lost"), Refused(403, "not now"))
        world.fake.change_job(job, cancel=True)
        await world.until(lambda: world.job(job).status.phase is Phase.CANCELLED)
        assert world.calls("end_pod") == 3

    story(tell)


def test_pods_that_may_not_be_ended_keep_nobody_else_from_being_written() -> None:
    async def tell(world: World) -> None:
        doomed = [world.fake.create_job(a_job(f"doomed-{number}").build()) for number in range(20)]
        await world.until(lambda: len(world.fake.pods) == len(doomed))
        for pod in list(world.fake.pods.values()):
            world.fake.start(pod)
        await world.until(lambda: all(world.job(job).status.phase is Phase.RUNNING for job in doomed))
        world.fake.answer_next("end_pod", *[Refused(403, "a policy denies the update of pods")] * 1000)
        for job in doomed:
            world.fake.change_job(job, cancel=True)
        await world.until(lambda: world.calls("end_pod") >= len(doomed))
        other = world.fake.create_job(a_job("other").in_namespace("elsewhere").build())
        await world.until(lambda: world.has_pod("other"), seconds=1)
        world.fake.succeed(world.fake.pod_of("other"))
        await world.until(lambda: world.job(other).status.phase is Phase.SUCCEEDED, seconds=1)
        before = world.calls("end_pod")
        await world.pass_time(20)
        assert 2 * len(doomed) <= world.calls("end_pod") - before <= 4 * len(doomed), "each once in 5 s"

    story(tell)


def test_a_pod_that_could_not_be_removed_is_removed_later() -> None:
    async def tell(world: World) -> None:
        world.fake.create_job(a_job("a").build())
        await world.until(lambda: bool(world.fake.pods))
        world.fake.answer_next("remove_pod", Unreachable("lost"))
        world.fake.succeed(world.fake.pod_of("a"))
        await world.until(lambda: not world.fake.pods)

    story(tell)


def test_a_finished_job_that_somebody_changed_in_the_last_moment_is_looked_at_again() -> None:
    async def tell(world: World) -> None:
        job = world.fake.create_job(a_job("a").kept_for(10).build())
        await world.until(lambda: bool(world.fake.pods))
        world.fake.succeed(world.fake.pod_of("a"))
        await world.until(lambda: world.job(job).status.phase is Phase.SUCCEEDED)
        await world.pass_time(8)
        world.fake.hold_events()
        world.fake.change_job(job, ttl_seconds=3600)  # not seen before the removal is sent
        for _ in range(50):
            await asyncio.sleep(0.1)
        assert world.calls("remove_job") == 1
        assert job.uid in world.fake.jobs

    story(tell)


def test_nothing_is_removed_while_history_is_away_and_all_is_once_it_is_back() -> None:
    async def tell(world: World) -> None:
        world.history.available = False
        job = world.fake.create_job(a_job("a").kept_for(1).build())
        await world.until(lambda: bool(world.fake.pods))
        world.fake.succeed(world.fake.pod_of("a"))
        await world.until(lambda: world.job(job).status.phase is Phase.SUCCEEDED)
        await world.pass_time(60)
        assert world.fake.pods
        assert world.fake.jobs
        world.history.available = True
        await world.until(lambda: not world.fake.pods and not world.fake.jobs)
        await world.until(lambda: world.history.jobs[job.uid].gone_at is not None)

    story(tell)


def test_a_log_that_cannot_be_read_is_recorded_as_lost_with_the_reason() -> None:
    async def tell(world: World) -> None:
        job = world.fake.create_job(a_job("a").build())
        await world.until(lambda: bool(world.fake.pods))
        world.fake.answer_next("open_log", *[Unreachable("the node does not answer")] * 4)
        world.fake.succeed(world.fake.pod_of("a"))
        await world.until(lambda: not world.fake.pods)
        (log,) = (log for (attempt, _), log in world.history.logs.items() if attempt.uid == job.uid)
        assert "the node does not answer" in log.note

    story(tell)


def test_a_status_that_waits_for_the_one_before_it_is_not_sent_on_its_old_version() -> None:
    async def tell(world: World) -> None:
        job = world.fake.create_job(a_job("a").build())
        await world.until(lambda: bool(world.fake.pods))
        world.shell.mirror.observe_pod(world.fake.start(world.fake.pod_of("a")))
        await world.until(lambda: world.calls("set_status") == 1)
        # Its answer is under way: what is decided now is decided on the version before it.
        world.shell.mirror.observe_pod(world.fake.succeed(world.fake.pod_of("a")))
        await world.until(lambda: world.job(job).status.phase is Phase.SUCCEEDED)
        assert world.calls("set_status") == 2

    story(tell)


def test_a_defect_in_carrying_out_a_create_leaves_no_quota_reserved_for_ever() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("launch", RuntimeError("a defect"))
        job = world.fake.create_job(a_job("a").build())
        await world.until(lambda: bool(world.fake.pods))
        world.fake.succeed(world.fake.pod_of("a"))
        await world.until(lambda: world.job(job).status.phase is Phase.SUCCEEDED)
        assert len(world.fake.created) == 1

    story(tell)


def test_a_defect_in_writing_a_status_is_tried_again() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("set_status", RuntimeError("a defect"))
        job = world.fake.create_job(a_job("a").suspended().build())
        await world.until(lambda: world.job(job).status.reason is Reason.SUSPENDED)

    story(tell)


def test_after_figures_that_were_refused_the_next_change_is_told_as_soon_as_ever() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("set_queue_status", Refused(403, "the API server has just started"))
        world.fake.create_job(a_job("a").suspended().build())
        await world.until(lambda: world.calls("set_queue_status") == 1)
        world.fake.create_job(a_job("b").suspended().build())
        # Where nothing else happens, the loop looks at them every five seconds.
        await world.until(lambda: bool(world.fake.queue_figures), seconds=REPORT_SECONDS + 5)
        assert [figures.pending for figures in world.fake.queue_figures.values()] == [2]
        await world.pass_time(REFUSED_STATUS_SECONDS + 1)
        assert world.calls("set_queue_status") == 2, "what was refused has been replaced"

    story(tell)


def test_figures_of_a_queue_that_were_refused_are_told_again_later() -> None:
    async def tell(world: World) -> None:
        world.fake.answer_next("set_queue_status", Refused(403, "the API server has just started"))
        world.fake.create_job(a_job("a").suspended().build())
        await world.until(lambda: world.calls("set_queue_status") == 1)
        await world.pass_time(REFUSED_STATUS_SECONDS - 1)
        assert world.calls("set_queue_status") == 1, "it may be that nobody is to write them"
        await world.until(lambda: bool(world.fake.queue_figures), seconds=10)
        assert [figures.pending for figures in world.fake.queue_figures.values()] == [1]

    story(tell)
