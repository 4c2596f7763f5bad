"""Fixtures that several folders of tests share."""

from clusters import cluster, kubernetes_client, namespace
from database import database_server, database_url, own_postgres
from operators import kwok_api, kwok_cluster, site
from tenants import tenant

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
