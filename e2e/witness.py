"""What lets a test look at the API server with its own eyes, whichever way the cluster knows its administrator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the test's own, which may look at what is in its namespace and no more."""

    server: str
    token: str
    ca_file: Path
