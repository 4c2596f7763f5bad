"""Processes of a run: none outlives it, whatever ends it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO


def start(command: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | int) -> subprocess.Popen[bytes]:
    """Start a program that the kernel ends with this process, where there is `setpriv` (util-linux)."""
    setpriv = shutil.which("setpriv")
    bound = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    return subprocess.Popen([*bound, *command], env=environment, stdout=output, stderr=output)
