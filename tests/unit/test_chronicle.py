"""What history is told: each transition under its own number, the same from every operator."""

from __future__ import annotations

from builders import a_job, a_pod, a_queue, at
from taskjob.core.chronicle import appearance, base, deletion, established
from taskjob.core.model import Status
from taskjob.core.phases import Phase, Reason
from world import World


def steps(rows: tuple[object, ...]) -> list[tuple[int, int, str, str]]:
    return [(row.attempt.attempt, row.n, str(row.from_phase), str(row.to_phase)) for row in rows]  # type: ignore[attr-defined]  # transitions


def test_the_first_row_is_the_appearance() -> None:
    row = appearance(a_job("a").created(7).build())
    assert (row.from_phase, row.to_phase, row.n, row.at) == (None, Phase.PENDING, 0, at(7))


def test_numbers_before_the_attempt_under_way_follow_from_its_phase() -> None:
    assert base(Status(phase=Phase.PENDING, transition=3)) == 3
    assert base(Status(phase=Phase.STARTING, transition=4)) == 3
    assert base(Status(phase=Phase.RUNNING, transition=5)) == 3
    assert base(Status(phase=Phase.RUNNING, transition=0)) == 0, "a status that somebody else wrote"


def test_a_job_that_waits_has_no_transitions() -> None:
    assert established(a_job("a").build(), [], under_way=False) == ()


def test_an_attempt_under_way_is_told_as_far_as_its_pod_shows() -> None:
    job = a_job("a").build()
    starting, running = a_pod(job).build(), a_pod(job).running(since=4).build()
    assert steps(established(job, [starting], under_way=True)) == [(1, 1, "Pending", "Starting")]
    rows = established(job, [running], under_way=True)
    assert steps(rows) == [(1, 1, "Pending", "Starting"), (1, 2, "Starting", "Running")]
    assert [row.at for row in rows] == [running.created_at, at(4)]


def test_only_what_is_new_is_told() -> None:
    job = a_job("a").build()
    running = a_pod(job).running().build()
    assert steps(established(job, [running], under_way=True, told=1)) == [(1, 2, "Starting", "Running")]


def test_an_end_that_jumped_over_its_beginning_is_told_with_it() -> None:
    job = a_job("a").being(
        Phase.SUCCEEDED,
        reason=Reason.COMPLETED,
        attempt=1,
        transition=3,
        admitted_at=at(1),
        started_at=at(2),
        finished_at=at(3),
    )
    rows = established(job.build(), [], under_way=False)
    assert steps(rows) == [
        (1, 1, "Pending", "Starting"),
        (1, 2, "Starting", "Running"),
        (1, 3, "Running", "Succeeded"),
    ]
    assert [row.at for row in rows] == [at(1), at(2), at(3)]


def test_an_end_while_waiting_is_one_row() -> None:
    job = a_job("a").being(
        Phase.SKIPPED, reason=Reason.DEPENDENCY_NOT_SATISFIED, message="why", transition=1, finished_at=at(3)
    )
    (row,) = established(job.build(), [], under_way=False)
    assert (row.n, row.from_phase, row.to_phase, row.at, row.message) == (1, Phase.PENDING, Phase.SKIPPED, at(3), "why")


def test_earlier_attempts_are_told_from_their_pods_back_to_the_first_gap() -> None:
    job = a_job("a").being(Phase.RUNNING, attempt=4, transition=10, retries=3, started_at=at(9)).build()
    pods = [
        a_pod(job, 1).failed().build(),
        a_pod(job, 3).but(started_at=None, phase=a_pod(job).failed().build().phase).build(),
        a_pod(job, 4).running(9).build(),
    ]
    assert steps(established(job, pods, under_way=True)) == [
        (3, 7, "Pending", "Starting"),
        (3, 8, "Starting", "Pending"),
        (4, 9, "Pending", "Starting"),
        (4, 10, "Starting", "Running"),
    ]


def test_pods_of_another_run_tell_nothing_of_this_one() -> None:
    job = a_job("a").build()
    again = a_job("a").being(Phase.PENDING, run=1).build()
    assert established(again, [a_pod(job).failed().build()], under_way=False) == ()


def test_a_deletion_is_the_last_row_from_wherever_the_job_was() -> None:
    waiting = a_job("a").being(Phase.PENDING, attempt=1, transition=3).build()
    row, status = deletion(waiting, None, under_way=False, now=at(9))
    assert (row.n, row.from_phase, row.to_phase, row.reason) == (4, Phase.PENDING, Phase.CANCELLED, Reason.DELETED)
    assert (status.transition, status.finished_at) == (4, at(9))
    job = a_job("a").build()
    row, _ = deletion(job, a_pod(job).running().build(), under_way=True, now=at(9))
    assert (row.n, row.from_phase, row.attempt.attempt) == (3, Phase.RUNNING, 1)


def test_a_new_reason_to_wait_refreshes_the_row_without_a_transition() -> None:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.submit(a_job("a"), a_job("b"))
    world.run()
    told = [entry for entry in world.entries if entry.job.name == "b"]
    assert [entry.job.status.reason for entry in told] == [Reason.QUEUED, Reason.WAITING_FOR_QUOTA]
    assert [len(entry.transitions) for entry in told] == [1, 0]


def test_after_history_lost_rows_all_that_live_objects_show_is_told_again() -> None:
    world = World()
    world.put_queue(a_queue())
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    told = world.story("a")
    world.entries.clear()
    world.state.tell_again()
    world.run()
    assert world.story("a") == told
