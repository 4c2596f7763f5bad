-- One-use tickets of the API for browsers' streams: known to every replica. No secret stands here: of a ticket its hash,
-- and who the API server said that its caller is.

CREATE TABLE tickets (
    hash       bytea       PRIMARY KEY,
    caller     jsonb       NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX tickets_by_expiry ON tickets (expires_at);
