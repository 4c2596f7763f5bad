"""Random schedules of faults over the real control loop: killed operators, lost answers, lost events, history that
is away or failed over to a replica that lacks its last seconds.

Each schedule is one seed: a random graph of jobs, a random kubelet, random trouble. What must hold whatever happens
stands in `Schedule.check`. `TASKJOBS_SCHEDULES=2000` plays more of them, and `TASKJOBS_SEED=n` repeats one alone.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest

from builders import a_job, a_queue
from fakes_history import FakeHistory
from fakes_kube import FakeKube
from shell import FlakyKube, Shell
from taskjob.control.recorder import REMEMBERED_SECONDS
from taskjob.core.dependencies import Edge, edge
from taskjob.core.model import Dependency, Job, JobName, Pod, Queue, Uid
from taskjob.core.phases import TRANSITIONS, Condition, OnDependencyFailure, Phase, Preempt
from virtual_time import VirtualClock, run

CPUS = 4
LASTS = 3600
LIMIT = 2  # of the one concurrency key
SCHEDULES = int(os.environ.get("TASKJOBS_SCHEDULES", "300"))


@dataclass
class Scripted:
    """A job of a schedule: how its attempts end (then always the last), and what is asked of it."""

    job: Job
    exit_codes: tuple[int, ...]
    cancelled: bool = False  # the user cancels it at some time: it may end so, or before
    reruns: int = 0  # how many times the user has it run again, at any time: each run ends alike

    def code(self, attempt: int) -> int:
        return self.exit_codes[min(attempt, len(self.exit_codes)) - 1]

    def ends(self, phases: dict[str, Phase]) -> Phase:
        """What becomes of it, told from what became of its dependencies: the oracle."""
        for dependency in self.job.depends_on:
            if edge(dependency.condition, phases[dependency.name]) is Edge.IMPOSSIBLE:
                policy = self.job.on_dependency_failure
                return Phase.SKIPPED if policy is OnDependencyFailure.SKIP else Phase.FAILED
        allowed = self.job.retrying.limit + 1
        succeeds = any(self.code(attempt) == 0 for attempt in range(1, allowed + 1))
        return Phase.SUCCEEDED if succeeds else Phase.FAILED


def a_graph(random: Random, *, preempting: bool) -> list[Scripted]:
    """Random jobs. Where they preempt each other, all attempts of a job end alike: who knows how many it will have."""
    jobs: list[Scripted] = []
    for number in range(random.randint(3, 14)):
        builder = a_job(f"j{number}").asking(cpu=random.choice([1, 1, 2, 4])).created(number // 4)
        builder = builder.retrying(random.choice([0, 0, 1, 2]), initial_seconds=random.choice([0, 1, 5]))
        builder = builder.kept_for(random.choice([0, 5, LASTS])).of_priority(random.choice(["High", "Normal", "Low"]))
        if random.random() < 0.3:
            builder = builder.holding("db", LIMIT)
        names = random.sample(range(number), k=min(number, random.choice([0, 0, 1, 2, 3])))
        depends_on = tuple(Dependency(JobName(f"j{other}"), random.choice(list(Condition))) for other in sorted(names))
        policy = random.choice([OnDependencyFailure.SKIP, OnDependencyFailure.FAIL])
        job = builder.on_dependency_failure(policy)._with(depends_on=depends_on).build()
        codes = tuple(random.choice([0, 0, 1, 3]) for _ in range(1 if preempting else random.randint(1, 3)))
        script = Scripted(job, codes, cancelled=random.random() < 0.1)
        lasting = all(jobs[int(other.name[1:])].job.ttl_seconds == LASTS for other in depends_on)
        if lasting and not script.cancelled:  # what waits again for a job that was removed would wait for ever
            script.reruns = random.choice([0, 0, 0, 0, 1, 2])
        jobs.append(script)
    return jobs


@dataclass
class Witnessed(FakeKube):
    """A fake that remembers what it once held, and how much was in use at most."""

    seen: dict[Uid, Job] = field(default_factory=dict)
    most_in_use: int = 0
    most_holders: int = 0

    def _emit(self, method: str, value: object) -> None:
        if isinstance(value, Job):
            self.seen[value.uid] = value
        in_use = sum(dict(pod.request)["cpu"] for pod in self.pods.values() if not pod.phase.ended)
        self.most_in_use = max(self.most_in_use, in_use)
        holders = sum(pod.concurrency is not None and not pod.phase.ended for pod in self.pods.values())
        self.most_holders = max(self.most_holders, holders)
        super()._emit(method, value)


def in_order_of_birth(scripts: list[Scripted], random: Random) -> list[Scripted]:
    """Any order, but that what is removed soon comes after those that wait for it: they would wait for ever."""
    lasting = [script for script in scripts if script.job.ttl_seconds == LASTS]
    fleeting = [script for script in scripts if script.job.ttl_seconds != LASTS]
    random.shuffle(lasting)
    return lasting + fleeting[::-1]


class Schedule:
    """One run of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.fake = Witnessed(now=VirtualClock().now, obeys_deadlines=True, fences_pods=seed % 2 == 0)
        self.flaky = FlakyKube(self.fake, self.random, trouble=self.random.choice([0, 0.05, 0.3]))
        self.history = FakeHistory()
        self.replica: tuple[float, FakeHistory] | None = None  # a copy of history that lags behind, and since when
        self.failed_over = False  # and the operator has not told again what was lost
        self.preempting = seed % 3 == 2
        self.scripts = a_graph(self.random, preempting=self.preempting)
        self.by_name = {script.job.name: script for script in self.scripts}
        self.epoch = 0
        self.shell = self._operator()

    def _operator(self) -> Shell:
        self.epoch += 1
        self.fake.latest_epoch = self.epoch
        return Shell(self.fake, self.flaky, self.history, epoch=self.epoch)

    def _queue(self) -> Queue:
        if not self.preempting:
            return a_queue(quota={"cpu": CPUS})
        rule = self.random.choice([Preempt.LOWER_PRIORITY, Preempt.ANY])
        promised = self.random.choice([0, 1, 5])
        return a_queue(quota={"cpu": CPUS}, preemption_within_queue=rule, min_runtime_seconds=promised)

    async def play(self) -> None:
        self.fake.create_queue(self._queue())
        self.shell.start()
        unborn = in_order_of_birth(self.scripts, self.random)
        settled = 0
        for _ in range(4000):
            await asyncio.sleep(self.random.choice([0.01, 0.05, 0.3, 2]))
            if unborn and self.random.random() < 0.4:
                script = unborn.pop(0)
                self.fake.create_job(script.job)
            self._kubelet()
            await self._trouble(calm=not unborn and self.random.random() < 0.5)
            self.fake.deliver_events()
            failure = self.shell.failed()
            assert failure is None, f"a part of the operator ended: {failure!r}"
            settled = settled + 1 if not unborn and self._settled() else 0
            if settled == 3:  # what the last event set off has been told as well
                break
        await self.shell.kill()

    def _kubelet(self) -> None:
        for pod in list(self.fake.pods.values()):
            if pod.phase.ended or self.random.random() < 0.4:
                continue
            if pod.deleting:
                self.fake.remove(pod)
            elif pod.node is None:
                self.fake.schedule(pod)
            elif pod.started_at is None and self.random.random() < 0.8:
                self.fake.start(pod)
            else:
                self._end(pod)

    def _end(self, pod: Pod) -> None:
        code = self.by_name[pod.job_name].code(pod.attempt.attempt)
        if code == 0:
            self.fake.succeed(pod)
        else:
            self.fake.fail(pod, code)

    async def _trouble(self, *, calm: bool) -> None:
        for script in self.scripts:
            job = self.fake.jobs.get(script.job.uid)
            if script.cancelled and job is not None and not job.cancel and self.random.random() < 0.05:
                self.fake.change_job(job, cancel=True)
            if job is not None and job.rerun < script.reruns and self.random.random() < 0.1:
                self.fake.change_job(job, rerun=job.rerun + 1)
        self._fail_over()
        dice = 1.0 if calm else self.random.random()
        if dice < 0.05 and not self.failed_over:  # SIGKILL, and a new one
            await self.shell.kill()
            self.replica = None  # what an operator was told is written, its successor does not know
            self.shell = self._operator()
            self.shell.start()
        elif dice < 0.08:  # a watch breaks, and nobody is told: only a list mends it
            self.fake.lose_events()
            self.shell.relist()
        elif dice < 0.12:
            self.fake.hold_events()
        elif dice < 0.16 and not self.preempting:
            # A pod that was preempted before it had a node is deleted: if the operator dies before history is back, it
            # has left the cluster untold, which is where the promise ends.
            self.history.available = not self.history.available
        elif dice < 0.20 and self.replica is None and not self.failed_over:
            self.replica = asyncio.get_running_loop().time(), deepcopy(self.history)
        if calm:
            self.history.available = True

    def _fail_over(self) -> None:
        """To the replica, if there is one that lacks no more than the last seconds."""
        if self.failed_over:
            self.failed_over = self.history.broken or not (self.shell.recorder.open and self.shell.recorder.idle)
        if self.replica is None:
            return
        since, replica = self.replica
        if asyncio.get_running_loop().time() - since > REMEMBERED_SECONDS:
            self.replica = None
        elif self.random.random() < 0.4:
            self.history.fail_over(replica)
            self.replica, self.failed_over = None, True

    def _settled(self) -> bool:
        """All have ended, what was to be removed is, and history was told."""
        if any(job.outcome is None for job in self.fake.jobs.values()):
            return False
        if any(job.rerun < self.by_name[job.name].reruns for job in self.fake.jobs.values()):
            return False
        if any(job.ttl_seconds != LASTS for job in self.fake.jobs.values()) or self.fake.pods:
            return False
        return self.shell.recorder.idle and self.history.available and not self.history.broken

    def check(self) -> None:
        assert self._settled(), self._state()
        doubled = [attempt for attempt, times in Counter(self.fake.created).items() if times > 1]
        assert not doubled, f"more than one pod of {doubled}"
        self._check_ends()
        # Without the fence a create that a killed operator had sent may arrive after the next one has looked:
        # then quota and the numbers of history are off by that pod until it is seen.
        if self.fake.fences_pods:
            assert self.fake.most_in_use <= CPUS * 1000, f"{self.fake.most_in_use} milli-CPU were in use"
            assert self.fake.most_holders <= LIMIT, f"{self.fake.most_holders} held the key"
            self._check_history()

    def _check_ends(self) -> None:
        phases: dict[str, Phase] = {}
        for script in self.scripts:  # in order of their dependencies
            job = self.fake.seen[script.job.uid]
            phases[job.name] = job.status.phase
            due = script.ends(phases)
            if not (script.cancelled and job.status.phase is Phase.CANCELLED):
                assert job.status.phase is due, f"{job.name} ended {job.status}, due was {due}"
            if due is Phase.SUCCEEDED and job.status.phase is due:
                first = next(n for n in range(1, 99) if script.code(n) == 0)
                if self.preempting:  # attempts that made room are not charged, however many
                    assert job.status.retries == 0, job.status
                    continue
                assert (job.status.attempt, job.status.retries) == (first, first - 1), job.status
            assert job.status.run == job.rerun, f"{job.name} ended {job.status}, run {job.rerun} was wanted"

    def _check_history(self) -> None:
        told = defaultdict(list)
        for row in self.history.transitions:
            told[row.attempt.uid].append(row)
        for uid, job in self.fake.seen.items():
            rows = sorted(told[uid], key=lambda row: row.n)
            path = [(row.n, row.from_phase, row.to_phase) for row in rows]
            assert [n for n, _, _ in path] == list(range(len(path))), f"{job.name}: {path}"
            assert path[0] == (0, None, Phase.PENDING), f"{job.name}: {path}"
            for (_, _, before), (_, from_phase, to_phase) in pairwise(path):
                assert from_phase is before, f"{job.name}: {path}"
                assert to_phase in TRANSITIONS[before], f"{job.name}: {path}"
            assert path[-1][2] is job.status.phase, f"{job.name} is {job.status.phase}: {path}"
            known = self.history.jobs[uid]
            assert known.job.status.phase is job.status.phase
            assert (known.gone_at is not None) == (uid not in self.fake.jobs), job.name

    def _state(self) -> str:
        lines = [f"{job.name}: {job.status}" for job in self.fake.jobs.values()]
        lines += [f"{pod.name}: {pod.phase} deleting={pod.deleting}" for pod in self.fake.pods.values()]
        lines += [f"history: idle={self.shell.recorder.idle} available={self.history.available}"]
        return "not settled:\n  " + "\n  ".join(lines)


def _seeds() -> list[int]:
    named = os.environ.get("TASKJOBS_SEED")
    return [int(named)] if named else list(range(SCHEDULES))


@pytest.mark.parametrize("seed", _seeds())
def test_whatever_breaks_each_attempt_has_one_pod_and_every_job_ends_as_it_must(seed: int) -> None:
    async def play() -> Schedule:
        schedule = Schedule(seed)
        await schedule.play()
        return schedule

    run(play()).check()
