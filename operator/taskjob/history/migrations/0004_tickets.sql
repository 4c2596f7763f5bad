-- One-use tickets of the API for browsers' streams: known to every replica, and of no use to who reads them here.

CREATE TABLE tickets (
    hash       bytea       PRIMARY KEY,
    caller     bytea       NOT NULL,
    sealed     bytea       NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX tickets_by_expiry ON tickets (expires_at);
