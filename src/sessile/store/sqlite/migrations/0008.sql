-- Questions wait, also without a process, and agents keep what they need with their answers.

ALTER TABLE messages RENAME COLUMN request TO private;

ALTER TABLE running ADD COLUMN wakes INTEGER;

CREATE INDEX running_parked ON running (wakes) WHERE wakes IS NOT NULL;

CREATE TABLE records (session INTEGER PRIMARY KEY, record BLOB NOT NULL);

-- What was asked about a tool call is its question, of which an approval is one kind.
UPDATE messages
SET body = CAST(json_set(
    CAST(body AS TEXT),
    '$.parts',
    json((
        SELECT json_group_array(json(CASE
            WHEN json_extract(value, '$.type') = 'tool-call'
                AND json_type(value, '$.approval') = 'object'
            THEN json_set(
                json_remove(value, '$.approval'),
                '$.question',
                json_object(
                    'id', json_extract(value, '$.approval.id'),
                    'kind', 'approval',
                    'state', replace(json_extract(value, '$.approval.state'), 'asked', 'expired')
                )
            )
            ELSE value
        END) ORDER BY key)
        FROM json_each(CAST(body AS TEXT), '$.parts')
    ))
) AS BLOB)
WHERE role = 'assistant'
  AND instr(body, CAST('"approval":{' AS BLOB))
  AND json_valid(CAST(body AS TEXT));
