-- SPDX-License-Identifier: ISC
-- outbox-relay 22: of each kind of action the last 10,000 of an outbox are kept, and a retry, an edit and a discard name
-- each event: in delete mode nothing else tells what was discarded.

ALTER TABLE outbox_relay.operator_actions ADD COLUMN IF NOT EXISTS events text[]; -- each by its id, and its event id

CREATE OR REPLACE FUNCTION outbox_relay.record_action(box regclass, what text, words text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM outbox_relay.outboxes o
                     JOIN pg_class c ON c.oid = 'outbox_relay.outboxes'::regclass
                    WHERE o.outbox = box AND (pg_has_role(session_user, o.relay, 'MEMBER')
                           OR pg_has_role(session_user, o.operator, 'MEMBER')
                           OR pg_has_role(session_user, c.relowner, 'MEMBER'))) THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %I is neither relay nor operator of table %s',
            session_user, box);
    END IF;
    INSERT INTO outbox_relay.operator_actions (outbox, role, action, detail)
    VALUES (box, session_user, what, words);
    DELETE FROM outbox_relay.operator_actions
     WHERE outbox = box AND action = what
       AND number <= (SELECT a.number FROM outbox_relay.operator_actions a
                       WHERE a.outbox = box AND a.action = what ORDER BY a.number DESC OFFSET 10000 LIMIT 1);
END $$;
REVOKE ALL ON FUNCTION outbox_relay.record_action(regclass, text, text) FROM PUBLIC;

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

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (22, '0022_actions_kept.sql') ON CONFLICT DO NOTHING;
