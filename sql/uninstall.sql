-- outbox-relay: takes everything of the relay's out of this database again. Not run by `migrate`; print
-- it with `outbox-relay migrate --print --uninstall` and run it in one transaction (psql -1), with the
-- relay stopped.
--
-- The outbox tables stay, with the events that wait in them, the column published_at with its index and
-- the autovacuum settings. They lose the trigger and the grants to the relay's two roles. The roles
-- stay too, as other databases of the cluster may use them; when none does:
--
--     DROP ROLE outbox_relay; DROP ROLE outbox_writer;

-- Events that were set aside are in no other place.
DO $$
BEGIN
    IF EXISTS (SELECT FROM outbox_relay.dead_letters) THEN
        RAISE EXCEPTION 'outbox_relay.dead_letters is not empty; keep a copy of it, then run: '
                        'TRUNCATE outbox_relay.dead_letters';
    END IF;
END $$;

DO $$
DECLARE
    box  regclass;
    rel  regclass;
BEGIN
    FOR box IN SELECT o.outbox FROM outbox_relay.outboxes o JOIN pg_class c ON c.oid = o.outbox LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS outbox_relay_bell ON %s', box);
        FOR rel IN
            SELECT box
             UNION SELECT relid FROM pg_partition_tree(box)
             UNION SELECT d.refobjid FROM pg_attrdef ad
                     JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid
                     JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
                    WHERE ad.adrelid = box AND d.refclassid = 'pg_class'::regclass
             UNION SELECT d.objid FROM pg_depend d
                     JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
                    WHERE d.classid = 'pg_class'::regclass
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = box
        LOOP
            -- For a sequence too: REVOKE ... ON TABLE takes both.
            EXECUTE format('REVOKE ALL ON %s FROM outbox_writer, outbox_relay', rel);
        END LOOP;
        EXECUTE format('REVOKE USAGE ON SCHEMA %s FROM outbox_writer, outbox_relay',
                       (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = box));
    END LOOP;
END $$;

DROP SCHEMA outbox_relay CASCADE;
