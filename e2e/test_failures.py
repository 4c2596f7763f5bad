"""Each kind of failure, produced for real: what it is called, what follows it, what it costs."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from world_of_pods import SLEEPS, Bench, a_taskjob, templated, until

SECOND_TIME_LUCKY = f'[ "$TASKJOB_ATTEMPT" = 2 ] && exit; {SLEEPS}'
ONE_SECOND: dict[str, Any] = {"initialSeconds": 1, "jitterPercent": 0}
FREE: dict[str, Any] = {"limit": 0, "backoff": ONE_SECOND}

pytestmark = [pytest.mark.cluster, pytest.mark.real_pods]


def kill_outright(marker: str) -> None:
    """Kill the process of this machine whose command line has the marker, as the kernel or an admin would."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    assert len(found) == 1, f"{len(found)} processes have {marker} in their command line"
    os.kill(found[0], signal.SIGKILL)


def events_of(bench: Bench, name: str) -> list[str]:
    listed = json.loads(bench.kubectl("get", "events", "--field-selector", f"involvedObject.name={name}", "-o", "json"))
    return [event["reason"] for event in listed["items"] if event["involvedObject"]["kind"] == "TaskJob"]


def said_of(bench: Bench, name: str) -> str:
    """What the Events on a TaskJob say, once there is one."""
    of = ("--field-selector", f"involvedObject.name={name}", "-o", "jsonpath={..message}")
    return until(lambda: bench.kubectl("get", "events", *of), what="an Event")


def test_rules_decide_by_exit_code_and_an_ordinary_success_makes_no_event(bench: Bench) -> None:
    rules = [
        {"action": "Fail", "exitCodes": {"in": [42]}},
        {"action": "Succeed", "exitCodes": {"in": [3]}},
        {"action": "RetryFree", "exitCodes": {"notIn": [7]}, "container": "main"},
    ]
    retry = {"limit": 1, "backoff": ONE_SECOND, "rules": rules}
    bench.apply(
        a_taskjob("wrong-input", "exit 42", retry=retry),
        a_taskjob("nothing-to-do", "exit 3", retry=retry),
        a_taskjob("charged", "exit 7", retry=retry),
        a_taskjob("free", '[ "$TASKJOB_ATTEMPT" -ge 4 ] || exit 5', retry=retry),
    )
    ends = {
        name: bench.wait(name, "Failed", "Succeeded") for name in ("wrong-input", "nothing-to-do", "charged", "free")
    }
    told = {name: (end["phase"], end["attempt"], end["retries"], end["exitCode"]) for name, end in ends.items()}
    assert told == {
        "wrong-input": ("Failed", 1, 0, 42),
        "nothing-to-do": ("Succeeded", 1, 0, 3),
        "charged": ("Failed", 2, 1, 7),
        "free": ("Succeeded", 4, 0, 0),
    }
    assert until(lambda: events_of(bench, "charged")[1:], what="its Events")
    assert sorted(events_of(bench, "charged")) == ["AttemptFailed", "AttemptFailed"]
    described = bench.kubectl("describe", "taskjob", "charged")
    assert "retry 1 of 1 not before" in described, described
    bench.apply(a_taskjob("ordinary", "true"))
    bench.wait("ordinary", "Succeeded")
    assert events_of(bench, "ordinary") == []


def test_what_the_cluster_did_to_a_pod_costs_no_retry_and_what_the_program_did_does(bench: Bench) -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    retry = {"limit": 1, "backoff": ONE_SECOND}
    bench.apply(
        a_taskjob("deleted", SECOND_TIME_LUCKY, retry=FREE),
        a_taskjob("evicted", SECOND_TIME_LUCKY, retry=FREE),
        # exec: else the shell that the marker is an argument of has a child that it waits for
        a_taskjob("killed", f'[ "$TASKJOB_ATTEMPT" = 2 ] && exit; exec tail -f /dev/null /dev/{marker}', retry=retry),
    )
    pods = {name: bench.wait(name, "Running")["podName"] for name in ("deleted", "evicted", "killed")}
    bench.kubectl("delete", "pod", pods["deleted"], "--wait=false")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pods["evicted"]}}
    path = f"/api/v1/namespaces/{bench.namespace}/pods/{pods['evicted']}/eviction"
    bench.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))
    kill_outright(marker)

    expected = {"deleted": ("PodDeleted", 0), "evicted": ("Evicted", 0), "killed": ("ExitCode", 1)}
    for name, (failure, retries) in expected.items():
        status = bench.wait(name, "Succeeded")
        assert (status["attempt"], status["retries"]) == (2, retries), name
        assert f"attempt 1 failed ({failure})" in said_of(bench, name), name


def test_a_pod_that_hangs_before_its_start_is_ended_and_the_job_says_of_what(bench: Bench) -> None:
    wait = {"startTimeoutSeconds": 4}
    missing_config = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x"}}}]
    nowhere = templated(
        "nowhere", "true", {"nodeSelector": {"no": "such-node"}}, **wait, retry={"backoff": {"initialSeconds": 600}}
    )
    bench.apply(
        a_taskjob("no-image", "true", image="registry.invalid/none:1", **wait),
        a_taskjob("no-config", "true", env=missing_config, **wait),
        nowhere,
    )
    for name, failure in {"no-image": "ImagePull", "no-config": "StartError"}.items():
        status = bench.wait(name, "Failed")
        assert status["message"].startswith(f"attempt 1 failed ({failure}): it did not start within 4 s"), status
    until(lambda: bench.status("nowhere").get("reason") == "BackingOff", what="the backoff")
    status = bench.status("nowhere")
    assert "(Unschedulable)" in status["message"], status
    assert (status["attempt"], status["retries"]) == (1, 0), "no node: that is not the job's fault"
    assert bench.pods("nowhere") == [], "it holds nothing"


def test_a_pod_that_ignores_sigterm_is_gone_after_its_grace_period_in_each_phase(bench: Bench) -> None:
    grace = 3
    deaf = templated("deaf", "trap '' TERM; while :; do sleep 0.2; done", {"terminationGracePeriodSeconds": grace})
    unscheduled = templated("unscheduled", "true", {"nodeSelector": {"no": "such-node"}})
    bench.apply(deaf, unscheduled, a_taskjob("waiting", "true", dependsOn=[{"name": "never"}]))
    bench.wait("deaf", "Running")
    until(lambda: bench.pods("unscheduled"), what="its pod")
    for name, allowed in {"deaf": grace, "unscheduled": 0, "waiting": 0}.items():
        began = time.monotonic()
        bench.kubectl("patch", "tj", name, "--type=merge", "-p", '{"spec":{"cancel":true}}')
        bench.wait(name, "Cancelled")
        excess = time.monotonic() - began - allowed
        print(
            json.dumps({"figure": "cancel_excess_s", "case": name, "value": round(excess, 2), "unit": "s", "target": 2})
        )
        assert excess < 10, "the target is 2 s; a busy machine is given more"


def test_a_resource_quota_that_refuses_holds_the_job_until_there_is_room(bench: Bench) -> None:
    bench.kubectl("create", "quota", "full", "--hard=pods=0")
    until(lambda: "pods" in bench.kubectl("get", "quota", "full", "-o", "jsonpath={.status.hard}"), what="the quota")
    rule = {"rules": [{"action": "Fail", "classes": ["PodRefused"]}]}
    bench.apply(a_taskjob("refused", "true"), a_taskjob("impatient", "true", retry=rule))
    assert bench.wait("impatient", "Failed")["reason"] == "PodRefused"
    until(lambda: bench.status("refused").get("reason") == "PodRefused", what="the refusal")
    assert "exceeded quota: full" in bench.status("refused")["message"]
    assert until(lambda: events_of(bench, "refused"), what="the Event") == ["PodRefused"]
    bench.kubectl("delete", "quota", "full")
    assert bench.wait("refused", "Succeeded")["attempt"] == 1


def test_the_charge_follows_what_a_limit_range_made_of_the_pod(bench: Bench) -> None:
    queue = f"limited-{uuid.uuid4().hex[:6]}"
    quota = {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskQueue", "metadata": {"name": queue}}
    limits = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "defaults"}}
    limits["spec"] = {"limits": [{"type": "Container", "defaultRequest": {"cpu": "80m"}, "default": {"cpu": "1"}}]}
    bench.apply(quota | {"spec": {"quota": {"cpu": "100m"}}}, limits)
    try:
        bench.apply(a_taskjob("says-nothing", SLEEPS, queue=queue, resources={}))
        bench.wait("says-nothing", "Running")
        bench.apply(a_taskjob("asks", "true", queue=queue, resources={"requests": {"cpu": "50m"}}))
        until(lambda: bench.status("asks").get("reason") == "WaitingForQuota", what="the wait")
        assert "20m of 100m left" in bench.status("asks")["message"], bench.status("asks")
        bench.kubectl("delete", "tj", "says-nothing")
        bench.wait("asks", "Succeeded")
    finally:
        bench.kubectl("delete", "tjq", queue)
