"""What is sent first, what replaces what, and what is paced."""

from __future__ import annotations

from dataclasses import replace

from builders import a_job, a_pod
from taskjob.control.launches import Launches
from taskjob.control.outbox import Courtesy, Outbox, Pace, Request
from taskjob.core.decisions import EndBy, EndPod, Launch, RemovePod, SetStatus, Urgency
from taskjob.core.model import AttemptId, Job
from taskjob.core.phases import Phase, Reason

PLENTY = 1000


def an_outbox(holds: int = PLENTY, progress: int = PLENTY) -> Outbox:
    return Outbox(
        Launches(PLENTY),
        Courtesy(holds, pauses=1),
        Pace(PLENTY, PLENTY),
        Pace(PLENTY, PLENTY),
        Courtesy(progress, pauses=1),
    )


def writing(job: Job, urgency: Urgency, phase: Phase = Phase.PENDING, reason: Reason = Reason.SUSPENDED) -> SetStatus:
    return SetStatus(job, replace(job.status, phase=phase, reason=reason), urgency)


def launching(job: Job) -> Launch:
    return Launch(job, AttemptId(job.uid, 0, 0, 1), None)


def test_what_others_wait_for_is_sent_first() -> None:
    jobs = [a_job(name).build() for name in "abcd"]
    pod = a_pod(jobs[0]).build()
    wanted: list[Request] = [
        EndPod(pod, EndBy.DELETE, "why"),
        writing(jobs[0], Urgency.TERMINAL),
        writing(jobs[1], Urgency.RETRY),
        launching(jobs[1]),
        writing(jobs[2], Urgency.PROGRESS),
        writing(jobs[3], Urgency.HOLD),
        RemovePod(pod),
    ]
    outbox = an_outbox()
    for request in reversed(wanted):
        outbox.push(request, 0)
    assert [outbox.pop(0) for _ in wanted] == wanted
    assert outbox.pop(0) is None


def test_requests_of_one_rank_are_sent_in_their_order() -> None:
    outbox = an_outbox()
    wanted = [launching(a_job(name).build()) for name in "zxy"]
    for request in wanted:
        outbox.push(request, 0)
    assert len(outbox.launches) == 3
    assert [outbox.pop(0) for _ in wanted] == wanted
    assert len(outbox.launches) == 0


def test_of_the_status_writes_of_a_job_only_the_latest_is_sent() -> None:
    outbox, job = an_outbox(), a_job("a").build()
    outbox.push(writing(job, Urgency.HOLD), 0)
    outbox.push(latest := writing(job, Urgency.TERMINAL, Phase.FAILED), 0)
    assert outbox.pop(0) is latest
    outbox.written(job.uid, 0)
    assert outbox.pop(0) is None


def test_a_job_has_one_status_write_under_way_at_most() -> None:
    outbox, job = an_outbox(), a_job("a").build()
    outbox.push(writing(job, Urgency.PROGRESS), 0)
    assert outbox.pop(0) is not None
    outbox.push(second := writing(job, Urgency.TERMINAL, Phase.FAILED), 0)
    assert outbox.pop(0) is None, "the first is still under way"
    outbox.written(job.uid, 0)
    assert outbox.pop(0) is second


def test_explanations_wait_for_the_server_and_do_not_hold_up_what_is_more_urgent() -> None:
    outbox = an_outbox(holds=1)
    first, second, third = (a_job(name).build() for name in "abc")
    outbox.push(writing(first, Urgency.HOLD), 0)
    outbox.push(writing(second, Urgency.HOLD), 0)
    assert outbox.pop(0) == writing(first, Urgency.HOLD)
    assert outbox.pop(1) is None
    outbox.written(first.uid, 2)
    assert outbox.pop(3) is None
    assert outbox.due_in(3) == 1
    outbox.push(urgent := writing(third, Urgency.TERMINAL, Phase.FAILED), 0)
    assert outbox.pop(3) is urgent
    assert outbox.pop(4) == writing(second, Urgency.HOLD)


def test_a_superseded_explanation_takes_no_place() -> None:
    outbox = an_outbox(holds=1)
    job, other = a_job("a").build(), a_job("b").build()
    outbox.push(writing(job, Urgency.HOLD, reason=Reason.WAITING_FOR_QUOTA), 0)
    outbox.push(latest := writing(job, Urgency.TERMINAL, Phase.FAILED), 0)
    outbox.push(explanation := writing(other, Urgency.HOLD), 0)
    assert [outbox.pop(0), outbox.pop(0)] == [latest, explanation]


def test_the_explanation_of_a_tenants_one_job_does_not_wait_for_another_tenants_thousand() -> None:
    outbox = an_outbox()
    flood = [writing(a_job(f"flood-{number}").in_queue("flooded").build(), Urgency.HOLD) for number in range(1000)]
    for request in flood:
        outbox.push(request, 0)
    few = [writing(a_job(name).in_queue("other").build(), Urgency.HOLD) for name in ("x", "y")]
    for request in few:
        outbox.push(request, 0)
    for request in flood[:3]:
        outbox.push(replace(request, status=replace(request.status, phase=Phase.FAILED), urgency=Urgency.TERMINAL), 0)
    assert [outbox.pop(0) for _ in range(3)] == [
        replace(request, status=replace(request.status, phase=Phase.FAILED), urgency=Urgency.TERMINAL)
        for request in flood[:3]
    ]
    assert [outbox.pop(0) for _ in range(5)] == [flood[3], few[0], flood[4], few[1], flood[5]]
    assert len(outbox) == 994


def test_what_is_held_back_does_not_hold_up_what_is_less_urgent() -> None:
    outbox = an_outbox(holds=1, progress=1)
    first, second, third, fourth = (a_job(name).build() for name in "abcd")
    pod = a_pod(first).build()
    for request in (
        writing(first, Urgency.PROGRESS),
        writing(second, Urgency.PROGRESS),
        writing(third, Urgency.HOLD),
        writing(fourth, Urgency.HOLD),
        RemovePod(pod),
    ):
        outbox.push(request, 0)
    sent = [outbox.pop(0) for _ in range(3)]
    assert sent == [writing(first, Urgency.PROGRESS), writing(third, Urgency.HOLD), RemovePod(pod)]
    assert outbox.pop(0) is None
    assert len(outbox) == 2


def test_progress_goes_out_at_the_speed_at_which_the_server_answers() -> None:
    outbox = an_outbox(progress=1)
    first, second, third = (a_job(name).build() for name in "abc")
    for job in (first, second, third):
        outbox.push(writing(job, Urgency.PROGRESS), 0)
    assert outbox.pop(10) is not None
    assert outbox.pop(10) is None, "one is under way"
    assert outbox.due_in(10) is None, "only its answer can tell"
    outbox.written(first.uid, 12)
    assert outbox.pop(13.9) is None, "it took two seconds, so it is followed by two"
    assert outbox.due_in(13) == 1
    assert outbox.pop(14) == writing(second, Urgency.PROGRESS)
    outbox.written(second.uid, 14.005)
    assert outbox.pop(14.02) == writing(third, Urgency.PROGRESS)


def test_an_answer_that_was_late_for_an_outage_holds_progress_back_for_seconds_only() -> None:
    outbox = an_outbox(progress=1)
    first, second = (a_job(name).build() for name in "ab")
    outbox.push(writing(first, Urgency.PROGRESS), 0)
    outbox.push(writing(second, Urgency.PROGRESS), 0)
    assert outbox.pop(0) is not None
    outbox.written(first.uid, 17)
    assert outbox.pop(21.9) is None
    assert outbox.pop(22) == writing(second, Urgency.PROGRESS)


def test_the_end_of_a_job_overtakes_its_progress_that_is_held_back() -> None:
    outbox = an_outbox(progress=1)
    first, second = (a_job(name).build() for name in "ab")
    outbox.push(writing(first, Urgency.PROGRESS), 0)
    outbox.push(writing(second, Urgency.PROGRESS), 0)
    assert outbox.pop(0) is not None
    outbox.push(end := writing(second, Urgency.TERMINAL, Phase.FAILED), 0)
    assert outbox.pop(0) is end
    outbox.written(first.uid, 1)
    assert outbox.pop(9) is None
    assert len(outbox) == 0
