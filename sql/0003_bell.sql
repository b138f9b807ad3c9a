-- SPDX-License-Identifier: ISC
-- outbox-relay 3: the bell, by which an insert wakes a sleeping relay.
--
-- NOTIFY takes a lock of the whole cluster at commit, so a trigger that notifies at every insert
-- slows down all writers. Here it notifies only while the relay sleeps: the relay arms the bell, a
-- sequence used as a switch that all sessions see immediately, before it goes to sleep, and disarms
-- it when it wakes. Disarmed, the trigger's WHEN is false and nothing of ours runs. Nothing depends
-- on the bell but how soon an event is seen: the relay also polls on a timer. (An insert straight
-- into a partition does not ring: the trigger belongs to the table as a whole.)

SELECT set_config('outbox_relay.outbox', format('%I.%I', :'outbox_schema', :'outbox_table'), false),
       set_config('outbox_relay.settle', :'settle', false),
       set_config('outbox_relay.settled_by', coalesce((
           SELECT o.settle FROM outbox_relay.outboxes o
            WHERE o.outbox = to_regclass(format('%I.%I', :'outbox_schema', :'outbox_table'))), ''), false), -- up to now
       set_config('outbox_relay.where', :'outbox_where', false);

CREATE OR REPLACE FUNCTION outbox_relay.ring() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('outbox_relay', TG_RELID::text);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION outbox_relay.ring() FROM PUBLIC;

-- Tables that were dropped since.
DO $$
DECLARE
    bell  regclass;
    named name;
    rel   regclass;
BEGIN
    FOR bell IN
        DELETE FROM outbox_relay.outboxes o
         WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = o.outbox)
        RETURNING (SELECT c.oid FROM pg_class c WHERE c.oid = o.bell)
    LOOP
        IF bell IS NOT NULL THEN
            -- A table that was restored under the name has brought its trigger along.
            FOR named, rel IN
                SELECT t.tgname, t.tgrelid FROM pg_depend d JOIN pg_trigger t ON t.oid = d.objid
                 WHERE d.classid = 'pg_trigger'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = bell
                   AND t.tgfoid = 'outbox_relay.ring()'::regprocedure AND t.tgparentid = 0
            LOOP
                EXECUTE format('DROP TRIGGER %I ON %s', named, rel);
            END LOOP;
            EXECUTE format('DROP SEQUENCE %s', bell);
        END IF;
    END LOOP;
END $$;

-- The bell of public.outbox_events is outbox_relay."bell_public.outbox_events". Everybody may read it:
-- the trigger's WHEN is evaluated with the rights of whoever inserts.
DO $$
DECLARE
    box  regclass := current_setting('outbox_relay.outbox');
    seq  regclass;
    name text;
    kept boolean;
    said text; -- the condition that a row is published
BEGIN
    -- In delete mode a claim takes the published rows that mark mode has kept, too.
    SELECT coalesce(o.published, 'published_at IS NOT NULL') INTO said
      FROM outbox_relay.outboxes o JOIN pg_attribute a ON a.attrelid = o.outbox
     WHERE o.outbox = box AND o.settle = 'mark' AND current_setting('outbox_relay.settle') = 'delete'
       AND a.attname = coalesce(o.mark_column, 'published_at') AND NOT a.attisdropped;
    IF said IS NOT NULL THEN
        EXECUTE format(E'SELECT EXISTS (SELECT FROM %s WHERE %s AND (\n%s\n))', box, said,
                       coalesce(nullif(current_setting('outbox_relay.where'), ''), 'true')) INTO kept;
        IF kept THEN
            RAISE object_not_in_prerequisite_state USING MESSAGE = format('table %s was migrated for '
                'outbox.settle = "mark" and holds published rows, which "delete" would publish again; '
                'stop the relay, delete them or move them elsewhere (DELETE FROM %s WHERE %s), '
                'then migrate again', box, box, said);
        END IF;
    END IF;

    SELECT o.bell INTO seq FROM outbox_relay.outboxes o JOIN pg_class c ON c.oid = o.bell
     WHERE o.outbox = box;
    IF seq IS NULL THEN
        SELECT CASE WHEN octet_length(nspname || relname) > 57 OR nspname || relname LIKE '%.%'
                    THEN 'bell_' || md5(format('%I.%I', nspname, relname))
                    ELSE 'bell_' || nspname || '.' || relname END
          INTO name
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = box;
        EXECUTE format('CREATE SEQUENCE IF NOT EXISTS outbox_relay.%I', name);
        seq := format('outbox_relay.%I', name);
    END IF;
    EXECUTE format('GRANT SELECT ON SEQUENCE %s TO PUBLIC', seq);

    INSERT INTO outbox_relay.outboxes (outbox, bell, settle)
    VALUES (box, seq, current_setting('outbox_relay.settle'))
    ON CONFLICT (outbox) DO UPDATE SET bell = excluded.bell, settle = excluded.settle;

    IF NOT EXISTS (SELECT FROM pg_trigger t
                     JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
                    WHERE t.tgrelid = box AND t.tgname = 'outbox_relay_bell'
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = seq) THEN
        EXECUTE format('CREATE OR REPLACE TRIGGER outbox_relay_bell AFTER INSERT ON %s '
                       'FOR EACH STATEMENT WHEN (pg_catalog.pg_sequence_last_value(%L::regclass) IS NOT NULL) '
                       'EXECUTE FUNCTION outbox_relay.ring()', box, seq);
    END IF;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (3, '0003_bell.sql') ON CONFLICT DO NOTHING;
