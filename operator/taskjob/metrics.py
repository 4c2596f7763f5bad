"""The operator's metrics: every name in one place, prefix `taskjobs_`. Each is a prometheus_client object.

Whoever observes a thing adds its metric here and imports it. Labels are closed sets (an enum's values, an HTTP
status), never names of what users make: their number must stay bounded. Queues are the administrator's, and few.
`docs/operations.md` lists them; a test holds it to this file.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from prometheus_client import Counter, Gauge, Histogram

_LATENCIES: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)

_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)
_labelled: Final[dict[tuple[object, ...], Any]] = {}


def labelled(metric: _Metric, *labels: str) -> _Metric:
    """`metric.labels(...)`, remembered: prometheus_client's own look-up costs several times what counting does. For
    children that stay, on the paths that every job takes."""
    key = (metric, *labels)
    child: _Metric | None = _labelled.get(key)
    if child is None:
        child = _labelled[key] = metric.labels(*labels)
    return child


# ---------------------------------------------------------------- the API server
api_requests = Counter(
    "taskjobs_api_requests_total",
    "Requests to the Kubernetes API server; code is the HTTP status, or `none` where no answer came.",
    ["verb", "resource", "code"],
)
api_request_seconds = Histogram(
    "taskjobs_api_request_seconds",
    "From sending a request to its whole answer, waiting for a free slot excluded.",
    ["verb", "resource"],
    buckets=_LATENCIES,
)
api_requests_in_flight = Gauge(
    "taskjobs_api_requests_in_flight", "Requests to the Kubernetes API server that wait for their answer."
)
watch_events = Counter("taskjobs_watch_events_total", "Events received by watches of our own.", ["resource", "type"])
watch_restarts = Counter(
    "taskjobs_watch_restarts_total",
    "How often a watch had to begin anew; why: Expired (410), Broken (anything else).",
    ["resource", "why"],
)
unusable_objects = Counter(
    "taskjobs_unusable_objects_total", "Objects that could not even be reported on, and were left out.", ["resource"]
)

# ---------------------------------------------------------------- the control loop
cycles = Counter("taskjobs_cycles_total", "Cycles of scheduling.")
cycle_seconds = Histogram("taskjobs_cycle_seconds", "One cycle: planning and handing on.", buckets=_LATENCIES)
decisions = Counter("taskjobs_decisions_total", "Decisions by kind.", ["kind"])
stale_writes = Counter("taskjobs_stale_writes_total", "Status writes that were decided on an outdated observation.")
notices = Counter("taskjobs_events_total", "Kubernetes Events on TaskJobs that were to be made.", ["reason"])
notices_dropped = Counter(
    "taskjobs_events_dropped_total", "Kubernetes Events that were not made because too many waited already."
)
jobs = Gauge("taskjobs_jobs", "TaskJobs in the mirror by phase.", ["phase"])
queue_jobs = Gauge("taskjobs_queue_jobs", "Jobs of a queue: pending, or admitted (charged).", ["queue", "what"])

# ---------------------------------------------------------------- leadership
leader = Gauge("taskjobs_leader", "1 while this process may act, 0 while it stands by.")
epoch = Gauge("taskjobs_epoch", "The fencing number of this process's leadership; 0 before it ever led.")

# ---------------------------------------------------------------- logs
log_bytes = Counter("taskjobs_log_bytes_total", "Bytes of containers' logs that were read.")
log_cut_bytes = Counter("taskjobs_log_cut_bytes_total", "Bytes left out of the middle of logs over the limit.")
log_gaps = Counter("taskjobs_log_gaps_total", "Places where a log is known to miss something.")
log_failures = Counter(
    "taskjobs_log_failures_total",
    "Logs that could not be read at some moment; why: Unreachable (tried again), Defect (an error of ours).",
    ["why"],
)
log_follows = Gauge("taskjobs_log_follows", "Containers whose logs are followed into history.")
log_follows_waiting = Gauge("taskjobs_log_follows_waiting", "Containers that wait to be followed.")

# ---------------------------------------------------------------- history
history_flush_seconds = Histogram("taskjobs_history_flush_seconds", "One flush to PostgreSQL.", buckets=_LATENCIES)
history_entries = Counter("taskjobs_history_entries_total", "Entries written to PostgreSQL.")
history_failures = Counter("taskjobs_history_failures_total", "Flushes or connections to PostgreSQL that failed.")
history_refused = Counter(
    "taskjobs_history_refused_total",
    "Entries and logs that PostgreSQL refused for their content; logged.",
)
history_dropped = Counter(
    "taskjobs_history_dropped_entries_total",
    "Entries for which the buffer had no room; what is still in the cluster is told anew.",
)
history_pruned = Counter("taskjobs_history_pruned_total", "What was taken out for its age: jobs, or logs.", ["what"])
history_lag_seconds = Gauge("taskjobs_history_lag_seconds", "Age of the oldest entry that is not written yet.")
history_buffered = Gauge("taskjobs_history_buffered_entries", "Entries that wait to be written.")
