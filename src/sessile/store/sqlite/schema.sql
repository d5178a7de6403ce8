-- The embedded store's schema as it is. A test shows that the migrations lead to it.
--
-- One database holds all sessions, since the database is the unit of commit: what many sessions
-- want to write becomes one transaction and one fsync. Rows of one session lie together, because
-- every key begins with the session's id and the tables are their own primary-key index.
--
-- PRAGMA user_version says how many of the migration files have been applied.

CREATE TABLE sessions (
    id            TEXT PRIMARY KEY,
    title         TEXT NOT NULL,
    seq           INTEGER NOT NULL,            -- the number of its newest event
    message_count INTEGER NOT NULL,
    queued        INTEGER NOT NULL,            -- messages that wait for their turn
    created_at    INTEGER NOT NULL,            -- unix seconds, as all times
    updated_at    INTEGER NOT NULL,
    activity      INTEGER NOT NULL,            -- order of newest activity; unique, never a clock
    archived      INTEGER NOT NULL,
    metadata      BLOB NOT NULL,               -- JSON object
    running       BLOB,                        -- JSON of the turn it is in, NULL when in none
    private       BLOB NOT NULL DEFAULT x'7b7d', -- JSON object: what the server itself believes
    epoch         INTEGER NOT NULL DEFAULT 0,  -- unique for each life of the id
    owner         INTEGER NOT NULL DEFAULT 0,  -- the node that wrote it last
    held          INTEGER NOT NULL DEFAULT 0   -- its owner writes it in several commits
) WITHOUT ROWID;

CREATE UNIQUE INDEX sessions_by_activity ON sessions (activity);

-- What a start has to recover: normally empty, so it costs nothing to keep.
CREATE INDEX sessions_busy ON sessions (owner) WHERE running IS NOT NULL OR queued > 0 OR held;

CREATE TABLE messages (
    session    TEXT NOT NULL,
    seq        INTEGER NOT NULL,               -- its place in the history
    id         TEXT NOT NULL,
    changed    INTEGER NOT NULL,               -- seq of the event that last changed it
    role       TEXT NOT NULL,
    status     TEXT NOT NULL,
    reply_to   TEXT,
    body       BLOB NOT NULL,                  -- the whole message as JSON, as it is sent
    document   INTEGER,                        -- its number for the search index; they only grow
    PRIMARY KEY (session, seq)
) WITHOUT ROWID;

CREATE UNIQUE INDEX messages_by_id ON messages (session, id);

-- A message whose last change is its first event is found by its seq.
CREATE INDEX messages_changed_later ON messages (session, changed) WHERE changed > seq;

CREATE INDEX messages_queued ON messages (session, seq) WHERE status = 'queued';

CREATE UNIQUE INDEX messages_by_document ON messages (document);

CREATE TABLE deletions (
    session TEXT NOT NULL,
    seq     INTEGER NOT NULL,                  -- of the event that says so
    message TEXT NOT NULL,
    PRIMARY KEY (session, seq)
) WITHOUT ROWID;

CREATE INDEX deletions_message ON deletions (session, message);

-- The newest events of a session; a row is what one commit brought of them.
CREATE TABLE tail (
    session TEXT NOT NULL,
    last    INTEGER NOT NULL,                  -- seq of the last event in the row
    first   INTEGER NOT NULL,                  -- seq of the first
    events  BLOB NOT NULL,                     -- a JSON array, in which runs of deltas are packed
    PRIMARY KEY (session, last)
) WITHOUT ROWID;

-- Full-text search. The index follows behind the messages: what has a document number over the
-- newest one in the index is not in it yet.
CREATE VIRTUAL TABLE search USING fts5 (
    content, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3'
);
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);

-- The id that tells this store from all others: one row.
CREATE TABLE store (id TEXT NOT NULL);
