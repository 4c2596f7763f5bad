"""Requests made from the API's own schema, by schemathesis: whatever is sent, no 5xx comes back, and every answer has a
status, a type, headers and a shape that the schema declares.

The real API, with tokens, over a real API server, a real operator and a real PostgreSQL. Three ways to make requests:
the bounds of each parameter in turn, anything at random, and sequences (create, then read, explain and cancel what was
created). `make test` plays the same few each time; `make fuzz` plays more, from a seed that it draws and prints.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from api_processes import said_at_start, started
from cluster_api import InNamespace, after
from operators import Site
from seeds import a_seed
from tenants import LOGS, TENANT, Tenant, a_tenant

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]
EXAMPLES = int(os.environ.get("TASKJOBS_FUZZ_EXAMPLES", "20"))
SEED = str(a_seed())

# The ids of real jobs stand among those that are made up, as nothing else would be found. What is right by the schema
# may still be refused by the cluster (a namespace that does not exist, a template that is no pod), so that nothing is
# said here of what has to be accepted.
CONFIGURATION = """
[checks]
positive_data_acceptance.enabled = false
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 409, 413, 415, 422]

[auth.openapi.token]
bearer = "{token}"

[dictionaries.jobs]
values = [{uids}]

[parameters]
"path.job_id" = {{ dictionary = "jobs", probability = 0.7 }}
"""


JOBS = 6


def settled_jobs(site: Site) -> list[str]:
    """One job of each kind, in the state in which it stays: their UIDs."""
    site.create("done")
    site.create("failed", exits="1,2", retry={"limit": 1, "backoff": {"initialSeconds": 0}})
    site.create("skipped", dependsOn=after("failed"))
    site.create("waits", queue="nowhere")
    site.create("runs", seconds=7200)
    site.create("gone", ttlSecondsAfterFinished=0)
    site.jobs.wait_phase("done", "Succeeded")
    site.jobs.wait_phase("failed", "Failed")
    site.jobs.wait_phase("skipped", "Skipped")
    site.jobs.wait_status("waits", reason="QueueNotFound")
    site.jobs.wait_phase("runs", "Running")
    site.jobs.wait_until(lambda jobs: "gone" not in jobs, 20, "the job is removed")
    told = site.wait_history(
        lambda told: len(told) == JOBS and told["done"].ended and len(told["done"].logs) == 1, "history has it all"
    )
    return [one.job["uid"] for one in told.values()]


@asynccontextmanager
async def the_api(site: Site, operator_url: str) -> AsyncIterator[str]:
    """The API as a process, which asks for tokens; its URL."""
    async with started(
        TASKJOBS_DATABASE_URL=site.database_url,
        TASKJOBS_KUBECONFIG=str(site.cluster.kubeconfig),
        TASKJOBS_API_PORT="0",
        TASKJOBS_OPERATOR_URL=operator_url,
    ) as process:
        line = await said_at_start(process)
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None, line
        yield found[0]
        process.terminate()
        assert process.stderr is not None
        said = (await process.stderr.read()).decode()
        assert "Traceback" not in said, said[-8000:]


async def fuzzed(url: str, tenant: Tenant, uids: list[str], folder: Path) -> tuple[int, str]:
    """All of it, by schemathesis; its exit code and what it says."""
    configuration = folder / "schemathesis.toml"
    quoted = ", ".join(f'"{uid}"' for uid in uids)
    configuration.write_text(CONFIGURATION.format(token=tenant.token, uids=quoted))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration),
        "run", f"{url}/openapi.json", "--no-color", "--wait-for-schema", "20", "--request-timeout", "10",
        "--seed", SEED, "--max-examples", str(EXAMPLES), "--generation-database", "none", "--warnings", "off",
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_whatever_is_sent_to_the_api_it_answers_as_its_schema_says(site: Site, tmp_path: Path) -> None:
    tenant = a_tenant(site.cluster, site.namespace)
    tenant.may(site.namespace, TENANT, LOGS)
    tenant.may("default", TENANT, LOGS)
    print(f"TASKJOBS_SEED={SEED} TASKJOBS_FUZZ_EXAMPLES={EXAMPLES} repeats it")
    try:
        with site.operator(insecure_local=True) as operator:
            operator.wait_ready()
            uids = await asyncio.to_thread(settled_jobs, site)
            async with the_api(site, operator.url) as url:
                code, said = await fuzzed(url, tenant, uids, tmp_path)
            assert code == 0, said
            assert operator.ask("/healthz")[0] == 200
            assert "Traceback" not in operator.log()
    finally:
        InNamespace(site.api, "default").delete_all()
