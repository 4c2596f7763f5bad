-- Logs that grow: what of a log is complete stands in chunks, `logs.body` is the chunk after them.
ALTER TABLE logs
    ADD COLUMN times    bytea   NOT NULL DEFAULT '',
    ADD COLUMN main     boolean NOT NULL DEFAULT false,
    ADD COLUMN complete boolean NOT NULL DEFAULT true,
    ADD COLUMN number   integer NOT NULL DEFAULT 0,
    ADD COLUMN head     integer NOT NULL DEFAULT 0,
    ADD COLUMN tail     integer NOT NULL DEFAULT 0,
    ADD COLUMN gaps     jsonb   NOT NULL DEFAULT '[]',
    ADD COLUMN resume   text    NOT NULL DEFAULT '';
ALTER TABLE logs ALTER COLUMN times SET STORAGE EXTERNAL;

CREATE TABLE log_chunks (
    uid       text    COLLATE "C" NOT NULL,
    run       integer NOT NULL,
    member    integer NOT NULL,
    attempt   integer NOT NULL,
    container text    COLLATE "C" NOT NULL,
    n         integer NOT NULL,
    body      bytea   NOT NULL,
    times     bytea   NOT NULL,
    size      integer NOT NULL,
    PRIMARY KEY (uid, run, member, attempt, container, n)
);
ALTER TABLE log_chunks ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE log_chunks ALTER COLUMN times SET STORAGE EXTERNAL;
