"""Taskjobs and its peers on the same work, on one control plane with simulated nodes, in one run.

    python -m bench.suite run --help
    python -m bench.suite report RUN.json
    python -m bench.suite compare BEFORE.json AFTER.json

Everything (control plane, PostgreSQL, controllers, the load) shares the machine's cores, so that finished jobs a second
are the cores divided by the CPU that one job costs. Ratios of one run count: compare, do not quote.
"""
