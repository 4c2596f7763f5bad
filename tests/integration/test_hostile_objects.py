"""Objects at and beyond every limit through a real API server: whatever it lets pass becomes a job that ends, or says
why it waits, and harms no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cluster_api import TASKQUEUES, InNamespace, Object, RefusedError, a_job, after, ended
from crd_shapes import conforming, schema_of
from operator_process import OperatorProcess
from operators import Site
from recorded import Told, wait_history
from taskjob.resources.words import NAME_MAX
from waiting import until

pytestmark = pytest.mark.cluster
JOBS, QUEUES = 150, 40
MIB = 2**20


@pytest.fixture
def operator(site: Site) -> Iterator[OperatorProcess]:
    """A running operator, which is well in the end."""
    with site.operator().start() as running:
        yield running.wait_ready()
        assert running.ask("/healthz")[0] == 200
        assert "Traceback" not in running.log()


def drawn(made: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many values, the same each time."""
    found: list[Any] = []

    @settings(
        max_examples=count, derandomize=True, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(made)
    def collect(value: Any) -> None:
        found.append(json.loads(json.dumps(value)))

    collect()
    return found


def a_spec() -> st.SearchStrategy[dict[str, Any]]:
    """Specs that the schema lets pass, half of them with a whole pod template."""
    fields = schema_of("taskjobs")["properties"]["spec"]["properties"]
    parts = {name: conforming(of) for name, of in fields.items()}
    pod = conforming(fields["template"]["properties"]["spec"]["properties"]["containers"])
    template = parts["template"] | pod.map(lambda containers: {"spec": {"containers": containers}})
    common = {
        name: parts[name]
        for name in fields
        if name not in ("template", "image", "command", "args", "env", "resources", "queue")
    }
    short = {name: parts[name] for name in ("command", "args", "env", "resources")}
    return st.fixed_dictionaries({"image": st.just("busybox")}, optional=short | common) | st.fixed_dictionaries(
        {"template": template}, optional=common
    )


def is_told(one: Told | None) -> bool:
    """Whether history says more of a job than that it is there."""
    return one is not None and (one.job["phase"] != "Pending" or one.job["reason"] != "Queued")


@pytest.mark.timeout(240)
def test_whatever_the_api_server_lets_pass_ends_or_says_why_it_waits(site: Site, operator: OperatorProcess) -> None:
    queues = []
    for number, spec in enumerate(drawn(conforming(schema_of("taskqueues")["properties"]["spec"]), QUEUES)):
        name = f"{site.namespace}-{number}"
        ours = {**spec, "controllerName": "default"}
        if accepted(lambda: site.api.create_queue(name, ours)):  # noqa: B023 - called at once
            queues.append(name)
    jobs = []
    for number, spec in enumerate(drawn(a_spec(), JOBS)):
        name = f"odd-{number}"
        queue = queues[number % len(queues)] if number % 3 == 0 else site.queue
        body: Object = {
            "apiVersion": "taskjobs.dev/v1beta1",
            "kind": "TaskJob",
            "metadata": {"name": name},
            "spec": {**spec, "queue": queue},
        }
        if accepted(lambda: site.here.create(body)):  # noqa: B023 - called at once
            jobs.append(name)
    print(f"{len(queues)} of {QUEUES} queues and {len(jobs)} of {JOBS} jobs were accepted")
    assert len(queues) > QUEUES // 4, "too few to mean anything: the rules have changed, and so must what is made here"
    assert len(jobs) > JOBS // 4
    site.create("good")
    site.jobs.wait_phase("good", "Succeeded", 60)
    site.wait_history(lambda told: all(is_told(told.get(name)) for name in jobs), "each is told of", 60)
    for name in queues:
        site.api.call("DELETE", f"{TASKQUEUES}/{name}")


def accepted(create: Any) -> bool:
    """Whether the API server takes it; what it does not take is the client's fault, not the server's."""
    try:
        create()
    except RefusedError as error:
        if error.code >= 500:
            raise
        return False
    return True


TEXTS = [
    "größe",
    "漢字",
    "🚀🏳️‍🌈",
    "\u202eright to left",
    "a\u0000b".replace("\u0000", "\u0001"),
    "$(HOME) $$(x)",
    "'\"\\`\n\t",
]


@pytest.mark.usefixtures("operator")
def test_names_at_their_limits_and_words_of_any_script_reach_the_pod_as_they_are(site: Site) -> None:
    longest = ("a" * 63 + ".") * 3 + "b" * (NAME_MAX - 192)
    assert len(longest) == NAME_MAX
    names = [longest, "0", "a.b.c", "x" * 63, "x" * NAME_MAX, "1-2.3-4"]
    for name in names:
        site.create(name)
    for bad in ("a" * (NAME_MAX + 1), "Ä", "a_b", "-a", "a..b", "a.", "A"):
        with pytest.raises(RefusedError) as refused:
            site.create(bad)
        assert refused.value.code == 422
    key, prefix = "k" * 63, "p" * 63 + "." + "q" * 63
    site.create(
        "last", dependsOn=after(*names), concurrency={"key": key, "limit": 1}, labels={f"{prefix}/{key}": "v" * 63}
    )
    spec = {
        "image": "busybox",
        "args": TEXTS,
        "env": [{"name": "E" * 255, "value": "".join(TEXTS)}],
        "queue": site.queue,
    }
    job = {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskJob", "metadata": {"name": "words"}, "spec": spec}
    job["metadata"] = {"name": "words", "annotations": {"note": "".join(TEXTS)}}
    site.here.create(job)
    for name in (*names, "last", "words"):
        site.jobs.wait_phase(name, "Succeeded", 30)
    site.launched("words")
    pods = {pod["metadata"]["ownerReferences"][0]["name"]: pod for _, pod in site.pods.seen}
    container = pods["words"]["spec"]["containers"][0]
    assert container["args"] == TEXTS
    assert {"name": "E" * 255, "value": "".join(TEXTS)} in container["env"]
    assert all(len(pod["metadata"]["name"]) <= 63 for pod in pods.values())
    told = site.wait_history(lambda told: all(told[name].ended for name in names), "history knows how all ended")
    assert told[longest].phases[-1] == "Succeeded"


@pytest.mark.usefixtures("operator")
def test_a_namespace_a_queue_a_cohort_a_group_and_a_container_with_the_longest_names_are_like_any_other(
    site: Site,
) -> None:
    own = site.namespace[-8:]
    namespace, queue, container = f"{'n' * 54}-{own}", f"{'q' * 54}-{own}", "c" * 63
    assert len(namespace) == len(queue) == 63
    site.api.create_namespace(namespace)
    site.api.create_queue(queue, {"cohort": "h" * 63}, cpu=1, pods=1)
    there, name = InNamespace(site.api, namespace), "x" * NAME_MAX
    pod = {"containers": [{"name": container, "image": "busybox"}]}
    with there.watch_jobs() as jobs:
        there.create(a_job(name, queue=queue, labels={"taskjobs.dev/group": "g" * 63}, pod=pod))
        jobs.wait_phase(name, "Succeeded", 30)
        told = wait_history(site.database_url, lambda told: bool(told[name].logs), 20, "history has it", namespace)
        assert (told[name].job["queue"], told[name].logs[0]["container"]) == (queue, container)
        there.delete_all()
        jobs.wait_until(lambda objects: not objects, 20, "the TaskJob is deleted")
    site.api.call("DELETE", f"{TASKQUEUES}/{queue}")


def of_size(name: str, size: int, **spec: Any) -> Object:
    """A TaskJob with an argument of so many bytes."""
    job = a_job(name, **spec)
    job["spec"]["template"]["spec"]["containers"][0]["args"] = ["x" * size]
    return job


@pytest.mark.usefixtures("operator")
def test_a_taskjob_of_a_megabyte_runs_like_any_other(site: Site) -> None:
    site.here.create(of_size("args", MIB, queue=site.queue))
    noted = a_job("annotations", queue=site.queue)
    noted["metadata"]["annotations"] = {"note": "x" * 250_000}
    site.here.create(noted)
    spread = a_job("env", queue=site.queue)
    env = [{"name": f"V{n}", "value": "x" * 1000} for n in range(1000)]
    spread["spec"]["template"]["spec"]["containers"][0]["env"] = env
    site.here.create(spread)
    for name in ("args", "annotations", "env"):
        site.jobs.wait_phase(name, "Succeeded", 30)


@pytest.mark.timeout(240)
def test_a_taskjob_with_no_room_for_its_status_is_told_beside_it_and_holds_up_nobody(
    site: Site, operator: OperatorProcess
) -> None:
    """etcd takes 1.5 MiB of an object: one that was created with a few bytes less has no room for a status."""
    least, most = MIB, 2 * MIB
    while most - least > 64:
        size = (least + most) // 2
        try:
            site.here.create(of_size(f"try-{size}", size, queue=site.queue, suspend=True))
            least = size
            site.here.delete(f"try-{size}")
        except RefusedError:
            most = size
    large = of_size("large", least, queue=site.queue)
    site.here.create(large)
    events = f"/api/v1/namespaces/{site.namespace}/events?fieldSelector=involvedObject.name=large"
    until(lambda: bool(site.api.call("GET", events)["items"]), "an Event says what the status cannot")
    for number in range(20):
        site.create(f"other-{number}")
    for number in range(20):
        site.jobs.wait_phase(f"other-{number}", "Succeeded")
    told = site.wait_history(lambda told: is_told(told.get("large")), "history tells of it")
    print(f"{least} bytes: {told['large'].phases}, {told['large'].job['reason']}")
    assert f"status of TaskJob {site.namespace}/large was refused" in operator.log()
    refused = operator.log().count("was refused")
    assert refused < 10, f"it is tried again and again: {refused} times"
    # Less of it is all that it takes.
    template = large["spec"]["template"]
    template["spec"]["containers"][0]["args"] = ["x"]
    site.here.change("large", template=template)
    site.jobs.wait_until(lambda jobs: ended(jobs.get("large", {})), 60, "the smaller one ends")


LAYERS, WIDE = 11, 100


@pytest.mark.life
@pytest.mark.usefixtures("operator")
@pytest.mark.timeout(600)
def test_a_graph_of_a_hundred_thousand_edges_runs_layer_by_layer(site: Site) -> None:
    for layer in range(LAYERS):
        before = [f"l{layer - 1}-{n}" for n in range(WIDE)] if layer else []
        for number in range(WIDE):
            site.create(f"l{layer}-{number}", dependsOn=after(*before))
    site.jobs.wait_until(
        lambda jobs: len(jobs) == LAYERS * WIDE and all(ended(job) for job in jobs.values()), 400, "all jobs end"
    )
    assert {job["status"]["phase"] for job in site.jobs.snapshot().values()} == {"Succeeded"}
    begun: dict[int, list[int]] = {}
    for kind, pod in site.pods.seen:
        if kind == "ADDED":
            layer = int(pod["metadata"]["labels"]["taskjobs.dev/job-name"].partition("-")[0][1:])
            begun.setdefault(layer, []).append(int(pod["metadata"]["resourceVersion"]))
    assert [len(begun[layer]) for layer in range(LAYERS)] == [WIDE] * LAYERS
    for layer in range(1, LAYERS):
        assert max(begun[layer - 1]) < min(begun[layer]), (
            f"a pod of layer {layer} came before the layer before it was over"
        )
