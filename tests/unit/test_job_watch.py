"""A TaskJob that a watch tells of is the one that a list or a read shows, whatever it holds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from odd_json import JSON
from task_objects import STATUS_FIELDS, an_object
from taskjob.core.model import Job
from taskjob.kube.informer import Kind, Told, _Watch
from taskjob.kube.jobs import JobObject, parse
from taskjob.kube.schema import parse_job

META = st.sampled_from(["labels", "annotations", "generation", "creationTimestamp", "deletionTimestamp", "finalizers"])
SPEC = st.sampled_from(["queue", "image", "template", "dependsOn", "retry", "cancel", "priority"])


def told_by_a_watch(obj: dict[str, Any]) -> Job:
    observed: list[Job] = []
    told = Told(lambda _version, _jobs: None, observed.append, lambda _job: None)
    watch = _Watch(Kind("taskjobs", JobObject, parse), told, 1)
    watch.take(json.dumps({"type": "MODIFIED", "object": obj}).encode())
    assert watch.version == 42
    (job,) = observed
    return job


def test_an_ordinary_job_is_read_without_what_is_not_needed_of_it() -> None:
    meta = {
        "labels": {"team": "a"},
        "managedFields": [{"manager": "kubectl"}],
        "deletionTimestamp": "2026-01-01T12:00:00Z",
    }
    obj = an_object({"image": "busybox", "queue": "research"}, {"phase": "Running", "attempt": 1}, **meta)
    assert told_by_a_watch(obj) == parse_job(obj)
    assert told_by_a_watch(obj).deleting


@settings(max_examples=300)
@given(
    st.dictionaries(SPEC, JSON, max_size=4) | JSON,
    st.dictionaries(st.sampled_from(STATUS_FIELDS), JSON, max_size=4) | JSON,
    st.dictionaries(META, JSON, max_size=3),
)
def test_an_odd_job_is_read_by_a_watch_as_by_a_list(spec: Any, status: Any, meta: dict[str, Any]) -> None:
    obj = an_object(spec, status, **meta)
    assert told_by_a_watch(obj) == parse(json.dumps(obj).encode()) == parse_job(json.loads(json.dumps(obj)))
