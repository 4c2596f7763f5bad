"""`python -m taskjob_api`."""

from taskjob_api.app import main

main()
