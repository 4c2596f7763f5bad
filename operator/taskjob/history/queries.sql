-- Every statement that Taskjobs sends to PostgreSQL, but for the migrations. `statements.py` loads them by name.
-- A statement goes from its `-- name:` line to the next; the comment under the name says what it is for.

-- ================================================================ migrations
-- name: lock_migrations
-- One migration runs at a time, whoever runs it. Ends with the transaction.
SELECT pg_advisory_xact_lock(7235419823004417);

-- name: patience_for_migrations
-- A migration of a large table may take long; for this transaction only.
SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '60s', true);

-- name: has_migrations
SELECT to_regclass('migrations') IS NOT NULL;

-- name: make_migrations
CREATE TABLE IF NOT EXISTS migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: read_migrations
SELECT version, name, checksum FROM migrations ORDER BY version;

-- name: note_migration
INSERT INTO migrations (version, name, checksum) VALUES ($1, $2, $3);

-- ================================================================ the writer
-- name: lineage
-- Which server this is, and which of its timelines: another one after a failover, or from a backup that was rolled forward.
SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);

-- name: claim
-- Take history over for epoch $1; no row: a newer epoch has it. $3 is the lineage; where another one wrote last, rows that
-- clients have seen may be missing here: from now on it is another incarnation. An empty one says nothing.
UPDATE meta SET epoch = $1, holder = $2, changed_at = now(), lineage = CASE WHEN $3 = '' THEN lineage ELSE $3 END,
       incarnation = CASE WHEN '' IN ($3, lineage) OR lineage = $3 THEN incarnation ELSE gen_random_uuid() END
WHERE epoch <= $1 RETURNING incarnation;

-- name: owner
-- Who has history now.
SELECT epoch, holder, changed_at FROM meta;

-- name: open_jobs
-- Every job that has not been told gone.
SELECT uid, namespace, name, labels, queue, priority, depends_on, phase, reason, message, run, attempt, retries,
       transition, epoch, created_at, queued_at, admitted_at, started_at, finished_at, not_before, pod_name,
       node_name, exit_code
FROM jobs WHERE gone_at IS NULL ORDER BY uid;

-- name: flush
-- One batch: $1 the epoch, $2 transitions, $3 jobs, $4 attempts (JSON arrays of objects, see rows.py).
-- The lock on the row of `meta` lets one flush in at a time and is taken before the first sequence number is drawn:
-- numbers become visible in their order. `fenced` is 0 when another epoch has history; then nothing was written.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM meta WHERE epoch = $1 FOR UPDATE
), told AS (
    INSERT INTO transitions (uid, run, member, attempt, from_phase, to_phase, n, at, reason, message, epoch)
    SELECT t.uid, t.run, t.member, t.attempt, t.from_phase, t.to_phase, t.n, t.at, t.reason, t.message, fence.epoch
    FROM fence, ROWS FROM (json_to_recordset($2::json) AS (
        uid text, run integer, member integer, attempt integer, from_phase text, to_phase text, n bigint,
        at timestamptz, reason text, message text
    )) WITH ORDINALITY AS t (uid, run, member, attempt, from_phase, to_phase, n, at, reason, message, place)
    ORDER BY t.place
    ON CONFLICT (uid, run, member, attempt, from_phase, to_phase, n) DO NOTHING
    RETURNING seq
), heard AS MATERIALIZED (
    SELECT j.*, fence.epoch AS by_epoch FROM fence, json_to_recordset($3::json) AS j (
        uid text, namespace text, name text, labels jsonb, job_group text, queue text, priority integer,
        depends_on jsonb, phase text, reason text, message text, run integer, attempt integer, retries integer,
        transition bigint, created_at timestamptz, queued_at timestamptz, admitted_at timestamptz,
        started_at timestamptz, finished_at timestamptz, not_before timestamptz, pod_name text, node_name text,
        exit_code integer, gone_at timestamptz, requests jsonb
    )
), left_behind AS (
    -- Its row is further on than what the batch knows of the job; that it left the cluster is true all the same.
    UPDATE jobs SET gone_at = heard.gone_at, updated_at = now() FROM heard
    WHERE jobs.uid = heard.uid AND heard.gone_at IS NOT NULL AND jobs.gone_at IS NULL
      AND heard.transition < jobs.transition
    RETURNING jobs.uid
), known AS (
    INSERT INTO jobs AS old (
        uid, namespace, name, labels, job_group, queue, priority, depends_on, phase, reason, message, run, attempt,
        retries, transition, created_at, queued_at, admitted_at, started_at, finished_at, not_before, pod_name,
        node_name, exit_code, gone_at, requests, epoch
    )
    SELECT uid, namespace, name, labels, job_group, queue, priority, depends_on, phase, reason, message, run, attempt,
           retries, transition, created_at, queued_at, admitted_at, started_at, finished_at, not_before, pod_name,
           node_name, exit_code, gone_at, requests, by_epoch
    FROM heard WHERE NOT EXISTS (SELECT FROM left_behind WHERE left_behind.uid = heard.uid)
    ON CONFLICT (uid) DO UPDATE SET
        labels = excluded.labels, job_group = excluded.job_group, queue = excluded.queue,
        priority = excluded.priority, depends_on = excluded.depends_on, phase = excluded.phase,
        reason = excluded.reason, message = excluded.message, run = excluded.run, attempt = excluded.attempt,
        retries = excluded.retries, transition = excluded.transition, queued_at = excluded.queued_at,
        admitted_at = excluded.admitted_at, started_at = excluded.started_at, finished_at = excluded.finished_at,
        not_before = excluded.not_before, pod_name = excluded.pod_name, node_name = excluded.node_name,
        exit_code = excluded.exit_code, gone_at = coalesce(old.gone_at, excluded.gone_at),
        requests = coalesce(excluded.requests, old.requests), epoch = excluded.epoch, updated_at = now()
    WHERE excluded.transition >= old.transition
), tried AS (
    INSERT INTO attempts AS old (
        uid, run, member, attempt, pod_name, pod_uid, node, pod_phase, created_at, started_at, finished_at,
        exit_code, failure, message, epoch
    )
    SELECT a.uid, a.run, a.member, a.attempt, a.pod_name, a.pod_uid, a.node, a.pod_phase, a.created_at,
           a.started_at, a.finished_at, a.exit_code, a.failure, a.message, fence.epoch
    FROM fence, json_to_recordset($4::json) AS a (
        uid text, run integer, member integer, attempt integer, pod_name text, pod_uid text, node text,
        pod_phase text, created_at timestamptz, started_at timestamptz, finished_at timestamptz,
        exit_code integer, failure text, message text
    )
    -- What is known of a pod only grows; a late observation takes nothing back.
    ON CONFLICT (uid, run, member, attempt) DO UPDATE SET
        node = coalesce(excluded.node, old.node),
        pod_phase = CASE WHEN old.pod_phase IN ('Succeeded', 'Failed') THEN old.pod_phase
                         WHEN old.pod_phase = 'Running' AND excluded.pod_phase = 'Pending' THEN old.pod_phase
                         ELSE excluded.pod_phase END,
        started_at = coalesce(excluded.started_at, old.started_at),
        finished_at = coalesce(excluded.finished_at, old.finished_at),
        exit_code = coalesce(excluded.exit_code, old.exit_code),
        failure = coalesce(excluded.failure, old.failure),
        message = CASE WHEN excluded.message = '' THEN old.message ELSE excluded.message END
)
SELECT (SELECT count(*) FROM fence) AS fenced, (SELECT count(*) FROM told) AS added,
       (SELECT pg_notify('taskjobs_history', max(seq)::text) FROM told HAVING count(*) > 0) AS notified;

-- name: flush_logs
-- Logs of one batch, column by column, then their new chunks; same transaction as `flush`, after it. What is complete
-- stays as it is, unless it was empty. Chunks that were left out, or that an earlier reading had made, go.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::integer[], $3::integer[], $4::integer[], $5::text[], $6::bytea[], $7::bytea[],
                         $8::bigint[], $9::bigint[], $10::text[], $11::boolean[], $12::boolean[], $13::integer[],
                         $14::integer[], $15::integer[], $16::jsonb[], $17::text[])
        AS g (uid, run, member, attempt, container, body, times, size, cut_bytes, note, main, complete, number, head,
              tail, gaps, resume)
), taken AS (
    INSERT INTO logs AS old (uid, run, member, attempt, container, body, times, size, cut_bytes, note, main, complete,
                             number, head, tail, gaps, resume)
    SELECT * FROM given
    ON CONFLICT (uid, run, member, attempt, container) DO UPDATE SET
        body = excluded.body, times = excluded.times, size = excluded.size, cut_bytes = excluded.cut_bytes,
        note = excluded.note, main = excluded.main, complete = excluded.complete, number = excluded.number,
        head = excluded.head, tail = excluded.tail, gaps = excluded.gaps, resume = excluded.resume, captured_at = now()
    WHERE NOT old.complete OR (old.size = 0 AND excluded.size > 0)
    RETURNING uid, run, member, attempt, container, number, head, tail
), kept AS (
    INSERT INTO log_chunks (uid, run, member, attempt, container, n, body, times, size)
    SELECT c.* FROM unnest($18::text[], $19::integer[], $20::integer[], $21::integer[], $22::text[], $23::integer[],
                           $24::bytea[], $25::bytea[], $26::integer[])
        AS c (uid, run, member, attempt, container, n, body, times, size)
    JOIN taken USING (uid, run, member, attempt, container)
    ON CONFLICT (uid, run, member, attempt, container, n) DO UPDATE SET
        body = excluded.body, times = excluded.times, size = excluded.size
)
DELETE FROM log_chunks c USING taken t
WHERE (c.uid, c.run, c.member, c.attempt, c.container) = (t.uid, t.run, t.member, t.attempt, t.container)
  AND ((c.n >= t.head AND c.n < t.tail) OR c.n >= t.number);

-- name: kept_logs
-- What is held of the logs of attempt (uid $1, run $2, member $3, attempt $4).
SELECT l.*, array(SELECT c.n FROM log_chunks c
                  WHERE (c.uid, c.run, c.member, c.attempt, c.container)
                      = (l.uid, l.run, l.member, l.attempt, l.container) ORDER BY c.n) AS numbers,
       array(SELECT c.size FROM log_chunks c
             WHERE (c.uid, c.run, c.member, c.attempt, c.container)
                 = (l.uid, l.run, l.member, l.attempt, l.container) ORDER BY c.n) AS sizes
FROM logs l WHERE (l.uid, l.run, l.member, l.attempt) = ($1, $2, $3, $4) ORDER BY l.container;

-- name: prune_jobs
-- The first $3 of those jobs that left the cluster more than $2 ago, with all that is kept of them; for epoch $1 alone.
-- Where the stream of transitions begins now is noted: a cursor before that is told to start anew.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM meta WHERE epoch = $1 FOR UPDATE
), old AS MATERIALIZED (
    SELECT j.uid FROM fence, jobs j WHERE j.gone_at < now() - $2::interval ORDER BY j.gone_at LIMIT $3
), told AS (
    DELETE FROM transitions t USING old WHERE t.uid = old.uid RETURNING t.seq
), tried AS (
    DELETE FROM attempts a USING old WHERE a.uid = old.uid
), pieces AS (
    DELETE FROM log_chunks c USING old WHERE c.uid = old.uid
), written AS (
    DELETE FROM logs l USING old WHERE l.uid = old.uid
), gone AS (
    DELETE FROM jobs j USING old WHERE j.uid = old.uid RETURNING j.uid
), noted AS (
    UPDATE meta SET pruned_seq = greatest(pruned_seq, (SELECT max(seq) FROM told))
    FROM fence WHERE meta.epoch = fence.epoch AND EXISTS (SELECT FROM told)
)
SELECT count(*) FROM gone;

-- name: prune_logs
-- The first $3 of those logs that were written more than $2 ago, of jobs that left the cluster; for epoch $1 alone.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM meta WHERE epoch = $1 FOR UPDATE
), old AS MATERIALIZED (
    SELECT l.uid, l.run, l.member, l.attempt, l.container FROM fence, logs l
    WHERE l.captured_at < now() - $2::interval
      AND NOT EXISTS (SELECT FROM jobs j WHERE j.uid = l.uid AND j.gone_at IS NULL)
    ORDER BY l.captured_at LIMIT $3
), pieces AS (
    DELETE FROM log_chunks c USING old
    WHERE (c.uid, c.run, c.member, c.attempt, c.container) = (old.uid, old.run, old.member, old.attempt, old.container)
), gone AS (
    DELETE FROM logs l USING old
    WHERE (l.uid, l.run, l.member, l.attempt, l.container) = (old.uid, old.run, old.member, old.attempt, old.container)
    RETURNING l.uid
)
SELECT count(*) FROM gone;

-- ================================================================ the reader
-- name: job_columns
-- A fragment: what the API shows of a job.
j.uid, j.namespace, j.name, j.labels, j.job_group, j.queue, j.priority, j.depends_on, j.phase, j.reason, j.message,
j.run, j.attempt, j.retries, j.transition, j.created_at, j.queued_at, j.admitted_at, j.started_at, j.finished_at,
j.not_before, j.pod_name, j.node_name, j.exit_code, j.gone_at, j.requests, j.updated_at

-- name: job_filter
-- A fragment: the filters, $1 to $10; null: not given. The reader's sessions plan anew for each call (plan_cache_mode),
-- so that what was not given vanishes and the fitting index is taken.
    ($1::text IS NULL OR j.namespace = $1)
AND ($2::text IS NULL OR j.phase = $2)
AND ($3::text IS NULL OR j.queue = $3)
AND ($4::bigint IS NULL OR j.priority = $4)
AND ($5::text IS NULL OR j.job_group = $5)
AND ($6::jsonb IS NULL OR j.labels @> $6)
AND ($7::text IS NULL OR j.name ^@ $7)
AND ($8::timestamptz IS NULL OR j.created_at >= $8)
AND ($9::timestamptz IS NULL OR j.created_at < $9)
AND ($10::text IS NULL OR j.uid = $10)

-- name: page_by_key
-- A fragment: one page of $13 rows, newest first, after the job with age_key $11 and uid $12. The bounds of created_at
-- are said again of age_key, so that the index is entered where they begin.
    ($8 IS NULL OR j.age_key >= (extract(epoch FROM $8 - timestamptz '1970-01-01 00:00:00+00') * 1000000)::bigint)
AND ($9 IS NULL OR j.age_key < (extract(epoch FROM $9 - timestamptz '1970-01-01 00:00:00+00') * 1000000)::bigint)
AND ($11::bigint IS NULL OR (j.age_key, j.uid) < ($11, $12::text))
ORDER BY j.age_key DESC, j.uid DESC LIMIT $13

-- name: jobs_page
-- Without a filter that has an ordered index of its own.
SELECT {job_columns} FROM jobs j
WHERE {job_filter} AND ($11::timestamptz IS NULL OR (j.created_at, j.uid) < ($11, $12::text))
ORDER BY j.created_at DESC, j.uid DESC LIMIT $13;

-- name: jobs_page_by_key
-- With one: of a namespace, phase, queue, priority or group.
SELECT {job_columns} FROM jobs j WHERE {job_filter} AND {page_by_key};

-- name: jobs_page_of_namespaces
-- Several namespaces, $14: a page from each along its index, merged.
SELECT j.* FROM unnest($14::text[]) AS asked (namespace) CROSS JOIN LATERAL (
    SELECT {job_columns}, j.age_key FROM jobs j
    WHERE j.namespace = asked.namespace AND {job_filter} AND {page_by_key}
) j ORDER BY j.age_key DESC, j.uid DESC LIMIT $13;

-- name: jobs_page_of_phases
-- The same for several phases, $14: the few jobs that run are found among however many that ended.
SELECT j.* FROM unnest($14::text[]) AS asked (phase) CROSS JOIN LATERAL (
    SELECT {job_columns}, j.age_key FROM jobs j
    WHERE j.phase = asked.phase AND {job_filter} AND {page_by_key}
) j ORDER BY j.age_key DESC, j.uid DESC LIMIT $13;

-- name: jobs_page_of_namespaces_and_phases
-- Several of both: namespaces $14, phases $15.
SELECT j.* FROM unnest($14::text[]) AS asked (namespace) CROSS JOIN unnest($15::text[]) AS wanted (phase)
CROSS JOIN LATERAL (
    SELECT {job_columns}, j.age_key FROM jobs j
    WHERE j.namespace = asked.namespace AND j.phase = wanted.phase AND {job_filter} AND {page_by_key}
) j ORDER BY j.age_key DESC, j.uid DESC LIMIT $13;

-- name: namespaces
-- Those of which there are jobs, the first $1 by name; one step along the index for each, however many jobs there are.
WITH RECURSIVE known AS (
    (SELECT namespace FROM jobs ORDER BY namespace LIMIT 1)
    UNION ALL
    SELECT following.namespace FROM known CROSS JOIN LATERAL (
        SELECT j.namespace FROM jobs j WHERE j.namespace > known.namespace ORDER BY j.namespace LIMIT 1
    ) following
)
SELECT namespace FROM known LIMIT $1;

-- name: job
SELECT {job_columns} FROM jobs j WHERE j.uid = $1;

-- name: attempts
-- Of one job, in their order.
SELECT run, member, attempt, pod_name, pod_uid, node, pod_phase, created_at, started_at, finished_at, exit_code, failure,
       message
FROM attempts WHERE uid = $1 ORDER BY run, member, attempt;

-- name: log
-- Of job $1: run $2, attempt $3 and container $4, each null for the last one; of several containers the main one, or
-- (of logs kept by earlier releases) the first that is named main, else by name. With its chunks: two statements would
-- show a log of before a write, and chunks of after it.
WITH found AS MATERIALIZED (
    SELECT * FROM logs
    WHERE uid = $1 AND ($2::integer IS NULL OR run = $2) AND ($3::integer IS NULL OR attempt = $3)
      AND ($4::text IS NULL OR container = $4)
    ORDER BY run DESC, attempt DESC, member, NOT main, container <> 'main', container LIMIT 1
)
SELECT f.run, f.member, f.attempt, f.container, f.body, f.times, f.size, f.cut_bytes, f.note, f.captured_at, f.main,
       f.complete, f.number, f.head, f.tail, f.gaps, f.resume, c.numbers, c.bodies, c.lines
FROM found f CROSS JOIN LATERAL (
    SELECT array_agg(n ORDER BY n) AS numbers, array_agg(body ORDER BY n) AS bodies, array_agg(times ORDER BY n) AS lines
    FROM log_chunks c
    WHERE (c.uid, c.run, c.member, c.attempt, c.container) = (f.uid, f.run, f.member, f.attempt, f.container)
) c;

-- name: log_containers
-- Of which containers of an attempt there is a log: job $1, run $2, attempt $3.
SELECT container FROM logs WHERE uid = $1 AND run = $2 AND attempt = $3 ORDER BY NOT main, container;

-- name: head
-- The incarnation and the greatest sequence number.
SELECT incarnation, greatest((SELECT max(seq) FROM transitions), pruned_seq) AS head FROM meta;

-- name: transitions_after
-- The next $12 transitions after sequence number $11, and of those the ones that the filters let pass; here $13 are the
-- namespaces and $14 the phases that a transition leads to, and $1 and $2 are null. There is always a row: the incarnation, the greatest number of all, and how far this looked.
WITH origin AS (
    SELECT incarnation, greatest((SELECT max(seq) FROM transitions), pruned_seq) AS head, pruned_seq FROM meta
), recent AS MATERIALIZED (
    SELECT * FROM transitions WHERE seq > $11::bigint ORDER BY seq LIMIT $12
), passed AS (
    SELECT t.seq, t.at, t.from_phase, t.to_phase, t.n, t.reason, t.message, t.run, t.attempt, t.member,
           j.uid, j.namespace, j.name, j.labels, j.job_group, j.queue, j.priority, j.depends_on, j.created_at
    FROM recent t JOIN jobs j ON j.uid = t.uid
    WHERE {job_filter}
      AND ($13::text[] IS NULL OR j.namespace = ANY ($13)) AND ($14::text[] IS NULL OR t.to_phase = ANY ($14))
)
SELECT origin.incarnation, origin.head, origin.pruned_seq, (SELECT max(seq) FROM recent) AS looked_to, passed.*
FROM origin LEFT JOIN passed ON true ORDER BY passed.seq;

-- ================================================================ the API's tickets
-- name: keep_ticket
-- Keep a ticket: $1 its hash, $2 whose, $3 for so many seconds; but not more than $4 of one caller, nor than $5 in all.
-- Says how many were out before, of his and of all. Takes expired ones away.
WITH expired AS (
    DELETE FROM tickets WHERE expires_at <= now()
), others AS (
    SELECT count(*) FILTER (WHERE caller = $2::jsonb) AS his, count(*) AS total FROM tickets WHERE expires_at > now()
), kept AS (
    INSERT INTO tickets (hash, caller, expires_at)
    SELECT $1, $2, now() + $3 * interval '1 second' FROM others WHERE his < $4 AND total < $5
    ON CONFLICT (hash) DO NOTHING RETURNING hash
)
SELECT his, total FROM others;

-- name: take_ticket
-- Whose a ticket is, if it is there and has not expired; nobody gets it a second time.
WITH taken AS (DELETE FROM tickets WHERE hash = $1 RETURNING caller, expires_at)
SELECT caller FROM taken WHERE expires_at > now();
