-- What is old goes: the greatest number of a transition that is not kept any more, and the order in which to look.
ALTER TABLE meta ADD COLUMN pruned_seq bigint NOT NULL DEFAULT 0;
CREATE INDEX jobs_by_departure ON jobs (gone_at) WHERE gone_at IS NOT NULL;
CREATE INDEX logs_by_capture ON logs (captured_at);
