-- SPDX-License-Identifier: ISC
-- outbox-relay 8: events that wait in outbox_relay.dead_letters, and what operators ask for them.
--
-- A letter is an event that was moved out of the outbox. With held_for NULL it is a dead letter: the events
-- after it go on without it. With held_for 'key' (outbox.on_reject = "park") all later events of its key are
-- moved behind it, in their order, until none of the key is left: the letters themselves are what holds the
-- key. With 'topic' it waits for a topic that cannot be used, and no key waits for it.
--
-- Letters are changed by the relay that owns the shard, and by nobody else: only so can the order hold. What
-- operators want is a row in outbox_relay.letter_requests, by `outbox-relay dlq` or by hand:
--
--     INSERT INTO outbox_relay.letter_requests (outbox, letter, action)
--     SELECT outbox, number, 'retry' FROM outbox_relay.dead_letters WHERE id = 4711;
--
-- The relay deletes the request when it has been carried out.

ALTER TABLE outbox_relay.dead_letters
    ADD COLUMN IF NOT EXISTS number       bigint GENERATED ALWAYS AS IDENTITY, -- in the order of moving
    ADD COLUMN IF NOT EXISTS held_for     text CHECK (held_for IN ('key', 'topic')),
    ADD COLUMN IF NOT EXISTS key          text,        -- as far as it can be told in words
    ADD COLUMN IF NOT EXISTS key_hash     bigint,      -- NULL: the event has no key
    ADD COLUMN IF NOT EXISTS key_layout   bigint,      -- what key_hash is made of
    ADD COLUMN IF NOT EXISTS leaf         oid,         -- the partition that it came from
    ADD COLUMN IF NOT EXISTS topic        text,        -- NULL: it has not been rejected, or has no topic
    ADD COLUMN IF NOT EXISTS attempted_at timestamptz; -- Kafka may have it since; NULL: it was never sent
ALTER TABLE outbox_relay.dead_letters ALTER COLUMN attempts SET DEFAULT 0;

-- For each question one index can be used, and no other: the relay's statements are planned while the table is
-- empty, when all indexes look alike. So no index but these has the plain outbox; the primary key was made of it.
DO $$
BEGIN
    IF (SELECT i.indnatts FROM pg_index i
         WHERE i.indrelid = 'outbox_relay.dead_letters'::regclass AND i.indisprimary) > 1 THEN
        ALTER TABLE outbox_relay.dead_letters DROP CONSTRAINT dead_letters_pkey, ADD PRIMARY KEY (number);
        ALTER TABLE outbox_relay.dead_letters ALTER COLUMN event_id DROP NOT NULL;
        UPDATE outbox_relay.dead_letters SET event_id = NULL WHERE event_id = ''; -- which stood for it
    END IF;
END $$;
-- Not unique: ids begin anew (TRUNCATE ... RESTART IDENTITY, a restore), and an event id may be NULL.
CREATE INDEX IF NOT EXISTS dead_letters_event
    ON outbox_relay.dead_letters (id, event_id, (outbox::oid::bigint));
CREATE INDEX IF NOT EXISTS dead_letters_dead ON outbox_relay.dead_letters (outbox, number)
    WHERE held_for IS NULL;
CREATE INDEX IF NOT EXISTS dead_letters_key ON outbox_relay.dead_letters (outbox, key_hash, number)
    WHERE held_for = 'key';
CREATE INDEX IF NOT EXISTS dead_letters_topic ON outbox_relay.dead_letters (outbox, topic, number)
    WHERE held_for = 'topic';

-- No foreign key to the letters: it would lock them for the relay.
CREATE TABLE IF NOT EXISTS outbox_relay.letter_requests (
    number       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    outbox       regclass    NOT NULL REFERENCES outbox_relay.outboxes ON DELETE CASCADE,
    letter       bigint      NOT NULL, -- dead_letters.number
    action       text        NOT NULL CHECK (action IN ('retry', 'discard', 'edit')),
    payload      bytea,                -- edit: what takes the place of the payload; NULL: a tombstone
    headers      text,                 -- edit: likewise of the headers
    role         text        NOT NULL DEFAULT session_user,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (letter, action, outbox)    -- in the order in which they are looked up
);

-- A note for each 10,000 events of a statement, and one notification.
CREATE OR REPLACE FUNCTION outbox_relay.note_requests() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    box   regclass;
    what  text;
    many  bigint;
    named text[];
BEGIN
    FOR box, what, many, named IN
        SELECT r.outbox, r.action, count(*), array_agg(coalesce(nullif(
                   concat_ws(', ', 'event ' || d.id, 'event_id ' || d.event_id), ''), 'letter ' || r.letter)
                   ORDER BY r.letter)
          FROM (SELECT q.*, (row_number() OVER (PARTITION BY q.outbox, q.action ORDER BY q.letter) - 1) / 10000 AS part
                  FROM requested q) AS r
          LEFT JOIN outbox_relay.dead_letters d ON d.number = r.letter AND d.outbox = r.outbox
         GROUP BY r.outbox, r.action, r.part ORDER BY min(r.letter)
    LOOP
        PERFORM outbox_relay.record_action(box, what, CASE many WHEN 1 THEN named[1] ELSE many || ' events' END);
        UPDATE outbox_relay.operator_actions SET events = named
         WHERE outbox = box AND number = currval('outbox_relay.operator_actions_number_seq');
        PERFORM pg_notify('outbox_relay', box::oid || ' letters');
    END LOOP;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION outbox_relay.note_requests() FROM PUBLIC;

-- Letters that were copied here bring numbers along, and those to come must be above them: their order is that of
-- the numbers.
CREATE OR REPLACE FUNCTION outbox_relay.raise_letters() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seq CONSTANT regclass := 'outbox_relay.dead_letters_number_seq';
BEGIN
    IF coalesce(pg_sequence_last_value(seq), 0) >= (SELECT max(d.number) FROM outbox_relay.dead_letters d) THEN
        RETURN;
    END IF;
    LOCK TABLE outbox_relay.dead_letters IN SHARE ROW EXCLUSIVE MODE; -- none is given a number meanwhile
    PERFORM setval(seq, greatest(pg_sequence_last_value(seq), (SELECT max(d.number) FROM outbox_relay.dead_letters d)));
END $$;
REVOKE ALL ON FUNCTION outbox_relay.raise_letters() FROM PUBLIC;

-- The roles of all outboxes, since none of the others may be migrated again.
DO $$
DECLARE
    reads    name;
    operates name;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'outbox_relay.letter_requests'::regclass
                      AND tgname = 'outbox_relay_note_requests') THEN
        CREATE TRIGGER outbox_relay_note_requests AFTER INSERT ON outbox_relay.letter_requests
            REFERENCING NEW TABLE AS requested FOR EACH STATEMENT
            EXECUTE FUNCTION outbox_relay.note_requests();
    END IF;
    FOR reads, operates IN
        SELECT DISTINCT r.rolname, w.rolname FROM outbox_relay.outboxes o
          JOIN pg_roles r ON r.oid = o.relay LEFT JOIN pg_roles w ON w.oid = o.operator
    LOOP
        EXECUTE format('GRANT DELETE ON outbox_relay.dead_letters TO %I', reads);
        EXECUTE format('GRANT SELECT ON SEQUENCE outbox_relay.dead_letters_number_seq TO %I', reads);
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.raise_letters() TO %I', reads);
        -- INSERT: `dlq retry` works with the relay's configuration, as `pause` does.
        EXECUTE format('GRANT SELECT, UPDATE, DELETE, INSERT (outbox, letter, action, payload, headers) '
                       'ON outbox_relay.letter_requests TO %I', reads);
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.record_action(regclass, text, text) TO %I', reads);
        IF operates IS NOT NULL THEN
            EXECUTE format('REVOKE DELETE ON outbox_relay.dead_letters FROM %I', operates);
            EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.raise_letters() TO %I', operates);
            EXECUTE format('GRANT SELECT, INSERT (outbox, letter, action, payload, headers) '
                           'ON outbox_relay.letter_requests TO %I', operates);
            EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.record_action(regclass, text, text) TO %I',
                           operates);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = 'outbox_relay.letter_requests'::regclass) THEN
        CREATE POLICY own ON outbox_relay.letter_requests USING (true);
        ALTER TABLE outbox_relay.letter_requests ENABLE ROW LEVEL SECURITY;
    END IF;
    -- An array is made once for a statement, a list of IN for each letter that is looked up (seen: 1 ms each).
    -- Asked for is only what is a letter of that outbox, as the statement sees it.
    ALTER POLICY own ON outbox_relay.letter_requests USING (outbox::oid = ANY (ARRAY(
        SELECT o.outbox::oid FROM outbox_relay.outboxes o
         WHERE pg_catalog.pg_has_role(o.relay, 'USAGE') OR pg_catalog.pg_has_role(o.operator, 'USAGE'))))
        WITH CHECK (outbox::oid = (SELECT d.outbox::oid FROM outbox_relay.dead_letters d WHERE d.number = letter_requests.letter));
    ALTER POLICY own ON outbox_relay.dead_letters USING (outbox::oid = ANY (ARRAY(
        SELECT o.outbox::oid FROM outbox_relay.outboxes o
         WHERE pg_catalog.pg_has_role(o.relay, 'USAGE') OR pg_catalog.pg_has_role(o.operator, 'USAGE'))));
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (8, '0008_letters.sql') ON CONFLICT DO NOTHING;
