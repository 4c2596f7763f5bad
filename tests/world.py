"""An ideal cluster for the pure core: carries out what a plan decides, at once or when told, on a virtual clock.

Scenarios read as stories: `world.submit(a_job("a"))`, `world.run()`, `world.finish("a")`. The truth stands here
(`jobs`, `pods`), so that `crash` can throw the state away and a fresh one must go on from the same observations.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

from builders import NOON, JobBuilder
from taskjob.core.cycle import plan
from taskjob.core.decisions import EndBy, EndPod, KeepLog, Launch, Plan, RemoveJob, RemovePod, SetStatus
from taskjob.core.model import AttemptId, Entry, Job, JobName, Pod, PodUid, Queue, QueueName, Status, Transition, Uid
from taskjob.core.phases import FailureClass, Phase, PodPhase
from taskjob.core.state import State


@dataclass
class World:
    """A cluster in which every request succeeds, unless `holding` keeps the answers back."""

    room: int = 1_000_000
    default_ttl_seconds: int = 10**9
    controller: str = "default"
    now: datetime = NOON
    history_away: bool = False
    logs_away: bool = False
    holding: bool = False  # requests are not answered: decisions pile up in `pending`
    mortal: bool = False  # the operator dies after each of its requests, whatever else it was about to do
    nodes_work: bool = True  # a pod gets a node as soon as it is created, a lowered deadline ends it
    pods_obey: bool = True  # else they end by their deletion alone, after their grace period
    jobs: dict[Uid, Job] = field(default_factory=dict)
    pods: dict[AttemptId, Pod] = field(default_factory=dict)
    queues: dict[QueueName, Queue] = field(default_factory=dict)
    launched: list[AttemptId] = field(default_factory=list)
    written: list[tuple[str, Status]] = field(default_factory=list)
    ended: list[EndPod] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    logs: list[AttemptId] = field(default_factory=list)
    pending: list[object] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    admitted_as: dict[JobName, tuple[tuple[str, int], ...]] = field(default_factory=dict)  # what admission made of it
    refusing: dict[JobName, str] = field(default_factory=dict)
    crashes: int = 0
    begun_at: datetime = NOON  # since when the operator of now is there
    confirmed: int = 0  # how many of the entries history holds; a crash loses the others
    last: Plan | None = None
    state: State = field(init=False)
    _versions: count[int] = field(default_factory=lambda: count(10))

    def __post_init__(self) -> None:
        self.state = State(self.default_ttl_seconds, self.controller)

    # ------------------------------------------------------------------ what users do
    def submit(self, *builders: JobBuilder) -> None:
        """Apply TaskJobs, in this order. A builder that names no instant is created now."""
        for builder in builders:
            moment = int((self.now - NOON).total_seconds())
            self.put(
                replace(builder, fields={"created_at": NOON + timedelta(seconds=moment), **builder.fields}).build()
            )

    def put(self, job: Job) -> None:
        """A TaskJob as it is from now on."""
        job = replace(job, version=next(self._versions))
        self.jobs[job.uid] = job
        self.state.put_job(job)

    def edit(self, name: str, **changes: object) -> None:
        """Change a TaskJob's spec."""
        job = self.job(name)
        self.put(replace(job, generation=job.generation + 1, **changes))  # type: ignore[arg-type]  # by field name

    def delete(self, name: str, *, with_pods: bool = False) -> None:
        """Delete a TaskJob; the garbage collector may take its pods along."""
        job = self.job(name)
        del self.jobs[job.uid]
        self.state.drop_job(job.uid, self.now)
        if with_pods:
            for pod in [pod for pod in self.pods.values() if pod.attempt.uid == job.uid]:
                self.lose_pod(pod)

    def put_queue(self, queue: Queue) -> None:
        """A TaskQueue as it is from now on."""
        queue = replace(queue, version=next(self._versions))
        self.queues[queue.name] = queue
        self.state.put_queue(queue)

    def delete_queue(self, name: str) -> None:
        """Delete a TaskQueue."""
        del self.queues[QueueName(name)]
        self.state.drop_queue(QueueName(name))

    # ------------------------------------------------------------------ what pods do
    def put_pod(self, pod: Pod, **changes: object) -> Pod:
        """A pod as it is from now on."""
        pod = replace(pod, version=next(self._versions), **changes)  # type: ignore[arg-type]  # by field name
        self.pods[pod.attempt] = pod
        self.state.put_pod(pod)
        return pod

    def start(self, *names: str) -> None:
        """The containers of these jobs' pods start."""
        for name in names:
            self.put_pod(self.pod(name), phase=PodPhase.RUNNING, node="node", started_at=self._second())
        self.run()

    def finish(self, *names: str) -> None:
        """The pods of these jobs end well, started a second ago if they were not running."""
        for name in names:
            pod = self.pod(name)
            self.put_pod(
                pod,
                phase=PodPhase.SUCCEEDED,
                node="node",
                started_at=pod.started_at or self._second(),
                finished_at=self._second(),
                exit_code=0,
            )
        self.run()

    def fail(self, *names: str, failure: FailureClass = FailureClass.EXIT_CODE, started: bool = True) -> None:
        """The pods of these jobs fail."""
        for name in names:
            pod = self.pod(name)
            self.put_pod(
                pod,
                phase=PodPhase.FAILED,
                node="node",
                started_at=(pod.started_at or self._second()) if started else pod.started_at,
                finished_at=self._second(),
                exit_code=1 if started else None,
                failure=failure,
                message="it failed",
            )
        self.run()

    def lose_pod(self, pod: Pod) -> None:
        """A pod disappears."""
        self.pods.pop(pod.attempt, None)
        self.state.drop_pod(replace(pod, version=next(self._versions)))

    # ------------------------------------------------------------------ time and the operator
    def cycle(self) -> Plan:
        """One plan, carried out (unless requests are held back)."""
        made = plan(self.state, self.now, self.room)
        assert made.faults == (), made.faults
        self.last = made
        self._record(made)
        for decision in made.decisions:
            if self.holding:
                self.pending.append(decision)
                continue
            self.carry_out(decision)
            if self.mortal:
                self.crash()
                break
        return made

    def run(self) -> None:
        """Plan and carry out until there is nothing to do at this instant."""
        for _ in range(10_000):
            made = self.cycle()
            if not made.decisions and not made.entries and not self.state.dirty_jobs and not self.state.orphans:
                return
            if self.holding:
                return
        raise AssertionError(f"the operator never comes to rest; its last decisions: {made.decisions}")

    def let_pass(self, seconds: float) -> None:
        """Time passes; the operator looks whenever it asked to be woken."""
        until = self.now + timedelta(seconds=seconds)
        self.run()
        for _ in range(100_000):
            wake_at = self.last.wake_at if self.last is not None else None
            if wake_at is None or wake_at > until:
                self.now = until
                self.run()
                return
            assert wake_at > self.now, f"asked to be woken at {wake_at}, which is not after {self.now}"
            self.now = wake_at
            self.run()
        raise AssertionError("the operator asks to be woken without end")

    def answer(self) -> None:
        """Carry out what was held back."""
        self.holding = False
        held, self.pending = self.pending, []
        for decision in held:
            self.carry_out(decision)
        self.run()

    def crash(self) -> None:
        """The operator dies, what it was about to do with it; another starts from what the cluster and history hold."""
        self.crashes += 1
        self.begun_at = self.now
        self.pending = []
        del self.entries[self.confirmed :]
        self.state = self.another()

    def another(self) -> State:
        """What an operator that begins now would know."""
        state = State(self.default_ttl_seconds, self.controller)
        for queue in self.queues.values():
            state.put_queue(queue)
        for pod in self.pods.values():
            state.put_pod(pod)
        for job in self.jobs.values():
            state.put_job(job)
        for attempt in self.logs:
            state.log_kept(attempt)
        return state

    def history_returns(self) -> None:
        """History takes what it was told meanwhile."""
        self.history_away = False
        self.confirm()
        self.run()

    def logs_return(self) -> None:
        """The logs that were asked for arrive."""
        self.logs_away = False
        for attempt in self.logs:
            self.state.log_kept(attempt)
        self.run()

    # ------------------------------------------------------------------ carrying out
    def carry_out(self, decision: object) -> None:
        """What the API server and history make of one decision."""
        match decision:
            case Launch():
                self._launch(decision)
            case SetStatus(job, status):
                self._write(decision, job, status)
            case EndPod(pod, by):
                self.ended.append(decision)
                self._end(pod, by)
            case KeepLog(pod):
                self.logs.append(pod.attempt)
                if not self.logs_away:
                    self.state.log_kept(pod.attempt)
            case RemovePod(pod):
                self.removed.append(pod.name)
                held_pod = self.pods.get(pod.attempt)
                if held_pod is not None and held_pod.uid == pod.uid:
                    self.lose_pod(held_pod)
            case RemoveJob(job):
                held = self.jobs.get(job.uid)
                if held is not None and held.version == job.version:
                    self.removed.append(str(job.name))
                    self.delete(job.name, with_pods=True)

    def _launch(self, launch: Launch) -> None:
        job, attempt = launch.job, launch.attempt
        message = self.refusing.get(job.name)
        if message is not None:
            self.state.not_launched(attempt, message, self.now)
            return
        assert attempt not in self.launched, f"attempt {attempt} was launched twice"
        self.launched.append(attempt)
        pod = Pod(
            uid=PodUid(f"pod-{job.uid}-{attempt.run}-{attempt.attempt}"),
            name=f"{job.name}-{attempt.attempt}",
            namespace=job.namespace,
            version=0,
            attempt=attempt,
            queue=job.queue,
            request=self.admitted_as.get(job.name, job.request),
            phase=PodPhase.PENDING,
            created_at=self._second(),
            concurrency=job.concurrency,
            job_name=job.name,
            node="node" if self.nodes_work else None,
            active_deadline_seconds=launch.active_deadline_seconds,
        )
        self.put_pod(pod)

    def _write(self, decision: SetStatus, job: Job, status: Status) -> None:
        held = self.jobs.get(job.uid)
        if not self.state.still_wanted(decision):
            return
        if held is not None and held.version == job.version:
            self.written.append((str(job.name), status))
            self.put(replace(held, status=status))
        self.state.not_written(decision)

    def _end(self, pod: Pod, by: EndBy) -> None:
        held = self.pods.get(pod.attempt)
        if held is None or held.phase.ended:  # an ended pod is removed by RemovePod alone, its outcome must be kept
            return
        if by is EndBy.DELETE:
            self.lose_pod(replace(held, deleting=True))
        elif self.nodes_work and self.pods_obey:
            self.put_pod(
                held,
                active_deadline_seconds=1,
                phase=PodPhase.FAILED,
                finished_at=self._second(),
                exit_code=143 if held.started_at else None,
                failure=FailureClass.TIMEOUT,
                message="Pod was active on the node longer than the specified deadline",
            )
        else:
            self.put_pod(held, active_deadline_seconds=1)

    def _record(self, made: Plan) -> None:
        self.entries.extend(made.entries)
        if not self.history_away:
            self.confirm()

    def confirm(self) -> None:
        """History holds all that it was told."""
        self.confirmed = len(self.entries)
        for uid, n in {e.job.uid: e.transitions[-1].n for e in self.entries if e.transitions}.items():
            self.state.recorded(uid, n)

    def _second(self) -> datetime:
        return self.now.replace(microsecond=0)

    # ------------------------------------------------------------------ what there is to see
    def job(self, name: str) -> Job:
        """The TaskJob of that name."""
        return next(job for job in self.jobs.values() if job.name == name)

    def status(self, name: str) -> Status:
        """Its status."""
        return self.job(name).status

    def phase(self, name: str) -> Phase:
        """Its phase."""
        return self.status(name).phase

    def phases(self) -> dict[str, str]:
        """The phases of all, by name."""
        return {str(job.name): str(job.status.phase) for job in self.jobs.values()}

    def pod(self, name: str) -> Pod:
        """The latest pod of the job of that name."""
        return max((pod for pod in self.pods.values() if pod.job_name == name), key=lambda pod: pod.attempt)

    def names_launched(self) -> list[str]:
        """The names of the jobs launched, in order."""
        return [uid.removeprefix("uid-") for uid, *_ in self.launched]

    def story(self, name: str) -> list[str]:
        """What history was told of a job: `n: from -> to (reason)`, each transition once, by number."""
        rows: dict[int, Transition] = {}
        for entry in self.entries:
            if entry.job.name == name:
                for row in entry.transitions:
                    rows.setdefault(row.n, row)
        return [f"{n}: {rows[n].from_phase or ''} -> {rows[n].to_phase} ({rows[n].reason})" for n in sorted(rows)]
