"""Fixtures that several files of integration tests share."""

from __future__ import annotations

import pytest
from kubernetes import client

from api_server import Server


@pytest.fixture
def server(kubernetes_client: client.ApiClient, namespace: str) -> Server:
    return Server(kubernetes_client, namespace)
