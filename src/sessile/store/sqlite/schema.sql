-- The embedded store's schema as it is. A test shows that the migrations lead to it.
--
-- One database holds all sessions, since the database is the unit of commit: what many sessions
-- want to write becomes one transaction and one fsync. Messages and events lie in the order of
-- their commits, so that what is written together lies together: a transaction of many sessions
-- writes a few pages, and not some for each session. What belongs to a session is found by the
-- session's number.
--
-- PRAGMA user_version says how many of the migration files have been applied.

CREATE TABLE sessions (
    number        INTEGER PRIMARY KEY,         -- what the other tables call it
    id            TEXT NOT NULL,
    title         TEXT NOT NULL,
    seq           INTEGER NOT NULL,            -- the number of its newest event
    message_count INTEGER NOT NULL,
    queued        INTEGER NOT NULL,            -- messages that wait for their turn
    created_at    INTEGER NOT NULL,            -- unix seconds, as all times
    updated_at    INTEGER NOT NULL,
    activity      INTEGER NOT NULL,            -- order of newest activity; unique, never a clock
    archived      INTEGER NOT NULL,
    metadata      BLOB NOT NULL,               -- JSON object
    private       BLOB NOT NULL,               -- JSON object: what the server itself believes
    epoch         INTEGER NOT NULL,            -- unique for each life of the id
    owner         INTEGER NOT NULL,            -- the node that wrote it last
    held          INTEGER NOT NULL             -- its owner writes it in several commits
);

CREATE UNIQUE INDEX sessions_by_id ON sessions (id);

CREATE UNIQUE INDEX sessions_by_activity ON sessions (activity);

-- What a start has to recover, with the turns that run: normally empty.
CREATE INDEX sessions_busy ON sessions (owner) WHERE queued > 0 OR held;

-- The turns that run. While it is in one, a session's row here is newer than its row in sessions.
CREATE TABLE running (
    session       INTEGER PRIMARY KEY,
    seq           INTEGER NOT NULL,            -- without the events that came after the commit
    message_count INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    activity      INTEGER NOT NULL,
    turn          BLOB NOT NULL,               -- JSON
    wakes         INTEGER                      -- of a parked turn: when its question expires
);

CREATE INDEX running_parked ON running (wakes) WHERE wakes IS NOT NULL;

-- The answers of turns that run and have become long, as they stood at the event ``changed``: who
-- comes late needs no event before it.
CREATE TABLE drafts (
    session INTEGER PRIMARY KEY,
    seq     INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    body    BLOB NOT NULL
);

-- What agents keep with the answers of turns that run, which no client reads.
CREATE TABLE records (
    session INTEGER PRIMARY KEY,
    record  BLOB NOT NULL                      -- JSON
);

CREATE VIEW session_rows AS
SELECT
    number,
    id,
    title,
    coalesce(running.seq, sessions.seq) AS seq,
    coalesce(running.message_count, sessions.message_count) AS message_count,
    queued,
    created_at,
    coalesce(running.updated_at, sessions.updated_at) AS updated_at,
    coalesce(running.activity, sessions.activity) AS activity,
    archived,
    metadata,
    private,
    epoch,
    owner,
    held,
    turn AS running
FROM sessions LEFT JOIN running ON running.session = number;

CREATE TABLE messages (
    document   INTEGER PRIMARY KEY,            -- its number, also for the search index; they only grow
    session    INTEGER NOT NULL,
    seq        INTEGER NOT NULL,               -- its place in the history
    id         TEXT NOT NULL,
    changed    INTEGER NOT NULL,               -- seq of the event that last changed it
    role       TEXT NOT NULL,
    status     TEXT NOT NULL,
    reply_to   TEXT,
    body       BLOB NOT NULL,                  -- the whole message as JSON, as it is sent
    private    BLOB                            -- JSON for agents, which no client reads: what came along
                                               -- with a user's message, or is kept with an answer
);

-- Most ids are made by the server and grow with time, so that new ones lie together.
CREATE UNIQUE INDEX messages_by_id ON messages (id, session);

CREATE INDEX messages_queued ON messages (session, seq) WHERE status = 'queued';

-- Which numbers of a session stand for messages: the one where a message stands in the history, and
-- the one of the event that last changed it; both are often the same.
CREATE TABLE places (
    session  INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    document INTEGER NOT NULL,
    stands   INTEGER NOT NULL,                 -- the message stands here
    changed  INTEGER NOT NULL,                 -- it was last changed here
    PRIMARY KEY (session, seq)
) WITHOUT ROWID;

CREATE TABLE deletions (
    session INTEGER NOT NULL,
    seq     INTEGER NOT NULL,                  -- of the event that says so
    message TEXT NOT NULL,
    PRIMARY KEY (session, seq)
) WITHOUT ROWID;

CREATE INDEX deletions_message ON deletions (session, message);

-- The newest events; a row is what one commit brought of them to one session. Which rows a session
-- has is known in memory, from the start on.
CREATE TABLE tail (
    number  INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    first   INTEGER NOT NULL,                  -- seq of the first event in the row
    last    INTEGER NOT NULL,                  -- seq of the last
    events  BLOB NOT NULL                      -- a JSON array, in which runs of deltas are packed
);

-- Full-text search. The index follows behind the messages: what has a document number over the
-- newest one in the index is not in it yet.
CREATE VIRTUAL TABLE search USING fts5 (
    content, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3'
);
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);

-- The id that tells this store from all others: one row.
CREATE TABLE store (id TEXT NOT NULL);
