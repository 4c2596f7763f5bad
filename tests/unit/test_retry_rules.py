"""Retry rules: what follows which failure, and what of it is charged."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_job, a_queue
from taskjob.core.deadlines import START_TIMEOUT_SECONDS
from taskjob.core.decisions import EndBy
from taskjob.core.model import Retry, RetryRule
from taskjob.core.phases import FailureClass, Phase, PodPhase, Reason, RetryAction, Stopping
from taskjob.core.retry import FREE_RETRIES_MAX, Verdict, judge
from world import World

FREE = [
    FailureClass.EVICTED,
    FailureClass.NODE_LOST,
    FailureClass.POD_DELETED,
    FailureClass.POD_REFUSED,
    FailureClass.PREEMPTED,
    FailureClass.UNSCHEDULABLE,
]
FAIL, RETRY, SUCCEED = RetryAction.FAIL, RetryAction.RETRY, RetryAction.SUCCEED


# ------------------------------------------------------------------ which rule decides
@pytest.mark.parametrize("failure", FailureClass)
def test_without_rules_a_fault_of_the_cluster_is_free_and_any_other_is_charged(failure: FailureClass) -> None:
    assert judge(Retry(), failure) == Verdict(RetryAction.RETRY_FREE if failure in FREE else RETRY)


@pytest.mark.parametrize(
    ("case", "rule", "matches"),
    [
        ("a rule that names nothing", RetryRule(FAIL), True),
        ("its class", RetryRule(FAIL, (FailureClass.TIMEOUT, FailureClass.EXIT_CODE)), True),
        ("another class", RetryRule(FAIL, (FailureClass.TIMEOUT,)), False),
        ("its exit code", RetryRule(FAIL, exit_codes=(3, 42)), True),
        ("another exit code", RetryRule(FAIL, exit_codes=(3,)), False),
        ("all exit codes but another", RetryRule(FAIL, exit_codes=(3,), exit_codes_excluded=True), True),
        ("all exit codes but its own", RetryRule(FAIL, exit_codes=(42,), exit_codes_excluded=True), False),
        ("its container", RetryRule(FAIL, container="main"), True),
        ("another container", RetryRule(FAIL, container="helper"), False),
        ("its exit code in another container", RetryRule(FAIL, exit_codes=(42,), container="helper"), False),
    ],
)
def test_a_rule_matches_by_all_that_it_names(case: str, rule: RetryRule, matches: bool) -> None:
    expected = Verdict(FAIL, 0) if matches else Verdict(RETRY)
    assert judge(Retry(rules=(rule,)), FailureClass.EXIT_CODE, 42, "main") == expected, case


def test_exit_codes_are_a_programs_own_unless_the_rule_names_other_classes() -> None:
    by_code = RetryRule(FAIL, exit_codes=(137,))
    both = RetryRule(FAIL, (FailureClass.OOM_KILLED,), exit_codes=(137,))
    assert judge(Retry(rules=(by_code,)), FailureClass.OOM_KILLED, 137) == Verdict(RETRY)
    assert judge(Retry(rules=(both,)), FailureClass.OOM_KILLED, 137) == Verdict(FAIL, 0)


RULES = st.builds(
    RetryRule,
    action=st.sampled_from(RetryAction),
    classes=st.lists(st.sampled_from(FailureClass), max_size=2).map(tuple),
    exit_codes=st.none() | st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple),
    exit_codes_excluded=st.booleans(),
    container=st.none() | st.sampled_from(["main", "helper"]),
)


@given(st.lists(RULES, max_size=4), st.sampled_from(FailureClass), st.none() | st.integers(0, 4))
def test_the_first_rule_that_matches_alone_decides(
    rules: list[RetryRule], failure: FailureClass, code: int | None
) -> None:
    said = judge(Retry(rules=tuple(rules)), failure, code, "main")
    alone = [judge(Retry(rules=(rule,)), failure, code, "main") for rule in rules]
    first = next((n for n, verdict in enumerate(alone) if verdict.rule == 0), None)
    assert said.rule == first
    assert said.action is (judge(Retry(), failure).action if first is None else rules[first].action)


# ------------------------------------------------------------------ what becomes of the job
def test_a_rule_fails_a_job_that_had_retries_left_and_is_named(world: World) -> None:
    world.submit(a_job("a").retrying(5).ruled(RetryRule(SUCCEED, exit_codes=(9,)), RetryRule(FAIL, exit_codes=(1,))))
    world.run()
    world.fail("a")
    status = world.status("a")
    assert (status.phase, status.reason, status.retries) == (Phase.FAILED, Reason.ATTEMPT_FAILED, 0)
    assert status.message == "attempt 1 failed (ExitCode): it failed; spec.retry.rules[1] says Fail"


def test_a_rule_makes_a_success_of_an_exit_code_and_dependents_go_on(world: World) -> None:
    world.submit(a_job("a").ruled(RetryRule(SUCCEED, exit_codes=(1,))), a_job("b").after("a"))
    world.run()
    world.fail("a")
    status = world.status("a")
    assert (status.phase, status.reason, status.exit_code) == (Phase.SUCCEEDED, Reason.COMPLETED, 1)
    assert status.message.endswith("spec.retry.rules[0] says Succeed")
    assert world.names_launched() == ["a", "b"]


@pytest.mark.parametrize("failure", [FailureClass.EVICTED, FailureClass.NODE_LOST, FailureClass.POD_DELETED])
def test_what_the_cluster_did_costs_no_retry_but_waits_its_backoff(world: World, failure: FailureClass) -> None:
    world.submit(a_job("a").retrying(0, initial_seconds=10))
    world.run()
    for wait in (10, 20):
        world.fail("a", failure=failure)
        status = world.status("a")
        assert (status.reason, status.retries) == (Reason.BACKING_OFF, 0)
        assert "not charged" in status.message
        before = len(world.launched)
        world.let_pass(wait)
        assert len(world.launched) == before
        world.crash()
        world.let_pass(1)
        assert len(world.launched) == before + 1
    world.fail("a")
    assert world.phase("a") is Phase.FAILED


def test_charged_and_free_retries_are_told_apart_after_a_restart(world: World) -> None:
    world.submit(a_job("a").retrying(1, initial_seconds=0))
    world.run()
    for failure in (FailureClass.EVICTED, FailureClass.EXIT_CODE, FailureClass.EVICTED):
        world.fail("a", failure=failure)
        world.crash()
        world.let_pass(1)
    assert (world.status("a").retries, len(world.launched)) == (1, 4)
    world.fail("a")
    assert (world.phase("a"), world.status("a").attempt) == (Phase.FAILED, 4)


def test_nothing_loops_for_ever_not_even_for_free(world: World) -> None:
    world.submit(a_job("a").retrying(1, initial_seconds=0))
    world.run()
    for _ in range(FREE_RETRIES_MAX):
        world.fail("a", failure=FailureClass.EVICTED)
        world.run()
    assert world.status("a").retries == 0
    world.fail("a", failure=FailureClass.EVICTED)
    world.run()
    assert world.status("a").retries == 1, "from here on it is charged"
    world.fail("a", failure=FailureClass.EVICTED)
    assert world.phase("a") is Phase.FAILED
    assert world.status("a").message.endswith(f"no more than {FREE_RETRIES_MAX} attempts are free")
    assert len(world.launched) == FREE_RETRIES_MAX + 2


def test_a_job_that_must_never_run_twice_is_not_queued_again_when_it_is_preempted(world: World) -> None:
    for name, rules in {"again": (), "once": (RetryRule(FAIL),)}.items():
        world.submit(a_job(name).ruled(*rules))
    world.run()
    world.start("again", "once")
    for name in ("again", "once"):
        stopping = replace(world.status(name), stopping=Stopping.PREEMPTED, message="makes room")
        world.put(replace(world.job(name), status=stopping))
    world.run()
    assert len(world.launched) == 3
    assert (world.phase("once"), world.status("again").attempt) == (Phase.FAILED, 1)
    assert world.status("once").message == "attempt 1 failed (Preempted): makes room; spec.retry.rules[0] says Fail"


def test_a_rule_can_end_a_job_whose_pod_is_refused(world: World) -> None:
    world.refusing["a"] = "exceeded quota: team"  # type: ignore[index]  # a name
    world.submit(a_job("a").ruled(RetryRule(FAIL, (FailureClass.POD_REFUSED,))))
    world.run()
    status = world.status("a")
    assert (status.phase, status.reason, status.attempt) == (Phase.FAILED, Reason.POD_REFUSED, 0)
    assert "exceeded quota" in status.message


# ------------------------------------------------------------------ pods that hang before their start
HANGING = [
    (FailureClass.IMAGE_PULL, Stopping.IMAGE_PULL),
    (FailureClass.START_ERROR, Stopping.START_ERROR),
    (FailureClass.UNSCHEDULABLE, Stopping.UNSCHEDULABLE),
]


@pytest.mark.parametrize(("trouble", "stopping"), HANGING)
def test_a_pod_that_hangs_before_its_start_gives_its_quota_back_after_a_bounded_wait(
    trouble: FailureClass, stopping: Stopping
) -> None:
    world = World(nodes_work=trouble is not FailureClass.UNSCHEDULABLE)
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.submit(a_job("a").retrying(1, initial_seconds=1000), a_job("b").created(1))
    world.run()
    world.put_pod(world.pod("a"), trouble=trouble, message="it hangs")
    world.let_pass(START_TIMEOUT_SECONDS - 1)
    assert world.names_launched() == ["a"]
    world.let_pass(1)
    assert world.names_launched() == ["a", "b"]
    stops = [status for _, status in world.written if status.stopping is not None]
    assert [status.stopping for status in stops] == [stopping], "the reason stands in the status first"
    status = world.status("a")
    assert (status.phase, status.reason) == (Phase.PENDING, Reason.BACKING_OFF)
    assert status.message.startswith(f"attempt 1 failed ({trouble}): it did not start within 600 s: it hangs")
    assert status.retries == (0 if trouble is FailureClass.UNSCHEDULABLE else 1)
    assert [end.by for end in world.ended] == [
        EndBy.DELETE if trouble is FailureClass.UNSCHEDULABLE else EndBy.DEADLINE
    ]


def test_the_wait_is_the_jobs_own_and_ends_when_the_container_starts(world: World) -> None:
    world.submit(a_job("a").starting_within(5))
    world.run()
    world.put_pod(world.pod("a"), trouble=FailureClass.IMAGE_PULL, message="it hangs")
    world.let_pass(4)
    world.put_pod(world.pod("a"), trouble=None, message="", phase=PodPhase.RUNNING, started_at=world.now)
    world.let_pass(3600)
    assert world.phase("a") is Phase.RUNNING


@pytest.mark.parametrize(("said", "seconds"), [(1, 600), (60, 600), (900, 900)])
def test_a_pod_that_no_scheduler_looks_at_gives_its_quota_back_too(world: World, said: int, seconds: int) -> None:
    """Not sooner than where nothing is said, as it may stand in its scheduler's queue."""
    world.nodes_work = False
    world.submit(a_job("a").starting_within(said))
    world.let_pass(seconds - 1)
    assert world.phase("a") is Phase.STARTING
    world.let_pass(1)
    status = world.status("a")
    assert (status.reason, status.retries) == (Reason.BACKING_OFF, 0)
    assert status.message.startswith(
        f"attempt 1 failed (Unschedulable): it did not start within {seconds} s: "
        "no scheduler has given it a node, or said why not; not charged"
    )
    assert [end.by for end in world.ended] == [EndBy.DELETE]


def test_a_pod_that_cannot_be_read_is_not_ended_for_having_no_node(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.put_pod(world.pod("a"), phase=PodPhase.RUNNING, node=None, message="cannot be read")
    world.let_pass(3600)
    assert world.ended == []


def test_a_pod_that_has_its_node_and_nothing_against_it_may_take_its_time(world: World) -> None:
    world.submit(a_job("a").starting_within(60))
    world.let_pass(3600)
    assert world.phase("a") is Phase.STARTING


def test_an_image_that_was_pulled_for_long_before_it_failed_still_has_its_time(world: World) -> None:
    world.submit(a_job("a"))
    world.let_pass(START_TIMEOUT_SECONDS + 100)
    world.put_pod(world.pod("a"), trouble=FailureClass.IMAGE_PULL, message="reset by peer")
    world.let_pass(START_TIMEOUT_SECONDS - 1)
    assert world.phase("a") is Phase.STARTING
    world.let_pass(2)
    assert world.phase("a") is Phase.FAILED


def test_a_restart_while_it_is_ended_keeps_why(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a"))
    world.run()
    world.put_pod(world.pod("a"), trouble=FailureClass.IMAGE_PULL, message="no such image", node="node")
    world.let_pass(START_TIMEOUT_SECONDS)
    assert world.status("a").stopping is Stopping.IMAGE_PULL
    world.crash()
    world.let_pass(timedelta(minutes=2).total_seconds())
    status = world.status("a")
    assert (status.phase, status.stopping) == (Phase.FAILED, None)
    assert "(ImagePull): it did not start within 600 s: no such image" in status.message
