"""The judge of stale writes finds them: a fence is only as good as who looks at it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from cluster_api import Object, Witness
from verdict import stale_writes

ACQUIRED = {1: 100, 2: 200, 4: 300}


def a_witness(*seen: tuple[str, Object]) -> Witness:
    return cast(Witness, SimpleNamespace(seen=list(seen)))


def a_pod(epoch: int, version: int) -> tuple[str, Object]:
    annotations = {"taskjobs.dev/epoch": str(epoch)}
    return "ADDED", {
        "metadata": {"name": "p", "uid": f"u{version}", "resourceVersion": version, "annotations": annotations}
    }


def a_job(version: int, **status: Any) -> tuple[str, Object]:
    return "MODIFIED", {"metadata": {"name": "j", "uid": "u", "resourceVersion": version}, "status": status}


def test_what_each_epoch_wrote_before_the_next_began_is_in_order() -> None:
    pods = a_witness(a_pod(1, 150), a_pod(2, 299), a_pod(4, 301))
    jobs = a_witness(a_job(120, epoch=1, phase="Starting"), a_job(250, epoch=2, phase="Running"))
    assert stale_writes(ACQUIRED, jobs, pods) == []


def test_a_users_change_of_a_job_that_an_old_epoch_wrote_is_no_write_of_that_epoch() -> None:
    jobs = a_witness(a_job(120, epoch=1, phase="Starting"), a_job(250, epoch=1, phase="Starting"))
    assert stale_writes(ACQUIRED, jobs, a_witness()) == []


def test_a_pod_or_a_status_by_an_epoch_that_was_over_is_found() -> None:
    assert len(stale_writes(ACQUIRED, a_witness(), a_witness(a_pod(1, 201), a_pod(2, 350)))) == 2
    jobs = a_witness(a_job(120, epoch=1, phase="Starting"), a_job(250, epoch=1, phase="Running"))
    assert len(stale_writes(ACQUIRED, jobs, a_witness())) == 1
