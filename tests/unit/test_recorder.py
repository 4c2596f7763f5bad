"""What the recorder tells history when things are lost, late or unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from builders import a_job, at
from fakes_history import FakeHistory
from taskjob.control.mirror import Mirror
from taskjob.control.recorder import Recorder
from taskjob.core import chronicle
from taskjob.core.model import AttemptId, Entry, Job, Uid
from taskjob.core.phases import Phase, Reason
from taskjob.core.state import State
from taskjob.ports import Log
from virtual_time import VirtualClock, run


class Desk:
    """A recorder over a fake history and a mirror that was listed."""

    def __init__(self, history: FakeHistory, jobs: list[Job], *, epoch: int = 1, buffer: int = 1000) -> None:
        self.history = history
        self.clock = VirtualClock()
        self.mirror = Mirror(State(), self.clock, lambda: None)
        self.mirror.replace_queues(1, [])
        self.mirror.replace_jobs(1, jobs)
        self.mirror.replace_pods(1, [])
        self.recorder = Recorder(history, self.mirror, self.clock, lambda: None, epoch=epoch, buffer=buffer)
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
