"""What the recorder tells history when things are lost, late or unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from random import Random

from prometheus_client import REGISTRY

from applier_world import World, story_of
from builders import a_job, a_pod, at
from fakes_history import FakeHistory
from shell import FlakyKube, Shell
from taskjob.control.mirror import Mirror
from taskjob.control.recorder import Lately, Recorder, Written
from taskjob.core import chronicle
from taskjob.core.model import AttemptId, Entry, Job, Pod, Uid
from taskjob.core.phases import Phase, Reason
from taskjob.core.state import State
from taskjob.core.tracked import LogCare
from taskjob.ports import Log
from virtual_time import VirtualClock, run


class Desk:
    """A recorder over a fake history and a mirror that was listed."""

    def __init__(
        self,
        history: FakeHistory,
        jobs: list[Job],
        *,
        epoch: int = 1,
        buffer: int = 1000,
        namespaces: Sequence[str] = (),
    ) -> None:
        self.history = history
        self.clock = VirtualClock()
        self.mirror = Mirror(State(), self.clock, lambda: None)
        self.mirror.replace_queues(1, [])
        self.mirror.replace_jobs(1, jobs)
        self.mirror.replace_pods(1, [])
        self.recorder = Recorder(
            history, self.mirror, self.clock, lambda: None, epoch=epoch, buffer=buffer, namespaces=namespaces
        )
        self.task = asyncio.create_task(self.recorder.run())

    async def settle(self, seconds: float = 30) -> None:
        await asyncio.sleep(seconds)
        if self.task.done():
            self.task.result()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def appeared(job: Job) -> Entry:
    return Entry(job, (chronicle.appearance(job),))


def told(history: FakeHistory, uid: Uid) -> list[Phase]:
    return [to for _, to in history.of(uid)]


def story(tell: Callable[[], Awaitable[None]]) -> None:
    async def play() -> None:
        await tell()

    run(play())


def test_what_is_told_is_written_in_a_moment_and_confirmed() -> None:
    async def tell() -> None:
        job = a_job("a").build()
        desk = Desk(FakeHistory(), [job])
        desk.recorder.tell([appeared(job)])
        assert desk.recorder.buffered == 1
        await desk.settle(1)
        assert told(desk.history, job.uid) == [Phase.PENDING]
        assert desk.mirror.state.jobs[job.uid].recorded == 0
        assert desk.recorder.idle
        await desk.stop()

    story(tell)


def test_a_taskjob_that_left_while_no_operator_looked_is_closed_as_unknown() -> None:
    async def tell() -> None:
        history, job = FakeHistory(), a_job("a").build()
        first = Desk(history, [job])
        first.recorder.tell([appeared(job)])
        await first.settle()
        await first.stop()
        second = Desk(history, [], epoch=2)  # the TaskJob is no longer there
        await second.settle()
        row = history.transitions[-1]
        assert (row.to_phase, row.reason, row.n) == (Phase.CANCELLED, Reason.OUTCOME_UNKNOWN, 1)
        assert history.jobs[job.uid].gone_at is not None
        await second.stop()

    story(tell)


def test_of_a_namespace_that_is_not_followed_any_more_nothing_is_closed() -> None:
    async def tell() -> None:
        history = FakeHistory()
        unseen, left = (a_job(name).in_namespace(name).build() for name in ("unseen", "left"))
        first = Desk(history, [unseen, left])
        first.recorder.tell([appeared(unseen), appeared(left)])
        await first.settle()
        await first.stop()
        second = Desk(history, [], epoch=2, namespaces=["left"])
        await second.settle()
        assert history.jobs[left.uid].gone_at is not None
        assert history.jobs[unseen.uid].gone_at is None, "it may be there still"
        assert len(told(history, unseen.uid)) == 1
        await second.stop()

    story(tell)


def test_a_finished_taskjob_that_left_while_no_operator_looked_keeps_its_outcome() -> None:
    async def tell() -> None:
        history = FakeHistory()
        job = a_job("a").being(Phase.SUCCEEDED, transition=1, reason=Reason.COMPLETED, finished_at=at(1)).build()
        first = Desk(history, [job])
        first.recorder.tell([Entry(job, (chronicle.appearance(job), *chronicle.established(job, (), False)))])
        await first.settle()
        await first.stop()
        second = Desk(history, [], epoch=2)
        await second.settle()
        known = history.jobs[job.uid]
        assert (known.job.status.phase, known.gone_at is not None) == (Phase.SUCCEEDED, True)
        await second.stop()

    story(tell)


def test_a_taskjob_that_left_just_before_history_opened_is_not_closed_as_unknown() -> None:
    async def tell() -> None:
        history = FakeHistory()
        job = a_job("a").being(Phase.RUNNING, attempt=1, transition=2).build()
        first = Desk(history, [job])
        first.recorder.tell([Entry(job, (chronicle.appearance(job), *chronicle.established(job, (), True)))])
        await first.settle()
        await first.stop()
        second = Desk(history, [job], epoch=2)
        second.mirror.forget_job(job.uid)
        await second.settle()
        assert [row.reason for row in history.transitions if row.reason is Reason.OUTCOME_UNKNOWN] == []
        second.recorder.tell(second.mirror.state.entries)  # as the next cycle does
        await second.settle()
        assert history.transitions[-1].reason is Reason.DELETED
        assert history.jobs[job.uid].gone_at is not None
        await second.stop()

    story(tell)


def test_what_a_full_buffer_dropped_is_told_anew_once_history_is_back() -> None:
    async def tell() -> None:
        history = FakeHistory(available=False)
        jobs = [a_job(f"j{n}").build() for n in range(5)]
        desk = Desk(history, jobs, buffer=3)
        desk.recorder.tell([appeared(job) for job in jobs])
        await desk.settle()
        assert desk.recorder.buffered == 3
        desk.mirror.state.take_dirty()
        for tracked in desk.mirror.state.jobs.values():
            tracked.told = 0
        history.available = True
        await desk.settle()
        assert desk.recorder.idle
        assert {tracked.told for tracked in desk.mirror.state.jobs.values()} == {-1}, "all are to be told again"
        assert set(desk.mirror.state.take_dirty()) == {job.uid for job in jobs}
        await desk.stop()

    story(tell)


def dropped_so_far() -> float:
    return REGISTRY.get_sample_value("taskjobs_history_dropped_entries_total") or 0


class Cramped(World):
    """Whose operator remembers few entries for a history that is slow."""

    def start(self) -> None:
        self.epoch += 1
        kube = FlakyKube(self.fake, Random(0), latency=0.001)
        self.shell = Shell(self.fake, kube, self.history, epoch=self.epoch, buffer=3)
        self.shell.start()


def test_what_a_full_buffer_dropped_while_history_was_slow_is_told_anew_once_it_has_caught_up() -> None:
    async def tell(world: Cramped) -> None:
        before = dropped_so_far()
        job = world.fake.create_job(a_job("a").retrying(2, initial_seconds=1).build())
        gate = world.history.close_the_gate()

        async def play(attempt: int, end: Callable[[Pod], object]) -> None:
            await world.until(lambda: len(world.fake.created) == attempt)
            pod = world.fake.start(world.fake.pod_of("a", attempt))
            await world.pass_time(1)
            end(pod)

        await play(1, world.fake.fail)
        await play(2, world.fake.fail)
        await play(3, world.fake.succeed)
        await world.until(lambda: world.job(job).status.phase is Phase.SUCCEEDED)
        dropped = dropped_so_far()
        assert dropped > before
        gate.set()
        way = sorted([Phase.PENDING, Phase.STARTING, Phase.RUNNING] * 3 + [Phase.SUCCEEDED])
        await world.until(lambda: sorted(told(world.history, job.uid)) == way, 10)
        await world.pass_time(30)
        assert world.shell.recorder.idle
        assert dropped_so_far() == dropped, "and telling it anew is not for ever"

    story_of(Cramped, tell)


def test_what_history_held_before_a_restart_is_confirmed_without_being_told_again() -> None:
    async def tell() -> None:
        history, job = FakeHistory(), a_job("a").build()
        first = Desk(history, [job])
        first.recorder.tell([appeared(job)])
        await first.settle()
        await first.stop()
        second = Desk(history, [job], epoch=2)
        await second.settle()
        assert second.mirror.state.jobs[job.uid].recorded == 0
        await second.stop()

    story(tell)


def test_logs_wait_while_too_many_bytes_are_buffered() -> None:
    async def tell() -> None:
        history = FakeHistory(available=False)
        desk = Desk(history, [])
        body = bytes(1 << 20)

        async def keep(n: int) -> None:
            attempt = AttemptId(Uid("a"), 0, 0, n)
            await desk.recorder.keep(attempt, (Log(attempt, "main", body, len(body)),))

        keeping = [asyncio.create_task(keep(n)) for n in range(1, 101)]
        await desk.settle()
        kept = sum(task.done() for task in keeping)
        assert kept == 64, "64 MiB are buffered, the others wait with their pods"
        history.available = True
        await desk.settle()
        assert all(task.done() for task in keeping)
        assert len(history.logs) == 100
        await desk.stop()

    story(tell)


def test_a_recorder_that_was_deposed_can_still_finish_and_writes_nothing() -> None:
    async def tell() -> None:
        history, job = FakeHistory(), a_job("a").build()
        old = Desk(history, [job])
        await old.settle(1)
        await history.open(2)  # a newer operator
        old.recorder.tell([appeared(job)])
        await old.recorder.finish(5)
        assert told(history, job.uid) == []
        await old.stop()

    story(tell)


def test_what_a_replica_lacks_of_the_last_seconds_is_told_again_also_of_a_taskjob_that_left() -> None:
    async def tell() -> None:
        history, kept, left = FakeHistory(), a_job("kept").build(), a_job("left").build()
        desk = Desk(history, [kept, left])
        replica = deepcopy(history)
        log = Log(AttemptId(left.uid, 0, 0, 1), "main", b"hello", 5)
        desk.recorder.tell([appeared(kept), appeared(left), Entry(left, (), gone_at=at(1))])
        await desk.recorder.keep(log.attempt, (log,))
        await desk.settle(1)
        history.fail_over(replica)
        assert not history.transitions
        await desk.settle(10)  # nothing happens in the cluster: it looks by itself
        assert [t.attempt.uid for t in history.transitions] == [kept.uid, left.uid]
        assert history.jobs[left.uid].gone_at == at(1)
        assert history.logs[log.attempt, "main"].body == b"hello"
        assert desk.mirror.state.jobs[kept.uid].recorded == 0
        await desk.stop()

    story(tell)


def test_what_a_replica_lacks_of_longer_ago_is_told_anew_from_the_live_objects_and_counts_as_unrecorded() -> None:
    async def tell() -> None:
        history, job = FakeHistory(), a_job("a").being(Phase.RUNNING, attempt=1, transition=2).build()
        desk = Desk(history, [job])
        replica = deepcopy(history)
        pod = a_pod(job).at_version(2).build()
        desk.mirror.observe_pod(pod)
        rows = (chronicle.appearance(job), *chronicle.established(job, [pod], True))
        desk.recorder.tell([Entry(job, rows)])
        await desk.recorder.keep(pod.attempt, ())
        await desk.settle(1)
        tracked = desk.mirror.state.jobs[job.uid]
        assert (tracked.recorded, desk.mirror.state.pods[pod.attempt].log) == (2, LogCare.KEPT)
        tracked.told = 2
        await desk.settle(60)
        desk.recorder.tell([Entry(job)])  # a minute later all of it is too long ago to be remembered
        await desk.settle(1)
        desk.mirror.state.take_dirty()
        history.fail_over(replica)
        desk.recorder.tell([Entry(job)])
        await desk.settle(1)
        assert (tracked.recorded, tracked.told) == (-1, -1)
        assert desk.mirror.state.pods[pod.attempt].log is LogCare.NONE
        assert set(desk.mirror.state.take_dirty()) == {job.uid}
        await desk.stop()

    story(tell)


def test_what_is_remembered_of_what_was_written_is_bounded_in_time_entries_and_bytes() -> None:
    entry, log = appeared(a_job("a").build()), Log(AttemptId(Uid("a"), 0, 0, 1), "main", bytes(1 << 20), 1 << 20)
    lately = Lately()
    for second in range(100):
        lately.add(Written(second, (entry,), ()))
    assert [batch.at for batch in lately.take()] == [*range(89, 100)]
    for _ in range(100):
        lately.add(Written(0, (entry,) * 1000, ()))
    assert len(lately.take()) == 10
    for _ in range(100):
        lately.add(Written(0, (), ((log.attempt, (log,)),)))
    assert len(lately.take()) == 8
    assert lately.take() == []
