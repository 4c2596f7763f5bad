"""The operator's own port, and how it starts and ends as the real command."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster_api import ClusterApi, InNamespace, a_job, after
from operator_process import OperatorProcess
from operators import Site
from taskjob_cluster import Cluster, up

pytestmark = pytest.mark.cluster

CRDS = Path(__file__).parents[2] / "crds"


def test_the_command_serves_probes_and_metrics_and_ends_with_0_when_told_to(site: Site) -> None:
    with site.operator(fresh=True).start() as operator:
        operator.wait_ready()
        assert operator.ask("/healthz") == (200, "ok\n")
        assert operator.ask("/readyz") == (200, "ok\n")
        assert operator.ask("/else")[0] == 404
        site.create("good")
        site.create("bad", exits=1)
        site.create("held", suspend=True)
        site.jobs.wait_phase("good", "Succeeded")
        site.jobs.wait_phase("bad", "Failed")
        site.jobs.wait_status("held", reason="Suspended")
        operator.wait_metrics(
            "one job is counted in each phase",
            lambda told: all(
                told[f'taskjobs_jobs{{phase="{phase}"}}'] == 1 for phase in ("Succeeded", "Failed", "Pending")
            ),
        )
        figures = operator.metrics()
        assert figures["taskjobs_cycles_total"] > 0
        assert figures['taskjobs_api_requests_total{code="201",resource="pods",verb="create"}'] == 2
        assert figures['taskjobs_decisions_total{kind="Launch"}'] == 2
        here = psutil.Process(operator.pid)
        assert figures["taskjobs_process_resident_bytes"] == pytest.approx(here.memory_info().rss, rel=0.3)
        assert 0 < figures["taskjobs_process_cpu_seconds"] < sum(here.cpu_times()[:2]) + 1
        assert figures["taskjobs_process_open_files"] > 0
        assert operator.stop() == 0
    assert "stopped as asked" in operator.log()


def test_what_was_under_way_is_written_before_the_operator_ends(site: Site) -> None:
    with site.operator().start() as operator:
        operator.wait_ready()
        for number in range(30):
            site.create(f"job-{number}")
        site.jobs.wait_status("job-29", phase="Succeeded")
        assert operator.stop() == 0
    told = site.history()
    shown = {name: (job.get("status") or {}).get("phase") for name, job in site.jobs.snapshot().items()}
    for name, phase in shown.items():
        if phase == "Succeeded":
            assert told[name].job["phase"] == "Succeeded", f"{name} ended in the cluster, and history was not told"


def test_both_signals_end_it(site: Site) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with site.operator(name=f"operator-{number}").start() as operator:
            operator.wait_ready()
            operator.signal(number)
            assert operator.wait_ended(15) == 0


def test_an_operator_that_comes_before_its_crds_is_alive_and_works_once_they_are_there(
    database_url: str, tmp_path: Path
) -> None:
    with (
        up(f"bare-{os.getpid()}", provider="apiserver", crds=False, die_with_parent=True) as bare,
        OperatorProcess(bare, database_url, tmp_path / "early.log").start() as operator,
        ClusterApi(bare) as api,
    ):
        assert wait_answer(operator) == (503, "the cluster has not been listed yet\n")
        assert operator.ask("/healthz")[0] == 200
        for path in sorted(CRDS.glob("*.yaml")):
            bare.kubectl("apply", "--server-side", "-f", str(path))
        bare.wait_for("--for=condition=Established", "crd", "--all")
        operator.wait_ready()
        api.create_queue("default", pods=5)
        here = InNamespace(api, "default")
        with here.watch_jobs() as jobs:
            here.create(a_job("early", dependsOn=after("nobody")))
            jobs.wait_status("early", reason="WaitingForDependencies")
        assert operator.stop() == 0


def wait_answer(operator: OperatorProcess) -> tuple[int, str]:
    """What /readyz says as soon as it says anything."""
    give_up_at = time.monotonic() + 20
    while True:
        try:
            return operator.ask("/readyz")
        except OSError:
            assert time.monotonic() < give_up_at, operator.log()
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"log_level": "LOUD"}, "TASKJOBS_LOG_LEVEL"),
        ({"writes_in_flight": 0}, "TASKJOBS_WRITES_IN_FLIGHT"),
        ({"kubeconfig": "/nowhere/kubeconfig"}, "/nowhere/kubeconfig"),
    ],
)
def test_an_environment_that_cannot_be_used_ends_it_with_a_sentence(
    kwok_cluster: Cluster, tmp_path: Path, settings: dict[str, Any], complaint: str
) -> None:
    log = tmp_path / "operator.log"
    with OperatorProcess(kwok_cluster, "postgresql:///", log, fresh=True, **settings).start() as operator:
        assert operator.wait_ended(20) in (1, 2)
    assert complaint in operator.log()
    assert "Traceback" not in operator.log()
