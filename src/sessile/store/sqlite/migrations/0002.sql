-- Full-text search. The index follows behind the messages, in the background and before a search,
-- so that storing a message does not wait for it.

ALTER TABLE sessions ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;  -- seq of the last change in it

CREATE TABLE documents (
    id      INTEGER PRIMARY KEY,               -- rowid in the index
    session TEXT NOT NULL,
    message TEXT NOT NULL,
    UNIQUE (session, message)
);

CREATE VIRTUAL TABLE search USING fts5 (content, tokenize = 'unicode61 remove_diacritics 2');
