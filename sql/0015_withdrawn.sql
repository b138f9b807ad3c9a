-- SPDX-License-Identifier: ISC
-- outbox-relay 15: with settle = "position" rows stay, also those that were never published as they are: an operator
-- has taken them out, or has edited or discarded the event as a dead letter. No replay publishes them, and `verify`
-- does not miss them. And what `outbox-relay handover` needs on the new side.

-- A row of the outbox is known by the three, as a dead letter is; event_id is whole here (600 characters of it in notes
-- of before version 20). The relay forgets those whose rows are gone. Notes are made, and heeded, in mark mode as well.
CREATE TABLE IF NOT EXISTS outbox_relay.withdrawn (
    outbox     regclass NOT NULL,
    id         bigint   NOT NULL,
    event_id   text,
    created_at timestamptz
);
CREATE INDEX IF NOT EXISTS withdrawn_row ON outbox_relay.withdrawn (outbox, id);
-- As for outbox_relay.settled_ahead.
DO $$ BEGIN
    IF (SELECT c.relreplident <> 'f' FROM pg_class c WHERE c.oid = 'outbox_relay.withdrawn'::regclass) THEN
        ALTER TABLE outbox_relay.withdrawn REPLICA IDENTITY FULL;
    END IF;
END $$;

-- Takes an event out, as DELETE does in the other modes: it is not published. Of rows with the same id: that with this
-- event id; NULL: all. How many they were: none that is published already. Waits for claims that are under way, and
-- keeps others from beginning meanwhile: what one of them has taken is published.
CREATE OR REPLACE FUNCTION outbox_relay.withdraw(box regclass, id bigint, event_id text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
    SET lock_timeout = '5s' AS $$
DECLARE
    own  outbox_relay.outboxes := (SELECT o FROM outbox_relay.outboxes o WHERE o.outbox = box);
    gone bigint;
BEGIN
    PERFORM outbox_relay.record_action(box, 'withdraw', concat_ws(' ', id, event_id));
    IF own.settle IS DISTINCT FROM 'position' THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('outbox.settle of table %s is %s: delete the row',
            box, coalesce('"' || own.settle || '"', 'not known'));
    END IF;
    LOCK TABLE outbox_relay.positions IN SHARE MODE;
    EXECUTE format('WITH t AS MATERIALIZED (SELECT t.%1$I::bigint AS id, t.%2$I::text AS event_id FROM %3$s AS t WHERE '
                   't.%1$I = $1 AND ($2 IS NULL OR t.%2$I::text = $2) AND NOT %4$s), noted AS (INSERT INTO '
                   'outbox_relay.withdrawn (outbox, id, event_id) SELECT $3, t.id, t.event_id FROM t), ahead AS ('
                   'INSERT INTO outbox_relay.settled_ahead (outbox, id, event_id) SELECT $3, t.id, t.event_id FROM t '
                   'RETURNING 1) SELECT count(*) FROM ahead', own.position_columns[1], own.position_columns[2], box,
                   outbox_relay.settled_condition(box))
       INTO gone USING withdraw.id, withdraw.event_id, box;
    RETURN gone;
END $$;

-- After a switch of databases: rows with ids from this one on are to be published, all others were published on the old
-- side, which has proven it. Relays and operators of the outbox may, as record_action sees to; no relay may be there.
CREATE OR REPLACE FUNCTION outbox_relay.hand_over_position(box regclass, first bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
BEGIN
    PERFORM outbox_relay.record_action(box, 'handover', format('new side, ids from %s on are not published', first));
    PERFORM outbox_relay.set_position(box, 'from', first);
END $$;

-- Of tables that were dropped since.
DELETE FROM outbox_relay.withdrawn w WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = w.outbox);

DO $$
DECLARE
    who name;
BEGIN
    REVOKE ALL ON FUNCTION outbox_relay.withdraw(regclass, bigint, text),
        outbox_relay.hand_over_position(regclass, bigint) FROM PUBLIC;
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid = o.relay LOOP
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON outbox_relay.withdrawn TO %I', who);
    END LOOP;
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid IN (o.relay, o.operator) LOOP
        EXECUTE format('GRANT SELECT ON outbox_relay.withdrawn TO %I', who);
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.withdraw(regclass, bigint, text), '
                       'outbox_relay.hand_over_position(regclass, bigint) TO %I', who);
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = 'outbox_relay.withdrawn'::regclass) THEN
        CREATE POLICY own ON outbox_relay.withdrawn USING (outbox IN (SELECT o.outbox FROM outbox_relay.outboxes o
            WHERE pg_catalog.pg_has_role(o.relay, 'USAGE') OR pg_catalog.pg_has_role(o.operator, 'USAGE')));
        ALTER TABLE outbox_relay.withdrawn ENABLE ROW LEVEL SECURITY;
    END IF;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (15, '0015_withdrawn.sql') ON CONFLICT DO NOTHING;
