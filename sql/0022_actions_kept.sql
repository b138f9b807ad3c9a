-- SPDX-License-Identifier: ISC
-- outbox-relay 22: what operators did is kept for as long as 10,000 actions of an outbox are, and of a retry, an edit or
-- a discard each event is named: in delete mode nothing else tells what was discarded.

ALTER TABLE outbox_relay.operator_actions ADD COLUMN IF NOT EXISTS events text[]; -- ids, and event ids where they have

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
     WHERE outbox = box
       AND number <= (SELECT a.number FROM outbox_relay.operator_actions a
                       WHERE a.outbox = box ORDER BY a.number DESC OFFSET 10000 LIMIT 1);
END $$;
REVOKE ALL ON FUNCTION outbox_relay.record_action(regclass, text, text) FROM PUBLIC;

-- One note and one notification for each statement; it names 10,000 events at most.
CREATE OR REPLACE FUNCTION outbox_relay.note_requests() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    box   regclass;
    what  text;
    many  bigint;
    one   bigint;
    named text[];
BEGIN
    FOR box, what, many, one IN
        SELECT r.outbox, r.action, count(*), min(r.letter) FROM requested r GROUP BY 1, 2
    LOOP
        named := ARRAY (SELECT concat_ws(', ', 'event ' || d.id, 'event_id ' || d.event_id)
                          FROM requested r JOIN outbox_relay.dead_letters d ON d.number = r.letter AND d.outbox = box
                         WHERE r.outbox = box AND r.action = what ORDER BY r.letter LIMIT 10000);
        PERFORM outbox_relay.record_action(box, what,
            CASE many WHEN 1 THEN coalesce(named[1], 'letter ' || one) ELSE many || ' events' END);
        UPDATE outbox_relay.operator_actions SET events = named
         WHERE outbox = box AND number = currval('outbox_relay.operator_actions_number_seq');
        PERFORM pg_notify('outbox_relay', box::oid || ' letters');
    END LOOP;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION outbox_relay.note_requests() FROM PUBLIC;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (22, '0022_actions_kept.sql') ON CONFLICT DO NOTHING;
