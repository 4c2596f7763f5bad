"""The life of jobs under a whole operator: a real API server, simulated nodes, a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest

from cluster_api import Object, Witness, a_job, after, ended
from operator_process import OperatorProcess
from operators import Site

pytestmark = pytest.mark.cluster


@pytest.fixture
def operator(site: Site) -> Iterator[OperatorProcess]:
    """A running operator."""
    with site.operator().start() as running:
        yield running.wait_ready()


def when(found: Object, field: str) -> datetime:
    """An instant of a status."""
    return datetime.fromisoformat(found["status"][field])


def wait_pod(site: Site, name: str, phase: str, attempt: int = 1, seconds: float = 20) -> Object:
    """Wait until the attempt's pod is in this phase."""
    found: Object = {}

    def there(pods: Mapping[str, Object]) -> bool:
        for pod in pods.values():
            labels = pod["metadata"]["labels"]
            mine = (labels["taskjobs.dev/job-name"], labels["taskjobs.dev/attempt"]) == (name, str(attempt))
            if mine and pod["status"]["phase"] == phase:
                found.update(pod)
                return True
        return False

    site.pods.wait_until(there, seconds, f"pod of attempt {attempt} of {name} is {phase}")
    return found


@pytest.mark.usefixtures("operator")
class TestDependencies:
    def test_a_job_starts_only_after_those_that_it_depends_on_whatever_was_applied_first(self, site: Site) -> None:
        site.create("report", dependsOn=after("merge"))
        site.create("merge", dependsOn=after("count-1", "count-2"))
        waiting = site.jobs.wait_status("merge", reason="WaitingForDependencies")
        assert "count-1" in waiting["status"]["message"]
        assert "count-2" in waiting["status"]["message"]
        site.create("count-2", seconds=0.5)
        site.create("count-1")
        site.jobs.wait_phase("report", "Succeeded")
        ends = {name: when(site.jobs[name], "finishedAt") for name in ("count-1", "count-2", "merge")}
        assert when(site.jobs["merge"], "startedAt") >= max(ends["count-1"], ends["count-2"])
        assert site.launched("count-1", "count-2", "merge", "report")[-2:] == ["merge", "report"]

    @pytest.mark.parametrize(
        ("condition", "exits", "phase"),
        [
            ("Succeeded", 0, "Succeeded"),
            ("Succeeded", 1, "Skipped"),
            ("Failed", 1, "Succeeded"),
            ("Failed", 0, "Skipped"),
            ("Finished", 0, "Succeeded"),
            ("Finished", 1, "Succeeded"),
        ],
    )
    def test_the_condition_decides_whether_the_dependent_runs(
        self, site: Site, condition: str, exits: int, phase: str
    ) -> None:
        site.create("first", exits=exits)
        site.create("then", dependsOn=after("first", condition=condition))
        found = site.jobs.wait_phase("then", phase)
        if phase == "Skipped":
            assert found["status"]["reason"] == "DependencyNotSatisfied"
            assert "first" in found["status"]["message"]
            assert found["status"]["attempt"] == 0

    def test_the_policy_decides_what_becomes_of_a_job_that_waits_in_vain(self, site: Site) -> None:
        site.create("first", exits=1)
        for policy in ("Skip", "Fail", "Wait"):
            site.create(policy.lower(), dependsOn=after("first"), onDependencyFailure=policy)
        site.jobs.wait_phase("skip", "Skipped")
        site.jobs.wait_status("fail", phase="Failed", reason="DependencyNotSatisfied")
        waits = site.jobs.wait_status("wait", phase="Pending", reason="WaitingForDependencies")
        assert "first" in waits["status"]["message"]
        site.here.change("wait", cancel=True)
        site.jobs.wait_phase("wait", "Cancelled")

    def test_a_dependency_that_is_deleted_is_waited_for_until_it_is_made_again(self, site: Site) -> None:
        site.create("first", suspend=True)
        site.create("then", dependsOn=after("first"))
        site.jobs.wait_status("then", reason="WaitingForDependencies")
        site.here.delete("first")
        site.jobs.wait_gone("first")
        site.create("first")
        site.jobs.wait_phase("then", "Succeeded")


@pytest.mark.usefixtures("operator")
class TestQueues:
    def test_under_quota_the_higher_priority_starts_first(self, site: Site) -> None:
        narrow = f"{site.queue}-narrow"
        site.api.create_queue(narrow, pods=1)
        site.create("holder", queue=narrow, seconds=60)
        wait_pod(site, "holder", "Running")
        order = [("low", "Low"), ("normal", "Normal"), ("critical", "Critical"), ("high", "High")]
        for name, priority in order:
            site.create(name, queue=narrow, priority=priority)
        for name, _ in order:
            waiting = site.jobs.wait_status(name, reason="WaitingForQuota")
            assert "pods" in waiting["status"]["message"]
        site.here.change("holder", cancel=True)
        site.jobs.wait_phase("low", "Succeeded")
        in_order = ["holder", "critical", "high", "normal", "low"]
        assert site.launched(*in_order) == in_order

    def test_quota_is_never_exceeded_as_seen_from_the_pods(self, site: Site) -> None:
        narrow = f"{site.queue}-narrow"
        site.api.create_queue(narrow, cpu=3, pods=7)
        asked = {f"job-{number}": ("250m", "500m", "1500m")[number % 3] for number in range(45)}
        for name, cpu in asked.items():
            site.create(name, queue=narrow, requests={"cpu": cpu}, seconds=0.1, until=0.4)
        site.jobs.wait_until(lambda jobs: all(map(ended, jobs.values())), 60, "all jobs end")
        most_cpu, most_pods = most_at_once(site.pods)
        print(f"at most {most_cpu} milli-CPU and {most_pods} pods at once, of 3000 and 7")
        assert most_cpu <= 3000
        assert most_pods <= 7
        assert most_cpu >= 2000, "the quota was hardly used"
        assert {job["status"]["phase"] for job in site.jobs.snapshot().values()} == {"Succeeded"}


def most_at_once(pods: Witness) -> tuple[int, int]:
    """The most milli-CPU and the most pods that were alive (not ended, not gone) at one time."""
    alive: dict[str, int] = {}
    most_cpu = most_pods = 0
    for kind, pod in pods.seen:
        uid = pod["metadata"]["uid"]
        if kind == "DELETED" or pod["status"]["phase"] in ("Succeeded", "Failed"):
            alive.pop(uid, None)
        else:
            cpu = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]
            alive[uid] = int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1000
        most_cpu, most_pods = max(most_cpu, sum(alive.values())), max(most_pods, len(alive))
    return most_cpu, most_pods


@pytest.mark.usefixtures("operator")
class TestFailures:
    def test_a_failed_attempt_is_retried_after_its_backoff_and_its_logs_are_kept(self, site: Site) -> None:
        backoff = {"initialSeconds": 2, "factor": 2, "jitterPercent": 0}
        site.create("flaky", exits="3,4,0", retry={"limit": 5, "backoff": backoff})
        found = site.jobs.wait_phase("flaky", "Succeeded", 30)
        status = found["status"]
        assert (status["attempt"], status["retries"], status["exitCode"]) == (3, 2, 0)
        told = site.wait_history(
            lambda all_told: all_told["flaky"].ended and len(all_told["flaky"].logs) == 3, "all is kept"
        )["flaky"]
        assert told.faults() == []
        assert [row["exit_code"] for row in told.attempts] == [3, 4, 0]
        assert [row["failure"] for row in told.attempts] == ["ExitCode", "ExitCode", None]
        begun = [row["created_at"] for row in told.attempts]
        ends = [row["finished_at"] for row in told.attempts]
        assert (begun[1] - ends[0]).total_seconds() >= 2
        assert (begun[2] - ends[1]).total_seconds() >= 4
        assert "exited with code 4" in told.attempts[1]["message"]

    def test_retries_end_at_their_limit(self, site: Site) -> None:
        site.create("hopeless", exits="7", retry={"limit": 2, "backoff": {"initialSeconds": 0}})
        status = site.jobs.wait_phase("hopeless", "Failed")["status"]
        assert (status["reason"], status["attempt"], status["retries"], status["exitCode"]) == (
            "AttemptFailed",
            3,
            2,
            7,
        )
        assert "exited with code 7" in status["message"]
        assert {c["type"]: c["status"] for c in status["conditions"]} == {
            "Admitted": "True",
            "Failed": "True",
            "Finished": "True",
        }

    def test_an_attempt_that_takes_too_long_is_ended_and_counts_as_failed(self, site: Site) -> None:
        site.create("slow", seconds=600, timeoutSeconds=1, retry={"limit": 1, "backoff": {"initialSeconds": 0}})
        status = site.jobs.wait_phase("slow", "Failed", 30)["status"]
        assert (status["reason"], status["retries"]) == ("AttemptFailed", 1)
        assert "longer than 1 s" in status["message"]
        told = site.wait_history(
            lambda all_told: all_told["slow"].ended and len(all_told["slow"].logs) == 2, "all is kept"
        )["slow"]
        assert [row["failure"] for row in told.attempts] == ["Timeout", "Timeout"]

    def test_the_deadline_counts_waiting_and_retries_too(self, site: Site) -> None:
        lasted: list[float] = []
        # Again, up to three times, if they end too late: a busy machine is late now and then, a wrong sum each time.
        while not lasted or (lasted[-1] > 10 and len(lasted) < 3):
            late, held = f"late-{len(lasted)}", f"held-{len(lasted)}"
            site.create(late, seconds=600, deadlineSeconds=6, retry={"limit": 9})
            site.create(held, suspend=True, deadlineSeconds=6)
            both = []
            for name in (late, held):
                found = site.jobs.wait_phase(name, "Failed", 30)
                assert found["status"]["reason"] == "DeadlineExceeded"
                made = datetime.fromisoformat(found["metadata"]["creationTimestamp"])
                both.append((when(found, "finishedAt") - made).total_seconds())
            assert min(both) >= 5
            assert site.jobs[late]["status"]["attempt"] == 1
            lasted.append(max(both))
        assert lasted[-1] <= 10, lasted


@pytest.mark.usefixtures("operator")
class TestStopping:
    def test_cancel_ends_a_job_wherever_it_stands(self, site: Site) -> None:
        site.create("pending", dependsOn=after("nobody"))
        site.create("starting", starts_in=600)
        site.create("running", seconds=600)
        site.jobs.wait_status("pending", reason="WaitingForDependencies")
        site.jobs.wait_phase("starting", "Starting")
        site.jobs.wait_phase("running", "Running")
        for name in ("pending", "starting", "running"):
            site.here.change(name, cancel=True)
        for name in ("pending", "running"):
            status = site.jobs.wait_phase(name, "Cancelled")["status"]
            assert status["reason"] == "CancelledByUser"
        # Its simulated kubelet does nothing before it starts a container: the pod is deleted after its grace.
        site.jobs.wait_phase("starting", "Cancelled", 40)
        site.pods.wait_until(lambda pods: not pods, 20, "no pod is left")
        told = site.wait_history(
            lambda all_told: len(all_told) == 3 and all(one.ended for one in all_told.values()),
            "all three have ended",
        )
        assert told["pending"].phases == ["Pending", "Cancelled"]
        assert told["running"].phases == ["Pending", "Starting", "Running", "Cancelled"]
        assert told["starting"].phases == ["Pending", "Starting", "Cancelled"]
        assert told["running"].attempts[0]["exit_code"] == 143

    def test_a_suspended_job_gives_its_place_back_and_goes_on_with_a_new_attempt(self, site: Site) -> None:
        narrow = f"{site.queue}-narrow"
        site.api.create_queue(narrow, pods=1)
        site.create("long", queue=narrow, seconds=600)
        site.jobs.wait_phase("long", "Running")
        site.create("next", queue=narrow)
        site.jobs.wait_status("next", reason="WaitingForQuota")
        site.here.change("long", suspend=True)
        site.jobs.wait_phase("next", "Succeeded")
        site.jobs.wait_status("long", phase="Pending", reason="Suspended")
        site.here.change("long", suspend=False)
        status = site.jobs.wait_status("long", phase="Running", attempt=2)["status"]
        assert status["retries"] == 0
        site.here.change("long", cancel=True)
        site.jobs.wait_phase("long", "Cancelled")

    def test_a_deleted_job_is_closed_in_history_and_its_pod_goes(self, site: Site) -> None:
        site.create("running", seconds=600)
        site.create("waiting", suspend=True)
        site.jobs.wait_phase("running", "Running")
        site.jobs.wait_status("waiting", reason="Suspended")
        site.here.delete("running")
        site.here.delete("waiting")
        site.pods.wait_until(lambda pods: not pods, 30, "its pod is gone")
        told = site.wait_history(
            lambda all_told: len(all_told) == 2 and all(one.job["gone_at"] for one in all_told.values()),
            "both are gone",
        )
        assert told["running"].phases == ["Pending", "Starting", "Running", "Cancelled"]
        assert told["waiting"].phases == ["Pending", "Cancelled"]
        assert {one.job["reason"] for one in told.values()} == {"Deleted"}
        assert [fault for one in told.values() for fault in one.faults()] == []

    def test_a_pod_that_somebody_deleted_is_followed_by_another_attempt_that_is_not_charged(self, site: Site) -> None:
        site.create("robbed", seconds=600, retry={"limit": 0, "backoff": {"initialSeconds": 0}})
        pod = wait_pod(site, "robbed", "Running")
        path = f"/api/v1/namespaces/{site.namespace}/pods/{pod['metadata']['name']}"
        site.api.call("DELETE", path)
        status = site.jobs.wait_status("robbed", phase="Running", attempt=2)["status"]
        assert status.get("retries", 0) == 0


@pytest.mark.usefixtures("operator")
class TestRetention:
    def test_a_finished_job_goes_when_its_time_to_live_is_over_and_history_stays(self, site: Site) -> None:
        site.create("short", ttlSecondsAfterFinished=1)
        site.create("names-it", dependsOn=after("named"), suspend=True)
        site.create("named", ttlSecondsAfterFinished=0)
        site.jobs.wait_gone("short")
        site.jobs.wait_phase("named", "Succeeded")
        told = site.wait_history(lambda all_told: all_told["short"].job["gone_at"] is not None, "it is gone")["short"]
        assert told.job["phase"] == "Succeeded"
        assert len(told.logs) == 1
        assert "named" in site.jobs.snapshot(), "it was removed while a live job names it"
        site.here.change("names-it", suspend=False)
        site.jobs.wait_phase("names-it", "Succeeded")
        site.jobs.wait_gone("named")

    def test_pods_are_removed_or_kept_as_the_job_says(self, site: Site) -> None:
        wanted: dict[str, tuple[dict[str, Any], bool]] = {
            "delete-good": ({"exits": 0}, False),
            "delete-bad": ({"exits": 1}, False),
            "failed-good": ({"exits": 0, "podRetention": "KeepFailed"}, False),
            "failed-bad": ({"exits": 1, "podRetention": "KeepFailed"}, True),
            "keep-good": ({"exits": 0, "podRetention": "Keep"}, True),
        }
        for name, (said, _) in wanted.items():
            site.create(name, **said)
        site.jobs.wait_until(lambda jobs: all(map(ended, jobs.values())), 20, "all have ended")
        site.wait_history(lambda told: sum(len(one.logs) for one in told.values()) == len(wanted), "all logs are kept")
        kept = {name for name, (_, stays) in wanted.items() if stays}
        site.pods.wait_until(
            lambda pods: {pod["metadata"]["labels"]["taskjobs.dev/job-name"] for pod in pods.values()} == kept,
            20,
            f"the pods of {kept} are left",
        )


@pytest.mark.usefixtures("operator")
def test_kubectl_waits_for_conditions(site: Site) -> None:
    site.create("good", seconds=0.5)
    site.create("bad", exits=1)
    at = ("-n", site.namespace)
    site.cluster.wait_for(*at, "--for=condition=Complete", "tj/good", timeout_seconds=20)
    site.cluster.wait_for(*at, "--for=condition=Failed", "tj/bad", timeout_seconds=20)
    site.cluster.wait_for(*at, "--for=condition=Finished", "tj", "--all", timeout_seconds=20)
    table = site.cluster.kubectl("get", "tj", *at)
    assert [line.split()[0:2] for line in table.splitlines()] == [
        ["NAME", "PHASE"],
        ["bad", "Failed"],
        ["good", "Succeeded"],
    ]


def test_an_operator_told_its_namespaces_leaves_the_others_alone(site: Site) -> None:
    other = f"{site.namespace}-other"
    site.api.create_namespace(other)
    path = f"/apis/taskjobs.dev/v1beta1/namespaces/{other}/taskjobs"
    with site.operator(namespaces=[site.namespace]).start() as running:
        running.wait_ready()
        site.api.call("POST", path, a_job("theirs", queue=site.queue))
        site.create("ours")
        site.jobs.wait_phase("ours", "Succeeded")
        # the default of the CRD, which is all that a job shows whose status nobody has written
        assert site.api.call("GET", f"{path}/theirs")["status"] == {"phase": "Pending", "reason": "Queued"}
    site.api.call("DELETE", f"{path}/theirs")
