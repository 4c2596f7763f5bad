"""Fixtures that several files of integration tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
import pytest
from kubernetes import client

from api_server import Server
from kubelets import Kubelet, a_kubelet
from taskjob.history.writer import HistoryWriter

if TYPE_CHECKING:  # the class cannot be subscripted at run time
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]


@pytest.fixture
def server(kubernetes_client: client.ApiClient, namespace: str) -> Server:
    return Server(kubernetes_client, namespace)


@pytest.fixture
async def kubelet(kubernetes_client: client.ApiClient, namespace: str, tmp_path: Path) -> AsyncIterator[Kubelet]:
    async with a_kubelet(kubernetes_client, f"node-{namespace}", tmp_path) as kubelet:
        yield kubelet


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[HistoryWriter]:
    writer = HistoryWriter(database_url)
    await writer.open(0)
    yield writer
    await writer.close()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url, timeout=10)
    yield connection
    await connection.close()
