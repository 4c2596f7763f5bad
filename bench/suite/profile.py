"""Where the operator's CPU goes: a burst under cProfile, by package and by function, for each job."""

from __future__ import annotations

import pstats
import re
from collections import Counter
from pathlib import Path

_PACKAGE = re.compile(r"site-packages/(\w+)|(taskjob/\w+(?:/\w+)?)|python3\.\d+/(?!site-packages)(\w+)")
_SHOWN = 25


def table(profile: Path, jobs: int) -> str:
    """The share of each package and of the dearest functions, in microseconds a job; cProfile itself weighs on it."""
    # The stubs of pstats do not tell of `stats`, which its documentation's own recipes read.
    stats = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    packages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for (file, line, name), (_, count, own, _, _) in stats.items():
        if name == "<method 'poll' of 'select.epoll' objects>" or (name == "run" and file.endswith("control/loop.py")):
            continue  # waiting for events is not work: uvloop's waiting counts as its caller's
        found = _PACKAGE.search(file)
        package = next(filter(None, found.groups())) if found else "builtins"
        packages[package] += own
        where = f"{package}:{name}:{line}" if line else name
        functions[where] += own
        calls[where] += count
    lines = [f"{'us a job':>9}  package"]
    lines += [f"{seconds * 1e6 / jobs:9.0f}  {name}" for name, seconds in packages.most_common(_SHOWN)]
    lines += ["", f"{'us a job':>9} {'calls':>7}  function"]
    lines += [
        f"{seconds * 1e6 / jobs:9.0f} {calls[name] / jobs:7.1f}  {name}"
        for name, seconds in functions.most_common(_SHOWN)
    ]
    return "\n".join(lines)
