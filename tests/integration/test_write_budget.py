"""What jobs cost the API server in writes, counted by the API server itself."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from cluster_api import ClusterApi, a_job, ended
from operator_process import OperatorProcess
from operators import Site

pytestmark = pytest.mark.cluster

_COUNTED = re.compile(r"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def requests_of(api: ClusterApi) -> Counter[tuple[str, str, str]]:
    """Requests that the API server has carried out so far: (verb, resource/subresource, code) -> how many."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for line in _COUNTED.finditer(api.raw("GET", "/metrics").decode()):
        labels = dict(_LABEL.findall(line["labels"]))
        resource = "/".join(filter(None, (labels["resource"], labels["subresource"])))
        counted[labels["verb"], resource, labels["code"]] += int(float(line["count"]))
    return counted


class Bill:
    """The operator's writes between two looks at the API server's counters.

    Statuses of TaskJobs and TaskQueues are written by nobody else here, TaskJobs are deleted by nobody else while it
    counts; pods are created by nobody else, but their deletion is the simulated kubelet's too: they are not counted.
    """

    def __init__(self, site: Site, operator: OperatorProcess) -> None:
        self._site, self._operator = site, operator
        self._before = requests_of(site.api)
        self._decided_before = operator.metrics()

    def writes(self) -> dict[str, int]:
        """Creates of pods, writes of TaskJobs' and of TaskQueues' statuses, whatever was answered."""
        since = requests_of(self._site.api)
        since.subtract(self._before)
        wanted = {
            ("POST", "pods"): "pods created",
            ("PUT", "taskjobs/status"): "statuses written",
            ("PATCH", "taskqueues/status"): "queue statuses written",
            ("DELETE", "taskjobs"): "TaskJobs deleted",
        }
        told = dict.fromkeys(wanted.values(), 0)
        for (verb, resource, _), count in since.items():
            if (verb, resource) in wanted:
                told[wanted[verb, resource]] += count
        return told

    def decided(self, kind: str) -> int:
        """How many decisions of a kind the operator made meanwhile."""
        name = f'taskjobs_decisions_total{{kind="{kind}"}}'
        return int(self._operator.metrics().get(name, 0) - self._decided_before.get(name, 0))

    def events(self) -> float:
        """How many Kubernetes Events the operator wanted to make meanwhile."""
        now, before = self._operator.metrics(), self._decided_before
        return sum(now[name] - before.get(name, 0) for name in now if name.startswith("taskjobs_events_total"))


@pytest.fixture
def operator(site: Site) -> Iterator[OperatorProcess]:
    """A running operator."""
    with site.operator().start() as running:
        yield running.wait_ready()


def test_jobs_one_by_one_cost_a_pod_and_at_most_two_status_writes_each(site: Site, operator: OperatorProcess) -> None:
    site.create("warm-up")
    site.jobs.wait_phase("warm-up", "Succeeded")
    site.pods.wait_until(lambda pods: not pods, 20, "its pod is removed")
    costs: list[int] = []
    for number, seconds in enumerate((0, 0, 0, 0.5, 0.5, 1.2)):
        bill = Bill(site, operator)
        site.create(f"job-{number}", seconds=seconds)
        site.jobs.wait_phase(f"job-{number}", "Succeeded")
        writes = bill.writes()
        assert writes["pods created"] == 1, writes
        assert writes["statuses written"] <= 2, writes
        costs.append(writes["pods created"] + writes["statuses written"])
    print(f"writes up to the terminal status, jobs one by one: {costs}, on average {sum(costs) / len(costs):.2f}")
    assert max(costs) <= 3


def test_two_hundred_jobs_at_once_cost_about_two_writes_each(site: Site, operator: OperatorProcess) -> None:
    count = 200
    bill = Bill(site, operator)
    for number in range(count):
        site.create(f"job-{number}")
    site.jobs.wait_until(lambda jobs: len(jobs) == count and all(map(ended, jobs.values())), 60, "all jobs end")
    writes = bill.writes()
    assert {job["status"]["phase"] for job in site.jobs.snapshot().values()} == {"Succeeded"}
    each = (writes["pods created"] + writes["statuses written"]) / count
    print(f"{count} jobs at once: {each:.2f} writes each up to the terminal status; {writes}")
    assert writes["pods created"] == count
    assert each <= 3
    assert bill.events() == 0, "an ordinary success makes no Event"
    site.pods.wait_until(lambda pods: not pods, 30, "their pods are removed")
    print(f"and {bill.decided('RemovePod') / count:.2f} deletes of pods each")
    assert bill.decided("RemovePod") == count


def test_jobs_that_wait_cost_one_explanation_more_and_no_flood(site: Site, operator: OperatorProcess) -> None:
    count = 120
    narrow = f"{site.queue}-narrow"
    site.api.create_queue(narrow, pods=6)
    bill = Bill(site, operator)
    for number in range(count):
        site.create(f"job-{number}", queue=narrow, seconds=0.1, until=0.3)
    site.jobs.wait_until(lambda jobs: len(jobs) == count and all(map(ended, jobs.values())), 90, "all jobs end")
    writes = bill.writes()
    explained = sum(explanations(site, f"job-{number}") for number in range(count))
    each = (writes["pods created"] + writes["statuses written"] - explained) / count
    print(f"{count} jobs, 6 at a time: {each:.2f} writes each, and {explained} explanations of waiting; {writes}")
    assert each <= 3
    assert explained <= count


def explanations(site: Site, name: str) -> int:
    """How many status writes of this job only said why it waits."""
    return sum(1 for _, found in site.jobs.history(name) if waits(found.get("status")))


def waits(status: Mapping[str, object] | None) -> bool:
    """Whether a status that the operator has written (not the CRD's default) says why a job waits."""
    return status is not None and status.get("phase") == "Pending" and "queuedAt" in status


def test_a_finished_job_is_removed_by_one_delete_of_its_own(site: Site, operator: OperatorProcess) -> None:
    bill = Bill(site, operator)
    names = {f"job-{number}" for number in range(10)}
    for name in names:
        site.create(name, ttlSecondsAfterFinished=0)

    def came_and_went(jobs: Mapping[str, object]) -> bool:
        """None is there either while the witness has not seen the last one come."""
        return not jobs and {found["metadata"]["name"] for _, found in site.jobs.seen} == names

    site.jobs.wait_until(came_and_went, 30, "all have come and are removed")
    writes = bill.writes()
    print(f"10 jobs with no time to live: {writes}")
    assert writes["TaskJobs deleted"] <= 10 + 1


def test_an_idle_operator_writes_nothing(site: Site, operator: OperatorProcess) -> None:
    site.api.call(
        "POST", f"/apis/taskjobs.dev/v1beta1/namespaces/{site.namespace}/taskjobs", a_job("held", suspend=True)
    )
    site.jobs.wait_status("held", reason="Suspended")
    # The figures of the queues follow a few seconds later: wait for cycles of which nothing comes.
    for _ in range(4):
        bill = Bill(site, operator)
        wait_cycles(operator, operator.metrics()["taskjobs_cycles_total"] + 2)
        if not any(bill.writes().values()):
            return
    raise AssertionError(f"it goes on writing though nothing happens: {bill.writes()}")


def wait_cycles(operator: OperatorProcess, least: float) -> None:
    """Wait until the loop has gone round so often; it does so every five seconds when nothing happens."""
    give_up_at = time.monotonic() + 30
    while operator.metrics()["taskjobs_cycles_total"] < least:
        assert time.monotonic() < give_up_at, operator.log()
        time.sleep(0.1)
