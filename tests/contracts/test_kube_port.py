"""What `ports.KubePort` promises, of the fake and of the real adapter on a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from builders import launch_of, starting
from kube_worlds import FakeWorld, RealWorld, World, of_another_uid
from taskjob.core.decisions import (
    EndBy,
    EndPod,
    Launch,
    RemoveJob,
    RemovePod,
    SetQueueStatus,
    SetStatus,
    Urgency,
)
from taskjob.core.model import AttemptId, Status
from taskjob.core.notices import Notice
from taskjob.core.phases import Phase, PodPhase, Reason
from taskjob.kube.http import KubeHttp
from taskjob.kube.pods import pod_name
from taskjob.ports import Changed, Deposed, Done, Gone, Launched, NoLog, Refused, Stale, Written

EPOCH = 5


@pytest.fixture(params=["fake", "real"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld("team")
        return
    kubeconfig = request.getfixturevalue("cluster").kubeconfig
    namespace = request.getfixturevalue("namespace")
    async with await KubeHttp.connect(kubeconfig) as http:
        yield RealWorld(http, namespace)


async def launched(world: World, name: str = "train") -> Launched:
    answer = await world.port.launch(launch_of(await world.make_job(name)), EPOCH)
    assert isinstance(answer, Launched), answer
    return answer


# ---------------------------------------------------------------- launch
async def test_a_launch_makes_a_pod_that_carries_the_attempts_identity(world: World) -> None:
    job = await world.make_job("train")
    answer = await world.port.launch(launch_of(job, deadline=600), EPOCH)
    assert isinstance(answer, Launched)
    pod = answer.pod
    assert pod.attempt == AttemptId(job.uid, 0, 0, 1)
    assert (pod.job_name, pod.queue, pod.namespace) == (job.name, job.queue, job.namespace)
    assert (pod.phase, pod.epoch, pod.active_deadline_seconds) == (PodPhase.PENDING, EPOCH, 600)
    assert pod.request == job.request
    assert pod.version > job.version
    assert await world.pod_now(pod) == pod


async def test_launching_an_attempt_again_finds_the_pod_of_the_first_time(world: World) -> None:
    job = await world.make_job("train")
    first = await world.port.launch(launch_of(job), EPOCH)
    again = await world.port.launch(launch_of(job), EPOCH + 1)
    assert isinstance(first, Launched)
    assert again == first  # the epoch of the one that made it included


async def test_each_attempt_has_a_pod_of_its_own(world: World) -> None:
    job = await world.make_job("train")
    answers = [await world.port.launch(Launch(job, AttemptId(job.uid, 0, 0, n), None), EPOCH) for n in (1, 2)]
    pods = [answer.pod for answer in answers if isinstance(answer, Launched)]
    assert [pod.attempt.attempt for pod in pods] == [1, 2]
    assert pods[0].uid != pods[1].uid


async def test_a_pod_of_somebody_else_under_the_name_is_refused_and_left_alone(world: World) -> None:
    job = await world.make_job("train")
    await world.occupy(pod_name(job.name, AttemptId(job.uid, 0, 0, 1)))
    answer = await world.port.launch(launch_of(job), EPOCH)
    assert isinstance(answer, Refused)
    assert answer.code == 409
    assert "not" in answer.message


# ---------------------------------------------------------------- status
async def test_a_status_is_written_with_the_writers_epoch_and_read_back(world: World) -> None:
    job = await world.make_job("train")
    decision = starting(job, message="launched", pod_name="train-1", node_name="node-1")
    answer = await world.port.set_status(decision, EPOCH)
    assert isinstance(answer, Written)
    assert answer.job.status == replace(decision.status, epoch=EPOCH)
    assert answer.job.version > job.version
    assert await world.job_now(job) == answer.job


async def test_what_a_status_no_longer_says_goes_away(world: World) -> None:
    job = await world.make_job("train")
    first = await world.port.set_status(starting(job, pod_name="train-1", exit_code=3, message="x"), EPOCH)
    assert isinstance(first, Written)
    pending = Status(queued_at=job.created_at, attempt=1, transition=2)
    second = await world.port.set_status(SetStatus(first.job, pending, Urgency.RETRY), EPOCH)
    assert isinstance(second, Written)
    assert second.job.status == replace(pending, epoch=EPOCH)


async def test_a_status_decided_from_an_older_version_is_stale_and_shows_the_fresh_job(world: World) -> None:
    job = await world.make_job("train")
    changed = await world.touch_job(job)
    assert await world.port.set_status(starting(job), EPOCH) == Stale(changed)
    assert await world.job_now(job) == changed


async def test_a_status_of_a_job_that_is_gone_is_gone(world: World) -> None:
    job = await world.make_job("train")
    await world.delete_job(job)
    assert await world.port.set_status(starting(job), EPOCH) == Gone()


async def test_a_status_is_not_written_to_a_new_job_of_the_same_name(world: World) -> None:
    job = await world.make_job("train")
    await world.delete_job(job)
    new = await world.make_job("train")
    assert await world.port.set_status(starting(job), EPOCH) == Stale(None)
    assert await world.job_now(new) == new


async def test_an_older_epoch_is_deposed_though_it_saw_the_newest_version(world: World) -> None:
    job = await world.make_job("train")
    written = await world.port.set_status(starting(job), EPOCH)
    assert isinstance(written, Written)
    answer = await world.port.set_status(starting(written.job, attempt=2), EPOCH - 1)
    assert isinstance(answer, Deposed)
    assert await world.job_now(job) == written.job


async def test_an_older_epoch_is_deposed_also_when_it_saw_an_older_version(world: World) -> None:
    job = await world.make_job("train")
    written = await world.port.set_status(starting(job), EPOCH)
    assert isinstance(written, Written)
    assert isinstance(await world.port.set_status(starting(job), EPOCH - 1), Deposed)


async def test_a_newer_epoch_goes_on_from_what_the_older_one_wrote(world: World) -> None:
    job = await world.make_job("train")
    written = await world.port.set_status(starting(job), EPOCH)
    assert isinstance(written, Written)
    answer = await world.port.set_status(starting(written.job, phase=Phase.RUNNING), EPOCH + 1)
    assert isinstance(answer, Written)
    assert answer.job.status.epoch == EPOCH + 1


async def test_a_finished_job_does_not_leave_its_phase(world: World) -> None:
    job = await world.make_job("train")
    end = starting(job, phase=Phase.FAILED, reason=Reason.ATTEMPT_FAILED, finished_at=job.created_at)
    written = await world.port.set_status(end, EPOCH)
    assert isinstance(written, Written)
    answer = await world.port.set_status(starting(written.job), EPOCH)
    assert isinstance(answer, Refused)
    assert answer.code == 422
    assert "phase" in answer.message


# ---------------------------------------------------------------- ending pods
async def test_a_placed_pod_is_ended_by_its_deadline_and_stays(world: World) -> None:
    pod = await world.place((await launched(world)).pod)
    answer = await world.port.end_pod(EndPod(pod, EndBy.DEADLINE, "cancelled"))
    assert isinstance(answer, Done)
    assert answer.pod is not None
    assert answer.pod.active_deadline_seconds == 1
    assert answer.pod.version > pod.version
    assert await world.pod_now(pod) == answer.pod


async def test_ending_a_pod_twice_by_its_deadline_changes_nothing_more(world: World) -> None:
    pod = await world.place((await launched(world)).pod)
    first = await world.port.end_pod(EndPod(pod, EndBy.DEADLINE, "cancelled"))
    assert await world.port.end_pod(EndPod(pod, EndBy.DEADLINE, "cancelled")) == first


async def test_a_pod_without_a_node_is_deleted_at_once(world: World) -> None:
    pod = (await launched(world)).pod
    assert await world.port.end_pod(EndPod(pod, EndBy.DELETE, "cancelled")) == Done()
    assert await world.pod_now(pod) is None
    assert await world.port.end_pod(EndPod(pod, EndBy.DELETE, "cancelled")) == Gone()
    assert await world.port.end_pod(EndPod(pod, EndBy.DEADLINE, "cancelled")) == Gone()


async def test_a_placed_pod_that_is_deleted_has_its_grace(world: World) -> None:
    pod = await world.place((await launched(world)).pod)
    assert await world.port.end_pod(EndPod(pod, EndBy.DELETE, "cancelled")) == Done()
    left = await world.pod_now(pod)
    assert left is not None
    assert left.deleting


async def test_a_pod_that_ended_while_it_was_to_be_deleted_stays_until_its_outcome_was_seen(world: World) -> None:
    seen = await world.place((await launched(world)).pod)
    ended = await world.fail(seen, 3)
    assert await world.port.end_pod(EndPod(seen, EndBy.DELETE, "cancelled")) == Changed(ended)
    assert await world.pod_now(ended) == ended


@pytest.mark.parametrize("by", list(EndBy))
async def test_a_pod_of_another_uid_is_not_ended(world: World, by: EndBy) -> None:
    pod = await world.place((await launched(world)).pod)
    assert await world.port.end_pod(EndPod(of_another_uid(pod), by, "cancelled")) == Gone()
    assert await world.pod_now(pod) == pod


# ---------------------------------------------------------------- removing
async def test_an_ended_pod_is_removed(world: World) -> None:
    pod = await world.fail(await world.place((await launched(world)).pod), 3)
    assert (pod.phase, pod.exit_code) == (PodPhase.FAILED, 3)
    assert await world.port.remove_pod(RemovePod(pod)) == Done()
    assert await world.port.remove_pod(RemovePod(pod)) == Gone()


async def test_a_pod_of_another_uid_is_not_removed(world: World) -> None:
    pod = (await launched(world)).pod
    assert await world.port.remove_pod(RemovePod(of_another_uid(pod))) == Gone()
    assert await world.pod_now(pod) == pod


async def test_a_job_is_removed_once(world: World) -> None:
    job = await world.make_job("train")
    assert await world.port.remove_job(RemoveJob(job)) == Done()
    assert await world.job_now(job) is None
    assert await world.port.remove_job(RemoveJob(job)) == Gone()


async def test_a_job_that_changed_since_is_not_removed(world: World) -> None:
    job = await world.make_job("train")
    changed = await world.touch_job(job)
    assert await world.port.remove_job(RemoveJob(job)) == Stale(changed)
    assert await world.job_now(job) == changed


async def test_a_new_job_of_the_same_name_is_not_removed(world: World) -> None:
    job = await world.make_job("train")
    await world.delete_job(job)
    new = await world.make_job("train")
    assert await world.port.remove_job(RemoveJob(job)) == Gone()
    assert await world.job_now(new) == new


# ---------------------------------------------------------------- queues and logs
async def test_a_queues_figures_are_written_until_it_is_gone(world: World) -> None:
    queue = await world.make_queue("research")
    usage = (("cpu", 1500), ("memory", 2**30), ("pods", 2))
    assert await world.port.set_queue_status(SetQueueStatus(queue, 3, 2, usage)) == Done()
    gone = replace(queue, name=type(queue.name)("no-such-queue"))
    assert await world.port.set_queue_status(SetQueueStatus(gone, 0, 0, ())) == Gone()


async def test_the_logs_of_a_pod_that_is_gone_are_gone(world: World) -> None:
    pod = (await launched(world)).pod
    await world.remove_pod(pod)
    for follow in (False, True):
        assert await world.port.open_log(pod, "main", since=None, follow=follow) == Gone()


async def test_a_container_that_there_is_not_has_no_log(world: World) -> None:
    pod = (await launched(world)).pod
    assert isinstance(await world.port.open_log(pod, "other", since=None, follow=False), NoLog)


# ---------------------------------------------------------------- warnings
async def test_a_warning_on_a_job_may_be_told_twice(world: World) -> None:
    job = await world.make_job("odd")
    for _ in range(2):
        assert await world.port.announce(Notice(job, "InvalidSpec", "spec.image is a list")) == Done()
