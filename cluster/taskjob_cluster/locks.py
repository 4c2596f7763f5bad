"""A lock between processes, held through a file. The lock's file can be removed by its holder without a race."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def file_lock(path: Path, *, remove: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold the lock named by `path`, waiting for it. If `remove()` says so at the end, the file is unlinked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # A holder that removed the file left us with a lock on a name that nobody else will look at.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                break
        os.close(descriptor)
    try:
        yield
    finally:
        if remove():  # while still holding it
            path.unlink(missing_ok=True)
        os.close(descriptor)
