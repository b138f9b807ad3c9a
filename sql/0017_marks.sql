-- SPDX-License-Identifier: ISC
-- outbox-relay 17: which rows are events (outbox.where), and what says of a row that it is published (settle = mark):
-- a time, as it was up to now, or a boolean or a value of any type. Whatever reads or sets that uses the texts
-- that are written down here, by the owner of the schema: conditions on the columns of the outbox, without an alias.

SELECT set_config('outbox_relay.outbox', format('%I.%I', :'outbox_schema', :'outbox_table'), false),
       set_config('outbox_relay.id', :'outbox_id', false),
       set_config('outbox_relay.settle', :'settle', false),
       set_config('outbox_relay.published', :'outbox_published', false),
       set_config('outbox_relay.published_value', :'outbox_published_value', false),
       set_config('outbox_relay.pending_value', :'outbox_pending_value', false),
       set_config('outbox_relay.where', :'outbox_where', false);

-- Outboxes that were marked before.
UPDATE outbox_relay.outboxes
   SET mark_column = 'published_at', mark_value = '', mark_waits = '', mark_timed = true, waits = 'published_at IS NULL',
       published = 'published_at IS NOT NULL', marked = 'clock_timestamp()', waits_index = '(published_at IS NULL)'
 WHERE settle = 'mark' AND mark_column IS NULL;

-- What PostgreSQL takes for the condition of an index hangs on the row only. With positions a trigger judges rows, too,
-- in which columns that are GENERATED ... VIRTUAL have no value: PostgreSQL has no index on such ones either.
CREATE OR REPLACE FUNCTION outbox_relay.judge_where(box regclass, condition text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF condition = '' THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE outbox_relay.judged (LIKE %s %s)', box, CASE (
        SELECT o.settle FROM outbox_relay.outboxes o WHERE o.outbox = box) WHEN 'position' THEN 'INCLUDING GENERATED' END);
    BEGIN
        EXECUTE format(E'CREATE INDEX ON outbox_relay.judged ((1)) WHERE (\n%s\n)', condition);
    EXCEPTION WHEN OTHERS THEN
        RAISE invalid_parameter_value USING MESSAGE = format('outbox.where "%s" is no condition on a row of table %s: '
            '%s', condition, box, SQLERRM);
    END;
    DROP TABLE outbox_relay.judged;
END $$;

-- The condition on a row "t", as text, that it is no event up to now, and one by this condition. In a query of its own,
-- so that a column means the row's whatever else there is.
CREATE OR REPLACE FUNCTION outbox_relay.becomes_event(box regclass, condition text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('(SELECT NOT %s AND %s FROM (SELECT t.*) AS own)', outbox_relay.is_event(box),
                  outbox_relay.meets(condition))
$$;

-- Other rows are to be events: keeps all others away, and says how many there are that were none before.
CREATE OR REPLACE FUNCTION outbox_relay.change_where(box regclass, condition text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    many bigint;
BEGIN
    PERFORM outbox_relay.lock_outbox(box);
    PERFORM outbox_relay.refuse_relays(box);
    EXECUTE format('SELECT count(*) FROM %s AS t WHERE %s', box, outbox_relay.becomes_event(box, condition)) INTO many;
    RETURN many;
END $$;

-- Of rows that were no events a position does not say whether they are published. They are to be, or they count as
-- published; by no means what is in the dead letters, or was edited, discarded or withdrawn.
CREATE OR REPLACE FUNCTION outbox_relay.set_where(box regclass, condition text, publish boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    own     outbox_relay.outboxes := (SELECT o FROM outbox_relay.outboxes o WHERE o.outbox = box);
    becomes text                  := outbox_relay.becomes_event(box, condition);
    many    bigint;
    done    bigint;
BEGIN
    IF own.settle IS DISTINCT FROM 'position' THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('table %s has no positions: change outbox.where, and '
            'migrate', box);
    ELSIF condition IS NULL OR publish IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'the condition is a text, and what becomes an event by it is to be '
            'published (true) or counts as published (false)';
    END IF;
    PERFORM outbox_relay.judge_where(box, condition);
    many := outbox_relay.change_where(box, condition);
    IF many > 0 AND publish THEN
        PERFORM outbox_relay.note_aside(box, becomes);
        EXECUTE format('UPDATE %s AS t SET x = x WHERE %s', box, becomes); -- the trigger puts this transaction there
        GET DIAGNOSTICS done = ROW_COUNT;
        IF done <> many THEN
            RAISE object_not_in_prerequisite_state USING MESSAGE = format('a trigger or a rule keeps rows of table %s from '
                'being updated; they could not be published', box);
        END IF;
    ELSIF many > 0 THEN
        EXECUTE format('INSERT INTO outbox_relay.settled_ahead (outbox, id, event_id) SELECT DISTINCT %s::oid::regclass, '
                       't.%I::bigint, t.%I::text FROM %s AS t WHERE %s AND NOT %s', box::oid, own.position_columns[1],
                       own.position_columns[2], box, becomes, outbox_relay.settled_condition(box));
    END IF;
    UPDATE outbox_relay.outboxes o SET condition = set_where.condition WHERE o.outbox = box;
    PERFORM outbox_relay.record_action(box, 'where', left(condition, 1000));
END $$;
REVOKE ALL ON FUNCTION outbox_relay.judge_where(regclass, text), outbox_relay.becomes_event(regclass, text),
    outbox_relay.change_where(regclass, text), outbox_relay.set_where(regclass, text, boolean) FROM PUBLIC;

DO $$
DECLARE
    box   regclass := current_setting('outbox_relay.outbox');
    shown text     := current_setting('outbox_relay.where');
    known text     := (SELECT o.condition FROM outbox_relay.outboxes o WHERE o.outbox = box);
BEGIN
    PERFORM outbox_relay.judge_where(box, shown);
    IF shown <> known AND current_setting('outbox_relay.settle') = 'position'
       AND current_setting('outbox_relay.settled_by', true) = 'position' AND outbox_relay.change_where(box, shown) > 0 THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('by another outbox.where rows of table %1$s are '
            'events that were none before, and nothing tells whether they are published; say so, then migrate again: '
            'SELECT outbox_relay.set_where(%1$L, %2$L, true) if they are to be published, false if they count as '
            'published', box, shown);
    END IF;
    UPDATE outbox_relay.outboxes o SET condition = shown WHERE o.outbox = box AND o.condition <> shown;
END $$;

-- What says that a row is published.
DO $$
DECLARE
    box     regclass := current_setting('outbox_relay.outbox');
    col     name     := current_setting('outbox_relay.published');
    value   text     := current_setting('outbox_relay.published_value');
    pending text     := current_setting('outbox_relay.pending_value');
    id      name     := current_setting('outbox_relay.id');
    own     record;
    kind    text;
    initial boolean;
    waiting text;
    done    text;
    canon   text;
BEGIN
    IF current_setting('outbox_relay.settle') <> 'mark' THEN
        UPDATE outbox_relay.outboxes o
           SET mark_column = NULL, mark_value = NULL, mark_waits = NULL, mark_timed = NULL, waits = NULL, published = NULL,
               marked = NULL, waits_index = NULL WHERE o.outbox = box;
        RETURN;
    END IF;
    SELECT a.*, t.base, pg_get_expr(d.adbin, d.adrelid) AS expr, format_type(a.atttypid, a.atttypmod) AS said INTO own
      FROM pg_attribute a
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     CROSS JOIN LATERAL (
          WITH RECURSIVE base (oid, below) AS (
              SELECT p.oid, p.typbasetype FROM pg_type p WHERE p.oid = a.atttypid
               UNION ALL
              SELECT p.oid, p.typbasetype FROM base JOIN pg_type p ON p.oid = base.below)
          SELECT base.oid::regtype::text AS base FROM base WHERE base.below = 0) AS t
     WHERE a.attrelid = box AND a.attname = col AND NOT a.attisdropped;
    kind := own.base;
    IF kind IN ('timestamp with time zone', 'timestamp without time zone') THEN -- 0002 has looked at it
        IF value <> '' OR pending <> '' THEN
            RAISE invalid_parameter_value USING MESSAGE = format('column %I of table %s is a time, which the relay sets to '
                'the present; leave outbox.published_value and outbox.pending_value out', col, box);
        END IF;
        UPDATE outbox_relay.outboxes o
           SET mark_column = col, mark_value = '', mark_waits = '', mark_timed = true, waits = format('%I IS NULL', col),
               published = format('%I IS NOT NULL', col), marked = 'clock_timestamp()',
               waits_index = format('(%I IS NULL)', col) WHERE o.outbox = box;
        RETURN;
    END IF;
    IF kind = 'boolean' AND value = '' AND col <> 'published_at' THEN
        value := 'true';
    END IF;
    IF value = '' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('column %I of table %s is of type %s: say in '
            'outbox.published_value what it has in rows that are published', col, box, own.said);
    ELSIF own.attgenerated <> '' THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('column %I of table %s is GENERATED AS (%s); the '
            'relay cannot set it', col, box, own.expr);
    END IF;
    BEGIN
        EXECUTE format('SELECT %L::%s, %L::%2$s', value, own.said, nullif(pending, ''));
        IF own.expr IS NOT NULL THEN
            EXECUTE format('SELECT (%s)::text IS NOT DISTINCT FROM (%L::%s)::text', own.expr, value, own.said) INTO initial;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        RAISE invalid_parameter_value USING MESSAGE = format('outbox.published_value "%s" and outbox.pending_value "%s" '
            'must be values of column %I of table %s, which is of type %s: %s', value, pending, col, box, own.said, SQLERRM);
    END;
    IF initial THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('column %I of table %s has the default %s, which says '
            'that a new row is published; run ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', col, box, own.expr, box, col);
    ELSIF pending = value THEN
        RAISE invalid_parameter_value USING MESSAGE = format('outbox.published_value and outbox.pending_value are both '
            '"%s": nothing would tell what is published', value);
    ELSIF kind <> 'boolean' AND pending = '' AND own.attnotnull THEN
        RAISE invalid_parameter_value USING MESSAGE = format('column %I of table %s is never NULL: say in '
            'outbox.pending_value what it has in rows that wait', col, box);
    END IF;
    IF kind = 'boolean' THEN
        done := format('%I IS %s', col, CASE WHEN value::boolean THEN 'TRUE' ELSE 'FALSE' END);
        waiting := format('%I IS NOT %s', col, CASE WHEN value::boolean THEN 'TRUE' ELSE 'FALSE' END);
    ELSE
        done := format('%I = %L', col, value);
        waiting := format('%I IS NULL', col);
    END IF;
    IF pending <> '' THEN
        waiting := format('%I = %L', col, pending);
    END IF;
    UPDATE outbox_relay.outboxes o
       SET mark_column = col, mark_value = current_setting('outbox_relay.published_value'), mark_waits = pending,
           mark_timed = false, waits = waiting, published = done, marked = format('%L::%s', value, own.said)
     WHERE o.outbox = box;

    -- The claim walks it. Compared as PostgreSQL writes it.
    EXECUTE format('CREATE TABLE outbox_relay.judged (LIKE %s)', box);
    EXECUTE format('CREATE INDEX ON outbox_relay.judged (%I) WHERE %s', id, waiting);
    SELECT pg_get_expr(i.indpred, i.indrelid) INTO canon FROM pg_index i
     WHERE i.indrelid = 'outbox_relay.judged'::regclass;
    DROP TABLE outbox_relay.judged;
    UPDATE outbox_relay.outboxes o SET waits_index = canon WHERE o.outbox = box;
    IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                    WHERE i.indrelid = box AND i.indisvalid AND a.attname = id
                      AND pg_get_expr(i.indpred, i.indrelid) = canon) THEN
        EXECUTE format('CREATE INDEX ON %s (%I) WHERE %s', box, id, waiting);
    END IF;
END $$;

DO $$
DECLARE
    who name;
BEGIN
    REVOKE ALL ON FUNCTION outbox_relay.is_event(regclass), outbox_relay.meets(text) FROM PUBLIC;
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid IN (o.relay, o.operator) LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.is_event(regclass), outbox_relay.meets(text) TO %I', who);
    END LOOP;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (17, '0017_marks.sql') ON CONFLICT DO NOTHING;
