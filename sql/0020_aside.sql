-- SPDX-License-Identifier: ISC
-- outbox-relay 20: wherever rows stay, outbox_relay.withdrawn notes what was discarded or edited. (In mark mode the
-- relay deleted such a row among its claims: a lock on it held them up, and a foreign key or a trigger could refuse
-- it.) And a position that is set anew goes by these notes, and by the dead letters.

-- Settles those of the rows "t" for which the condition holds that are not to be published as they are: a letter or a
-- note has the event. The claim that comes to one leaves it out. A row's time tells its letter from that of another
-- event with the same ids; which column has it is in the relay's configuration only, so any column may.
CREATE OR REPLACE FUNCTION outbox_relay.note_aside(box regclass, unpublished text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own   outbox_relay.outboxes := (SELECT o FROM outbox_relay.outboxes o WHERE o.outbox = box);
    times text;
BEGIN
    WITH RECURSIVE base (name, oid, below) AS (
        SELECT a.attname, p.oid, p.typbasetype FROM pg_attribute a JOIN pg_type p ON p.oid = a.atttypid
         WHERE a.attrelid = box AND a.attnum > 0 AND NOT a.attisdropped
         UNION ALL
        SELECT base.name, p.oid, p.typbasetype FROM base JOIN pg_type p ON p.oid = base.below)
    SELECT string_agg(format(CASE WHEN b.oid = 'timestamp'::regtype THEN 't.%I::timestamp AT TIME ZONE ''UTC'''
                             ELSE 't.%I::timestamptz' END, b.name), ', ') INTO times
      FROM base AS b WHERE b.oid IN ('timestamp'::regtype, 'timestamptz'::regtype);
    EXECUTE format('INSERT INTO outbox_relay.settled_ahead (outbox, id, event_id) SELECT DISTINCT $1, t.%1$I::bigint, '
                   't.%2$I::text FROM %3$s AS t JOIN (SELECT d.id, d.event_id, d.created_at FROM '
                   'outbox_relay.dead_letters AS d WHERE d.outbox = $1 UNION ALL SELECT w.id, w.event_id, w.created_at '
                   'FROM outbox_relay.withdrawn AS w WHERE w.outbox = $1) AS d ON d.id = t.%1$I AND left(d.event_id, 600) '
                   'IS NOT DISTINCT FROM left(t.%2$I::text, 600) AND (d.created_at IS NULL OR %4$s) WHERE %5$s',
                   own.position_columns[1], own.position_columns[2], box,
                   coalesce('d.created_at = ANY (ARRAY[' || times || '])', 'true'), unpublished) USING box;
END $$;
REVOKE ALL ON FUNCTION outbox_relay.note_aside(regclass, text) FROM PUBLIC;

-- What came of another server, database or table has positions that mean nothing here. `at` says where to go on:
--   end     all that is in the table is published (it was drained before it was copied);
--   start   nothing is;
--   from    the rows with this id, and above, are not;
--   keep    the position holds: the server was upgraded in place (pg_upgrade), which keeps transactions.
-- Dead letters, and what was edited, discarded or withdrawn, stay out of it. All relays have to be stopped.
CREATE OR REPLACE FUNCTION outbox_relay.set_position(box regclass, at text, id bigint DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own         outbox_relay.outboxes := (SELECT o FROM outbox_relay.outboxes o WHERE o.outbox = box);
    unpublished text; -- the condition on a row "t"
BEGIN
    IF own.settle IS DISTINCT FROM 'position' THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('table %s has no positions: outbox.settle is %s',
            box, coalesce('"' || own.settle || '"', 'not known'));
    ELSIF at NOT IN ('end', 'start', 'from', 'keep') OR (at = 'from') <> (id IS NOT NULL) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'the position is ''end'', ''start'', ''keep'', or ''from'' with an id';
    END IF;
    PERFORM outbox_relay.lock_positions(box);
    PERFORM outbox_relay.refuse_relays(box);
    IF at <> 'keep' THEN
        unpublished := CASE at WHEN 'start' THEN 'true' WHEN 'end' THEN 'false'
                       ELSE format('t.%I >= %s', own.position_columns[1], id) END;
        PERFORM outbox_relay.begin_positions(box, own.position_columns[1], own.position_columns[2], unpublished);
        PERFORM outbox_relay.note_aside(box, unpublished);
    ELSIF EXISTS (SELECT FROM outbox_relay.last_positions(box) AS p
                   WHERE pg_snapshot_xmax(coalesce(p.target, p.finished)) > pg_snapshot_xmax(pg_current_snapshot())) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('the positions of table %s name transactions that '
            'this server has not begun yet: they are of another one', box);
    ELSE
        UPDATE outbox_relay.outboxes o SET position_home = outbox_relay.position_home(box) WHERE o.outbox = box;
    END IF;
    PERFORM outbox_relay.record_action(box, 'position', concat_ws(' ', at, id));
END $$;
REVOKE ALL ON FUNCTION outbox_relay.set_position(regclass, text, bigint) FROM PUBLIC;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (20, '0020_aside.sql') ON CONFLICT DO NOTHING;
