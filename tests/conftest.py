"""Fixtures that several folders of tests share."""

from clusters import cluster, kubernetes_client, namespace
from database import database_server, database_url, own_postgres

__all__ = ["cluster", "database_server", "database_url", "kubernetes_client", "namespace", "own_postgres"]
