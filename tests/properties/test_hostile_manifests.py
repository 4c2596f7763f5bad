"""Objects of any shape against the parsers: what the CRDs' schemas allow, and the same with anything anywhere in it.

The API server refuses most of it; what was written past the schema (an older CRD) reaches the operator all the same.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings

from crd_shapes import an_object
from taskjob.kube.schema import parse_job, parse_queue


@settings(max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
@given(an_object("taskjobs"))
def test_whatever_stands_in_a_taskjob_it_becomes_a_job_or_a_sentence_about_it(found: dict[str, Any]) -> None:
    job = parse_job(json.loads(json.dumps(found)))
    assert (job.uid, job.name) == ("u", "a")
    if not isinstance(found.get("spec"), dict):
        assert job.problem, "nothing can be run, and no sentence says so"


@settings(max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
@given(an_object("taskqueues"))
def test_whatever_stands_in_a_taskqueue_it_becomes_a_queue(found: dict[str, Any]) -> None:
    assert parse_queue(json.loads(json.dumps(found))).name == "a"
