-- A session has a life of its own (epoch), an owner while it is busy, and facts that the server
-- believes (private). What clients could write is not believed: permissions and the conversations
-- of agents leave the metadata and are asked for, or begun, again.

ALTER TABLE sessions ADD COLUMN private BLOB NOT NULL DEFAULT x'7b7d';
ALTER TABLE sessions ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

UPDATE sessions SET epoch = abs(random() % 4611686018427387904) + 1;

UPDATE sessions
SET metadata = CAST(json_remove(
    CAST(metadata AS TEXT), '$.alwaysAllowed', '$.opencode', '$.acp') AS BLOB)
WHERE metadata <> x'7b7d';

DROP INDEX sessions_unsettled;
CREATE INDEX sessions_busy ON sessions (owner) WHERE running IS NOT NULL OR queued > 0 OR held;

-- The id that tells this store from all others: one row.
CREATE TABLE store (id TEXT NOT NULL);
INSERT INTO store VALUES (lower(hex(randomblob(16))));
