"""What can happen to a job beside its work: third parties, refusals, deletion; and what is shown of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from builders import a_job, a_pod, a_queue, at
from taskjob.core.decisions import EndBy, Launch, SetStatus
from taskjob.core.model import RetryRule
from taskjob.core.phases import FailureClass, Phase, PodPhase, Reason, RetryAction, Stopping
from world import World


# ------------------------------------------------------------------ third parties
def test_a_pod_that_somebody_deleted_is_a_failed_attempt(world: World) -> None:
    world.submit(a_job("a").retrying(0))
    world.run()
    world.start("a")
    world.lose_pod(world.pod("a"))
    world.run()
    status = world.status("a")
    assert (status.reason, status.retries) == (Reason.BACKING_OFF, 0), "nobody is charged for what the cluster does"
    assert "its pod was deleted before its end was seen" in status.message
    world.let_pass(11)
    world.start("a")
    job = world.job("a")
    world.edit("a", retry=replace(job.retrying, rules=(RetryRule(RetryAction.FAIL, (FailureClass.POD_DELETED,)),)))
    world.lose_pod(world.pod("a"))
    world.run()
    assert (world.phase("a"), world.status("a").reason) == (Phase.FAILED, Reason.OUTCOME_UNKNOWN)
    assert world.story("a") == [
        "0:  -> Pending (Queued)",
        "1: Pending -> Starting (Launched)",
        "2: Starting -> Running (Started)",
        "3: Running -> Pending (BackingOff)",
        "4: Pending -> Starting (Launched)",
        "5: Starting -> Running (Started)",
        "6: Running -> Failed (OutcomeUnknown)",
    ]


def test_history_keeps_what_was_seen_of_a_pod_that_somebody_deleted(world: World) -> None:
    world.submit(a_job("a").retrying(1))
    world.run()
    world.start("a")
    pod = world.pod("a")
    world.lose_pod(pod)
    world.run()
    (row,) = [row for entry in world.entries for row in entry.transitions if row.n == 3]
    assert row.pod is not None
    assert row.pod.uid == pod.uid


def test_an_outcome_seen_in_time_counts_though_the_pod_is_gone(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    done = world.put_pod(world.pod("a"), phase=PodPhase.SUCCEEDED, finished_at=world.now, exit_code=0)
    world.lose_pod(done)
    world.run()
    assert world.phase("a") is Phase.SUCCEEDED


def test_an_attempt_never_takes_the_outcome_of_an_earlier_one_whose_pod_is_still_there(world: World) -> None:
    """The operator was away, the second attempt's pod was deleted, the first one's is kept."""
    job = a_job("a").retrying(5).being(Phase.RUNNING, attempt=2, retries=1, transition=5, started_at=at(1)).build()
    world.put(job)
    first = a_pod(job, attempt=1).failed(when=3).build()
    world.pods[first.attempt] = first
    world.state.put_pod(first)
    world.run()
    assert (world.status("a").attempt, world.status("a").retries) == (2, 1)
    world.let_pass(3600)
    assert [attempt.attempt for attempt in world.launched] == [3]


def test_a_live_pod_of_an_attempt_that_is_over_is_removed_on_sight(world: World) -> None:
    job = a_job("a").being(Phase.SUCCEEDED, attempt=1, transition=3, finished_at=at(0), admitted_at=at(0)).build()
    world.put(job)
    world.put_pod(a_pod(job, attempt=2).running().build())
    world.run()
    assert [(end.pod.attempt.attempt, end.by) for end in world.ended] == [(2, EndBy.DELETE)]


def test_a_pod_without_a_taskjob_is_ended_and_removed(world: World) -> None:
    orphan = a_job("gone").build()
    world.put_pod(a_pod(orphan, attempt=1).succeeded().build())
    world.put_pod(a_pod(orphan, attempt=2).running().build())
    world.run()
    assert world.removed == ["gone-1"]
    assert [end.pod.name for end in world.ended] == ["gone-2"]
    assert world.state.queues.charges == {}
    assert world.state.pods == {}


# ------------------------------------------------------------------ refused pods
def test_a_refused_pod_is_held_with_the_servers_words_and_tried_again_with_backoff(world: World) -> None:
    world.refusing["a"] = "exceeded quota: team, requested: pods=1"  # type: ignore[index]  # a name
    world.submit(a_job("a"))
    world.now += timedelta(milliseconds=700)  # an instant between seconds must not keep the operator awake
    world.run()
    assert world.status("a").reason is Reason.POD_REFUSED
    assert "exceeded quota" in world.status("a").message
    refused_at = world.now
    tries = 1
    tracked = world.state.jobs[world.job("a").uid]
    for wait in (5, 10, 20, 40, 80, 160, 300, 300):
        assert tracked.refusals == tries
        assert tracked.refusal is not None
        assert tracked.refusal.until == refused_at + timedelta(seconds=wait)
        world.let_pass(wait)
        refused_at, tries = world.now, tries + 1
    assert world.state.queues.charges == {}
    world.refusing.clear()
    world.let_pass(300)
    world.finish("a")
    assert world.phase("a") is Phase.SUCCEEDED
    assert [attempt.attempt for attempt in world.launched] == [1], "a refused pod is no attempt"


def test_a_refused_pod_frees_its_quota_for_others() -> None:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.refusing["a"] = "no"  # type: ignore[index]  # a name
    world.submit(a_job("a").of_priority("High"), a_job("b"))
    world.run()
    assert world.names_launched() == ["b"]


def test_a_launch_that_nobody_tried_is_decided_again(world: World) -> None:
    world.holding = True
    world.submit(a_job("a"))
    world.cycle()
    (launch,) = world.pending
    assert isinstance(launch, Launch)
    world.state.not_launched(launch.attempt, None, world.now)
    (again,) = [d for d in world.cycle().decisions if isinstance(d, Launch)]
    assert again == launch


# ------------------------------------------------------------------ deleted TaskJobs
def test_a_taskjob_deleted_before_its_start_is_closed_in_history(world: World) -> None:
    world.submit(a_job("a").after("nobody"))
    world.run()
    world.delete("a")
    world.run()
    assert world.story("a") == ["0:  -> Pending (Queued)", "1: Pending -> Cancelled (Deleted)"]
    assert world.entries[-1].gone_at == world.now


def test_a_taskjob_deleted_before_anybody_looked_is_told_whole(world: World) -> None:
    world.submit(a_job("a"))
    world.delete("a")
    world.run()
    assert world.story("a") == ["0:  -> Pending (Queued)", "1: Pending -> Cancelled (Deleted)"]


def test_a_taskjob_deleted_while_it_runs_is_closed_from_where_it_was(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.delete("a")
    world.run()
    assert world.story("a")[-1] == "3: Running -> Cancelled (Deleted)"
    assert world.entries[-1].job.status.phase is Phase.CANCELLED
    assert [end.by for end in world.ended] == [EndBy.DELETE]


def test_a_taskjob_deleted_after_its_pod_succeeded_has_succeeded_though_its_status_never_said_so(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.holding = True
    world.put_pod(world.pod("a"), phase=PodPhase.SUCCEEDED, finished_at=world.now, exit_code=0)
    world.cycle()
    world.delete("a")
    world.cycle()
    assert world.story("a")[-1] == "3: Running -> Succeeded (Completed)"
    assert world.entries[-1].job.status.phase is Phase.SUCCEEDED


def test_a_finished_taskjob_that_is_deleted_keeps_its_end(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    world.delete("a")
    world.run()
    assert world.story("a")[-1] == "3: Running -> Succeeded (Completed)"
    assert (world.entries[-1].transitions, world.entries[-1].gone_at) == ((), world.now)


def test_a_taskjob_that_is_being_deleted_starts_nothing(world: World) -> None:
    world.submit(a_job("a").suspended())
    world.run()
    world.edit("a", suspend=False, deleting=True)
    world.run()
    assert world.launched == []


def test_a_taskjob_made_anew_under_the_same_name_is_another_job(world: World) -> None:
    world.submit(a_job("a"), a_job("b").after("a"))
    world.run()
    world.start("a")
    world.submit(a_job("a").with_uid("uid-a2"))  # its event may come before that of the deletion
    world.state.drop_job(world.job("a").uid, world.now)
    del world.jobs[world.job("a").uid]
    world.run()
    assert world.names_launched() == ["a", "a2"]
    world.put_pod(
        world.pods[world.launched[-1]], phase=PodPhase.SUCCEEDED, started_at=at(0), finished_at=at(1), exit_code=0
    )
    world.run()
    assert world.names_launched() == ["a", "a2", "b"]


# ------------------------------------------------------------------ what is shown
def test_history_shows_progress_before_the_status_says_it(world: World) -> None:
    world.holding = True
    world.submit(a_job("a"))
    world.cycle()
    for decision in world.pending:
        world.carry_out(decision)
    world.put_pod(world.pod("a"), phase=PodPhase.RUNNING, node="node", started_at=world.now)
    world.cycle()
    assert world.entries[-1].job.status.phase is Phase.RUNNING
    assert world.phase("a") is Phase.PENDING


def test_an_attempt_that_failed_before_its_container_started_never_ran(world: World) -> None:
    world.submit(a_job("a"))
    world.let_pass(5)
    world.fail("a", failure=FailureClass.START_ERROR, started=False)
    assert world.story("a")[1:] == ["1: Pending -> Starting (Launched)", "2: Starting -> Failed (AttemptFailed)"]
    assert world.status("a").message == "attempt 1 failed (StartError): it failed"


def test_that_a_container_ran_stands_in_the_status_before_its_pod_is_deleted(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a"))
    world.run()
    world.edit("a", cancel=True)
    world.holding = True
    world.cycle()
    (stop,) = world.pending
    world.pending.clear()
    world.carry_out(stop)
    world.put_pod(world.pod("a"), phase=PodPhase.RUNNING, node=None, started_at=world.now)
    (progress,) = world.cycle().decisions
    assert isinstance(progress, SetStatus)
    assert (progress.status.phase, progress.status.stopping) == (Phase.RUNNING, Stopping.CANCELLED)
    world.answer()
    assert [end.by for end in world.ended] == [EndBy.DELETE]
    assert world.story("a")[-1] == "3: Running -> Cancelled (CancelledByUser)"


def test_a_gone_pod_is_forgotten_once_its_end_was_written_and_told(world: World) -> None:
    world.submit(a_job("a").retrying(1))
    world.run()
    world.start("a")
    world.lose_pod(world.pod("a"))
    assert len(world.state.pods) == 1, "until then its outcome is remembered"
    world.run()
    assert world.state.pods == {}
    assert world.state.attempts_of == {}


def test_a_late_event_of_a_deleted_job_does_not_take_the_name_from_its_successor(world: World) -> None:
    world.state.put_job(a_job("a").with_uid("new").at_version(9).build())
    world.state.put_job(a_job("a").with_uid("old").at_version(5).being(Phase.FAILED).build())
    assert world.state.by_key[a_job("a").build().key] == "new"


# ------------------------------------------------------------------ pods that do not start
def test_a_pod_that_does_not_start_says_why_in_the_status(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.put_pod(replace(world.pod("a"), node="node", message='container "main" waits: ImagePullBackOff'))
    world.let_pass(9)
    assert world.status("a").message == "", "an ordinary start takes no longer, and costs no write"
    world.let_pass(1)
    status = world.status("a")
    assert (status.phase, status.message) == (Phase.STARTING, 'container "main" waits: ImagePullBackOff')
    version = world.job("a").version
    world.put_pod(replace(world.pod("a"), message='container "main" waits: ErrImagePull'))
    world.let_pass(60)
    assert world.job("a").version == version, "kubelets alternate between the two: that is no news"
    world.start("a")
    world.let_pass(3)
    assert (world.phase("a"), world.status("a").message) == (Phase.RUNNING, "")


def test_a_container_is_written_to_run_only_once_it_ran_for_two_seconds_whatever_was_cut_of_its_start(
    world: World,
) -> None:
    world.submit(a_job("a"))
    world.run()
    world.now += timedelta(seconds=0.9)
    world.start("a")  # 0.9 s of that second are not in its `started_at`
    world.let_pass(2)
    assert world.status("a").phase is Phase.PENDING, "it would have been written after 1.1 s"
    world.let_pass(0.1)
    assert world.status("a").phase is Phase.RUNNING


def test_what_is_known_against_a_pod_later_is_said_once_more(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.let_pass(10)
    assert (world.phase("a"), world.status("a").message) == (Phase.STARTING, "")
    world.put_pod(replace(world.pod("a"), message="not scheduled: 0/1 nodes are available"))
    world.run()
    assert world.status("a").message == "not scheduled: 0/1 nodes are available"
