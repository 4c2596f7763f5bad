"""The API's metrics, in one place. Those of requests to the API server are the client's own."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

requests: Final = Counter("taskjobs_http_requests", "Requests, by route and status code.", ("method", "route", "code"))
request_seconds: Final = Histogram(
    "taskjobs_http_request_seconds",
    "How long requests took until their answer began.",
    ("method", "route"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
stream_clients: Final = Gauge("taskjobs_stream_clients", "WebSocket clients of the stream.")
log_followers: Final = Gauge("taskjobs_log_followers", "Clients that follow a log.")
frames: Final = Counter("taskjobs_stream_frames", "Frames sent to stream clients.", ("type",))
stream_transitions: Final = Counter("taskjobs_stream_transitions", "Transitions read for the stream.")
stream_lag: Final = Gauge(
    "taskjobs_stream_lag_transitions",
    "How many transitions the slowest stream client has still to be sent, once it has caught up.",
)
stream_read_seconds: Final = Histogram(
    "taskjobs_stream_read_seconds",
    "From the news that history has grown until its transitions were ready to be sent.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
history_connected: Final = Gauge("taskjobs_http_history_connected", "1 while history can be read, else 0.")
