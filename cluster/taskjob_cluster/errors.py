"""The one exception of this tool: a message that says what is wrong, where, and what to do."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """A cluster could not be brought up, reached or taken down. Its text is meant for a person."""
