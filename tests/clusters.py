"""Fixtures of a control plane: one etcd and kube-apiserver for the session, a fresh namespace for each test.

The API server is real and empty but for the CRDs and the `default` TaskQueue; it has no nodes and no controllers, so
pods stay as they are created and namespaces are left behind until the session ends. Nothing is named by its
environment: whatever `KUBECONFIG` says, these tests speak to the server that they started.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest
from kubernetes import client, config

from taskjob_cluster import Cluster, up


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """An API server with the CRDs; it ends with the session, or with this process."""
    with up(f"test-{os.getpid()}", provider="apiserver", die_with_parent=True) as started:
        yield started


@pytest.fixture(scope="session")
def kubernetes_client(cluster: Cluster) -> Iterator[client.ApiClient]:
    """The official client, as the administrator of `cluster`."""
    connected: client.ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]  # not annotated there
        config_file=str(cluster.kubeconfig)
    )
    with connected:
        yield connected


@pytest.fixture
def namespace(kubernetes_client: client.ApiClient) -> str:
    """The name of a namespace of this test alone."""
    name = f"test-{secrets.token_hex(4)}"
    client.CoreV1Api(kubernetes_client).create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    return name
