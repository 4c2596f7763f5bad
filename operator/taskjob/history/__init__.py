"""All PostgreSQL I/O: `writer` for the operator, `reader` for the API; docs/history.md describes the tables."""
