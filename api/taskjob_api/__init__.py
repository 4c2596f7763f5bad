"""The REST and WebSocket facade: TaskJobs in the cluster and their history, seen through HTTP.

A request goes `routes -> jobs | logs | stream -> cluster (API server) | taskjob.history.reader (PostgreSQL)`; `hub` is
where transitions arrive, `views` and `problems` are what answers look like, `app` is the process.
"""
