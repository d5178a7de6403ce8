-- A message has a number for the search index, which so needs no table of its own for what stands
-- where. The numbers only grow: a message that changes gets a new one, and what is over the newest
-- number in the index is not in it yet.

DROP TABLE search;
DROP TABLE documents;
ALTER TABLE sessions DROP COLUMN indexed;

ALTER TABLE messages ADD COLUMN document INTEGER;
UPDATE messages SET document = number FROM (
    SELECT session AS s, seq AS q, row_number() OVER (ORDER BY session, seq) AS number FROM messages
) WHERE session = s AND seq = q;
CREATE UNIQUE INDEX messages_by_document ON messages (document);

CREATE VIRTUAL TABLE search USING fts5 (content, tokenize = 'unicode61 remove_diacritics 2');

-- The events of a row of the tail are a JSON array, in which runs of deltas are packed (tail.py).
UPDATE tail SET events = CAST('[' || replace(CAST(events AS TEXT), char(10), ',') || ']' AS BLOB);
