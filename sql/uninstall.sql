-- SPDX-License-Identifier: ISC
-- outbox-relay: takes one outbox from the relay again, and with the last one all that migrations have made
-- in this database. Not run by `migrate`; print it with `outbox-relay migrate --print --uninstall` and run
-- it in one transaction (psql -1), with the relays of the outbox stopped.
--
-- The outbox table stays, with the events that wait in it, the column published_at with its index and the
-- autovacuum settings. It loses the trigger and the grants to the relay's three roles. Other outboxes go on
-- working. Nothing is dropped but what migrations have made, each by its name: schema outbox_relay stays
-- where it holds anything else. The roles stay too, as other databases of the cluster may use them; when
-- none does:
--
--     DROP ROLE outbox_relay; DROP ROLE outbox_writer; DROP ROLE outbox_operator;

SELECT set_config('outbox_relay.outbox', format('%I.%I', :'outbox_schema', :'outbox_table'), false);

-- What is called as ours is may be another's. Events in dead_letters are in no other place.
DO $$
DECLARE
    box regclass := to_regclass(current_setting('outbox_relay.outbox'));
BEGIN
    IF (SELECT count(*) FROM (VALUES ('schema_version', 'version', 'int4'::regtype),
                                     ('schema_version', 'script', 'text'), ('outboxes', 'outbox', 'regclass'),
                                     ('outboxes', 'bell', 'regclass'), ('dead_letters', 'outbox', 'regclass'),
                                     ('dead_letters', 'payload', 'bytea')) AS ours (rel, col, type)
          JOIN pg_namespace n ON n.nspname = 'outbox_relay'
          JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = ours.rel AND c.relkind = 'r'
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = ours.col AND a.atttypid = ours.type
           AND NOT a.attisdropped) < 6 THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'schema outbox_relay is not there, or '
            'outbox-relay has not made it; nothing is dropped';
    END IF;
    IF EXISTS (SELECT FROM outbox_relay.dead_letters d WHERE d.outbox = box) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('outbox_relay.dead_letters is not '
            'empty: it holds events of table %s; keep a copy of them, then run: DELETE FROM '
            'outbox_relay.dead_letters WHERE outbox = %L::regclass', box, box);
    END IF;
END $$;

-- The outbox, and those whose table was dropped since.
DO $$
DECLARE
    box    regclass := to_regclass(current_setting('outbox_relay.outbox'));
    home   regnamespace := (SELECT relnamespace FROM pg_class WHERE oid = box);
    bell   regclass;
    rel    regclass;
    named  name;
    who    text;
    shared boolean; -- with another outbox in the same schema
    kept   boolean; -- by any other outbox
BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = box AND tgname = 'outbox_relay_bell'
                  AND tgfoid = to_regprocedure('outbox_relay.ring()')) THEN
        EXECUTE format('DROP TRIGGER outbox_relay_bell ON %s', box);
    END IF;
    FOR named IN
        SELECT tgname FROM pg_trigger WHERE tgrelid = box AND NOT tgisinternal
           AND tgfoid IN (to_regprocedure('outbox_relay.depth_guard()'), to_regprocedure('outbox_relay.keep_x()'),
                          to_regprocedure('outbox_relay.keep_place()'))
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', named, box);
    END LOOP;
    -- An older schema has no such tables.
    IF to_regclass('outbox_relay.positions') IS NOT NULL THEN
        DELETE FROM outbox_relay.positions p WHERE p.outbox = box;
        DELETE FROM outbox_relay.settled_ahead a WHERE a.outbox = box;
    END IF;
    IF to_regclass('outbox_relay.withdrawn') IS NOT NULL THEN
        DELETE FROM outbox_relay.withdrawn w WHERE w.outbox = box;
    END IF;
    IF to_regclass('outbox_relay.producers') IS NOT NULL THEN
        DELETE FROM outbox_relay.producers p WHERE p.outbox = box;
        DELETE FROM outbox_relay.producer_shards s WHERE s.outbox = box;
    END IF;
    IF to_regclass('outbox_relay.depths') IS NOT NULL THEN
        FOR rel IN
            WITH gone AS (DELETE FROM outbox_relay.depths d
                           WHERE d.outbox = box OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.outbox)
                           RETURNING d.*)
            SELECT c.oid FROM gone JOIN pg_class c ON c.oid IN (gone.base, gone.counted, gone.until, gone.low, gone.walked)
        LOOP
            EXECUTE format('DROP SEQUENCE %s', rel);
        END LOOP;
    END IF;
    -- An older schema has no columns for the roles.
    FOR who, shared, kept IN
        SELECT r.rolname, EXISTS (SELECT FROM outbox_relay.outboxes p JOIN pg_class c ON c.oid = p.outbox
                                   WHERE p.outbox <> box AND c.relnamespace = home
                                     AND to_jsonb(p) ->> w.role IS NOT DISTINCT FROM to_jsonb(o) ->> w.role)
             , EXISTS (SELECT FROM outbox_relay.outboxes p JOIN pg_class c ON c.oid = p.outbox
                        WHERE p.outbox <> box
                          AND to_jsonb(p) ->> w.role IS NOT DISTINCT FROM to_jsonb(o) ->> w.role)
          FROM outbox_relay.outboxes o
         CROSS JOIN (VALUES ('relay', 'outbox_relay'), ('writer', 'outbox_writer'),
                            ('operator', 'outbox_operator')) AS w (role, usual)
          JOIN pg_roles r ON r.oid = to_regrole(coalesce(to_jsonb(o) ->> w.role, w.usual))
         WHERE o.outbox = box
    LOOP
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
            EXECUTE format('REVOKE ALL ON %s FROM %I', rel, who);
        END LOOP;
        IF NOT shared THEN
            EXECUTE format('REVOKE USAGE ON SCHEMA %s FROM %I', home, who);
        END IF;
        IF NOT kept THEN
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA outbox_relay FROM %I', who);
            EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA outbox_relay FROM %I', who);
            EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA outbox_relay FROM %I', who);
            EXECUTE format('REVOKE ALL ON SCHEMA outbox_relay FROM %I', who);
        END IF;
    END LOOP;
    FOR bell IN
        DELETE FROM outbox_relay.outboxes o
         WHERE o.outbox = box OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = o.outbox)
        RETURNING (SELECT c.oid FROM pg_class c WHERE c.oid = o.bell)
    LOOP
        IF bell IS NOT NULL THEN
            EXECUTE format('DROP SEQUENCE %s', bell);
        END IF;
    END LOOP;
END $$;

-- After the last outbox.
DO $$
BEGIN
    IF EXISTS (SELECT FROM outbox_relay.outboxes) THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM outbox_relay.dead_letters) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'outbox_relay.dead_letters is not empty: it '
            'holds events of tables that were dropped; keep a copy of them, then run: TRUNCATE '
            'outbox_relay.dead_letters';
    END IF;
    DROP TABLE IF EXISTS outbox_relay.letter_requests; -- an older schema has none, nor what follows
    DROP TABLE IF EXISTS outbox_relay.replays;
    DROP TABLE IF EXISTS outbox_relay.positions;
    DROP TABLE IF EXISTS outbox_relay.settled_ahead;
    DROP TABLE IF EXISTS outbox_relay.withdrawn;
    DROP TABLE IF EXISTS outbox_relay.producers;
    DROP TABLE IF EXISTS outbox_relay.producer_shards;
    DROP FUNCTION IF EXISTS outbox_relay.own_shards(regclass, integer, bigint, bigint[]);
    DROP FUNCTION IF EXISTS outbox_relay.resolved_slot(regclass, integer, bigint, text, bigint);
    DROP FUNCTION IF EXISTS outbox_relay.take_slot(regclass, integer, boolean);
    DROP FUNCTION IF EXISTS outbox_relay.server_line();
    DROP FUNCTION IF EXISTS outbox_relay.withdraw(regclass, bigint, text);
    DROP FUNCTION IF EXISTS outbox_relay.hand_over_position(regclass, bigint);
    DROP FUNCTION IF EXISTS outbox_relay.keep_x();
    DROP FUNCTION IF EXISTS outbox_relay.keep_place();
    DROP FUNCTION IF EXISTS outbox_relay.drop_x(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.lock_positions(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.lock_outbox(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.is_event(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.meets(text);
    DROP FUNCTION IF EXISTS outbox_relay.judge_where(regclass, text);
    DROP FUNCTION IF EXISTS outbox_relay.becomes_event(regclass, text);
    DROP FUNCTION IF EXISTS outbox_relay.change_where(regclass, text);
    DROP FUNCTION IF EXISTS outbox_relay.set_where(regclass, text, boolean);
    DROP FUNCTION IF EXISTS outbox_relay.refuse_relays(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.waiting_rows(regclass, text);
    DROP FUNCTION IF EXISTS outbox_relay.set_position(regclass, text, bigint);
    DROP FUNCTION IF EXISTS outbox_relay.note_aside(regclass, text);
    DROP FUNCTION IF EXISTS outbox_relay.leave_positions(regclass, text);
    DROP FUNCTION IF EXISTS outbox_relay.purge_settled(regclass, regclass, name, bigint, bigint, bigint, bigint);
    DROP FUNCTION IF EXISTS outbox_relay.take_up(regclass, integer, integer, text[], boolean);
    DROP FUNCTION IF EXISTS outbox_relay.begin_positions(regclass, name, name, text);
    DROP FUNCTION IF EXISTS outbox_relay.count_waiting(regclass, bigint);
    DROP FUNCTION IF EXISTS outbox_relay.settled_condition(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.lacks_positions(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.last_positions(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.position_home(regclass);
    DROP TABLE outbox_relay.dead_letters;
    DROP TABLE IF EXISTS outbox_relay.operator_actions;
    DROP TABLE IF EXISTS outbox_relay.depths;
    DROP PROCEDURE IF EXISTS outbox_relay.drop_partitions(regclass, name, name, bigint, bigint, text, text, text);
    DROP FUNCTION IF EXISTS outbox_relay.drop_partition(regclass, name, name, bigint, bigint);
    DROP PROCEDURE IF EXISTS outbox_relay.drop_partitions(regclass, bigint, bigint, text, text);
    DROP FUNCTION IF EXISTS outbox_relay.drop_partition(regclass, bigint, bigint);
    DROP FUNCTION IF EXISTS outbox_relay.rows_to_keep(regclass, regclass);
    DROP FUNCTION IF EXISTS outbox_relay.make_partitions(regclass, integer);
    DROP FUNCTION IF EXISTS outbox_relay.make_missing(regclass, bigint, integer, integer);
    DROP FUNCTION IF EXISTS outbox_relay.make_partition(regclass, text, text, text);
    DROP FUNCTION IF EXISTS outbox_relay.next_partition(regclass, regclass, text, bigint, integer);
    DROP FUNCTION IF EXISTS outbox_relay.range_after(text, text, numeric, regtype);
    DROP FUNCTION IF EXISTS outbox_relay.admit_partitions(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.grant_partitions(regclass, oid);
    DROP FUNCTION IF EXISTS outbox_relay.range_trouble(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.own_outbox(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.kept_by_partman(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.partitions_ahead(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.range_number(text, regtype);
    DROP FUNCTION IF EXISTS outbox_relay.range_position(regclass, name, regtype);
    DROP FUNCTION IF EXISTS outbox_relay.range_partitions(regclass);
    DROP TABLE outbox_relay.outboxes;
    DROP TABLE outbox_relay.schema_version;
    DROP FUNCTION outbox_relay.ring();
    DROP FUNCTION IF EXISTS outbox_relay.hand_over_producers(regclass, text);
    DROP FUNCTION IF EXISTS outbox_relay.renew_producers(regclass);
    DROP FUNCTION IF EXISTS outbox_relay.raise_ids(regclass, bigint, text);
    DROP FUNCTION IF EXISTS outbox_relay.depth_guard();
    DROP FUNCTION IF EXISTS outbox_relay.depth_guard(bigint, text, regclass);
    DROP FUNCTION IF EXISTS outbox_relay.set_depth_guard(regclass, bigint, text);
    DROP FUNCTION IF EXISTS outbox_relay.judge_depth(regclass, bigint, text, integer);
    DROP FUNCTION IF EXISTS outbox_relay.count_depth(regclass, bigint, text, integer);
    DROP FUNCTION IF EXISTS outbox_relay.raise_letters();
    DROP FUNCTION IF EXISTS outbox_relay.note_requests();
    DROP FUNCTION IF EXISTS outbox_relay.note_pause();
    DROP FUNCTION IF EXISTS outbox_relay.record_action(regclass, text, text);
    IF EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass
                  AND refobjid = 'outbox_relay'::regnamespace) THEN
        RAISE WARNING 'schema outbox_relay stays: it holds what outbox-relay has not made';
    ELSE
        DROP SCHEMA outbox_relay;
    END IF;
END $$;
