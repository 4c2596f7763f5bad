"""The demo: `make demo`, which is `python -m demo`.

A real cluster, a real PostgreSQL, the operator and the API; and in the cluster a graph of TaskJobs that counts the
words of the Python standard library in pods. Every number that the pods arrive at is checked against a count that was
made here, outside the cluster.
"""
