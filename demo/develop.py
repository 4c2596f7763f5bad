"""One part at a time, for working on it: `make run-operator`, `make run-api`, `make cluster-down`.

The operator and the API run in this terminal, against the cluster that `make cluster-up` made and a PostgreSQL that
is kept beside it. Both are replaced by the program (exec), so that Ctrl-C and a debugger reach it as they should.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.stack import API, OPERATOR
from taskjob_cluster import ClusterError, down, get, postgres
from taskjob_cluster.paths import state_directory

PROGRAMS = {"operator": OPERATOR, "api": API}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part, or take the cluster and its PostgreSQL down; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.develop", description=__doc__)
    parser.add_argument("command", choices=[*PROGRAMS, "down"])
    parser.add_argument("--name", default="taskjobs", help="the cluster's name")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "down":
            _take_down(asked.name)
            return 0
        _become(PROGRAMS[asked.command], asked.name)
    except (ClusterError, ValueError) as error:
        print(error, file=sys.stderr)
    return 1


def _database(name: str) -> Path:
    return state_directory() / "develop" / name / "postgres"


def _become(program: str, name: str) -> None:
    """Become the operator or the API. Raises ClusterError when there is no such cluster."""
    cluster = get(name)
    if cluster is None:
        raise ClusterError(f"there is no cluster {name!r}: make cluster-up CLUSTER={name}")
    database = postgres.start(_database(name))
    settings = {"TASKJOBS_DATABASE_URL": database.url, "TASKJOBS_KUBECONFIG": str(cluster.kubeconfig)}
    settings |= {"TASKJOBS_INSECURE_LOCAL": "true"}
    os.execve(Path(sys.executable).with_name(program), [program], {**os.environ, **settings})  # noqa: S606 - meant


def _take_down(name: str) -> None:
    if not down(name):
        print(f"there is no cluster {name}")
    postgres.Postgres("", postgres.data_folder(_database(name).resolve())).remove()


if __name__ == "__main__":
    sys.exit(main())
