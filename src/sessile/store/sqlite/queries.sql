-- The embedded store's queries. Each has a name and a line of purpose: sql.py reads them.

-- name: insert_session
-- Store a session that is not there yet: activity (?3) and the row's values (from ?5).
INSERT INTO sessions (activity, {columns}) VALUES (?3, {values}) ON CONFLICT (id) DO NOTHING;

-- name: update_session
-- Store a session's row, unless it has another seq (?1) or owner (?2, ?4) than its writer saw.
UPDATE sessions SET activity = ?3, {updates}
WHERE id = ?5 AND seq = ?1 AND owner IN (?2, ?4);

-- name: advance_session
-- Store that a running turn had events, which changes nothing else of the row.
UPDATE sessions SET seq = ?1 WHERE id = ?2 AND seq = ?3 AND owner = ?4;

-- name: put_message
-- Store a message, or what it has become.
INSERT INTO messages (session, seq, id, changed, role, status, reply_to, body, document)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (session, seq) DO UPDATE SET
    changed = ?4, role = ?5, status = ?6, reply_to = ?7, body = ?8, document = ?9;

-- name: put_tail
-- Keep the events of one commit, packed.
INSERT INTO tail (session, last, first, events) VALUES (?, ?, ?, ?);

-- name: delete_message
-- Delete one message, or the place that it had before it moved.
DELETE FROM messages WHERE session = ? AND id = ?;

-- name: put_deletion
-- Remember that a message was deleted, for clients that had it.
INSERT INTO deletions (session, seq, message) VALUES (?, ?, ?);

-- name: drop_messages
-- Delete a session's messages.
DELETE FROM messages WHERE session = ?;

-- name: drop_deletions
-- Delete what was remembered of a session's deletions.
DELETE FROM deletions WHERE session = ?;

-- name: drop_tail
-- Delete a session's kept events.
DELETE FROM tail WHERE session = ?;

-- name: drop_session
-- Delete a session's row, unless it has another seq or owner than its writer saw.
DELETE FROM sessions WHERE id = ?1 AND seq = ?2 AND owner IN (?3, ?4);

-- name: last_activity
-- Where the order of activity goes on.
SELECT coalesce(max(activity), 0) FROM sessions;

-- name: session
-- One session.
SELECT {columns} FROM sessions WHERE id = ?;

-- name: activity
-- A session's place in the order of activity.
SELECT activity FROM sessions WHERE id = ?;

-- name: listed
-- Sessions by newest activity: under an activity, by archived or not, by part (?3) of
-- the folded title or id.
SELECT id FROM sessions
WHERE activity < ?1
  AND (?2 IS NULL OR archived = ?2)
  AND (?3 IS NULL
    OR instr(CASE WHEN title GLOB '*[^ -~]*' THEN folded(title) ELSE lower(title) END, ?3)
    OR instr(CASE WHEN id GLOB '*[^ -~]*' THEN folded(id) ELSE lower(id) END, ?3))
ORDER BY activity DESC LIMIT ?4;

-- name: sessions
-- Those of the sessions that exist, in the order of the JSON array of their ids.
SELECT {columns} FROM (SELECT value AS wanted FROM json_each(?)) CROSS JOIN sessions ON id = wanted;

-- name: busy
-- The busy sessions of an owner.
SELECT id FROM sessions
WHERE owner = ? AND (running IS NOT NULL OR queued > 0 OR held);

-- name: heads
-- How far those of the sessions are that exist; the value is a JSON array of their ids.
SELECT id, epoch, seq FROM sessions WHERE id IN (SELECT value FROM json_each(?));

-- name: store_id
-- What tells this store from all others.
SELECT id FROM store;

-- name: message
-- One message by its id.
SELECT body FROM messages WHERE session = ? AND id = ?;

-- name: newest
-- The newest messages under a seq, without those that wait.
SELECT seq, changed, body FROM messages
WHERE session = ? AND seq < ? AND status <> 'queued' ORDER BY seq DESC LIMIT ?;

-- name: following
-- The oldest messages over a seq, without those that wait.
SELECT seq, changed, body FROM messages
WHERE session = ? AND seq > ? AND status <> 'queued' ORDER BY seq LIMIT ?;

-- name: newest_places
-- Where the newest messages under a seq stand, without those that wait.
SELECT seq, id FROM messages
WHERE session = ? AND seq < ? AND status <> 'queued' ORDER BY seq DESC LIMIT ?;

-- name: following_places
-- Where the oldest messages over a seq stand, without those that wait.
SELECT seq, id FROM messages
WHERE session = ? AND seq > ? AND status <> 'queued' ORDER BY seq LIMIT ?;

-- name: changed
-- Messages in the order of their last change, after a seq: new ones, and old ones that changed.
-- What is sorted has no bodies: those are read one by one.
SELECT place.seq, place.changed,
    (SELECT body FROM messages WHERE session = ?1 AND seq = place.seq)
FROM (
    SELECT seq, changed FROM (
        SELECT seq, changed FROM messages
        WHERE session = ?1 AND seq > ?2 AND changed = seq ORDER BY seq LIMIT ?3
    )
    UNION ALL
    SELECT seq, changed FROM (
        SELECT seq, changed FROM messages INDEXED BY messages_changed_later
        WHERE session = ?1 AND changed > ?2 AND changed > seq ORDER BY changed LIMIT ?3
    )
    ORDER BY changed LIMIT ?3
) AS place;

-- name: deleted
-- Deletions after a seq.
SELECT seq, message FROM deletions WHERE session = ? AND seq > ? ORDER BY seq;

-- name: was_deleted
-- Whether a message with this id was deleted.
SELECT 1 FROM deletions INDEXED BY deletions_message WHERE session = ? AND message = ? LIMIT 1;

-- name: queue
-- The messages that wait for their turn.
SELECT body FROM messages INDEXED BY messages_queued
WHERE session = ? AND status = 'queued' ORDER BY seq;

-- name: answer
-- The answer to a question: it stands behind it, mostly as the very next.
SELECT body FROM messages WHERE session = ? AND seq > ? AND reply_to = ? ORDER BY seq LIMIT 1;

-- name: last_answer
-- The newest answer.
SELECT body FROM messages
WHERE session = ? AND role = 'assistant' AND reply_to IS NOT NULL ORDER BY seq DESC LIMIT 1;

-- name: events
-- Kept events after a seq; the rows that hold them, oldest first.
SELECT first, events FROM tail WHERE session = ? AND last > ? ORDER BY last;

-- name: tails
-- Sessions of which events are kept.
SELECT {columns} FROM sessions WHERE id IN (SELECT session FROM tail);

-- name: trim
-- Forget a session's events up to a seq.
DELETE FROM tail WHERE session = ? AND last <= ?;

-- name: last_document
-- The newest number for the index that a message has.
SELECT coalesce(max(document), 0) FROM messages;

-- name: indexed
-- The newest number that is in the index.
SELECT rowid FROM search ORDER BY rowid DESC LIMIT 1;

-- name: unindexed
-- Messages after a number of the index.
SELECT document, body FROM messages WHERE document > ? ORDER BY document LIMIT ?;

-- name: put_text
-- Make a message's text findable.
INSERT INTO search (rowid, content) VALUES (?, ?);

-- name: delete_text
-- Forget the text of one message.
DELETE FROM search WHERE rowid = (SELECT document FROM messages WHERE session = ? AND id = ?);

-- name: drop_texts
-- Forget the texts of a session.
DELETE FROM search WHERE rowid IN (SELECT document FROM messages WHERE session = ?);

-- name: delete_ownerless_texts
-- Forget the texts that no message has.
DELETE FROM search WHERE rowid IN (SELECT rowid FROM search EXCEPT SELECT document FROM messages);

-- name: search
-- Messages that have all words, the best first; what was found stands between control characters.
SELECT s.id, s.title, snippet(search, 0, char(2), char(3), '…', 24), m.body
FROM search
JOIN messages m ON m.document = search.rowid
JOIN sessions s ON s.id = m.session
WHERE search MATCH ? ORDER BY rank LIMIT ?;

-- name: exported
-- The sessions of a file that somebody sent. What the server believes of them is not read.
SELECT id, title, archived, metadata FROM sessions LIMIT 2;

-- name: exported_messages
-- Their messages; those that wait stand at the end.
SELECT body FROM messages ORDER BY status = 'queued', seq;

-- name: all_sessions
-- Every session, for a check.
SELECT {columns} FROM sessions ORDER BY id;

-- name: all_messages
-- Every message of a session with all that is kept of it, for a check; the text that is findable.
SELECT seq, id, changed, role, status, reply_to, body, document,
    (SELECT content FROM search WHERE rowid = document)
FROM messages WHERE session = ? ORDER BY seq;

-- name: all_events
-- Every kept event of a session, for a check.
SELECT first, events, last FROM tail WHERE session = ? ORDER BY last;

-- name: ownerless
-- Sessions that do not exist but of which something is kept, for a check.
SELECT DISTINCT 'messages', session FROM messages WHERE session NOT IN (SELECT id FROM sessions)
UNION ALL
SELECT DISTINCT 'deletions', session FROM deletions WHERE session NOT IN (SELECT id FROM sessions)
UNION ALL
SELECT DISTINCT 'events', session FROM tail WHERE session NOT IN (SELECT id FROM sessions);

-- name: ownerless_texts
-- Texts in the index that no message has, for a check.
SELECT rowid FROM search
WHERE NOT EXISTS (SELECT 1 FROM messages WHERE document = search.rowid);

-- name: deleted_ahead
-- Deletions with a number that their session has not reached, for a check.
SELECT session, deletions.seq, message FROM deletions
JOIN sessions ON id = session WHERE deletions.seq > sessions.seq;

-- name: store_ids
-- How many ids the store has.
SELECT count(*) FROM store;

-- name: newest_change
-- When a session was last changed, in unix seconds; 0 if there is none.
SELECT coalesce(max(updated_at), 0) FROM sessions;

-- name: schema
-- The names of the tables and indexes.
SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'index') ORDER BY name;
