-- SPDX-License-Identifier: ISC
-- outbox-relay 9: an INSERT fails, or warns, while too many events wait. Nothing does until you ask for it:
--
--     SELECT outbox_relay.set_depth_guard('outbox_events', 1000000);          -- or ..., 'warn')
--     SELECT outbox_relay.set_depth_guard('outbox_events', NULL);             -- no longer
--
-- It makes a trigger whose WHEN compares the row's id with a sequence, as the bell does: a microsecond, and
-- nothing of ours runs. That sequence, the base, is the last id drawn less the events that wait, as of the last
-- count: an id above base + limit may be one too many. Then the INSERT counts, by the index of the ids, and
-- sets the base anew. So ids that no event has are soon forgotten, no relay has to run, and it is always a
-- count that refuses. Counts are rare (one in `limit` inserts) while few events wait; close to the limit there is
-- one in a twentieth of `limit` inserts, and so many more events may get in. Beyond the limit a count is good for
-- five times as long as it took, for all sessions.

-- What is counted, and what was. Only the functions below use it.
CREATE TABLE IF NOT EXISTS outbox_relay.depths (
    outbox  regclass PRIMARY KEY,
    id      name     NOT NULL, -- the column
    ids     regclass,          -- the sequence that gives them; NULL: the database does not
    base    regclass NOT NULL, -- sequences: last id drawn - depth at the last count; everybody may read it
    counted regclass NOT NULL, -- the depth then
    until   regclass NOT NULL, -- how long it is good, in ms since 1970
    low     regclass NOT NULL, -- nothing waited up to this id: the next count need not walk dead rows
    walked  regclass NOT NULL  -- when a count last began at the lowest id, in ms since 1970
);

-- How many events wait: as counted lately (anew is false), or now. NULL: not known. most, action: the limit, and
-- what is done beyond it. coming: so many ids are drawn whose events will be there as soon as we return. Events
-- that a policy of the table hides from our owner cannot be counted: that is an error then.
CREATE OR REPLACE FUNCTION outbox_relay.count_depth(box regclass, most bigint, action text, coming integer,
                                                    OUT depth bigint, OUT anew boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET row_security = off AS $$
DECLARE
    chunk CONSTANT integer     := 10000;
    began CONSTANT timestamptz := clock_timestamp();
    now   CONSTANT bigint      := 1000 * extract(epoch FROM began);
    state outbox_relay.depths;
    waits text;
    drawn bigint;
    last  bigint := -9223372036854775808;
    first bigint; -- the lowest that waits
    many  bigint;
    low   bigint;
    high  bigint;
    rest  interval; -- until another count
    slack bigint;
BEGIN
    SELECT d.* INTO state FROM outbox_relay.depths d WHERE d.outbox = box;
    IF pg_sequence_last_value(state.until) > now THEN
        depth := pg_sequence_last_value(state.counted);
        anew := false;
        RETURN;
    END IF;
    -- What this transaction sees is old, or it may not write down what it finds.
    IF current_setting('transaction_read_only')::boolean
       OR (current_setting('transaction_isolation') <> 'read committed'
           AND began > transaction_timestamp() + interval '1 second') THEN
        RETURN;
    END IF;
    -- Others go by the last count meanwhile; no lock is needed for that.
    PERFORM setval(state.until, now + 100);
    drawn := coalesce(pg_sequence_last_value(state.ids), 0);
    waits := (SELECT CASE WHEN o.settle IN ('delete', 'mark') THEN
                          format(' AND %s AND %s', coalesce(o.waits, 'true'), outbox_relay.is_event(box)) END
                FROM outbox_relay.outboxes o WHERE o.outbox = box);
    -- An event of a transaction that was open then may have come below it, so not for long.
    IF pg_sequence_last_value(state.walked) > now - 10000 THEN
        last := pg_sequence_last_value(state.low);
    ELSE
        PERFORM setval(state.walked, now);
    END IF;
    depth := 0;
    IF waits IS NULL THEN -- rows stay, and their ids say nothing
        SELECT w.depth, w.first, w.last INTO depth, first, high FROM outbox_relay.count_waiting(box, 5 * chunk) AS w;
        IF depth = 5 * chunk THEN
            depth := depth + greatest(drawn - high, 0);
        END IF;
    END IF;
    LOOP
        EXIT WHEN waits IS NULL;
        EXECUTE format('SELECT count(*), min(x.id), max(x.id) FROM (SELECT t.%1$I::bigint AS id FROM %2$s AS t '
                       'WHERE t.%1$I > $1%3$s ORDER BY t.%1$I LIMIT $2) AS x', state.id, box, waits)
           INTO many, low, high USING last, chunk;
        depth := depth + many;
        first := coalesce(first, low);
        EXIT WHEN many < chunk;
        last := high;
        IF clock_timestamp() > began + interval '100 ms' THEN -- the ids tell the rest
            depth := depth + greatest(drawn - last, 0);
            EXIT;
        END IF;
    END LOOP;
    anew := true;
    rest := CASE WHEN depth < most THEN '0' WHEN action = 'warn' THEN interval '1 second' -- each one is logged
            ELSE 5 * (clock_timestamp() - began) END;
    slack := CASE WHEN depth < most THEN greatest(most / 20 - (most - depth), 0) ELSE 0 END;
    -- What was drawn lately may not be there yet: no further than to what was drawn at the last count.
    PERFORM setval(state.low, least(coalesce(first, drawn) - 1, pg_sequence_last_value(state.base)
                                                                + pg_sequence_last_value(state.counted)));
    PERFORM setval(state.counted, depth), setval(state.base, drawn - depth - coming + slack),
            setval(state.until, (1000 * extract(epoch FROM clock_timestamp() + rest))::bigint);
END $$;
REVOKE ALL ON FUNCTION outbox_relay.count_depth(regclass, bigint, text, integer) FROM PUBLIC;

-- The depth, or NULL. Fails for no other reason than that it is too much.
CREATE OR REPLACE FUNCTION outbox_relay.judge_depth(box regclass, most bigint, action text, coming integer)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    depth bigint;
    anew  boolean;
BEGIN
    IF action NOT IN ('error', 'warn') OR most < 1 THEN
        RAISE WARNING 'depth_guard of table % takes a limit above 0, and "error" or "warn", not %, "%"; it lets '
            'everything pass', box, most, action;
        RETURN NULL;
    END IF;
    BEGIN
        SELECT pg_sequence_last_value(d.ids) - pg_sequence_last_value(d.base) - coming INTO depth
          FROM outbox_relay.depths d WHERE d.outbox = box AND d.ids IS NOT NULL;
        IF NOT FOUND OR depth BETWEEN 0 AND most - 1 THEN
            RETURN depth;
        END IF;
        SELECT c.depth, c.anew INTO depth, anew FROM outbox_relay.count_depth(box, most, action, coming) AS c;
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'depth_guard of table % cannot count and lets everything pass: %', box, SQLERRM;
        RETURN NULL;
    END;
    IF depth >= most AND action = 'error' THEN
        RAISE configuration_limit_exceeded USING
            MESSAGE = format('table %s takes no more events: %s wait to be published, and its depth guard allows %s',
                             box, depth, most),
            HINT = 'Nothing was written. Try again later; "outbox-relay status" says why the events wait.';
    ELSIF depth >= most AND anew THEN
        RAISE WARNING USING ERRCODE = 'configuration_limit_exceeded',
            MESSAGE = format('%s events of table %s wait to be published, and its depth guard allows %s',
                             depth, box, most),
            HINT = '"outbox-relay status" says why the events wait.';
    END IF;
    RETURN depth;
END $$;
REVOKE ALL ON FUNCTION outbox_relay.judge_depth(regclass, bigint, text, integer) FROM PUBLIC;

-- With the rights of its owner: whoever inserts needs none. A partition's trigger is a copy of the table's.
CREATE OR REPLACE FUNCTION outbox_relay.depth_guard() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_ARGV[0] ~ '^[0-9]{1,15}$' THEN
        PERFORM outbox_relay.judge_depth(coalesce(pg_partition_root(TG_RELID), TG_RELID), TG_ARGV[0]::bigint,
            coalesce(TG_ARGV[1], 'error'), CASE TG_LEVEL WHEN 'ROW' THEN 1 ELSE 0 END);
    ELSE
        RAISE WARNING 'trigger % takes a limit, not "%"; it lets everything pass', TG_NAME, TG_ARGV[0];
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION outbox_relay.depth_guard() FROM PUBLIC;

-- The same by a call, for an application that asks before it begins its work; it gets the depth. Slower than
-- the trigger. Only of a table into which the role that has logged in, or one that it is a member of, may insert:
-- in a function that has its owner's rights nothing tells who calls it.
CREATE OR REPLACE FUNCTION outbox_relay.depth_guard("limit" bigint, action text DEFAULT 'error',
                                                    outbox regclass DEFAULT NULL)
    RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    boxes regclass[] := ARRAY(
        SELECT d.outbox FROM outbox_relay.depths d JOIN pg_class c ON c.oid = d.outbox
         WHERE d.outbox = coalesce(depth_guard.outbox, d.outbox)
           AND (pg_has_role(session_user, c.relowner, 'MEMBER')
                OR EXISTS (SELECT FROM (SELECT c.relacl UNION ALL
                                        SELECT a.attacl FROM pg_attribute a WHERE a.attrelid = c.oid) AS all_acls (acl),
                                       aclexplode(acl) AS x
                            WHERE x.privilege_type = 'INSERT'
                              AND CASE x.grantee WHEN 0 THEN true ELSE pg_has_role(session_user, x.grantee, 'MEMBER') END)));
BEGIN
    IF cardinality(boxes) = 1 THEN
        RETURN outbox_relay.judge_depth(boxes[1], "limit", action, 0);
    END IF;
    IF cardinality(boxes) = 0 THEN
        RAISE WARNING 'depth_guard knows no outbox%that role % may insert into, and lets everything pass',
            coalesce(format(' %s ', outbox), ' '), session_user;
    ELSE
        RAISE WARNING 'depth_guard does not know which outbox is meant and lets everything pass; name it: '
            'depth_guard(%, ''%'', ''outbox_events'')', "limit", action;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION outbox_relay.depth_guard(bigint, text, regclass) FROM PUBLIC;

-- Makes the trigger, changes it, or takes it away. With the rights of the caller: who runs the migrations.
CREATE OR REPLACE FUNCTION outbox_relay.set_depth_guard(outbox regclass, "limit" bigint, action text DEFAULT 'error')
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    state outbox_relay.depths;
BEGIN
    IF "limit" IS NULL THEN
        EXECUTE format('DROP TRIGGER IF EXISTS outbox_relay_depth_guard ON %s', outbox);
        RETURN;
    END IF;
    SELECT d.* INTO state FROM outbox_relay.depths d WHERE d.outbox = set_depth_guard.outbox;
    IF NOT FOUND THEN
        RAISE undefined_table USING MESSAGE = format('table %s is not known to schema outbox_relay; run '
            'outbox-relay migrate for it', outbox);
    ELSIF state.ids IS NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('column %I of table %s gets its ids from no '
            'sequence, so nothing tells cheaply how many were drawn', state.id, outbox);
    ELSIF "limit" NOT BETWEEN 1 AND 999999999999999 OR action NOT IN ('error', 'warn') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('a depth guard takes a limit above 0, and "error" or '
            '"warn", not %s, "%s"', "limit", action);
    END IF;
    -- The first INSERT counts.
    PERFORM setval(state.base, -4611686018427387904), setval(state.until, 0), setval(state.walked, 0);
    EXECUTE format('CREATE OR REPLACE TRIGGER outbox_relay_depth_guard BEFORE INSERT ON %s FOR EACH ROW WHEN '
                   '(NEW.%I > pg_catalog.pg_sequence_last_value(%L::pg_catalog.regclass) + %s::bigint) '
                   'EXECUTE FUNCTION outbox_relay.depth_guard(%L, %L)',
                   outbox, state.id, state.base, "limit", "limit", action);
END $$;
REVOKE ALL ON FUNCTION outbox_relay.set_depth_guard(regclass, bigint, text) FROM PUBLIC;

-- Tables that were dropped since.
DO $$
DECLARE
    seq regclass;
BEGIN
    FOR seq IN
        WITH gone AS (DELETE FROM outbox_relay.depths d
                       WHERE NOT EXISTS (SELECT FROM outbox_relay.outboxes o WHERE o.outbox = d.outbox) RETURNING d.*)
        SELECT c.oid FROM gone JOIN pg_class c ON c.oid IN (gone.base, gone.counted, gone.until, gone.low, gone.walked)
    LOOP
        EXECUTE format('DROP SEQUENCE %s', seq);
    END LOOP;
END $$;

-- What a new outbox needs for a guard.
DO $$
DECLARE
    box   regclass := current_setting('outbox_relay.outbox');
    col   name     := current_setting('outbox_relay.id');
    gives regclass := coalesce(pg_get_serial_sequence(box::text, col)::regclass,
                               (SELECT d.refobjid FROM pg_attribute a
                                  JOIN pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
                                  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid
                                  JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
                                 WHERE a.attrelid = box AND a.attname = col
                                   AND d.refclassid = 'pg_class'::regclass LIMIT 1));
    what  text;
    named text;
    made  regclass[] := '{}';
BEGIN
    UPDATE outbox_relay.depths d SET id = col, ids = gives WHERE d.outbox = box;
    IF FOUND THEN
        RETURN;
    END IF;
    FOREACH what IN ARRAY ARRAY['base', 'counted', 'until', 'low', 'walked'] LOOP
        named := format('depth_%s_%s', what, box::oid);
        WHILE to_regclass(format('outbox_relay.%I', named)) IS NOT NULL LOOP -- a dump has brought it
            named := named || '_';
        END LOOP;
        EXECUTE format('CREATE SEQUENCE outbox_relay.%I MINVALUE -9223372036854775808 START 1', named);
        made := made || format('outbox_relay.%I', named)::regclass;
    END LOOP;
    EXECUTE format('GRANT SELECT ON SEQUENCE %s TO PUBLIC', made[1]);
    INSERT INTO outbox_relay.depths VALUES (box, col, gives, made[1], made[2], made[3], made[4], made[5]);
    PERFORM setval(made[1], -4611686018427387904), setval(made[2], 0), setval(made[3], 0),
            setval(made[4], 0), setval(made[5], 0);
END $$;

DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA outbox_relay TO %I', current_setting('outbox_relay.writer'));
    EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.depth_guard(bigint, text, regclass) TO %I',
                   current_setting('outbox_relay.writer'));
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (9, '0009_depth_guard.sql') ON CONFLICT DO NOTHING;
