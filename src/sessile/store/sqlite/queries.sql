-- The embedded store's queries. Each has a name and a line of purpose: sql.py reads them.

-- name: insert_session
-- Store a session that is not there yet: number (?1), activity (?2) and its values (from ?3).
INSERT INTO sessions (number, activity, {written}) VALUES (?1, ?2, {values});

-- name: update_session
-- Store a session's row: number, activity and values as above.
UPDATE sessions SET activity = ?2, {updates} WHERE number = ?1;

-- name: put_running
-- Store that a turn runs, and what is new of its session's row.
INSERT OR REPLACE INTO running (session, seq, message_count, updated_at, activity, turn, wakes)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: delete_running
-- Store that no turn runs.
DELETE FROM running WHERE session = ?;

-- name: put_draft
-- Store a long answer as it stands.
INSERT OR REPLACE INTO drafts (session, seq, changed, body) VALUES (?, ?, ?, ?);

-- name: delete_draft
-- Forget how an answer stood: its turn is over.
DELETE FROM drafts WHERE session = ?;

-- name: put_record
-- Store what an agent keeps with the answer that it writes.
INSERT OR REPLACE INTO records (session, record) VALUES (?, ?);

-- name: delete_record
-- Forget it: the turn is over.
DELETE FROM records WHERE session = ?;

-- name: delete_untrue
-- Forget what agents kept with the answers of a session from a seq on.
UPDATE messages SET private = NULL
WHERE document IN (SELECT document FROM places WHERE places.session = ?1 AND places.seq >= ?2)
  AND seq >= ?2 AND role = 'assistant' AND private IS NOT NULL;

-- name: put_message
-- Store a message, or what it has become.
INSERT INTO messages (document, session, seq, id, changed, role, status, reply_to, body, private)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: put_place
-- Store where a message stands (4th value) or was last changed (5th value).
INSERT INTO places (session, seq, document, stands, changed) VALUES (?, ?, ?, ?, ?);

-- name: put_tail
-- Keep the events of one commit, packed.
INSERT INTO tail (number, session, first, last, events) VALUES (?, ?, ?, ?, ?);

-- name: stored_as
-- How a message is stored: its number, its place, its last change, and what agents have of it.
SELECT document, seq, changed, private FROM messages WHERE id = ? AND session = ?;

-- name: delete_message
-- Delete a message.
DELETE FROM messages WHERE document = ?;

-- name: delete_places
-- Delete the places that a message had.
DELETE FROM places WHERE session = ? AND seq IN (?, ?);

-- name: put_deletion
-- Remember that a message was deleted, for clients that had it.
INSERT INTO deletions (session, seq, message) VALUES (?, ?, ?);

-- name: drop_session
-- Delete a session's row.
DELETE FROM sessions WHERE number = ?;

-- name: drop_messages
-- Delete a session's messages.
DELETE FROM messages WHERE document IN (SELECT document FROM places WHERE session = ?);

-- name: drop_places
-- Delete the places of a session's messages.
DELETE FROM places WHERE session = ?;

-- name: drop_deletions
-- Delete what was remembered of a session's deletions.
DELETE FROM deletions WHERE session = ?;

-- name: drop_texts
-- Forget the texts of a session.
DELETE FROM search WHERE rowid IN (SELECT document FROM places WHERE session = ?);

-- name: last_activity
-- Where the order of activity goes on.
SELECT max(
    coalesce((SELECT max(activity) FROM sessions), 0),
    coalesce((SELECT max(activity) FROM running), 0)
);

-- name: last_session
-- The newest number that a session has.
SELECT coalesce(max(number), 0) FROM sessions;

-- name: last_tail
-- The newest number that kept events have.
SELECT coalesce(max(number), 0) FROM tail;

-- name: session
-- One session.
SELECT {columns} FROM session_rows WHERE id = ?;

-- name: numbered
-- One session, and its number.
SELECT {columns}, number FROM session_rows WHERE id = ?;

-- name: activity
-- A session's place in the order of activity.
SELECT activity FROM session_rows WHERE id = ?;

-- name: listed
-- Sessions by newest activity: under an activity, by archived or not, by part (?3) of
-- the folded title or id. Those in a turn are few, and come from a table of their own.
SELECT id FROM (
    SELECT * FROM (
        SELECT id, activity FROM sessions
        WHERE activity < ?1
          AND (?2 IS NULL OR archived = ?2)
          AND (?3 IS NULL
            OR instr(CASE WHEN title GLOB '*[^ -~]*' THEN folded(title) ELSE lower(title) END, ?3)
            OR instr(CASE WHEN id GLOB '*[^ -~]*' THEN folded(id) ELSE lower(id) END, ?3))
          AND NOT EXISTS (SELECT 1 FROM running WHERE session = number)
        ORDER BY activity DESC LIMIT ?4
    )
    UNION ALL
    SELECT id, running.activity FROM running CROSS JOIN sessions ON number = session
    WHERE running.activity < ?1
      AND (?2 IS NULL OR archived = ?2)
      AND (?3 IS NULL
        OR instr(CASE WHEN title GLOB '*[^ -~]*' THEN folded(title) ELSE lower(title) END, ?3)
        OR instr(CASE WHEN id GLOB '*[^ -~]*' THEN folded(id) ELSE lower(id) END, ?3))
)
ORDER BY activity DESC LIMIT ?4;

-- name: sessions
-- Those of the sessions that exist, in the order of the JSON array of their ids.
SELECT {columns} FROM (SELECT value AS wanted FROM json_each(?))
CROSS JOIN session_rows ON id = wanted;

-- name: busy
-- The busy sessions of an owner.
SELECT id FROM sessions
WHERE owner = ?1 AND (queued > 0 OR held)
  AND NOT EXISTS (SELECT 1 FROM running WHERE session = number AND wakes IS NOT NULL)
UNION
SELECT id FROM running CROSS JOIN sessions ON number = session
WHERE owner = ?1 AND wakes IS NULL;

-- name: due
-- The sessions whose parked turn wakes at a time (unix seconds), or before.
SELECT id FROM running INDEXED BY running_parked CROSS JOIN sessions ON number = session
WHERE wakes <= ? ORDER BY wakes;

-- name: parked
-- The sessions whose turn is parked.
SELECT id FROM running INDEXED BY running_parked CROSS JOIN sessions ON number = session
WHERE wakes IS NOT NULL;

-- name: all_busy
-- The busy sessions of all owners.
SELECT id FROM sessions INDEXED BY sessions_busy
WHERE (queued > 0 OR held)
  AND NOT EXISTS (SELECT 1 FROM running WHERE session = number AND wakes IS NOT NULL)
UNION
SELECT id FROM running CROSS JOIN sessions ON number = session WHERE wakes IS NULL;

-- name: kept_of_turn
-- Up to which event there is a draft of a session's answer, and whether there is a record.
SELECT
    coalesce((SELECT changed FROM drafts WHERE session = ?1), 0),
    EXISTS (SELECT 1 FROM records WHERE session = ?1);

-- name: heads
-- How far those of the sessions are that exist; the value is a JSON array of their ids.
SELECT id, epoch, seq FROM (SELECT value AS wanted FROM json_each(?))
CROSS JOIN session_rows ON id = wanted;

-- name: store_id
-- What tells this store from all others.
SELECT id FROM store;

-- name: message
-- One message by its id.
SELECT body FROM messages
WHERE session = (SELECT number FROM sessions WHERE id = ?1) AND id = ?2;

-- name: request
-- What came along with a message for the agent.
SELECT private FROM messages
WHERE session = (SELECT number FROM sessions WHERE id = ?1) AND id = ?2 AND private IS NOT NULL;

-- name: record
-- What an agent keeps with the answer that it writes.
SELECT record FROM records WHERE session = (SELECT number FROM sessions WHERE id = ?1);

-- name: records
-- What agents kept with the answers between two seqs.
SELECT id, private FROM places CROSS JOIN messages USING (document)
WHERE places.session = (SELECT number FROM sessions WHERE id = ?1)
  AND places.seq > ?2 AND places.seq < ?3 AND stands
  AND role = 'assistant' AND private IS NOT NULL;

-- name: newest
-- The newest messages under a seq, without those that wait.
SELECT messages.seq, messages.changed, body
FROM places CROSS JOIN messages USING (document)
WHERE places.session = (SELECT number FROM sessions WHERE id = ?1)
  AND places.seq < ?2 AND stands AND status <> 'queued'
ORDER BY places.seq DESC LIMIT ?3;

-- name: following
-- The oldest messages over a seq, without those that wait.
SELECT messages.seq, messages.changed, body
FROM places CROSS JOIN messages USING (document)
WHERE places.session = (SELECT number FROM sessions WHERE id = ?1)
  AND places.seq > ?2 AND stands AND status <> 'queued'
ORDER BY places.seq LIMIT ?3;

-- name: newest_places
-- Where the newest messages under a seq stand, without those that wait.
SELECT messages.seq, id FROM places CROSS JOIN messages USING (document)
WHERE places.session = (SELECT number FROM sessions WHERE id = ?1)
  AND places.seq < ?2 AND stands AND status <> 'queued'
ORDER BY places.seq DESC LIMIT ?3;

-- name: following_places
-- Where the oldest messages over a seq stand, without those that wait.
SELECT messages.seq, id FROM places CROSS JOIN messages USING (document)
WHERE places.session = (SELECT number FROM sessions WHERE id = ?1)
  AND places.seq > ?2 AND stands AND status <> 'queued'
ORDER BY places.seq LIMIT ?3;

-- name: changed
-- Messages in the order of their last change, after a seq: new ones, and old ones that changed.
SELECT messages.seq, messages.changed, body
FROM places CROSS JOIN messages USING (document)
WHERE places.session = (SELECT number FROM sessions WHERE id = ?1)
  AND places.seq > ?2 AND places.changed
ORDER BY places.seq LIMIT ?3;

-- name: deleted
-- Deletions after a seq.
SELECT seq, message FROM deletions
WHERE session = (SELECT number FROM sessions WHERE id = ?1) AND seq > ?2 ORDER BY seq;

-- name: was_deleted
-- Whether a message with this id was deleted.
SELECT 1 FROM deletions INDEXED BY deletions_message
WHERE session = (SELECT number FROM sessions WHERE id = ?1) AND message = ?2 LIMIT 1;

-- name: draft
-- A long answer as it stood.
SELECT seq, changed, body FROM drafts
WHERE session = (SELECT number FROM sessions WHERE id = ?1);

-- name: queue
-- The messages that wait for their turn.
SELECT body FROM messages INDEXED BY messages_queued
WHERE session = (SELECT number FROM sessions WHERE id = ?1) AND status = 'queued' ORDER BY seq;

-- name: answer
-- The answer to a question: it stands behind it, mostly as the very next.
SELECT body FROM places CROSS JOIN messages USING (document)
WHERE places.session = (SELECT number FROM sessions WHERE id = ?1)
  AND places.seq > ?2 AND stands AND reply_to = ?3
ORDER BY places.seq LIMIT 1;

-- name: last_answer
-- The newest answer.
SELECT body FROM places CROSS JOIN messages USING (document)
WHERE places.session = (SELECT number FROM sessions WHERE id = ?1)
  AND stands AND role = 'assistant' AND reply_to IS NOT NULL
ORDER BY places.seq DESC LIMIT 1;

-- name: events
-- Kept events of one commit.
SELECT first, events FROM tail WHERE number = ?;

-- name: tails
-- Where all kept events are, in the order of the commits.
SELECT id, tail.number, last FROM tail CROSS JOIN sessions ON sessions.number = session
ORDER BY tail.number;

-- name: trim
-- Forget the events of one commit.
DELETE FROM tail WHERE number = ?;

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
DELETE FROM search WHERE rowid = ?;

-- name: delete_ownerless_texts
-- Forget the texts that no message has.
DELETE FROM search WHERE rowid IN (SELECT rowid FROM search EXCEPT SELECT document FROM messages);

-- name: search
-- Messages that have all words, the best first; what was found stands between control characters.
SELECT s.id, s.title, snippet(search, 0, char(2), char(3), '…', 24), m.body
FROM search
JOIN messages m ON m.document = search.rowid
JOIN sessions s ON s.number = m.session
WHERE search MATCH ? ORDER BY rank LIMIT ?;

-- name: exported
-- The sessions of a file that somebody sent. What the server believes of them is not read.
SELECT id, title, archived, metadata FROM sessions LIMIT 2;

-- name: exported_messages
-- Their messages; those that wait stand at the end.
SELECT body FROM messages ORDER BY status = 'queued', seq;

-- name: all_sessions
-- Every session and its number, for a check.
SELECT {columns}, number FROM session_rows ORDER BY id;

-- name: all_messages
-- Every message of a session with all that is kept of it, for a check; the text that is findable.
SELECT messages.seq, messages.id, messages.changed, role, status, reply_to, body, private, document,
    (SELECT content FROM search WHERE rowid = document)
FROM places CROSS JOIN messages USING (document)
WHERE places.session = ? AND stands ORDER BY places.seq;

-- name: all_drafts
-- Up to which event there is a draft of an answer, and the draft, for a check.
SELECT changed, body FROM drafts WHERE session = ?;

-- name: all_records
-- What an agent keeps with the answer that it writes, for a check.
SELECT record FROM records WHERE session = ?;

-- name: all_tails
-- Where all kept events are, in the order of the commits, for a check.
SELECT number, session, last FROM tail ORDER BY number;

-- name: all_events
-- Kept events of one commit, for a check.
SELECT first, events, last FROM tail WHERE number = ?;

-- name: ownerless
-- Numbers of sessions that do not exist but of which something is kept, for a check.
SELECT DISTINCT 'messages', session FROM messages
WHERE session NOT IN (SELECT number FROM sessions)
UNION ALL
SELECT DISTINCT 'deletions', session FROM deletions
WHERE session NOT IN (SELECT number FROM sessions)
UNION ALL
SELECT DISTINCT 'events', session FROM tail WHERE session NOT IN (SELECT number FROM sessions)
UNION ALL
SELECT 'a turn', session FROM running WHERE session NOT IN (SELECT number FROM sessions)
UNION ALL
SELECT 'a draft', session FROM drafts WHERE session NOT IN (SELECT session FROM running)
UNION ALL
SELECT 'a record', session FROM records WHERE session NOT IN (SELECT session FROM running);

-- name: misplaced
-- Messages that are not found where they stand, or where they were last changed, for a check.
SELECT sessions.id, messages.id FROM messages JOIN sessions ON number = session
WHERE NOT EXISTS (
        SELECT 1 FROM places
        WHERE places.session = number AND places.seq = messages.seq
          AND places.document = messages.document AND stands)
   OR NOT EXISTS (
        SELECT 1 FROM places
        WHERE places.session = number AND places.seq = messages.changed
          AND places.document = messages.document AND places.changed);

-- name: empty_places
-- Places at which there is no message, for a check.
SELECT places.session, places.seq FROM places LEFT JOIN messages USING (document)
WHERE messages.session IS NOT places.session
   OR (stands AND messages.seq IS NOT places.seq)
   OR (places.changed AND messages.changed IS NOT places.seq);

-- name: ownerless_texts
-- Texts in the index that no message has, for a check.
SELECT rowid FROM search
WHERE NOT EXISTS (SELECT 1 FROM messages WHERE document = search.rowid);

-- name: deleted_ahead
-- Deletions with a number that their session has not reached, for a check.
SELECT id, deletions.seq, message FROM deletions
JOIN session_rows ON number = deletions.session WHERE deletions.seq > session_rows.seq;

-- name: store_ids
-- How many ids the store has.
SELECT count(*) FROM store;

-- name: newest_change
-- When a session was last changed, in unix seconds; 0 if there is none.
SELECT coalesce(max(updated_at), 0) FROM sessions;

-- name: schema
-- The names of the tables and indexes.
SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'index') ORDER BY name;
