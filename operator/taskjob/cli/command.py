"""`taskjob`: reads the command line and runs one subcommand.

A subcommand is a module here whose `register` adds a parser with `set_defaults(run=...)`, where `run` takes the parsed
arguments and returns the exit code. What goes wrong for reasons that a person can mend is raised as `CommandError`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Final

from taskjob.cli import explain, logs, simulate, trace, wishes
from taskjob.cli.errors import CommandError

SUBCOMMANDS: Final = (explain.register, logs.register, wishes.register, simulate.register, trace.register)
"""In the order of `taskjob --help`."""

INTERRUPTED: Final = 130


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="taskjob", description="Shows the jobs of Taskjobs, and changes them.")
    top.add_argument("--version", action="version", version=f"taskjob {importlib.metadata.version('taskjobs')}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for register in SUBCOMMANDS:
        register(commands)
    return top


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code: 0 done, 1 it could not be done, 2 it was not understood."""
    given = parser().parse_args(arguments)
    try:
        code: int = given.run(given)
        sys.stdout.flush()
    except CommandError as error:
        print(f"taskjob: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def main() -> None:
    """The console script."""
    sys.exit(run())
