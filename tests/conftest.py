"""Fixtures that several folders of tests share."""

from database import database_server, database_url, own_postgres

__all__ = ["database_server", "database_url", "own_postgres"]
