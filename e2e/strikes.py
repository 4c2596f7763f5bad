"""An installed release whose leader is killed or frozen, and which is restarted, under a load on simulated nodes.

The processes are those in the release's pods, found on this machine by the pod's uid: so this is for the provider
`local`, whose API server also writes the audit log by which it is judged.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cluster_api import ClusterApi, InNamespace
from installation import NAMESPACE, RELEASE, Installation
from operators import Site
from replicas import Admissions, LeaseWatch, Load
from taskjob_cluster.simulated import NODE_ANNOTATION
from verdict import judge

LEASE_SECONDS = 15  # the chart's default
SETTINGS = {
    "ttl_seconds_after_finished": 20,  # so that what a new leader lists is what a steady load leaves
    "log_follows": 0,  # the simulator of nodes never ends a log that is followed, and the pod is kept until then
}
PER_SECOND = 20.0
SIMULATED = {
    "nodeSelector": {"type": "kwok"},
    "tolerations": [{"key": NODE_ANNOTATION, "operator": "Exists", "effect": "NoSchedule"}],
}
WORKLOADS = (f"deployment/{RELEASE}-operator", f"deployment/{RELEASE}-api", f"statefulset/{RELEASE}-postgresql")


@dataclass(slots=True)
class Verdict:
    """What a number of strikes of one kind came to: seconds beyond the lease of each, and the faults by kind."""

    jobs: int
    beyond: list[float] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)


class Struck:
    """A release under load. Each strike leaves all of its pods ready."""

    def __init__(self, installation: Installation, lease: LeaseWatch, admissions: Admissions) -> None:
        self._installation = installation
        self._lease = lease
        self._admissions = admissions

    def kill(self) -> float:
        """SIGKILL of the leader's process, with its pod gone from the API server, as when a node dies: else the kubelet
        starts the container again within a second or two, and that takes its own Lease back long before it runs out.
        So the kubelet must know that the pod is gone, and the process does nothing more from the first moment on
        (SIGSTOP). Seconds from there to the next admission, by a standby, beyond the lease's duration."""
        pod, pid = self._leader()
        epoch, holder, struck_at = self._lease.epoch, self._holder, time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        self._installation.kubectl("delete", "pod", pod, "--force", "--grace-period=0", "--wait=false")
        self._installation.patiently(lambda: told_to_end(pid), 10, "the kubelet's word to the process that it end")
        with suppress(ProcessLookupError):  # the kubelet may be first
            os.kill(pid, signal.SIGKILL)
        took = self._admissions.wait(epoch, LEASE_SECONDS + 30) - struck_at
        assert took > 0, "a pod of the next epoch came before the leader was killed"
        assert self._holder != holder, "the container that was killed came back and leads"
        self.wait_ready()
        return took - LEASE_SECONDS

    def freeze(self) -> float:
        """SIGSTOP of the leader past its lease, while events pile up for it; SIGCONT; it must end with 1."""
        pod, pid = self._leader()
        epoch, struck_at = self._lease.epoch, time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            took = self._admissions.wait(epoch, LEASE_SECONDS + 30) - struck_at
            threading.Event().wait(0.5)  # the new leader has worked for a while
        finally:
            os.kill(pid, signal.SIGCONT)
        code = self._installation.patiently(lambda: self._exit_code(pod), 30, "the end of the leader that was frozen")
        assert code == "1", f"a deposed leader ends with 1, not {code}"
        self._replace(pod)
        return took - LEASE_SECONDS

    def roll(self) -> None:
        """Restart everything: the operator, the API and PostgreSQL."""
        for workload in WORKLOADS:
            self._installation.kubectl("rollout", "restart", workload)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until every pod of the release is."""
        for workload in WORKLOADS:
            self._installation.kubectl("rollout", "status", workload, "--timeout=110s")

    @property
    def _holder(self) -> str:
        """The uid of the pod that holds the Lease."""
        return str(self._lease.spec.get("holderIdentity"))

    def _leader(self) -> tuple[str, int]:
        """The pod that holds the Lease, and the pid of its process on this machine."""

        def look() -> tuple[str, int] | None:
            uid = self._holder
            pods = json.loads(
                self._installation.kubectl("get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "json")
            )
            for pod in pods["items"]:
                if pod["metadata"]["uid"] == uid and (pid := process_of(uid, "taskjob-operator")):
                    return pod["metadata"]["name"], pid
            return None

        found: tuple[str, int] = self._installation.patiently(look, 30, "a pod that leads")
        return found

    def _exit_code(self, pod: str) -> str:
        """How its container ended the last time; empty before it did."""
        path = "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}"
        return self._installation.kubectl("get", "pod", pod, "-o", path)

    def _replace(self, pod: str) -> None:
        """Another pod in its place: the kubelet waits longer each time before it starts a container again."""
        self._installation.kubectl("delete", "pod", pod, "--ignore-not-found", "--timeout=60s")
        self.wait_ready()


def process_of(uid: str, program: str) -> int | None:
    """The pid, on this machine, of the program in the pod of that uid."""
    for place in Path("/proc").iterdir():
        try:
            in_the_pod = place.name.isdigit() and uid in (place / "cgroup").read_text()
            if in_the_pod and program in (place / "cmdline").read_text():
                return int(place.name)
        except OSError:
            continue  # it ended meanwhile
    return None


def told_to_end(pid: int) -> bool:
    """Whether a stopped process was sent a SIGTERM, which waits for it to go on, or was killed."""
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return True
    return bool(int(fields["ShdPnd"], 16) >> (signal.SIGTERM - 1) & 1)


@contextmanager
def a_site(installation: Installation, api: ClusterApi, folder: Path) -> Iterator[Site]:
    """A namespace with a queue of its own and witnesses of what happens there."""
    namespace = f"load-{secrets.token_hex(3)}"
    api.create_namespace(namespace)
    api.create_queue(namespace, cpu=1000, pods=1000)
    here = InNamespace(api, namespace)
    with here.watch_jobs() as jobs, here.watch_pods() as pods:
        url = database_url(installation)
        yield Site(installation.cluster, api, namespace, namespace, url, folder, here, jobs, pods)
        here.delete_all()
        jobs.wait_until(lambda objects: not objects, 60, "all TaskJobs are deleted")
    api.call("DELETE", f"/apis/taskjobs.dev/v1beta1/taskqueues/{namespace}")
    installation.cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def database_url(installation: Installation) -> str:
    """The release's PostgreSQL, by its Service's address: kube-proxy's rules are this machine's too."""
    secret = json.loads(installation.kubectl("get", "secret", f"{RELEASE}-database", "-o", "json"))
    url = urlsplit(installation.decoded(secret["data"]["url"]))
    address = installation.kubectl("get", "service", f"{RELEASE}-postgresql", "-o", "jsonpath={.spec.clusterIP}")
    return url._replace(netloc=f"{url.username}:{url.password}@{address}:{url.port or 5432}").geturl()


def strike(
    installation: Installation,
    folder: Path,
    way: Callable[[Struck], float | None],
    times: int,
    say: Callable[[str], None],
) -> Verdict:
    """Strike so many times under load; the verdict."""
    draw = random.Random(1)
    with (
        ClusterApi(installation.cluster) as api,
        a_site(installation, api, folder) as site,
        LeaseWatch(api, NAMESPACE) as lease,
    ):
        admissions = Admissions(site.pods)
        struck = Struck(installation, lease, admissions)
        verdict = Verdict(0)
        with Load(site, PER_SECOND, pod=SIMULATED) as load:
            admissions.wait(0, 60)
            for number in itertools.count(1):
                threading.Event().wait(draw.uniform(0.2, 2))  # at another moment of the leader's work each time
                took = way(struck)
                verdict.beyond += [] if took is None else [took]
                load.rest()  # what piled up is worked off: each strike meets the same load
                load.wait_ended(120)
                beyond = "" if took is None else f": {took:.2f} s beyond the lease"
                say(f"{way.__name__} {number} of {times}{beyond}")
                if number == times:
                    break
                load.go_on()
        verdict.jobs = len(load.jobs)
        verdict.faults = judge(site, load, lease.acquired())
        found = ", ".join(f"{len(faults)} {kind}" for kind, faults in verdict.faults.items())
        say(f"{way.__name__}: {verdict.jobs} jobs; {found}")
    return verdict
