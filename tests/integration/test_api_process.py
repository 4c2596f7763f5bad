"""`python -m taskjob_api`: where it listens, what it says, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from api_processes import said_at_start, started
from api_world import PATIENCE_SECONDS, eventually
from history_stories import FULL, a_story
from taskjob.history.writer import HistoryWriter
from taskjob.ports import Batch
from taskjob_cluster import Cluster

pytestmark = pytest.mark.cluster


async def test_it_says_where_it_listens_and_closes_its_streams_when_it_is_told_to_stop(
    cluster: Cluster, database_url: str
) -> None:
    writer = HistoryWriter(database_url)
    await writer.open(1)
    async with started(
        TASKJOBS_DATABASE_URL=database_url,
        TASKJOBS_KUBECONFIG=str(cluster.kubeconfig),
        TASKJOBS_API_PORT="0",
        TASKJOBS_INSECURE_LOCAL="true",
    ) as process:
        line = await said_at_start(process)
        assert "loopback only" in line
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None, line
        async with httpx.AsyncClient(base_url=found[0], timeout=PATIENCE_SECONDS) as http:
            await eventually(lambda: is_ready(http), "the API is ready")
            async with connect(f"ws{found[0].removeprefix('http')}/jobs/stream") as socket:
                assert json.loads(await socket.recv())["type"] == "HEARTBEAT"
                await writer.flush(1, Batch(tuple(a_story("train", *FULL))))
                assert json.loads(await socket.recv())["to"] == "Pending"
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        await socket.recv()
                assert socket.close_code == 1012
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 0
        assert process.stderr is not None
        rest = (await process.stderr.read()).decode()
        assert "Traceback" not in rest
        assert "ERROR" not in rest
    await writer.close()


async def is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


REFUSED: dict[str, tuple[dict[str, str | None], str]] = {
    "another host than loopback": (
        {"TASKJOBS_API_HOST": "0.0.0.0", "TASKJOBS_INSECURE_LOCAL": "true"},  # noqa: S104 - refused
        "TASKJOBS_API_HOST=0.0.0.0 is refused",
    ),
    "no database": ({"TASKJOBS_DATABASE_URL": None}, "TASKJOBS_DATABASE_URL: Field required"),
    "no such kubeconfig": ({"TASKJOBS_KUBECONFIG": "/nowhere/kubeconfig"}, "/nowhere/kubeconfig"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_it_says_in_a_line_why_it_does_not_start(what: str, tmp_path: Path) -> None:
    changed, message = REFUSED[what]
    kubeconfig = tmp_path / "kubeconfig"
    environment = {
        "TASKJOBS_DATABASE_URL": "postgresql://user:geheim@127.0.0.1:9/none",
        "TASKJOBS_KUBECONFIG": str(kubeconfig),
        "TASKJOBS_API_PORT": "0",
        **changed,
    }
    async with started(**{name: value for name, value in environment.items() if value is not None}) as process:
        assert process.stderr is not None
        output = (await asyncio.wait_for(process.stderr.read(), PATIENCE_SECONDS)).decode()
        assert await process.wait() == 2
    assert message in output
    assert "Traceback" not in output
    assert "geheim" not in output
