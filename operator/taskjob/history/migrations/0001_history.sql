-- The history of TaskJobs. docs/history.md says what each column means.
-- Text is compared byte by byte (COLLATE "C"): prefixes use the index whatever the database's locale is.

CREATE TABLE meta (
    one         boolean     PRIMARY KEY DEFAULT true CHECK (one),
    incarnation uuid        NOT NULL DEFAULT gen_random_uuid(),
    epoch       bigint      NOT NULL DEFAULT 0,
    holder      text        NOT NULL DEFAULT '',
    changed_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO meta DEFAULT VALUES;

CREATE TABLE transitions (
    seq         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid         text        COLLATE "C" NOT NULL,
    run         integer     NOT NULL,
    member      integer     NOT NULL,
    attempt     integer     NOT NULL,
    from_phase  text        COLLATE "C" NOT NULL,
    to_phase    text        COLLATE "C" NOT NULL,
    n           bigint      NOT NULL,
    at          timestamptz NOT NULL,
    reason      text        COLLATE "C" NOT NULL,
    message     text        NOT NULL,
    epoch       bigint      NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT transitions_once UNIQUE (uid, run, member, attempt, from_phase, to_phase, n)
);

CREATE TABLE jobs (
    uid         text        COLLATE "C" PRIMARY KEY,
    namespace   text        COLLATE "C" NOT NULL,
    name        text        COLLATE "C" NOT NULL,
    labels      jsonb       NOT NULL,
    job_group   text        COLLATE "C",
    queue       text        COLLATE "C" NOT NULL,
    priority    integer     NOT NULL,
    depends_on  jsonb       NOT NULL,
    phase       text        COLLATE "C" NOT NULL,
    reason      text        COLLATE "C" NOT NULL,
    message     text        NOT NULL,
    run         integer     NOT NULL,
    attempt     integer     NOT NULL,
    retries     integer     NOT NULL,
    transition  bigint      NOT NULL,
    created_at  timestamptz NOT NULL,
    queued_at   timestamptz,
    admitted_at timestamptz,
    started_at  timestamptz,
    finished_at timestamptz,
    not_before  timestamptz,
    pod_name    text        COLLATE "C",
    node_name   text        COLLATE "C",
    exit_code   integer,
    gone_at     timestamptz,
    epoch       bigint      NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    age_key     bigint      NOT NULL GENERATED ALWAYS AS (
        (extract(epoch FROM created_at - timestamptz '1970-01-01 00:00:00+00') * 1000000)::bigint
    ) STORED
);
-- A page is read newest first along the index of the filter that was given. Those order by `age_key`, which is
-- `created_at` again: were it the same column, the planner would at times walk `jobs_by_age` instead and, for a queue or
-- namespace that has been quiet for long, read the whole table before it met the first match.
CREATE INDEX jobs_by_age       ON jobs (created_at, uid);
CREATE INDEX jobs_by_namespace ON jobs (namespace, age_key, uid);
CREATE INDEX jobs_by_queue     ON jobs (queue, age_key, uid);
CREATE INDEX jobs_by_phase     ON jobs (phase, age_key, uid);
CREATE INDEX jobs_by_priority  ON jobs (priority, age_key, uid);
CREATE INDEX jobs_by_group     ON jobs (job_group, age_key, uid) WHERE job_group IS NOT NULL;
CREATE INDEX jobs_by_name      ON jobs (name);
CREATE INDEX jobs_by_labels    ON jobs USING gin (labels jsonb_path_ops);
-- How rare a label is decides between its index and the one by age; of the usual sample of 30,000 rows a label of one job
-- in a thousand has so few that the guess, and with it the plan, changed from one ANALYZE to the next.
ALTER TABLE jobs ALTER COLUMN labels SET STATISTICS 2000;
-- What the operator reads when it starts.
CREATE INDEX jobs_open         ON jobs (uid) WHERE gone_at IS NULL;

CREATE TABLE attempts (
    uid         text        COLLATE "C" NOT NULL,
    run         integer     NOT NULL,
    member      integer     NOT NULL,
    attempt     integer     NOT NULL,
    pod_name    text        COLLATE "C" NOT NULL,
    pod_uid     text        COLLATE "C" NOT NULL,
    node        text        COLLATE "C",
    pod_phase   text        COLLATE "C" NOT NULL,
    created_at  timestamptz NOT NULL,
    started_at  timestamptz,
    finished_at timestamptz,
    exit_code   integer,
    failure     text        COLLATE "C",
    message     text        NOT NULL,
    epoch       bigint      NOT NULL,
    PRIMARY KEY (uid, run, member, attempt)
);

CREATE TABLE logs (
    uid         text        COLLATE "C" NOT NULL,
    run         integer     NOT NULL,
    member      integer     NOT NULL,
    attempt     integer     NOT NULL,
    container   text        COLLATE "C" NOT NULL,
    body        bytea       NOT NULL,
    size        bigint      NOT NULL,
    cut_bytes   bigint      NOT NULL,
    note        text        NOT NULL,
    captured_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (uid, run, member, attempt, container)
);
-- The body is compressed by the writer already.
ALTER TABLE logs ALTER COLUMN body SET STORAGE EXTERNAL;
