-- The search index finds beginnings of words at once, and text inside scripts without spaces between
-- words; what is deleted leaves it. It is built anew, in the background.

DROP TABLE search;
CREATE VIRTUAL TABLE search USING fts5 (
    content, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3'
);
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
