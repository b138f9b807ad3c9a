-- SPDX-License-Identifier: ISC
-- outbox-relay 18: what `outbox-relay reconcile --after-restore` and `outbox-relay handover --new` need where events are
-- delivered exactly once: the relays begin anew, with nothing in doubt.

-- Gives the outbox other producers, and forgets what those before may have in doubt. What they had committed must be
-- settled by then: nothing is looked up in the ledger of before any more. All relays have to be stopped. While this
-- has the slots, a relay that comes takes none, so it learns the new producers. Relays of the outbox may, and
-- hand_over_producers.
CREATE OR REPLACE FUNCTION outbox_relay.renew_producers(box regclass) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    slots CONSTANT integer := 1795162112; -- the lock of slot 0: OUTBOX_SLOT_LOCK
    own   uuid;
BEGIN
    PERFORM outbox_relay.record_action(box, 'reconcile', 'new producers, with nothing in doubt');
    IF EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = box::oid AND l.granted
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND l.pid IS DISTINCT FROM pg_backend_pid())
       OR EXISTS (SELECT FROM generate_series(0, 63) AS g (slot)
                   WHERE NOT pg_try_advisory_xact_lock(box::oid::int, slots + g.slot)) THEN
        RAISE object_in_use USING MESSAGE = format('a relay of table %s is connected; stop all of them first', box);
    END IF;
    UPDATE outbox_relay.outboxes o SET producers = gen_random_uuid() WHERE o.outbox = box
 RETURNING o.producers INTO own;
    DELETE FROM outbox_relay.producers p WHERE p.outbox = box;
    DELETE FROM outbox_relay.producer_shards s WHERE s.outbox = box;
    RETURN own;
END $$;

-- After a switch of databases, whose old side, a server with this system identifier, has proven that it was empty: the
-- producers that came along from there. NULL: nothing is renewed. So it is where none came; where this is that server,
-- or a physical copy of it; and where any slot was resolved elsewhere since, or may have something in doubt: letters
-- may be, though no event waits. Relays and operators of the outbox may, as record_action sees to.
CREATE OR REPLACE FUNCTION outbox_relay.hand_over_producers(box regclass, server text) RETURNS uuid
    LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM outbox_relay.producers p WHERE p.outbox = box AND p.line IS NOT NULL)
       OR EXISTS (SELECT FROM outbox_relay.producers p WHERE p.outbox = box AND split_part(p.line, '/', 1) <> server)
       OR EXISTS (SELECT FROM outbox_relay.producer_shards s WHERE s.outbox = box)
       OR server = split_part(outbox_relay.server_line(), '/', 1) THEN
        RETURN NULL;
    END IF;
    RETURN outbox_relay.renew_producers(box);
END $$;
REVOKE ALL ON FUNCTION outbox_relay.renew_producers(regclass), outbox_relay.hand_over_producers(regclass, text) FROM PUBLIC;

DO $$
DECLARE
    who name;
BEGIN
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid = o.relay LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.renew_producers(regclass) TO %I', who);
    END LOOP;
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid IN (o.relay, o.operator) LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.hand_over_producers(regclass, text) TO %I', who);
    END LOOP;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (18, '0018_reconcile.sql') ON CONFLICT DO NOTHING;
