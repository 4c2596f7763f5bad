"""What may change about a TaskJob, in a real API server: the fields of what has begun, cancel, the status's fence."""

from __future__ import annotations

import pytest

from api_server import Object, RefusedError, Server, a_taskjob, templated

pytestmark = pytest.mark.cluster


FIXED: list[tuple[str, Object, Object]] = [
    ("image", {}, {"image": "other"}),
    ("command", {"command": ["true"]}, {"command": ["false"]}),
    ("command", {"command": ["true"]}, {"command": None}),
    ("args", {}, {"args": ["x"]}),
    ("env", {"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "2"}]}),
    ("resources", {"resources": {"limits": {"cpu": 1}}}, {"resources": {"limits": {"cpu": 2}}}),
    ("queue", {}, {"queue": "other"}),
    ("dependsOn", {"dependsOn": [{"name": "a"}]}, {"dependsOn": [{"name": "a", "condition": "Failed"}]}),
    ("dependsOn", {"dependsOn": [{"name": "a"}]}, {"dependsOn": []}),
    ("retry", {"retry": {"limit": 1}}, {"retry": {"limit": 2}}),
    ("concurrency", {"concurrency": {"key": "a"}}, {"concurrency": {"key": "b"}}),
    ("concurrency", {"concurrency": {"key": "a"}}, {"concurrency": None}),
    ("template", templated(), {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}),
    ("template", templated(), {"template": {"spec": {"containers": [{"name": "main", "image": "other"}]}}}),
    ("template", templated(), {"template": None, "image": "x"}),
]
FREE: list[Object] = [
    {"priority": "High"},
    {"suspend": True},
    {"cancel": True},
    {"ttlSecondsAfterFinished": 5},
    {"podRetention": "Keep"},
    {"timeoutSeconds": 5},
    {"deadlineSeconds": 5},
    {"onDependencyFailure": "Fail"},
    {"rerun": 1},
]


@pytest.mark.parametrize("phase", ["Starting", "Running", "Succeeded", "Failed", "Cancelled", "Skipped"])
@pytest.mark.parametrize(
    ("field", "spec", "change"), [pytest.param(*case, id=f"{case[0]}-{n}") for n, case in enumerate(FIXED)]
)
def test_a_field_may_not_change_once_the_job_has_started(
    server: Server, phase: str, field: str, spec: Object, change: Object
) -> None:
    server.create(a_taskjob(**spec))
    server.patch_status("train", {"phase": phase})

    with pytest.raises(RefusedError) as refused:
        server.patch("train", {"spec": change})

    said = refused.value.fields["spec"]
    assert said.endswith(f"spec.{field} may not change once the job has started: make a new TaskJob")


@pytest.mark.parametrize(
    ("field", "spec", "change"), [pytest.param(*case, id=f"{case[0]}-{n}") for n, case in enumerate(FIXED)]
)
def test_a_field_may_change_while_the_job_waits(server: Server, field: str, spec: Object, change: Object) -> None:
    server.create(a_taskjob(**spec))
    server.patch("train", {"metadata": {"labels": {"before": "any-status"}}, "spec": {"priority": "Low"}})
    server.patch_status("train", {"phase": "Pending", "attempt": 1})  # backing off, say

    before = server.patch("train", {"spec": {}})["spec"].get(field)
    assert server.patch("train", {"spec": change})["spec"].get(field) != before


@pytest.mark.parametrize("change", FREE, ids=lambda change: next(iter(change)))
def test_a_field_may_change_while_the_job_runs(server: Server, change: Object) -> None:
    server.create(a_taskjob())
    server.patch_status("train", {"phase": "Running"})

    assert server.patch("train", {"spec": change})["spec"].items() >= change.items()


@pytest.mark.parametrize("change", [False, None], ids=["false", "removed"])
def test_cancel_cannot_be_taken_back(server: Server, change: bool | None) -> None:
    server.create(a_taskjob(cancel=True))

    with pytest.raises(RefusedError) as refused:
        server.patch("train", {"spec": {"cancel": change}})

    assert "cannot be taken back" in refused.value.fields["spec.cancel"]
    server.patch("train", {"spec": {"cancel": True, "priority": "Low"}})


@pytest.mark.parametrize("change", [1, 0, None])
def test_rerun_never_falls(server: Server, change: int | None) -> None:
    server.create(a_taskjob(rerun=2))

    with pytest.raises(RefusedError) as refused:
        server.patch("train", {"spec": {"rerun": change}})

    assert "it never falls" in refused.value.fields["spec.rerun"]
    assert server.patch("train", {"spec": {"rerun": 3}})["spec"]["rerun"] == 3


def test_a_cancelled_job_runs_again_if_the_same_change_takes_the_cancel_back(server: Server) -> None:
    server.create(a_taskjob(cancel=True))
    server.patch_status("train", {"phase": "Cancelled"})

    with pytest.raises(RefusedError) as refused:
        server.patch("train", {"spec": {"rerun": 1}})

    assert "only with cancel: false" in refused.value.fields["spec.rerun"]
    assert server.patch("train", {"spec": {"rerun": 1, "cancel": False}})["spec"]["cancel"] is False


def test_a_suspended_job_may_be_resumed(server: Server) -> None:
    server.create(a_taskjob(suspend=True))

    assert server.patch("train", {"spec": {"suspend": False}})["spec"]["suspend"] is False


# ---------------------------------------------------------------- the fence around the status
@pytest.mark.parametrize(
    "status", [{"epoch": 6}, {"epoch": None}, None, {"epoch": 6, "run": 1}], ids=["lower", "gone", "no status", "rerun"]
)
def test_a_status_of_an_older_leader_is_refused(server: Server, status: Object | None) -> None:
    server.create(a_taskjob())
    server.patch_status("train", {"phase": "Running", "epoch": 7, "run": 0})

    with pytest.raises(RefusedError) as refused:
        server.patch_status("train", status)

    assert "a newer leader of the operator has written this status" in refused.value.fields["status.epoch"]


def test_a_status_of_the_same_or_a_newer_leader_is_accepted(server: Server) -> None:
    server.create(a_taskjob())
    server.patch_status("train", {"phase": "Pending", "epoch": 7})
    server.patch_status("train", {"phase": "Running", "epoch": 7})

    assert server.patch_status("train", {"phase": "Succeeded", "epoch": 8})["status"]["epoch"] == 8


@pytest.mark.parametrize("end", ["Succeeded", "Failed", "Cancelled", "Skipped"])
@pytest.mark.parametrize(
    "then", ["Pending", "Starting", "Running", "Succeeded", "Failed", "Cancelled", "Skipped", None]
)
def test_a_job_leaves_its_terminal_phase_only_for_a_greater_run(server: Server, end: str, then: str | None) -> None:
    server.create(a_taskjob())
    server.patch_status("train", {"phase": end, "run": 2, "epoch": 1})

    if then == end:
        server.patch_status("train", {"phase": then, "message": "again"})
        return
    for change in ({"phase": then}, {"phase": then, "run": 1}, {"phase": then, "run": None}):
        with pytest.raises(RefusedError) as refused:
            server.patch_status("train", change)
        assert "its phase changes only with a greater run" in refused.value.fields["status.phase"]
    server.patch_status("train", {"phase": then, "run": 3})


def test_a_status_that_is_taken_away_altogether_does_not_lift_the_fence(server: Server) -> None:
    server.create(a_taskjob())
    server.patch_status("train", {"phase": "Failed"})

    with pytest.raises(RefusedError, match="its phase changes only with a greater run"):
        server.patch_status("train", None)


def test_a_write_of_the_spec_cannot_touch_the_status(server: Server) -> None:
    server.create(a_taskjob() | {"status": {"phase": "Succeeded"}})

    made = server.patch("train", {"status": {"phase": "Failed"}, "spec": {"priority": "Low"}})

    assert made["status"] == {"phase": "Pending", "reason": "Queued"}, "as if nobody had written one"


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"phase": "Paused"}, "status.phase"),
        ({"stopping": "Bored"}, "status.stopping"),
        ({"attempt": -1}, "status.attempt"),
        ({"run": -1}, "status.run"),
        ({"retries": -1}, "status.retries"),
        ({"transition": -1}, "status.transition"),
        ({"epoch": -1}, "status.epoch"),
        ({"observedGeneration": -1}, "status.observedGeneration"),
        ({"exitCode": "1"}, "status.exitCode"),
        ({"startedAt": "yesterday"}, "status.startedAt"),
        ({"reason": "r" * 257}, "status.reason"),
        ({"message": "m" * 32_769}, "status.message"),
        ({"podName": "p" * 254}, "status.podName"),
        ({"nodeName": "n" * 254}, "status.nodeName"),
        ({"conditions": [{"type": "Complete"}]}, "status.conditions[0].status"),
    ],
)
def test_a_status_out_of_its_bounds_is_refused(server: Server, status: Object, field: str) -> None:
    server.create(a_taskjob())

    with pytest.raises(RefusedError) as refused:
        server.patch_status("train", status)

    assert field in refused.value.fields


def test_a_whole_status_is_kept_as_written(server: Server) -> None:
    at = "2026-01-01T12:00:00Z"
    condition = {"status": "True", "reason": "Completed", "message": "", "lastTransitionTime": at}
    status = {
        "phase": "Succeeded",
        "reason": "Completed",
        "message": "exit code 0",
        "conditions": [{"type": name, **condition} for name in ("Admitted", "Complete", "Failed", "Finished")],
        **dict.fromkeys(("run", "attempt", "retries", "epoch", "transition", "exitCode", "observedGeneration"), 1),
        **dict.fromkeys(("queuedAt", "startedAt", "finishedAt", "notBefore", "runAt"), at),
        "previousPhase": "Failed",
        "stopping": "DeadlineExceeded",
        "podName": "train-abcde-1",
        "nodeName": "node",
    }
    server.create(a_taskjob())

    assert server.patch_status("train", status)["status"] == status
