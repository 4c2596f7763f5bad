"""The chart, installed by real Helm with the image that the Dockerfile makes: jobs run, upgrades keep, uninstall leaves
nothing.

`make test-helm` runs it (it builds images and makes a cluster of its own: minutes the first time). The tests are steps
of one story, in order.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from demo.installed import build_images

from charts import CHART
from installation import NAMESPACE, RELEASE, TENANT, Installation, figure, seconds_of
from strikes import SETTINGS, Struck, strike
from taskjob_cluster import Cluster, ClusterError, providers, up
from taskjob_cluster.records import Provider
from tenants import Tenant
from tenants_installed import a_scene
from verdict import tell
from ways_to_read import LIVE_LOGS, OPEN, READS, SECRET, WRITES
from world_of_pods import BUSYBOX, a_taskjob

pytestmark = [pytest.mark.real_pods, pytest.mark.timeout(900)]
KEPT = {
    "customresourcedefinition.apiextensions.k8s.io/taskjobs.taskjobs.dev",
    "customresourcedefinition.apiextensions.k8s.io/taskqueues.taskjobs.dev",
    "apiservice.apiregistration.k8s.io/v1beta1.taskjobs.dev",  # the API server's own, of the CRDs
}
STRANGER = "team-b"
FAULTS = {
    "attempts_doubled": "doubled",
    "jobs_lost": "lost",
    "history_incomplete": "incomplete",
    "stale_writes_accepted": "stale",
}
TARGET_FIRST_JOB_SECONDS = 60
TARGET_UNINSTALL_SECONDS = 30
TARGET_TAKEOVER_SECONDS = 2  # beyond the lease


@pytest.fixture(scope="module")
def cluster_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without our CRDs, with the images loaded."""
    if not os.environ.get("TASKJOBS_TEST_HELM"):
        pytest.skip("builds images and makes a cluster of its own: `make test-helm` runs it")
    kind, local = providers.kind(), providers.local()
    if not kind.possible and not local.possible:
        pytest.skip(f"no real pods here. kind: {kind.reason}. local: {local.reason}")
    archives = build_images(tmp_path_factory.mktemp("images"))
    provider = "kind" if kind.possible else "local"
    try:
        with up(
            f"helm-{os.getpid()}", provider=provider, crds=False, services=True, audit=True, kwok_nodes=2
        ) as cluster:
            for archive in archives.values():
                cluster.load_image(archive)
            yield cluster
    finally:
        for archive in archives.values():
            archive.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def installation(cluster_of_its_own: Cluster) -> Installation:
    """Nothing is installed yet: the first test does it."""
    cluster_of_its_own.kubectl("create", "namespace", TENANT)
    return Installation(cluster_of_its_own)


def test_a_first_job_finishes_soon_after_helm_install(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    installation.install()
    installation.submit(a_taskjob("first", "echo hello"))
    installation.wait("first", "Succeeded", seconds=120)
    took = time.monotonic() - began

    with capsys.disabled():
        print(f"\n  on a cluster of the provider {installation.cluster.provider}")
        assert figure("install_to_first_job_s", took, "s", TARGET_FIRST_JOB_SECONDS)


def test_helm_test_is_green_and_leaves_nothing(installation: Installation) -> None:
    said = installation.test()

    assert "Phase:          Succeeded" in said
    assert "taskjobs-test" not in installation.kubectl("get", "pods,serviceaccounts,roles,configmaps", "-o", "name")


def test_the_operator_runs_with_the_least(installation: Installation) -> None:
    account = f"--as=system:serviceaccount:{NAMESPACE}:{RELEASE}-operator"
    pod = json.loads(installation.kubectl("get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "json"))[
        "items"
    ][0]
    context = pod["spec"]["containers"][0]["securityContext"]

    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert installation.kubectl("exec", pod["metadata"]["name"], "--", "id", "-u").strip() == "65532"
    with pytest.raises(ClusterError, match="Read-only file system"):
        installation.kubectl("exec", pod["metadata"]["name"], "--", "touch", "/opt/taskjobs/x")
    for question in ("get secrets", "list secrets", "create taskjobs", "create pods --subresource=exec"):
        with pytest.raises(ClusterError):  # the exit code of "no"
            installation.cluster.kubectl("auth", "can-i", *question.split(), account, "-n", TENANT)


def test_a_tenant_needs_the_right_to_create_pods_and_to_use_the_queue(installation: Installation) -> None:
    tenant = f"--as=system:serviceaccount:{TENANT}:author"
    installation.kubectl("create", "serviceaccount", "author", namespace=TENANT)
    installation.kubectl(
        *("create", "role", "writes-jobs", "--verb=create,get,list", "--resource=taskjobs.taskjobs.dev"),
        namespace=TENANT,
    )
    bind(installation, "role", "writes-jobs")
    with pytest.raises(ClusterError, match="may not create pods"):
        installation.submit(a_taskjob("by-proxy", "true"), tenant)

    bind(installation, "clusterrole", "taskjobs-edit")
    installation.kubectl("create", "role", "makes-pods", "--verb=create", "--resource=pods", namespace=TENANT)
    bind(installation, "role", "makes-pods")
    installation.kubectl("create", "role", "reads-logs", "--verb=get", "--resource=pods/log", namespace=TENANT)
    bind(installation, "role", "reads-logs")
    installation.submit(a_taskjob("allowed", "true"), tenant)
    installation.wait("allowed", "Succeeded")


def bind(installation: Installation, kind: str, role: str) -> None:
    installation.kubectl(
        *("create", "rolebinding", role, f"--{kind}={role}", f"--serviceaccount={TENANT}:author"), namespace=TENANT
    )


def test_tenants_reach_their_own_jobs_through_the_installed_api_and_no_others(installation: Installation) -> None:
    installation.kubectl("rollout", "status", f"deployment/{RELEASE}-api", "--timeout=60s")
    installation.cluster.kubectl("create", "namespace", STRANGER)
    installation.kubectl("create", "serviceaccount", "stranger", namespace=STRANGER)
    installation.kubectl(
        *("create", "rolebinding", "edits", "--clusterrole=edit", f"--serviceaccount={STRANGER}:stranger"),
        namespace=STRANGER,
    )
    authors, strangers = (
        {"Authorization": f"Bearer {installation.token(account, namespace)}"}
        for account, namespace in (("author", TENANT), ("stranger", STRANGER))
    )
    command = ["sh", "-c", "echo said by the job"]
    body = {"name": "over-http", "namespace": TENANT, "image": BUSYBOX, "command": command, "cpu": "10m"}
    with installation.api() as url, httpx.Client(base_url=url, timeout=30) as http:
        assert http.post("/jobs/", json=body).status_code == 401
        assert http.post("/jobs/", json=body, headers=strangers).status_code == 403
        made = http.post("/jobs/", json=body, headers=authors)
        assert made.status_code == 201, made.text
        job = f"/jobs/{made.json()['id']}"

        def ended() -> str:
            seen: str = http.get(job, headers=authors).json()["phase"]
            return seen if seen == "Succeeded" else ""

        installation.patiently(ended, 60, "the job's success over HTTP")
        assert "said by the job" in http.get(f"{job}/logs", headers=authors).text
        assert http.get(job, headers=strangers).status_code == 404
        assert http.get(f"{job}/logs", headers=strangers).status_code == 404
        assert http.get("/jobs/", headers=strangers).json()["items"] == []


async def test_no_endpoint_and_no_frame_of_the_installed_api_shows_a_tenant_what_is_anothers(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    owner, stranger = (
        Tenant(installation.cluster, home, name, installation.token(name, home))
        for home, name in ((TENANT, "author"), (STRANGER, "stranger"))
    )
    async with a_scene(installation, owner) as scene:
        ways = {**LIVE_LOGS, **READS, **OPEN, **WRITES}
        leaks = [name for name, way in ways.items() if SECRET in await way(scene, stranger)]
        blind = [name for name, way in {**LIVE_LOGS, **READS}.items() if SECRET not in await way(scene, owner)]

    with capsys.disabled():
        print(f"  {len(ways)} ways were tried")
        assert figure("foreign_reads", len(leaks), "count", 0), leaks
    assert blind == [], "the owner sees nothing on these ways: they prove nothing"
    assert "intruder" not in installation.kubectl("get", "taskjobs", "-o", "name", namespace=TENANT)


def test_an_upgrade_brings_the_crds_up_to_date_and_leaves_the_queue_and_running_jobs_alone(
    installation: Installation, tmp_path: Path
) -> None:
    cluster = installation.cluster
    cluster.kubectl("patch", "taskqueue", "default", "--type=merge", "-p", '{"spec":{"quota":{"pods":7}}}')
    # A release of another version, whose CRD has one column less.
    other = tmp_path / "taskjobs"
    shutil.copytree(CHART, other)
    crd = other / "templates" / "crds" / "taskjobs.dev_taskqueues.yaml"
    column = re.compile(r"    - name: Admitted\n(?:      .*\n)+")
    crd.write_text(column.sub("", crd.read_text(), count=1))
    installation.upgrade(chart=other)
    assert "Admitted" not in queue_columns(cluster)
    installation.submit(a_taskjob("through", "sleep 15"))
    installation.wait("through", "Running")

    installation.upgrade("--set=operator.settings.relist_seconds=600", "--wait", "--timeout=100s")

    assert "Admitted" in queue_columns(cluster)
    quota = json.loads(cluster.kubectl("get", "taskqueue", "default", "-o", "json"))["spec"]["quota"]
    assert quota["pods"] == 7
    assert installation.wait("through", "Succeeded")["attempt"] == 1


@pytest.mark.timeout(3600)
def test_leaders_that_are_killed_frozen_or_restarted_under_load_lose_and_double_nothing(
    installation: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """20 kills, 20 freezes, 5 restarts of everything, or as TASKJOBS_STRIKES says ("2,2,1"). Leases last 15 s, as the
    chart has it: most of the time goes by while they run out."""
    if installation.cluster.provider is not Provider.LOCAL:
        pytest.skip("it needs the audit log and the processes of the provider local")
    times = map(int, os.environ.get("TASKJOBS_STRIKES", "20,20,5").split(","))
    settings = (f"--set=operator.settings.{name}={value}" for name, value in SETTINGS.items())
    installation.upgrade(*settings, "--wait", "--timeout=100s")

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"  {line}", flush=True)

    ways = (Struck.kill, Struck.freeze, Struck.roll)
    verdicts = [strike(installation, tmp_path, way, count, say) for way, count in zip(ways, times, strict=True)]

    with capsys.disabled():
        print(f"  {sum(each.jobs for each in verdicts)} jobs")
        met = [
            figure("takeover_s", max(verdicts[0].beyond), "s", TARGET_TAKEOVER_SECONDS),
            figure("takeover_frozen_s", max(verdicts[1].beyond), "s", TARGET_TAKEOVER_SECONDS),
            *(
                figure(name, sum(len(each.faults[kind]) for each in verdicts), "count", 0)
                for name, kind in FAULTS.items()
            ),
        ]
    assert all(met), "\n".join(tell(each.faults) for each in verdicts)


def test_a_running_job_outlives_an_uninstall_that_lets_it_and_the_next_installation_finds_it(
    installation: Installation,
) -> None:
    installation.upgrade("--set=uninstall.runningJobs=GoOn")
    installation.submit(a_taskjob("outlives", "sleep 12; echo done"))
    pod = installation.wait("outlives", "Running")["podName"]

    installation.helm("uninstall", RELEASE)
    assert installation.kubectl("get", "pod", pod, "-o", "jsonpath={.status.phase}", namespace=TENANT) == "Running"
    # The operator's and the API's pods take their time to end.
    installation.patiently(lambda: set(installation.left()) == KEPT, 40, "nothing is left but the CRDs")
    installation.install_again()

    status = installation.wait("outlives", "Succeeded", seconds=90)
    assert (status["attempt"], status["podName"]) == (1, pod)


def queue_columns(cluster: Cluster) -> list[str]:
    crd = json.loads(cluster.kubectl("get", "crd", "taskqueues.taskjobs.dev", "-o", "json"))
    return [column["name"] for column in crd["spec"]["versions"][0]["additionalPrinterColumns"]]


def test_uninstall_cancels_what_runs_and_leaves_nothing(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = installation.cluster
    # It ends on SIGTERM: how long a job takes to do so is its author's to know, and is not what is measured.
    installation.submit(a_taskjob("endless", "trap 'exit 3' TERM; sleep 3600 & wait"))
    installation.wait("endless", "Running")

    took = seconds_of(lambda: installation.helm("uninstall", RELEASE, "--timeout=100s"))
    assert installation.status("endless")["phase"] == "Cancelled"
    assert cluster.kubectl("get", "crds", "-o", "name").count("taskjobs.dev") == 2, "the CRDs and the jobs stay"
    took += seconds_of(lambda: cluster.kubectl("delete", "namespace", NAMESPACE, TENANT, STRANGER, "--timeout=60s"))
    took += seconds_of(
        lambda: cluster.kubectl("delete", "crd", "taskjobs.taskjobs.dev", "taskqueues.taskjobs.dev", "--timeout=60s")
    )

    assert installation.left() == []
    with capsys.disabled():
        print()  # a line of its own
        assert figure("uninstall_s", took, "s", TARGET_UNINSTALL_SECONDS)
