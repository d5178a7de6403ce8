-- Whether a message was deleted is found by its id: a client may send it again.

CREATE INDEX deletions_message ON deletions (session, message);
