"""Several installations in one cluster: each acts for the queues that name it, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from api_server import a_taskjob, a_taskqueue
from builders import NOON, a_job, a_pod, a_queue, amounts
from charts import the_hooks
from taskjob.control.mirror import Mirror
from taskjob.core.phases import Phase
from taskjob.core.state import State
from taskjob.kube.schema import parse_job, parse_queue
from world import World


class FrozenClock:
    def now(self) -> datetime:
        return NOON

    def elapsed(self) -> float:
        return 0


def two_queues(controller: str) -> World:
    world = World(controller=controller)
    world.put_queue(a_queue("ours"))
    world.put_queue(a_queue("theirs", controller="other"))
    return world


def test_jobs_of_another_installations_queue_are_left_alone_from_beginning_to_end() -> None:
    world = two_queues("default")
    world.submit(a_job("a").in_queue("ours"), a_job("b").in_queue("theirs"))
    world.edit("b", cancel=True)
    world.run()
    world.delete("b")
    world.run()
    assert world.names_launched() == ["a"]
    assert not world.written
    assert {entry.job.name for entry in world.entries} == {"a"}


def test_the_other_installation_acts_for_its_own_queue_and_for_no_other() -> None:
    world = two_queues("other")
    world.submit(a_job("a").in_queue("ours"), a_job("b").in_queue("theirs"))
    world.run()
    assert world.names_launched() == ["b"]


@pytest.mark.parametrize(("controller", "told"), [("default", True), ("other", False)])
def test_only_the_default_installation_tells_of_a_queue_that_does_not_exist(controller: str, told: bool) -> None:
    world = World(controller=controller)
    world.submit(a_job("a").in_queue("nowhere"))
    world.run()
    assert bool(world.written) is told


def test_a_job_may_depend_on_one_of_another_installation() -> None:
    world = two_queues("default")
    theirs = a_job("b").in_queue("theirs")
    world.submit(theirs, a_job("a").in_queue("ours").after("b"))
    world.run()
    assert world.names_launched() == []
    world.put(theirs.being(Phase.SUCCEEDED, transition=1).at_version(99).build())
    world.run()
    assert world.names_launched() == ["a"]


def test_pods_of_another_installation_are_no_strays() -> None:
    world = two_queues("default")
    gone = a_job("gone").in_queue("theirs").build()
    world.put_pod(a_pod(gone).running().build())
    world.run()
    assert not world.ended


def test_a_queue_of_another_installation_brings_no_quota_and_no_cohort_into_ours() -> None:
    state = State()
    queue = a_queue("theirs", {"cpu": 4}, controller="other", cohort="research")
    state.put_queue(queue)
    held = state.queues.by_name[queue.name]
    assert held.queue == replace(a_queue("theirs"), controller="other")
    assert held.ledger.shortage(amounts(cpu=9)) is None


def test_a_queue_that_is_made_anew_for_this_installation_brings_its_jobs_along() -> None:
    world = two_queues("default")
    world.submit(a_job("b").in_queue("theirs"))
    world.run()
    world.delete_queue("theirs")
    world.put_queue(a_queue("theirs", version=50))
    world.run()
    assert world.names_launched() == ["b"]


def test_the_epochs_of_another_installation_are_no_epochs_of_ours() -> None:
    mirror = Mirror(State(), FrozenClock(), lambda: None)
    mirror.observe_queue(a_queue("theirs", controller="other"))
    theirs = a_job("b").in_queue("theirs").being(Phase.RUNNING, epoch=7).build()
    mirror.observe_job(theirs)
    mirror.observe_pod(a_pod(theirs).but(epoch=8).build())
    assert mirror.newest_epoch == 0
    mirror.observe_job(a_job("a").being(Phase.RUNNING, epoch=3).build())
    assert mirror.newest_epoch == 3


@pytest.mark.parametrize("controller", ["default", "other"])
@pytest.mark.parametrize("queue", ["ours", "theirs", "nowhere", None])
def test_the_uninstall_cancels_the_jobs_that_the_operator_acts_for_and_no_others(
    controller: str, queue: str | None
) -> None:
    job, ours, theirs = a_taskjob(queue=queue), a_taskqueue("ours"), a_taskqueue("theirs", controllerName="other")
    for stored in (job, ours, theirs):
        stored["metadata"] |= {"namespace": "team-a", "uid": "u", "resourceVersion": "1"}
    state = State(controller=controller)
    state.put_queue(parse_queue(ours))
    state.put_queue(parse_queue(theirs))
    answer = the_hooks().served(job, {"ours": ours, "theirs": theirs}, controller)
    assert answer is state.queues.serves(parse_job(job).queue)
