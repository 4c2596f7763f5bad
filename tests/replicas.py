"""Several operators that elect a leader, each started again when it has ended, as a Deployment would, with the chart's
account, roles and policies against deposed leaders; and what to judge them by: a witness of the Lease, jobs made at a
steady rate, and whatever a deposed one still got written.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from charts import OPERATOR, apply, kubeconfig_of, of_the_operator, the_fence, wait_for_the_fence
from cluster_api import ClusterApi, Object, Witness, ended
from kill_story import Planned
from operator_process import OperatorProcess
from operators import Site

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
EPOCH = "taskjobs.dev/epoch"
TTL_SECONDS = 20  # so that what a new leader lists is what a steady load leaves, not all that a long test ever made


class LeaseWatch:
    """The operator's Lease in a namespace, and when each epoch began. As a context manager."""

    def __init__(self, api: ClusterApi, namespace: str) -> None:
        self.witness = Witness(api, LEASES.format(namespace=namespace))

    def __enter__(self) -> Self:
        self.witness.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.witness.__exit__()

    @property
    def spec(self) -> dict[str, Any]:
        """As last seen; empty before there is one."""
        spec = self.witness.snapshot().get(OPERATOR, {}).get("spec") or {}
        assert isinstance(spec, dict)
        return spec

    @property
    def epoch(self) -> int:
        """The epoch as last seen."""
        return int(self.spec.get("leaseTransitions") or 0)

    def acquired(self) -> dict[int, int]:
        """The resourceVersion by which each epoch was first seen."""
        first: dict[int, int] = {}
        for _, lease in list(self.witness.seen):
            epoch = int((lease.get("spec") or {}).get("leaseTransitions") or 0)
            first.setdefault(epoch, int(lease["metadata"]["resourceVersion"]))
        return first


class Replicas:
    """Operators of one site as a release of the chart in its namespace. As a context manager all are stopped in the
    end, and what the release has outside of the namespace is removed."""

    def __init__(
        self,
        site: Site,
        count: int,
        *,
        lease_seconds: int,
        renew_deadline_seconds: float,
        server: str = "",
        **settings: object,
    ) -> None:
        """`server`: another way to the API server; other settings are the operators'."""
        self.lease_seconds = lease_seconds
        self.exits: list[tuple[str, int]] = []  # who ended by itself, or was made to, and how
        self._site = site
        self._server = server
        self._release = [*of_the_operator(site.namespace), *the_fence(site.namespace)]
        self._kubeconfig = site.folder / "kubeconfig-of-the-operator"
        self._settings: dict[str, Any] = {
            "leader_election": True,
            "lease_seconds": lease_seconds,
            "renew_deadline_seconds": renew_deadline_seconds,
            "ttl_seconds_after_finished": TTL_SECONDS,
            **settings,
        }
        self.all = [self._operator(f"replica-{number}", **self._settings) for number in range(count)]
        self._lease = LeaseWatch(site.api, site.namespace)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._restart, name="deployment", daemon=True)
        self._lock = threading.Lock()

    def _operator(self, name: str, **settings: Any) -> OperatorProcess:
        return self._site.operator(
            name=name,
            kubeconfig=str(self._kubeconfig),
            lease_namespace=self._site.namespace,
            lease_name=OPERATOR,
            fence_account=OPERATOR,
            **settings,
        )

    def rival(self) -> OperatorProcess:
        """One more operator of this release, which takes the Lease by force. Not started, and not started again."""
        return self._operator("rival", **{**self._settings, "leader_election": False})

    def __enter__(self) -> Self:
        cluster, home = self._site.cluster, self._site.namespace
        apply(cluster, self._release)
        kubeconfig_of(cluster, home, OPERATOR, self._kubeconfig, server=self._server)
        wait_for_the_fence(cluster, home)
        self._lease.__enter__()
        for replica in self.all:
            replica.start()
        self._thread.start()
        self.wait_leader(30)
        for replica in self.all:
            replica.wait_ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        for replica in self.all:
            if replica.alive:
                replica.resume()
                replica.stop()
            if kind is not None:
                print(f"---------------- log of {replica.name}\n{replica.log()[-6000:]}\n----------------")
        self._lease.__exit__()
        for found in self._release:
            if "namespace" not in found["metadata"]:
                self._site.cluster.kubectl("delete", found["kind"], found["metadata"]["name"])

    def _restart(self) -> None:
        while not self._stopping.wait(0.1):
            for replica in self.all:
                code = replica.exit_code
                if code is not None:
                    with self._lock:
                        self.exits.append((replica.name, code))
                        replica.start()

    # ------------------------------------------------------------------ who leads
    @property
    def lease(self) -> dict[str, Any]:
        """The Lease's spec as last seen; empty before there is one."""
        return self._lease.spec

    @property
    def epoch(self) -> int:
        """The epoch as last seen."""
        return self._lease.epoch

    def leader(self) -> OperatorProcess | None:
        """The replica that holds the Lease, as last seen."""
        holder = str(self.lease.get("holderIdentity") or "")
        return next((each for each in self.all if each.alive and f"/{each.pid}/" in holder), None)

    def wait_leader(self, seconds: float, above: int = 0) -> OperatorProcess:
        """Wait until a living replica leads, with an epoch above that; who it is."""
        self._lease.witness.wait_until(
            lambda _: self.epoch > above and self.leader() is not None,
            seconds,
            lambda: f"an epoch above {above}: {self.lease}",
        )
        leader = self.leader()
        assert leader is not None
        return leader

    def wait(self, holds: Callable[[], bool], what: str, seconds: float = 20) -> None:
        """Wait until something holds of the processes; while one of them is started again, it does not answer."""
        give_up_at = time.monotonic() + seconds
        while True:
            trouble = ""
            try:
                if holds():
                    return
            except OSError as error:
                trouble = f" ({error})"
            assert time.monotonic() < give_up_at, f"not within {seconds:.0f} s: {what}{trouble}"
            self._stopping.wait(0.02)

    def wait_exit(self, name: str, since: int) -> int:
        """Wait until that replica has ended, as the first time after so many exits; its exit code."""

        def codes() -> list[int]:
            return [code for ended, code in self.exits[since:] if ended == name]

        self.wait(lambda: bool(codes()), f"{name} ends")
        return codes()[0]

    def wait_all_ready(self) -> None:
        """Wait until every replica is ready, restarted ones included."""
        for replica in self.all:
            self.wait(lambda: replica.alive, f"{replica.name} is started again")  # noqa: B023  # called at once
            replica.wait_ready()

    def acquired(self) -> dict[int, int]:
        """The resourceVersion by which each epoch was first seen."""
        return self._lease.acquired()


class Admissions:
    """When the first pod of each epoch was seen: `time.monotonic` of the pod's ADDED event."""

    def __init__(self, pods: Witness) -> None:
        self._news = threading.Condition()
        self._first: dict[int, float] = {}
        pods.listeners.append(self._hear)

    def _hear(self, kind: str, pod: Object) -> None:
        if kind == "ADDED":
            with self._news:
                self._first.setdefault(epoch_of(pod), time.monotonic())
                self._news.notify_all()

    def wait(self, above: int, seconds: float) -> float:
        """When the first pod of an epoch above that was seen."""
        with self._news:
            found = self._news.wait_for(lambda: [at for epoch, at in self._first.items() if epoch > above], seconds)
            assert found, f"no pod of an epoch above {above} within {seconds:.0f} s"
            return min(found)


def epoch_of(pod: Object) -> int:
    """The epoch that a pod was created by."""
    return int((pod["metadata"].get("annotations") or {}).get(EPOCH, 0))


class Load:
    """Makes jobs at a steady rate in a thread of its own until it is left; `rest` and `go_on` stop and start it.

    `jobs`: what was made, and how it must end. `last`: each TaskJob as it was last seen, also when it is gone since.
    """

    def __init__(self, site: Site, per_second: float, *, pod: Object | None = None) -> None:
        """`pod` is added to the spec of each pod."""
        self._pod = pod or {}
        self._here = site.here
        self._queue = site.queue
        self._witness = site.jobs
        self._per_second = per_second
        self.jobs: list[Planned] = []
        self.last: dict[str, Object] = {}
        self._open: set[str] = set()  # made, and not seen to end
        self._failed: list[BaseException] = []
        self._stopping = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        site.jobs.listeners.append(self._hear)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._going.set()
        self._thread.join(30)
        assert not self._failed, self._failed

    def rest(self) -> None:
        """Make no more jobs for the time being."""
        self._going.clear()

    def go_on(self) -> None:
        """Make jobs again."""
        self._going.set()

    def wait_ended(self, seconds: float, but: int = 0) -> None:
        """Wait until all that was made has ended, but for so many."""
        self._witness.wait_until(
            lambda _: len(self._open) <= but, seconds, lambda: f"jobs end; open: {sorted(self._open)[:20]}"
        )

    def _hear(self, kind: str, job: Object) -> None:
        name = job["metadata"]["name"]
        self.last[name] = job
        if ended(job):
            self._open.discard(name)

    def _run(self) -> None:
        numbers = itertools.count()
        try:
            while not self._stopping.is_set():
                self._going.wait()
                due = time.monotonic()
                since: int | None = None
                while self._going.is_set() and not self._stopping.wait(max(0.0, due - time.monotonic())):
                    due += 1 / self._per_second
                    number = next(numbers)
                    since = number if since is None else since
                    job = self._plan(number, since)
                    self._open.add(job.name)
                    self.jobs.append(job)
                    manifest = job.manifest(self._queue)
                    manifest["spec"]["template"]["spec"] |= self._pod
                    self._here.create(manifest)
        except BaseException as error:
            self._failed.append(error)

    def _plan(self, number: int, since: int) -> Planned:
        """A job that depends on none from before `since`: they may have ended and left while the load rested."""
        job = Planned(f"j{number:05d}", codes=[0], limit=2, seconds=0.3, starts_in=0)
        if number % 5 == 1:
            job.codes = [1, 0]  # fails once
        if number % 7 == 2 and number - 2 >= since:
            job.depends_on = [(f"j{number - 1:05d}", "Finished"), (f"j{number - 2:05d}", "Finished")]
        if number % 11 == 3:
            job.seconds = 2.0  # outlives a change of leaders
        return job


def figure(name: str, value: float, unit: str, target: float, *, met: bool, out: Callable[[str], None] = print) -> None:
    """One figure as a line of JSON."""
    out(json.dumps({"figure": name, "value": round(value, 3), "unit": unit, "target": target, "met": met}))
