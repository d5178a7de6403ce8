-- Messages and events in the order of their commits, in tables that all sessions share, with small
-- numbers for sessions; turns that run in a table of their own.

UPDATE messages SET document = top + n
FROM (
    SELECT
        session AS s,
        seq AS q,
        row_number() OVER () AS n,
        (SELECT coalesce(max(document), 0) FROM messages) AS top
    FROM messages WHERE document IS NULL
)
WHERE session = s AND seq = q;

ALTER TABLE sessions RENAME TO former_sessions;
ALTER TABLE messages RENAME TO former_messages;
ALTER TABLE deletions RENAME TO former_deletions;
ALTER TABLE tail RENAME TO former_tail;

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

-- The turns that run. While it is in one, a session's row here is newer than its row in sessions.
CREATE TABLE running (
    session       INTEGER PRIMARY KEY,
    seq           INTEGER NOT NULL,            -- without the events that came after the commit
    message_count INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    activity      INTEGER NOT NULL,
    turn          BLOB NOT NULL                -- JSON
);

-- The answers of turns that run and have become long, as they stood at the event ``changed``: who
-- comes late needs no event before it.
CREATE TABLE drafts (
    session INTEGER PRIMARY KEY,
    seq     INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    body    BLOB NOT NULL
);

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
    request    BLOB                            -- JSON of what came along for the agent, which no client reads
);

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

-- The newest events; a row is what one commit brought of them to one session. Which rows a session
-- has is known in memory, from the start on.
CREATE TABLE tail (
    number  INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    first   INTEGER NOT NULL,                  -- seq of the first event in the row
    last    INTEGER NOT NULL,                  -- seq of the last
    events  BLOB NOT NULL                      -- a JSON array, in which runs of deltas are packed
);

-- By id, which is the order of the former tables: what follows is read and written from end to end.
INSERT INTO sessions
SELECT
    row_number() OVER (ORDER BY id), id, title, seq, message_count, queued, created_at, updated_at,
    activity, archived, metadata, private, epoch, owner, held
FROM former_sessions ORDER BY id;

CREATE UNIQUE INDEX sessions_by_id ON sessions (id);

INSERT INTO running
SELECT s.number, f.seq, f.message_count, f.updated_at, f.activity, f.running
FROM former_sessions f JOIN sessions s ON s.id = f.id WHERE f.running IS NOT NULL;

INSERT INTO messages
SELECT f.document, s.number, f.seq, f.id, f.changed, f.role, f.status, f.reply_to, f.body, NULL
FROM former_messages f INDEXED BY messages_by_document CROSS JOIN sessions s ON s.id = f.session
ORDER BY f.document;

INSERT INTO places
SELECT s.number, f.seq, f.document, 1, f.changed = f.seq
FROM former_messages f CROSS JOIN sessions s ON s.id = f.session ORDER BY f.session, f.seq;

INSERT OR IGNORE INTO places
SELECT s.number, f.changed, f.document, 0, 1
FROM former_messages f INDEXED BY messages_changed_later CROSS JOIN sessions s ON s.id = f.session
WHERE f.changed > f.seq;

INSERT INTO deletions
SELECT s.number, f.seq, f.message
FROM former_deletions f CROSS JOIN sessions s ON s.id = f.session ORDER BY f.session, f.seq;

INSERT INTO tail (session, first, last, events)
SELECT s.number, f.first, f.last, f.events
FROM former_tail f CROSS JOIN sessions s ON s.id = f.session ORDER BY f.session, f.last;

-- A table that is dropped with its rows is kept in memory meanwhile, to undo that.
DELETE FROM former_sessions;
DELETE FROM former_messages;
DELETE FROM former_deletions;
DELETE FROM former_tail;
DROP TABLE former_sessions;
DROP TABLE former_messages;
DROP TABLE former_deletions;
DROP TABLE former_tail;

CREATE UNIQUE INDEX sessions_by_activity ON sessions (activity);

-- What a start has to recover, with the turns that run: normally empty.
CREATE INDEX sessions_busy ON sessions (owner) WHERE queued > 0 OR held;

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

-- Most ids are made by the server and grow with time, so that new ones lie together.
CREATE UNIQUE INDEX messages_by_id ON messages (id, session);

CREATE INDEX messages_queued ON messages (session, seq) WHERE status = 'queued';

CREATE INDEX deletions_message ON deletions (session, message);
