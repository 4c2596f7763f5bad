"""One schedule: a seed's jobs and strikes on the stage, then calm, then the judge."""

from __future__ import annotations

import asyncio
import random
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil

from cluster_api import ClusterApi, InNamespace, Object, ended
from database import a_database
from operators import Site
from replicas import Replicas
from taskjob_cluster import Cluster, up
from taskjob_cluster.postgres import Postgres
from taskjob_cluster.postgres import start as start_postgres

from . import judge
from .disk import SmallDisk, small_disk
from .faults import drawn
from .listener import Listener
from .stage import Fault, NotPlayedError, Stage, firmly, hold
from .wires import Wires
from .work import QUOTA, RANKED, Task, in_some_order, random_work

JOBS = 40
STRIKES = 7
END_SECONDS = 120
RESETS_OF_A_FAILOVER = 2  # at the sight of a history that has not come as far, and when it is found to be another


@dataclass(slots=True)
class Verdict:
    """What came of a schedule. `broken`: by invariant, for whom and how; `not_played`: faults, and why not."""

    seed: int
    strikes: list[str] = field(default_factory=list)
    not_played: dict[str, str] = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    restarts: int = 0
    log: str = ""

    @property
    def played(self) -> list[str]:
        """The faults that were, each as often as it was."""
        return [name for strike in self.strikes for name in strike.split("+") if name not in self.not_played]

    def told(self) -> str:
        """For people."""
        broke = "; ".join(f"{len(found)} x {name}" for name, found in self.broken.items()) or "nothing broke"
        lines = [
            f"seed {self.seed}: {', '.join(self.strikes)}",
            f"seed {self.seed}: {broke} ({self.restarts} restarts of the operator, {self.seconds:.0f} s)",
        ]
        lines += [f"  not played: {name}: {why}" for name, why in self.not_played.items()]
        for name, found in self.broken.items():
            lines += [f"  {name}: {each}" for each in found[:12]]
        return "\n".join(lines)


class House:
    """What all schedules share: a control plane with simulated nodes, a PostgreSQL, the wires. As a context manager.

    `audit`: whether the API server writes the log that the judge reads.
    """

    def __init__(self, name: str, *, audit: bool = True) -> None:
        self._name = name
        self._audit = audit
        self._stack = ExitStack()
        self.cluster: Cluster
        self.api: ClusterApi
        self.disk: SmallDisk
        self.postgres: Postgres
        self.wires: Wires

    def __enter__(self) -> House:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
            self.cluster = stack.enter_context(up(self._name, provider="kwok", audit=self._audit, die_with_parent=True))
            self.api = stack.enter_context(ClusterApi(self.cluster))
            self.disk = stack.enter_context(small_disk())
            self.postgres = stack.enter_context(start_postgres(self.disk.folder / "pg", die_with_parent=True))
            self.wires = stack.enter_context(Wires(self.cluster, self.postgres.url))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def site(self) -> Iterator[Site]:
        """A namespace, queues and a database for one schedule."""
        namespace = f"chaos-{secrets.token_hex(4)}"
        self.api.create_namespace(namespace)
        for queue, pods in QUOTA.items():
            rules = {"preemption": {"withinQueue": "LowerPriority", "minRuntimeSeconds": 0}} if queue == RANKED else {}
            self.api.create_queue(f"{namespace}-{queue}", rules, pods=pods)
        here = InNamespace(self.api, namespace)
        folder = self.folder / namespace
        folder.mkdir()
        with a_database(self.postgres.url) as url, here.watch_jobs() as jobs, here.watch_pods() as pods_seen:
            by_wire = self.wires.database.url(url)
            yield Site(self.cluster, self.api, namespace, namespace, by_wire, folder, here, jobs, pods_seen)
            here.delete_all()
            jobs.wait_until(lambda objects: not objects, 30, "all TaskJobs are deleted")


class Schedule:
    """One seed. `play` it once."""

    def __init__(self, house: House, seed: int, *, jobs: int = JOBS, strikes: int = STRIKES) -> None:
        self.house = house
        self.draw = random.Random(seed)
        self.work = random_work(seed, jobs)
        self.strikes = drawn(self.draw, strikes)
        self.replica_count = self.draw.choice((1, 2))
        self.verdict = Verdict(seed, ["+".join(fault.name for fault in strike) for strike in self.strikes])
        self.last: dict[str, Object] = {}  # each TaskJob as it was last seen, also when it is gone since
        self._resumed: set[str] = set()
        self._give_up_at = 0.0
        self._may_reset = 0

    def play(self) -> Verdict:
        """Everything, in order."""
        begun = time.monotonic()
        with self.house.site() as site:
            site.jobs.listeners.append(lambda _, job: self.last.__setitem__(job["metadata"]["name"], job))
            replicas = Replicas(
                site,
                self.replica_count,
                lease_seconds=4,
                renew_deadline_seconds=3,
                server=self.house.wires.api.url,
                ttl_seconds_after_finished=3600,
            )
            with replicas:
                with Listener(site, self.house.wires.api.url) as listener:
                    self._act(site, replicas)
                    self._calm(site, replicas, listener)
                self._judge(site, listener)
                self.verdict.restarts = len(replicas.exits)
            self._note("nothing is left behind", self._connections_left(site))
            if self.verdict.broken:
                self.verdict.log = "\n".join(each.log()[-8000:] for each in replicas.all)
        self.verdict.seconds = time.monotonic() - begun
        return self.verdict

    # ------------------------------------------------------------------ the strikes
    def _act(self, site: Site, replicas: Replicas) -> None:
        house = self.house
        stage = Stage(site, replicas, house.postgres, house.disk, house.wires, self.work, self.draw)
        self.house.wires.api.draw = random.Random(self.verdict.seed)
        unmade = in_some_order(self.work, self.draw)
        share = len(unmade) // (len(self.strikes) + 1) + 1
        for strike in self.strikes:
            self._make(site, [unmade.pop() for _ in range(min(share, len(unmade)))])
            self._meddle(site)
            hold(self.draw.uniform(0.2, 1.5))
            self._strike(stage, strike)
            self._may_reset = stage.failovers * RESETS_OF_A_FAILOVER
        self._make(site, unmade)

    def _strike(self, stage: Stage, strike: tuple[Fault, ...]) -> None:
        with ExitStack() as stack:
            for fault in strike:
                try:
                    stack.enter_context(fault.play(stage))
                except NotPlayedError as error:
                    self.verdict.not_played[fault.name] = str(error)
            hold(max(self.draw.uniform(*fault.holds) for fault in strike))

    def _make(self, site: Site, tasks: list[Task]) -> None:
        for task in tasks:
            manifest = task.manifest(f"{site.queue}-{task.queue}")
            firmly(lambda: site.here.create(manifest), done=(409,))  # noqa: B023 - called at once

    def _meddle(self, site: Site) -> None:
        """Suspend, resume, cancel and rerun some of those that are to be."""
        for task in self.work:
            found = site.jobs.snapshot().get(task.name)
            if found is None or self.draw.random() < 0.5:
                continue
            spec = found["spec"]
            if task.born_suspended and spec.get("suspend"):
                self._change(site, task, suspend=False)
            elif task.suspend and not spec.get("suspend") and task.name not in self._resumed:
                self._change(site, task, suspend=True)
            elif task.suspend and spec.get("suspend"):
                self._change(site, task, suspend=False)
                self._resumed.add(task.name)
            elif task.cancel and not spec.get("cancel"):
                self._change(site, task, cancel=True)
            elif task.rerun and not spec.get("rerun") and ended(found):
                self._change(site, task, rerun=1)

    def _change(self, site: Site, task: Task, **spec: object) -> None:
        firmly(lambda: site.here.change(task.name, **spec), done=(404,))  # it may have ended and be removed meanwhile

    # ------------------------------------------------------------------ calm
    def _calm(self, site: Site, replicas: Replicas, listener: Listener) -> None:
        self._give_up_at = time.monotonic() + END_SECONDS
        self._wait(lambda: len(site.jobs.seen) and {task.name for task in self.work} <= self.last.keys())
        for task in self.work:
            if task.suspend or task.born_suspended:  # asked for anew: the witness may not have seen the last change
                self._change(site, task, suspend=False)
        reruns = {task.name for task in self.work if task.rerun}
        self._wait(lambda: all(ended(self.last[name]) for name in reruns))
        for name in reruns:
            if not self.last[name]["spec"].get("rerun"):
                firmly(lambda: site.here.change(name, rerun=1))  # noqa: B023 - called at once
        self._wait(lambda: all(self.last[name].get("status", {}).get("run") == 1 for name in reruns))
        self._note("every job ends as it must", self._still_open())

        def left() -> list[str]:
            return list(judge.nothing_is_left_behind(self.work, site.jobs.snapshot(), site.pods.snapshot()))

        if not self._wait(lambda: not left()):
            self._note("nothing is left behind", left())
        self._wait(lambda: not self._untold(site, listener))
        alive = {each.name: psutil.Process(each.pid) for each in replicas.all if each.alive}
        descriptors = {name: process.num_fds() for name, process in alive.items()}
        megabytes = {name: process.memory_info().rss / 1e6 for name, process in alive.items()}
        self._note("nothing is left behind", list(judge.no_process_has_grown(descriptors, megabytes)))

    def _still_open(self) -> list[str]:
        def left() -> list[str]:
            return [task.name for task in self.work if not ended(self.last.get(task.name, {}))]

        if self._wait(lambda: not left()):
            return []
        return [f"{name} has not ended: {self.last.get(name, {}).get('status')}" for name in left()]

    def _untold(self, site: Site, listener: Listener) -> list[str]:
        """What history or the stream do not tell (yet)."""
        told = site.history()
        judge.taken_by_the_cluster(self.work, told, list(site.pods.seen))
        ends = judge.how_they_end(self.work, self.last)
        return [
            *judge.history_is_complete(self.work, ends, self.last, told),
            *judge.the_stream_told_all_once(listener.heard, told, self._may_reset),
        ]

    def _wait(self, holds: Callable[[], object]) -> bool:
        """Wait until it holds, and whether it did. All waits of a schedule share one time, of which 5 s are kept."""
        give_up_at = max(self._give_up_at, time.monotonic() + 5)
        while not holds():
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.2)
        return True

    # ------------------------------------------------------------------ the verdict
    def _note(self, invariant: str, found: list[str]) -> None:
        if found:
            self.verdict.broken.setdefault(invariant, []).extend(found)

    def _judge(self, site: Site, listener: Listener) -> None:
        jobs, pods, told = list(site.jobs.seen), list(site.pods.seen), site.history()
        judge.taken_by_the_cluster(self.work, told, pods)
        ends = judge.how_they_end(self.work, self.last)
        assert site.cluster.audit_log is not None
        audit = judge.one_pod_per_attempt(site.cluster.audit_log, site.namespace, pods)
        self._note("at most one pod per attempt", list(audit))
        self._note("one attempt at a time", list(judge.one_attempt_at_a_time(pods)))
        early = judge.no_pod_before_its_dependencies(self.work, jobs, pods)
        self._note("no pod before its dependencies have ended", list(early))
        self._note("no admission above quota", list(judge.no_admission_above_quota(self.work, pods)))
        self._note("every job ends as it must", list(judge.ends_as_it_must(self.work, ends, self.last, pods)))
        self._note("history is complete", list(judge.history_is_complete(self.work, ends, self.last, told)))
        streamed = judge.the_stream_told_all_once(listener.heard, told, self._may_reset)
        self._note("the stream told each transition once", list(streamed))

    def _connections_left(self, site: Site) -> list[str]:
        """Of the operators and the API, which have all ended."""

        async def count() -> int:
            connection = await asyncpg.connect(site.database_url, timeout=10)
            try:
                query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                return int(await connection.fetchval(query)) - 1
            finally:
                await connection.close()

        self._wait(lambda: not asyncio.run(count()))
        return list(judge.nothing_is_left_behind((), (), (), asyncio.run(count())))
