-- The first schema, as its version made it.

CREATE SCHEMA stackcron;
CREATE TABLE stackcron.journal (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    schema integer NOT NULL,
    oldest integer NOT NULL,
    cursor bigint,
    stopped_at bigint
);
INSERT INTO stackcron.journal (schema, oldest) VALUES (0, 0);
CREATE TABLE stackcron.lease (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    number bigint NOT NULL UNIQUE,
    beat bigint NOT NULL,
    released boolean NOT NULL,
    holder bigint,
    holder_name text,
    sends_until bigint
);
INSERT INTO stackcron.lease (number, beat, released) VALUES (0, 0, true);
CREATE TABLE stackcron.member (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    schedule text NOT NULL,
    entries integer NOT NULL,
    offset_ms bigint,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE stackcron.target (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text COLLATE "C" NOT NULL,
    stack text COLLATE "C" NOT NULL,
    job text COLLATE "C" NOT NULL,
    UNIQUE (account, stack, job)
);
CREATE TABLE stackcron.open (
    scheduled_at bigint NOT NULL,
    entry text COLLATE "C" NOT NULL,
    target bigint NOT NULL,
    due bigint NOT NULL,
    deadline bigint NOT NULL,
    by_person boolean NOT NULL,
    args text,
    state smallint NOT NULL,
    attempts bigint NOT NULL,
    sent bigint,
    action bigint,
    reason text,
    number bigint NOT NULL,
    PRIMARY KEY (scheduled_at, entry)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE TABLE stackcron.settled (
    scheduled_at bigint NOT NULL,
    entry text COLLATE "C" NOT NULL,
    target bigint NOT NULL,
    due bigint NOT NULL,
    state smallint NOT NULL,
    attempts bigint NOT NULL,
    sent bigint,
    action bigint,
    finished bigint,
    success boolean,
    reason text,
    number bigint NOT NULL,
    PRIMARY KEY (scheduled_at, entry)
);
CREATE TABLE stackcron.paused (
    entry text COLLATE "C" PRIMARY KEY
);
CREATE TABLE stackcron.quota (
    account text COLLATE "C" PRIMARY KEY,
    saved text NOT NULL
);
UPDATE stackcron.journal SET schema = 1, oldest = 1;
