-- What a job requests, so that a quota can be tried on the past. Null in rows of earlier releases.
ALTER TABLE jobs ADD COLUMN requests jsonb;
