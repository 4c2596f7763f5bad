"""What only real pods by a real kubelet can show: logs, signals, grace, exit codes, deadlines without an operator."""

from __future__ import annotations

import pytest

from operator_process import OperatorProcess
from world_of_pods import Api, Bench, a_taskjob, until

SLEEPS = "trap 'exit 143' TERM; sleep 600 & wait"
"""Sleeps and minds SIGTERM: a shell that is a container's first process otherwise waits out its whole grace."""

pytestmark = [pytest.mark.cluster, pytest.mark.real_pods]


def test_kubectl_logs_reads_a_living_pod_and_the_api_reads_it_when_the_pod_is_gone(bench: Bench, api: Api) -> None:
    bench.apply(a_taskjob("talker", "echo first; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo last"))
    status = bench.wait("talker", "Running")
    pod = status["podName"]
    assert until(lambda: bench.logs(pod), what="the first line") == "first\n"
    job_id = api.job_id(bench, "talker")
    assert api.log(job_id) == "first\n"
    bench.kubectl("exec", pod, "--", "touch", "/tmp/go")
    bench.wait("talker", "Succeeded")
    until(lambda: not bench.pods("talker"), what="the removal of the pod, once its log is kept")
    assert api.log(job_id) == "first\nlast\n"


def test_every_attempt_keeps_its_log_and_its_exit_code(bench: Bench, api: Api) -> None:
    backoff = {"initialSeconds": 1, "jitterPercent": 0}
    script = 'echo "attempt $TASKJOB_ATTEMPT"; [ "$TASKJOB_ATTEMPT" = 3 ] || exit $((TASKJOB_ATTEMPT + 10))'
    bench.apply(a_taskjob("third", script, retry={"limit": 2, "backoff": backoff}))
    status = bench.wait("third", "Succeeded", seconds=90)
    assert (status["attempt"], status["retries"], status["exitCode"]) == (3, 2, 0)
    job_id = api.job_id(bench, "third")
    until(lambda: not bench.pods("third"), what="the removal of the pods")
    for attempt in (1, 2, 3):
        assert api.log(job_id, attempt=attempt) == f"attempt {attempt}\n"

    def attempts() -> list[tuple[int, int]] | None:
        told = [(a["attempt"], a["exitCode"]) for a in api.get(f"/jobs/{job_id}").json()["attempts"]]
        return told if len(told) == 3 and told[2][1] is not None else None

    assert until(attempts, 10, "the history of all attempts") == [(1, 11), (2, 12), (3, 0)]


def test_cancelling_ends_the_pod_with_sigterm_and_grace_and_keeps_its_log(bench: Bench, api: Api) -> None:
    script = "trap 'echo got the signal; sleep 1; echo done; exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    bench.apply(a_taskjob("cancelled", script))
    pod = bench.wait("cancelled", "Running")["podName"]
    until(lambda: "ready" in bench.logs(pod), what="the trap being set")
    job_id = api.job_id(bench, "cancelled")
    answer = api.patch(f"/jobs/{job_id}/cancel")
    assert answer.status_code == 200, answer.text
    status = bench.wait("cancelled", "Cancelled")
    assert status["reason"] == "CancelledByUser"
    assert status["exitCode"] == 7, "the container's own exit code"
    until(lambda: "done" in api.log(job_id), what="the log")
    assert api.log(job_id) == "ready\ngot the signal\ndone\n"
    assert api.patch(f"/jobs/{job_id}/cancel").status_code == 409


def test_a_timeout_holds_while_the_operator_is_down(bench: Bench, operator: OperatorProcess) -> None:
    bench.apply(a_taskjob("slow", SLEEPS, timeoutSeconds=8))

    def phases() -> list[str]:
        return [pod["status"]["phase"] for pod in bench.pods("slow")]

    # The pod itself is asked: its time runs since before it had a sandbox, and the TaskJob says Running seconds later.
    until(lambda: phases() == ["Running"], what="its pod running")
    operator.kill()
    try:
        until(lambda: phases() == ["Failed"], what="the kubelet ending the pod")
    finally:
        operator.start().wait_ready()
    status = bench.wait("slow", "Failed")
    assert status["reason"] == "AttemptFailed"
    assert "Timeout" in status["message"], status


def test_a_deadline_ends_a_running_job_whatever_its_retries(bench: Bench) -> None:
    bench.apply(a_taskjob("late", SLEEPS, deadlineSeconds=4, retry={"limit": 5}))
    status = bench.wait("late", "Failed")
    assert (status["reason"], status["attempt"]) == ("DeadlineExceeded", 1), status


def test_suspending_a_running_job_ends_its_pod_and_resuming_starts_another_that_is_not_charged(bench: Bench) -> None:
    bench.apply(a_taskjob("pausing", '[ "$TASKJOB_ATTEMPT" = 2 ] && exit; ' + SLEEPS))
    bench.wait("pausing", "Running")
    bench.kubectl("patch", "tj", "pausing", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    until(lambda: bench.status("pausing").get("reason") == "Suspended", what="the suspension")
    bench.kubectl("patch", "tj", "pausing", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    status = bench.wait("pausing", "Succeeded")
    assert (status["attempt"], status["retries"]) == (2, 0)


def test_a_container_that_takes_too_much_memory_is_called_oom_killed(bench: Bench) -> None:
    limits = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "16Mi"}}
    bench.apply(a_taskjob("hungry", "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}", resources=limits))
    status = bench.wait("hungry", "Failed")
    assert "OOMKilled" in status["message"], status


def test_deleting_a_running_taskjob_ends_its_pod_and_closes_it_in_history(bench: Bench, api: Api) -> None:
    bench.apply(a_taskjob("deleted", SLEEPS))
    bench.wait("deleted", "Running")
    job_id = api.job_id(bench, "deleted")
    bench.kubectl("delete", "tj", "deleted")
    until(
        lambda: not bench.kubectl("get", "pods", "-l", f"taskjobs.dev/job-uid={job_id}", "-o", "name"),
        what="the end of the pod",
    )

    def closed() -> bool:
        job = api.get(f"/jobs/{job_id}").json()
        return (job.get("phase"), job.get("reason")) == ("Cancelled", "Deleted")

    assert until(closed, 10, "the end in history")


def test_a_pod_whose_image_does_not_exist_says_so_on_the_taskjob_and_can_be_cancelled(bench: Bench) -> None:
    missing = a_taskjob("missing", "true", image="registry.invalid/none:1")
    bench.apply(missing)

    def told() -> bool:
        status = bench.status("missing")
        return status.get("phase") == "Starting" and "Image" in status.get("message", "")

    until(told, 60, "the reason in the status")
    bench.kubectl("patch", "tj", "missing", "--type=merge", "-p", '{"spec":{"cancel":true}}')
    assert bench.wait("missing", "Cancelled")["reason"] == "CancelledByUser"
