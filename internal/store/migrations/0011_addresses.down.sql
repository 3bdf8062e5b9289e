-- The words without an "@" are what an older version finds; those that are their beginnings only may stay.
INSERT INTO lead_words (tenant_id, word, lead_created_at, lead_id)
SELECT tenant_id, SUBSTR(word, 2), lead_created_at, lead_id FROM lead_words WHERE word LIKE '@%' ON CONFLICT DO NOTHING;
DELETE FROM lead_words WHERE word LIKE '@%';
UPDATE leads SET search_text = REPLACE(search_text, ' @', ' ') WHERE search_text LIKE '% @%';
