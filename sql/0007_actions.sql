-- SPDX-License-Identifier: ISC
-- outbox-relay 7: what operators have done to an outbox: who paused or resumed it, and when. The status page
-- and `outbox-relay status` show the last ones. Whoever changes outbox_relay.outboxes.paused is recorded, by
-- the command or by hand. Of each kind the last 10,000 of an outbox are kept.

CREATE TABLE IF NOT EXISTS outbox_relay.operator_actions (
    number bigint      GENERATED ALWAYS AS IDENTITY,
    outbox regclass    NOT NULL REFERENCES outbox_relay.outboxes ON DELETE CASCADE,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    role   text        NOT NULL, -- who had logged in, whatever role was set since
    action text        NOT NULL, -- pause, resume
    detail text,
    PRIMARY KEY (outbox, number)
);

ALTER TABLE outbox_relay.operator_actions ADD COLUMN IF NOT EXISTS events text[]; -- each by its id, and its event id

-- Notes what an operator has done. With the rights of its owner: no role may write to the table by itself.
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

CREATE OR REPLACE FUNCTION outbox_relay.note_pause() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM outbox_relay.record_action(NEW.outbox, CASE WHEN NEW.paused THEN 'pause' ELSE 'resume' END,
            concat_ws(' at ', nullif(current_setting('application_name'), ''), host(inet_client_addr())));
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION outbox_relay.note_pause() FROM PUBLIC;

-- Relays and operators of all outboxes, since none of the others may be migrated again. As of the dead
-- letters, each role sees those of its own.
DO $$
DECLARE
    who name;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'outbox_relay.outboxes'::regclass
                      AND tgname = 'outbox_relay_note_pause') THEN
        CREATE TRIGGER outbox_relay_note_pause AFTER UPDATE OF paused ON outbox_relay.outboxes
            FOR EACH ROW WHEN (OLD.paused IS DISTINCT FROM NEW.paused)
            EXECUTE FUNCTION outbox_relay.note_pause();
    END IF;
    FOR who IN
        SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid IN (o.relay, o.operator)
    LOOP
        EXECUTE format('GRANT SELECT ON outbox_relay.operator_actions TO %I', who);
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = 'outbox_relay.operator_actions'::regclass) THEN
        CREATE POLICY own ON outbox_relay.operator_actions FOR SELECT USING (outbox IN (
            SELECT o.outbox FROM outbox_relay.outboxes o
             WHERE pg_catalog.pg_has_role(o.relay, 'USAGE') OR pg_catalog.pg_has_role(o.operator, 'USAGE')));
        ALTER TABLE outbox_relay.operator_actions ENABLE ROW LEVEL SECURITY;
    END IF;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (7, '0007_actions.sql') ON CONFLICT DO NOTHING;
