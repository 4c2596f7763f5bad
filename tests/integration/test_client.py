"""What the API server's answers mean to the client, and what it makes of none; see also contracts/test_kube_port.py."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from builders import launch_of
from kube_worlds import RealWorld, eventually, in_no_namespace
from relays import Relay
from taskjob import metrics
from taskjob.core.decisions import EndBy, EndPod, QueueCondition, RemoveJob, SetQueueStatus, SetStatus, Urgency
from taskjob.core.model import Job, PodTemplate, Status
from taskjob.core.phases import PodPhase
from taskjob.kube import lists
from taskjob.kube.client import KubeClient, job_path
from taskjob.kube.credentials import ConfigurationError, Credentials
from taskjob.kube.http import MERGE_PATCH, KubeHttp
from taskjob.kube.lists import list_jobs, list_queues
from taskjob.kube.schema import parse_job
from taskjob.ports import Done, Gone, Launched, NoLog, Refused, Stale, Unreachable, Written
from taskjob_cluster import Cluster


@pytest.fixture
async def world(cluster: Cluster, namespace: str) -> AsyncIterator[RealWorld]:
    async with await KubeHttp.connect(cluster.kubeconfig) as http:
        yield RealWorld(http, namespace)


@contextlib.asynccontextmanager
async def through_a_relay(cluster: Cluster, timeout_seconds: float = 1) -> AsyncIterator[tuple[KubeClient, Relay]]:
    async with Relay(cluster.server) as relay:
        credentials = await Credentials.load(cluster.kubeconfig)
        credentials.server = relay.url
        async with KubeHttp(credentials, timeout_seconds=timeout_seconds) as http:
            yield KubeClient(http), relay


def with_template(job: Job, **spec: object) -> Job:
    container = {"name": "main", "image": "busybox"}
    return replace(job, template=PodTemplate(json.dumps({"spec": {"containers": [container], **spec}}).encode()))


async def until_refused(world: RealWorld) -> Refused:
    """The answer to a launch; admission learns of what was just written by watches of its own."""
    answers: list[object] = []

    async def refused() -> bool:
        answers.append(await world.port.launch(launch_of(await world.make_job(f"train-{len(answers)}")), 1))
        return isinstance(answers[-1], Refused)

    await eventually("a pod is refused", refused)
    assert isinstance(answers[-1], Refused)
    return answers[-1]


# ---------------------------------------------------------------- definite answers
async def test_a_pod_beyond_a_resource_quota_is_refused_with_the_servers_words(world: RealWorld) -> None:
    quotas = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    await world.send("POST", quotas, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})
    # Without a controller nobody else fills in what is enforced.
    status = {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}
    await world.send("PATCH", f"{quotas}/none/status", status, MERGE_PATCH)
    answer = await until_refused(world)
    assert answer.code == 403
    assert "exceeded quota: none" in answer.message


async def test_a_pod_against_the_pod_security_of_its_namespace_is_refused(world: RealWorld) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await world.send("PATCH", f"/api/v1/namespaces/{world.namespace}", {"metadata": {"labels": labels}}, MERGE_PATCH)
    answer = await until_refused(world)
    assert answer.code == 403
    assert "violates PodSecurity" in answer.message


async def test_a_pod_that_the_server_finds_invalid_is_refused_with_the_field(world: RealWorld) -> None:
    job = with_template(await world.make_job("train"), containers=[{"name": "main"}])
    answer = await world.port.launch(launch_of(job), 1)
    assert isinstance(answer, Refused), answer
    assert answer.code == 422
    assert "spec.containers[0].image" in answer.message


async def test_a_pod_whose_refusal_has_a_word_of_ours_deposes_nobody(world: RealWorld) -> None:
    mount = {"name": "epoch-data", "mountPath": "/data"}
    job = with_template(
        await world.make_job("train"), containers=[{"name": "a", "image": "a", "volumeMounts": [mount]}]
    )
    answer = await world.port.launch(launch_of(job), 1)
    assert isinstance(answer, Refused), answer
    assert 'Not found: "epoch-data"' in answer.message


async def test_a_field_that_this_server_does_not_know_is_refused_not_dropped(world: RealWorld) -> None:
    job = with_template(await world.make_job("train"), warpDrive=True)
    answer = await world.port.launch(launch_of(job), 1)
    assert isinstance(answer, Refused), answer
    assert 'unknown field "spec.warpDrive"' in answer.message


async def test_a_template_that_is_none_is_refused_without_asking(world: RealWorld) -> None:
    job = replace(await world.make_job("train"), template=PodTemplate(b"{}"))
    assert await world.port.launch(launch_of(job), 1) == Refused(422, "the pod template has no containers")


async def test_a_launch_into_no_namespace_is_gone(world: RealWorld) -> None:
    job = in_no_namespace(await world.make_job("train"))
    assert await world.port.launch(launch_of(job), 1) == Gone()


async def test_a_launch_into_a_namespace_that_goes_away_is_refused(world: RealWorld) -> None:
    job = await world.make_job("train")
    await world.send("DELETE", f"/api/v1/namespaces/{world.namespace}")
    answer = await world.port.launch(launch_of(job), 1)
    assert isinstance(answer, Refused), answer
    assert (answer.code, "is being terminated" in answer.message) == (403, True)


async def test_the_longest_names_make_a_pod_that_is_read_back(world: RealWorld) -> None:
    job = await world.make_job("a" * 100 + "." + "b" * 99, queue="q" * 63)
    answer = await world.port.launch(launch_of(job), 1)
    assert isinstance(answer, Launched), answer
    assert (answer.pod.job_name, answer.pod.queue) == (job.name, "q" * 63)
    assert len(answer.pod.name) == 63


async def test_the_charge_is_what_the_server_made_of_the_pod(world: RealWorld) -> None:
    limits = {"limits": [{"type": "Container", "defaultRequest": {"memory": "32Mi"}, "default": {"memory": "64Mi"}}]}
    path = f"/api/v1/namespaces/{world.namespace}/limitranges"
    await world.send("POST", path, {"metadata": {"name": "usual"}, "spec": limits})
    charges: list[object] = []

    async def charged() -> bool:
        answer = await world.port.launch(launch_of(await world.make_job(f"train-{len(charges)}")), 1)
        assert isinstance(answer, Launched), answer
        charges.append(answer.pod.request)
        return charges[-1] == (("cpu", 100), ("memory", 32 * 2**20), ("pods", 1))

    # The server takes a new LimitRange into account as soon as its own watch has told it of it.
    await eventually("the default request is charged", charged)


async def test_writing_a_status_changes_nothing_else_of_the_object_nor_who_owns_it(world: RealWorld) -> None:
    path = job_path(world.namespace, "train")
    meta = {"name": "train", "labels": {"team": "a"}, "annotations": {"why": "a report"}}
    applied = {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskJob", "metadata": meta, "spec": {"image": "busybox"}}
    made = await world.send("PATCH", path, applied, "application/apply-patch+yaml", fieldManager="author")
    await world.send("PATCH", path, {"metadata": {"annotations": {"seen": "yes"}}}, MERGE_PATCH, fieldManager="viewer")
    before = json.loads((await world.send("GET", path)).body)
    job = await world.job_now(parse_job(json.loads(made.body)))
    assert job is not None

    assert isinstance(await world.port.set_status(SetStatus(job, Status(attempt=1), Urgency.PROGRESS), 1), Written)

    after = json.loads((await world.send("GET", path)).body)
    assert after["status"]["attempt"] == 1
    theirs = [each for each in after["metadata"]["managedFields"] if each["manager"] != "taskjobs"]
    assert theirs == before["metadata"]["managedFields"]
    ours = {"resourceVersion", "managedFields"}
    assert {k: v for k, v in after["metadata"].items() if k not in ours} == {
        k: v for k, v in before["metadata"].items() if k not in ours
    }
    assert after["spec"] == before["spec"]


# ---------------------------------------------------------------- no answer
async def test_without_a_connection_nothing_was_done_and_nobody_knows(world: RealWorld, cluster: Cluster) -> None:
    job = await world.make_job("train")
    async with through_a_relay(cluster) as (client, relay):
        await relay.cut()
        answers = [
            await client.launch(launch_of(job), 1),
            await client.set_status(SetStatus(job, Status(), Urgency.HOLD), 1),
            await client.remove_job(RemoveJob(job)),
        ]
        assert all(isinstance(answer, Unreachable) for answer in answers), answers
        await relay.mend()
        assert isinstance(await client.launch(launch_of(job), 1), Launched)
    assert await world.job_now(job) == job


async def test_a_launch_whose_answer_was_lost_is_found_when_asked_again(world: RealWorld, cluster: Cluster) -> None:
    job = await world.make_job("train")
    async with through_a_relay(cluster) as (client, relay):
        await client.get_job(job)  # the connection stands
        relay.muted = True
        answer = await client.launch(launch_of(job), 1)
        assert isinstance(answer, Unreachable), answer
        assert "no answer within 1 s" in answer.message
        await relay.cut()
        relay.muted = False
        await relay.mend()
        found = await client.launch(launch_of(job), 2)
        assert isinstance(found, Launched), found
        assert found.pod.epoch == 1, "it is the pod of the first time"


async def test_a_status_whose_answer_was_lost_is_stale_when_written_again(world: RealWorld, cluster: Cluster) -> None:
    job = await world.make_job("train")
    decision = SetStatus(job, Status(attempt=1), Urgency.HOLD)
    async with through_a_relay(cluster) as (client, relay):
        await client.get_job(job)
        relay.muted = True
        assert isinstance(await client.set_status(decision, 1), Unreachable)
    written = await world.job_now(job)
    assert written is not None
    assert written.status.attempt == 1
    assert await world.port.set_status(decision, 1) == Stale(written)


async def test_a_token_that_is_no_longer_good_is_told_as_no_answer(world: RealWorld, cluster: Cluster) -> None:
    job = await world.make_job("train")
    text = cluster.kubeconfig.read_text().replace(cluster.token.strip(), "worthless")
    wrong = cluster.directory / "wrong-kubeconfig"
    wrong.write_text(text)
    async with await KubeHttp.connect(wrong) as http:
        answer = await KubeClient(http).launch(launch_of(job), 1)
    assert isinstance(answer, Unreachable), answer
    assert "Unauthorized" in answer.message


async def test_a_kubeconfig_that_is_missing_is_named(cluster: Cluster) -> None:
    with pytest.raises(ConfigurationError, match="no-such-kubeconfig"):
        await KubeHttp.connect(cluster.directory / "no-such-kubeconfig")


# ---------------------------------------------------------------- queues, lists, logs, figures
async def test_figures_of_a_resource_that_is_no_longer_used_go_away(world: RealWorld) -> None:
    queue = await world.make_queue("research")
    await world.port.set_queue_status(SetQueueStatus(queue, 3, 2, (("cpu", 1500), ("nvidia.com/gpu", 1))))
    await world.port.set_queue_status(SetQueueStatus(queue, 0, 1, (("cpu", 500),)))
    status = await world.queue_status(queue)
    assert (status["pending"], status["admitted"], status["usage"]) == (0, 1, {"cpu": "500m"})


async def test_a_queue_that_cannot_be_used_says_why_in_a_condition(world: RealWorld) -> None:
    queue = await world.make_queue("research")
    why = QueueCondition("Active", False, "InvalidSpec", "spec.quota[cpu]: too odd")
    assert await world.port.set_queue_status(SetQueueStatus(queue, 0, 0, (), conditions=(why,))) == Done()
    (condition,) = (await world.queue_status(queue))["conditions"]
    assert (condition["type"], condition["status"]) == ("Active", "False")
    assert (condition["reason"], condition["message"]) == ("InvalidSpec", "spec.quota[cpu]: too odd")


async def test_a_list_in_chunks_is_one_list(world: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "CHUNK", 2)
    made = [await world.make_job(f"job-{n}") for n in range(5)]
    version, jobs = await list_jobs(world.http, (world.namespace,))
    assert jobs == made
    assert version >= made[-1].version
    everywhere_version, everywhere = await list_jobs(world.http)
    assert set(made) <= set(everywhere)
    assert everywhere_version >= version


async def test_queues_are_listed(world: RealWorld) -> None:
    queue = await world.make_queue("research")
    version, queues = await list_queues(world.http)
    assert queue in queues
    assert version >= queue.version


async def test_the_log_of_a_pod_that_ran_is_read(kwok_cluster: Cluster) -> None:
    async with await KubeHttp.connect(kwok_cluster.kubeconfig) as http:
        world = RealWorld(http, "default")
        job = await world.make_job("logs")
        launched = await world.port.launch(launch_of(job), 1)
        assert isinstance(launched, Launched), launched
        pod = launched.pod

        async def succeeded() -> bool:
            now = await world.pod_now(pod)
            return now is not None and now.phase is PodPhase.SUCCEEDED

        await eventually("the pod succeeds", succeeded, 60)
        stream = await world.port.open_log(pod, "main", since=None, follow=False)
        assert not isinstance(stream, NoLog | Gone | Unreachable), stream
        body = b""
        while chunk := await stream.read():
            body += chunk
        await stream.close()
        assert len(body) > 8
        await world.port.end_pod(EndPod(pod, EndBy.DELETE, "the test is over"))
        await world.delete_job(job)


async def test_a_log_that_went_with_its_node_is_told_with_the_reason(world: RealWorld) -> None:
    launched = await world.port.launch(launch_of(await world.make_job("train")), 1)
    assert isinstance(launched, Launched), launched
    pod = await world.fail(await world.place(launched.pod), 3)
    answer = await world.port.open_log(pod, "main", since=None, follow=False)
    assert answer == NoLog('pods "node-1" not found')


async def test_requests_are_counted_by_verb_resource_and_code(world: RealWorld) -> None:
    def count(code: str) -> float:
        return float(metrics.api_requests.labels("create", "pods", code)._value.get())

    before = (count("201"), count("409"))
    job = await world.make_job("train")
    for _ in range(2):
        await world.port.launch(launch_of(job), 1)
    assert (count("201"), count("409")) == (before[0] + 1, before[1] + 1)


async def test_no_more_requests_are_under_way_than_allowed(world: RealWorld, cluster: Cluster) -> None:
    job = await world.make_job("train")
    async with Relay(cluster.server) as relay:
        credentials = await Credentials.load(cluster.kubeconfig)
        credentials.server = relay.url
        async with KubeHttp(credentials, in_flight=3, timeout_seconds=10) as http:
            answers = await asyncio.gather(*(KubeClient(http).get_job(job) for _ in range(30)))
            assert answers == [job] * 30
            assert relay.connections <= 3


async def test_the_clusters_time_is_learned_from_the_answers(world: RealWorld) -> None:
    await world.make_job("train")
    clock = world.http.clock
    assert clock.uncertainty_seconds is not None
    job = await world.make_job("now")
    await eventually("the clock is near the server's", lambda: abs((clock.now() - job.created_at).total_seconds()) < 3)
