"""docs/api.md is true: its shell examples are run in order, its client of the stream is used."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest

from api_world import World, a_world, until
from history_stories import a_story
from taskjob.core.phases import Phase
from taskjob_cluster import Cluster

pytestmark = pytest.mark.cluster
TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


async def test_every_shell_example_does_what_it_says(cluster: Cluster, database_url: str) -> None:
    async with a_world(cluster.kubeconfig, database_url) as world:
        script = "set -euo pipefail\n" + "\n".join(blocks("sh"))
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script, env={**os.environ, "API": world.url},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, output.decode()
        assert '"name":"load"' in output.decode()
        cluster.kubectl("delete", "taskjobs", "--all", "-n", "default")


async def test_the_example_of_a_stream_client_goes_on_after_a_restart(cluster: Cluster, database_url: str) -> None:
    names: dict[str, Any] = {}
    [code] = blocks("python")
    exec(code, names)  # noqa: S102 - the code of our own documentation
    async with a_world(cluster.kubeconfig, database_url) as world:
        heard: list[str] = []

        async def listen() -> None:
            async for frame in names["frames"](world.url, snapshot="true"):
                heard.append(frame["job"]["name"] if frame["type"] == "TRANSITION" else frame["type"])

        listening = asyncio.create_task(listen())
        await until(lambda: heard[:2] == ["SNAPSHOT", "HEARTBEAT"], "it is connected")
        await tell_while_connections_break(world)
        await until(lambda: len([name for name in heard if name.startswith("j")]) == 20, "all is heard")
        listening.cancel()
    assert [name for name in heard if name.startswith("j")] == [f"j{n:02}" for n in range(20)]


async def tell_while_connections_break(world: World) -> None:
    for n in range(20):
        await world.tell(*a_story(f"j{n:02}", Phase.PENDING))
        if n % 5 == 4:
            for connection in list(world.server.server_state.connections):
                if "WebSocket" in type(connection).__name__:
                    connection.transport.abort()
