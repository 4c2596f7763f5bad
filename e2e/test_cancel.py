"""How long a cancel takes in each phase, from the request to the end of the pod, beyond the pod's grace period."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from cluster_api import InNamespace, Object, Witness
from log_judge import tell
from world_of_pods import SLEEPS, Bench, a_taskjob, templated

pytestmark = [pytest.mark.cluster, pytest.mark.real_pods, pytest.mark.life]

GRACE = 3
DEAF = "trap '' TERM; while :; do sleep 0.2; done"
TARGET_SECONDS = 2.0


def spec_of_cases() -> dict[str, tuple[Object, dict[str, str], int]]:
    """By name: the job, what its status shows before the cancel, and how long its pod may take to end."""
    slow = {"terminationGracePeriodSeconds": GRACE}
    patient = {"limit": 1, "backoff": {"initialSeconds": 600}}
    nowhere = {"nodeSelector": {"no": "such-node"}}
    jobs = (
        (a_taskjob("waiting", "true", dependsOn=[{"name": "never"}]), {"reason": "WaitingForDependencies"}, 0),
        (a_taskjob("suspended", "true", suspend=True), {"reason": "Suspended"}, 0),
        (a_taskjob("backing-off", "exit 1", retry=patient), {"reason": "BackingOff"}, 0),
        (templated("unscheduled", "true", nowhere), {"phase": "Starting"}, 0),
        (a_taskjob("no-image", "true", image="registry.invalid/none:1"), {"phase": "Starting"}, 0),
        (a_taskjob("running", SLEEPS), {"phase": "Running"}, 0),
        (templated("deaf", DEAF, slow), {"phase": "Running"}, GRACE),
        (templated("stopping", DEAF, slow), {"phase": "Running"}, GRACE),
    )
    return {job["metadata"]["name"]: (job, shown, allowed) for job, shown, allowed in jobs}


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("operator")
def test_a_cancel_takes_two_seconds_at_most_beyond_the_grace_period_in_each_phase(
    bench: Bench, here: InNamespace
) -> None:
    cases = spec_of_cases()
    excess: dict[str, float] = {}
    with here.watch_jobs() as jobs, here.watch_pods() as pods:
        bench.apply(*(manifest for manifest, _, _ in cases.values()))
        for name, (_, shown, _) in cases.items():
            jobs.wait_status(name, 60, **shown)
        for name, (_, _, allowed) in cases.items():
            if name == "stopping":
                bench.kubectl("patch", "tj", name, "--type=merge", "-p", '{"spec":{"suspend":true}}')
                jobs.wait_status(name, stopping="Suspended")
            began = time.monotonic()
            bench.kubectl("patch", "tj", name, "--type=merge", "-p", '{"spec":{"cancel":true}}')
            jobs.wait_phase(name, "Cancelled", 60)
            excess[name] = time.monotonic() - began - allowed
            wait_ended(pods, name)
    print({name: round(each, 2) for name, each in excess.items()})
    worst = round(max(excess.values()), 2)
    tell("cancel_excess_s", worst, "s", TARGET_SECONDS)
    assert worst <= TARGET_SECONDS, excess


def wait_ended(pods: Witness, job: str) -> None:
    """That no pod of a job lives: its end was seen already, by the operator."""

    def alive(found: Mapping[str, Object]) -> list[str]:
        return [
            name
            for name, pod in found.items()
            if pod["metadata"]["labels"]["taskjobs.dev/job-name"] == job
            and pod["status"]["phase"] not in ("Succeeded", "Failed")
        ]

    pods.wait_until(lambda found: not alive(found), 2, f"no pod of {job}, called Cancelled, lives")
