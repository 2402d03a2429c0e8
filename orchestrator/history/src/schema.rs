//! The tables, version by version.

/// SQLite's `application_id` of a history: `s2lh`.
pub(crate) const APPLICATION: i64 = 0x7332_6c68;

/// The steps that make a history: step N takes it from version N to version N + 1. A step that was
/// released never changes. Their number is the version that this s2lab writes, SQLite's
/// `user_version`.
pub(crate) const STEPS: [&str; 3] = [FIRST, NIGHTS, MEASURES];

/// Times are milliseconds, digests SHA-256 in hexadecimal, verdicts by name.
const FIRST: &str = "
CREATE TABLE run (
    id         INTEGER PRIMARY KEY,
    lab        TEXT NOT NULL,     -- the lab folder; '': unknown
    started    TEXT NOT NULL,     -- as the run's log has it; with lab it identifies the run
    started_ns INTEGER NOT NULL,  -- since 1970
    name       TEXT NOT NULL,
    folder     TEXT NOT NULL,
    s2lab      TEXT NOT NULL,
    elapsed_ms INTEGER,           -- to the end of the last attempt
    ending     TEXT NOT NULL,     -- ended, interrupted, lost
    exit       INTEGER NOT NULL,
    night      INTEGER,           -- NULL: no night; 1: a good one
    UNIQUE (lab, started)
) STRICT;

CREATE TABLE environment (
    id     INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE   -- of its facts
) STRICT;

CREATE TABLE fact (
    environment INTEGER NOT NULL REFERENCES environment (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    PRIMARY KEY (environment, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE cell (
    id          INTEGER PRIMARY KEY,
    run         INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    key         TEXT NOT NULL,
    verdict     TEXT,             -- NULL: interrupted, or not run
    argument    TEXT,             -- the alternative, the stage or the reason of the verdict
    not_run     TEXT,
    complete    INTEGER NOT NULL, -- the last attempt came to its end
    elapsed_ms  INTEGER,
    boot_ms     INTEGER,
    report      TEXT,             -- its digest
    standing    TEXT,             -- against the accepted report; NULL: not compared
    finding     TEXT,             -- digest of the findings without evidence
    lead        TEXT,             -- the finding that leads, as a line
    machine     TEXT,
    environment INTEGER NOT NULL REFERENCES environment (id),
    UNIQUE (run, key)
) STRICT;
CREATE INDEX cell_by_key ON cell (key, machine, complete);

CREATE TABLE attempt (
    cell     INTEGER NOT NULL REFERENCES cell (id) ON DELETE CASCADE,
    number   INTEGER NOT NULL,    -- from 1
    verdict  TEXT,
    argument TEXT,
    PRIMARY KEY (cell, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE stage (
    cell       INTEGER NOT NULL REFERENCES cell (id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,  -- from 1, in the order of the last attempt
    name       TEXT NOT NULL,
    elapsed_ms INTEGER,
    PRIMARY KEY (cell, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE change (
    cell   INTEGER NOT NULL REFERENCES cell (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,      -- from 1, the worst first
    kind   TEXT NOT NULL,
    what   TEXT NOT NULL,
    PRIMARY KEY (cell, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE number (
    cell    INTEGER NOT NULL REFERENCES cell (id) ON DELETE CASCADE,
    step    INTEGER NOT NULL,
    guest   TEXT NOT NULL,
    device  TEXT NOT NULL,
    map     TEXT NOT NULL,
    width   INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    median  INTEGER NOT NULL,     -- MB/s
    min     INTEGER NOT NULL,
    max     INTEGER NOT NULL,
    PRIMARY KEY (cell, step, guest, device, map, width)
) STRICT, WITHOUT ROWID;
";

/// The facts that a night needs of those before it. The nights of version 1 are of the day on which they
/// began; their failures are not known.
const NIGHTS: &str = "
ALTER TABLE run ADD COLUMN date TEXT;           -- of a night; NULL: the run is none
ALTER TABLE cell ADD COLUMN failure TEXT;       -- of a night, in words that are equal for equal failures
ALTER TABLE cell ADD COLUMN tolerated INTEGER NOT NULL DEFAULT 0;
UPDATE run SET date = date(started_ns / 1000000000, 'unixepoch') WHERE night IS NOT NULL;

CREATE TABLE good_report (        -- of the newest nights in which a cell was fine
    cell INTEGER PRIMARY KEY REFERENCES cell (id) ON DELETE CASCADE,
    text TEXT NOT NULL
) STRICT;
";

/// The numbers of cells are those of measures. The rows of `number` stay as they are, because the log that
/// has the samples may be gone; they are neither written nor read any more.
const MEASURES: &str = "
CREATE TABLE measure (            -- of a cell, in one boot of its host
    cell    INTEGER NOT NULL REFERENCES cell (id) ON DELETE CASCADE,
    step    INTEGER NOT NULL,     -- from 0
    name    TEXT NOT NULL,
    boot    INTEGER NOT NULL,     -- the number of the attempt, from 1
    samples INTEGER NOT NULL,
    median  INTEGER NOT NULL,     -- nanoseconds, like the rest
    low     INTEGER,              -- the interval of the median; NULL: too few samples
    high    INTEGER,
    min     INTEGER NOT NULL,
    max     INTEGER NOT NULL,
    PRIMARY KEY (cell, step, name, boot)
) STRICT, WITHOUT ROWID;
";
