"""Fixtures that several folders of tests share."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings
from xdist.remote import Producer

from clusters import cluster, kubernetes_client, namespace
from database import database_server, database_url, own_postgres
from operators import kwok_api, kwok_cluster, site
from side_by_side import FilesAndOneRealCluster
from tenants import tenant

# How long an example takes is the machine's affair: a busy one is no failure.
settings.register_profile("taskjobs", deadline=None)
settings.load_profile("taskjobs")

pytest.register_assert_rewrite("admission_walk")  # its assertions are the tests'

__all__ = [
    "cluster",
    "database_server",
    "database_url",
    "kubernetes_client",
    "kwok_api",
    "kwok_cluster",
    "namespace",
    "own_postgres",
    "site",
    "tenant",
]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesAndOneRealCluster:
    """Asked only where processes share the tests."""
    return FilesAndOneRealCluster(config, log)


@pytest.fixture(autouse=True)
def no_collection_while_hypothesis_reads_source(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hypothesis parses source for its constants. A collection in the midst of that can end in "AST constructor
    recursion depth mismatch" (CPython issue 106905, open in 3.11.7): it was seen once in some hundred runs."""
    if request.node.get_closest_marker("hypothesis") is None:
        yield
        return
    gc.disable()
    yield
    gc.enable()
