"""Many short jobs that are removed as soon as they have ended: what they leave behind, in the API server and in memory.

Only `make test-life` plays it (marker `life`). `TASKJOBS_LIFE_JOBS` says how many (20,000, some ten minutes).
"""

from __future__ import annotations

import os

import pytest
from bench.suite.apiserver import ApiServer
from bench.suite.live import churn

from replicas import figure
from taskjob_cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.life, pytest.mark.timeout(3600)]


async def test_twenty_thousand_short_jobs_leave_nothing_behind(
    kwok_cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    count = int(os.environ.get("TASKJOBS_LIFE_JOBS", "20000"))
    async with ApiServer(kwok_cluster) as server:
        found = await churn(kwok_cluster, server, count)
    left, ratio = sum(found["left_behind"].values()), found["rss_ratio"]
    with request.getfixturevalue("capsys").disabled():
        print(f"\n{count} jobs; MB after each wave: {[round(each) for each in found['operator_rss_mb']]}")
        figure("left_behind", left, "count", 0, met=left == 0)
        figure("rss_ratio", ratio, "ratio", 1.10, met=ratio <= 1.10)
    assert left == 0, found["left_behind"]
    assert ratio <= 1.10
