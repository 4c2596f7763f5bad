"""`python -m taskjob.cli` runs the command, also from a checkout that was not installed."""

from taskjob.cli.command import main

main()
