-- SPDX-License-Identifier: ISC
-- outbox-relay 14: positions, by which settle = "position" knows what is published. Rows stay as they are.
--
-- Each row has in x the transaction that inserted it, or that changed it last while it was no event (outbox.where). A
-- shard's position is two snapshots and an id: published is what the snapshot `finished` shows; then, in the order of
-- ids, what `target` shows of the rest. Published of that is what has an id up to `reached`. Once all of it is, target
-- becomes finished. (So PgQ does it.)
-- A snapshot that shows a transaction shows all that were committed before that one began, so no event overtakes
-- another of its key, whatever the order of commits and ids is. What ids are worth otherwise plays no role.

SELECT set_config('outbox_relay.outbox', format('%I.%I', :'outbox_schema', :'outbox_table'), false),
       set_config('outbox_relay.id', :'outbox_id', false),
       set_config('outbox_relay.event_id', :'outbox_event_id', false),
       set_config('outbox_relay.settle', :'settle', false);

-- What the positions are of. position_layout: into so many shards the hash of the key tells rows apart, and 0 where
-- each partition by hash is one. position_keys: the columns that the key is made of; of no account while it is one
-- shard. position_columns: the id and the event id. position_home: the server, database and table whose transactions
-- x names; elsewhere they mean nothing.
ALTER TABLE outbox_relay.outboxes ADD COLUMN IF NOT EXISTS position_layout integer,
                                  ADD COLUMN IF NOT EXISTS position_keys text[],
                                  ADD COLUMN IF NOT EXISTS position_columns text[],
                                  ADD COLUMN IF NOT EXISTS position_home text;

-- A position is the last row of its shard: the claim that adds one deletes the one before, at its place. It is read
-- from its end, so that rows which vacuum cannot remove yet are not walked; a row that is updated again and again would
-- be looked for among all its versions.
CREATE TABLE IF NOT EXISTS outbox_relay.positions (
    outbox   regclass    NOT NULL,
    layout   integer     NOT NULL,
    shard    bigint      NOT NULL, -- from 0; or the oid of the partition
    number   bigint      GENERATED ALWAYS AS IDENTITY,
    finished pg_snapshot NOT NULL,
    target   pg_snapshot,          -- NULL: the next claim takes the snapshot that it sees
    reached  bigint,
    walks    boolean     NOT NULL DEFAULT false, -- target is read in the order of ids, not by x: it is large
    PRIMARY KEY (outbox, layout, shard, number),
    CHECK (target IS NOT NULL OR reached IS NULL AND NOT walks)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        vacuum_truncate = off);

-- Rows that are settled though the position has not come to them: published in a batch that was rolled back, or
-- rejected. The claim that comes to one leaves it out, and takes it from here.
CREATE TABLE IF NOT EXISTS outbox_relay.settled_ahead (
    outbox   regclass NOT NULL,
    id       bigint   NOT NULL,
    event_id text
);
CREATE INDEX IF NOT EXISTS settled_ahead_row ON outbox_relay.settled_ahead (outbox, id);
-- Without a key its rows could not be deleted while a publication has all tables, as Debezium makes one.
DO $$ BEGIN
    IF (SELECT c.relreplident <> 'f' FROM pg_class c WHERE c.oid = 'outbox_relay.settled_ahead'::regclass) THEN
        ALTER TABLE outbox_relay.settled_ahead REPLICA IDENTITY FULL;
    END IF;
END $$;

-- The server, the database and the table.
CREATE OR REPLACE FUNCTION outbox_relay.position_home(box regclass) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                     (SELECT oid FROM pg_database WHERE datname = current_database()), box::oid)
$$;

-- The last position of each shard: the last of all, and then the last of each lower shard.
CREATE OR REPLACE FUNCTION outbox_relay.last_positions(box regclass)
    RETURNS TABLE (shard bigint, finished pg_snapshot, target pg_snapshot, reached bigint, walks boolean)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
    WITH RECURSIVE own AS MATERIALIZED (SELECT o.outbox, o.position_layout AS layout FROM outbox_relay.outboxes o
                                         WHERE o.outbox = box),
    last AS (SELECT p.* FROM own CROSS JOIN LATERAL (
                    SELECT p.* FROM outbox_relay.positions p WHERE p.outbox = own.outbox AND p.layout = own.layout
                     ORDER BY p.shard DESC, p.number DESC LIMIT 1) AS p
              UNION ALL
             SELECT p.* FROM last CROSS JOIN LATERAL (
                    SELECT p.* FROM outbox_relay.positions p
                     WHERE p.outbox = last.outbox AND p.layout = last.layout AND p.shard < last.shard
                     ORDER BY p.shard DESC, p.number DESC LIMIT 1) AS p)
    SELECT last.shard, last.finished, last.target, last.reached, last.walks FROM last
$$;

-- Whether a shard has none: a partition by hash that was attached since.
CREATE OR REPLACE FUNCTION outbox_relay.lacks_positions(box regclass) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE o.position_layout WHEN 0 THEN EXISTS (
                SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = box
                EXCEPT SELECT p.shard::oid FROM outbox_relay.last_positions(box) AS p)
           ELSE (SELECT count(*) FROM outbox_relay.last_positions(box)) IS DISTINCT FROM o.position_layout END
      FROM outbox_relay.outboxes o WHERE o.outbox = box
$$;

-- The condition, as text, that a row "t" of the outbox is settled. Shards have positions of their own while several
-- relays are at work.
CREATE OR REPLACE FUNCTION outbox_relay.settled_condition(box regclass) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own    outbox_relay.outboxes := (SELECT o FROM outbox_relay.outboxes o WHERE o.outbox = box);
    shards text;
    kinds  bigint;
    hash   text;
BEGIN
    IF own.position_home IS DISTINCT FROM outbox_relay.position_home(box) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('the positions of table %s are of another server, '
            'database or table (%s); see outbox_relay.set_position', box, own.position_home);
    END IF;
    SELECT count(DISTINCT c.said), CASE count(DISTINCT c.said) WHEN 1 THEN min(c.said) ELSE
           string_agg(format('WHEN %s THEN %s', CASE own.position_layout WHEN 0 THEN format('t.tableoid IN (%s)', (
                      SELECT string_agg(r.relid::oid::text, ', ') FROM pg_partition_tree(c.shard::oid) AS r))
                      ELSE c.shard::text END, c.said), ' ' ORDER BY c.shard) END INTO kinds, shards
      FROM (SELECT p.shard, format('(pg_visible_in_snapshot(t.x, %L)', p.finished)
                   || CASE WHEN p.reached IS NULL THEN '' ELSE format(' OR pg_visible_in_snapshot(t.x, %L) AND t.%I <= %s',
                      p.target, own.position_columns[1], p.reached) END || ')' AS said
              FROM outbox_relay.last_positions(box) AS p) AS c;
    IF kinds IS DISTINCT FROM 1 AND own.position_layout > 0 THEN
        SELECT '''''' || string_agg(format(' || coalesce(t.%I::text, '''') || chr(31)', k), '' ORDER BY n) INTO hash
          FROM unnest(own.position_keys) WITH ORDINALITY AS keys (k, n);
        shards := format('CASE (hashtextextended((%s) COLLATE "C", 0) & 9223372036854775807) %% %s %s END', hash,
                         own.position_layout, shards);
    ELSIF kinds IS DISTINCT FROM 1 THEN
        shards := format('CASE %s END', shards);
    END IF;
    RETURN format('(%s OR EXISTS (SELECT FROM outbox_relay.settled_ahead AS a WHERE a.outbox = %s::oid AND '
                  'a.id = t.%I AND a.event_id IS NOT DISTINCT FROM t.%I::text))', coalesce(shards, 'false'), box::oid,
                  own.position_columns[1], own.position_columns[2]);
END $$;

-- The rows "t" that wait, for FROM, as text; of this part of the outbox only, if one is named. They are found by x, so
-- that of a table with a long history only what was inserted lately is looked at: what the position that is furthest
-- behind does not show was begun after all that it shows, or was under way, and is not any more. Of a shard that walks its
-- target is shown, but for ids above those it has come to; these are looked at first: what it has passed may be millions
-- of rows. A row whose shard has no position waits, but is found only if it is as late.
CREATE OR REPLACE FUNCTION outbox_relay.waiting_rows(box regclass, part text DEFAULT NULL) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('(%6$sSELECT t.* FROM %1$s AS t WHERE t.x >= %2$L::xid8 AND %4$s IS NOT TRUE AND %5$s%7$s UNION ALL SELECT t.* '
                  'FROM %1$s AS t WHERE t.x = ANY (ARRAY(SELECT r FROM unnest(%3$L::xid8[]) AS r WHERE pg_visible_in_snapshot(r, '
                  'pg_current_snapshot()))) AND %4$s IS NOT TRUE AND %5$s%7$s) AS t', own.rows,
                  coalesce(pg_snapshot_xmax(low.shown), '0'), ARRAY(SELECT pg_snapshot_xip(low.shown)), own.settled, own.event,
                  'SELECT t.* FROM ' || own.rows || ' AS t WHERE ' || walk.beyond || ' AND ' || own.settled || ' IS NOT TRUE AND '
                  || own.event || ' UNION ALL ', ' AND (' || walk.beyond || ') IS NOT TRUE')
      FROM (SELECT coalesce(part, box::text) AS rows, outbox_relay.settled_condition(box) AS settled,
                   outbox_relay.is_event(box) AS event,
                   (SELECT o.position_columns[1] FROM outbox_relay.outboxes o WHERE o.outbox = box) AS id) AS own
      LEFT JOIN LATERAL (
           SELECT l.shown FROM (SELECT CASE WHEN p.walks THEN p.target ELSE p.finished END AS shown
                                  FROM outbox_relay.last_positions(box) AS p) AS l
            ORDER BY pg_snapshot_xmax(l.shown), (SELECT -count(*) FROM pg_snapshot_xip(l.shown)) LIMIT 1) AS low ON true
      LEFT JOIN LATERAL (
           SELECT format('t.%I > %s', own.id, min(coalesce(p.reached, -9223372036854775808))) AS beyond
             FROM outbox_relay.last_positions(box) AS p WHERE p.walks HAVING count(*) > 0) AS walk ON true
$$;

-- How many they are, so many at most, and the lowest and highest of their ids.
CREATE OR REPLACE FUNCTION outbox_relay.count_waiting(box regclass, most bigint, OUT depth bigint, OUT first bigint,
                                                      OUT last bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
    EXECUTE format('SELECT count(*), min(w.id), max(w.id) FROM (SELECT t.%I::bigint AS id FROM %s LIMIT $1) AS w',
                   (SELECT o.position_columns[1] FROM outbox_relay.outboxes o WHERE o.outbox = box),
                   outbox_relay.waiting_rows(box))
       INTO depth, first, last USING most;
END $$;

-- Whoever inserts a row, and by whatever way, x is the transaction that does.
CREATE OR REPLACE FUNCTION outbox_relay.keep_x() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.x := pg_current_xact_id();
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION outbox_relay.keep_x() FROM PUBLIC;

-- It stays that, while the row is an event. Of one that is none the position says nothing, so that it may become one,
-- unless it was withdrawn: what UPDATE makes of it is not known here, where columns that are generated have no value yet.
-- What places a row before or behind a position is not changed: an event that waits would be passed
-- over, and a published one come again. That is its id; where shards are told apart, its key; and what decides on
-- its partition, since a row that moves to another one is inserted there.
CREATE OR REPLACE FUNCTION outbox_relay.keep_place() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own   outbox_relay.outboxes := (SELECT o FROM outbox_relay.outboxes o
                                     WHERE o.outbox = coalesce(pg_partition_root(TG_RELID), TG_RELID));
    named text;
    other boolean;
    event boolean := true;
BEGIN
    IF own.condition <> '' THEN
        EXECUTE format('SELECT %s OR EXISTS (SELECT FROM outbox_relay.withdrawn AS w WHERE w.outbox = $2 AND w.id = '
                       'own.%I::bigint AND w.event_id IS NOT DISTINCT FROM own.%I::text) FROM (SELECT ($1).*) AS own',
                       outbox_relay.is_event(own.outbox), own.position_columns[1], own.position_columns[2])
           INTO event USING OLD, own.outbox;
    END IF;
    NEW.x := CASE WHEN event THEN OLD.x ELSE pg_current_xact_id() END;
    FOR named IN
        SELECT own.position_columns[1] WHERE own.outbox IS NOT NULL
         UNION
        SELECT unnest(own.position_keys) WHERE own.position_layout > 1
         UNION
        SELECT a.attname::text FROM pg_partition_ancestors(TG_RELID) AS t
          JOIN pg_partitioned_table p ON p.partrelid = t.relid
          JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs)
    LOOP
        EXECUTE format('SELECT ($1).%1$I IS DISTINCT FROM ($2).%1$I', named) INTO other USING OLD, NEW;
        IF other THEN
            RAISE feature_not_supported USING MESSAGE = format('column %I of table %s is not changed where a position tells '
                'what is published', named, TG_RELID::regclass), HINT = 'Delete the row, and insert another one.';
        END IF;
    END LOOP;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION outbox_relay.keep_place() FROM PUBLIC;

-- Keeps all others away. Claims go from partition to partition, as the lock does: who does not get it at once lets go
-- of what it has, so that the two never wait for each other.
CREATE OR REPLACE FUNCTION outbox_relay.lock_outbox(box regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    FOR attempt IN 1..100 LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', box);
            RETURN;
        EXCEPTION
            WHEN lock_not_available THEN
                IF attempt = 100 THEN
                    RAISE;
                END IF;
        END;
        PERFORM pg_sleep(random() * 0.1);
    END LOOP;
END $$;

-- The column x, with all that hangs on it.
CREATE OR REPLACE FUNCTION outbox_relay.drop_x(box regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named name;
BEGIN
    FOREACH named IN ARRAY ARRAY['outbox_relay_x', 'outbox_relay_x_stays'] LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', named, box);
    END LOOP;
    EXECUTE format('ALTER TABLE %s DROP COLUMN IF EXISTS x', box);
END $$;

-- Begins anew: the column x, its index and its triggers, and a first position. Rows for which the condition holds are
-- to be published: they get this transaction, which the position does not show; all others one that it does.
CREATE OR REPLACE FUNCTION outbox_relay.begin_positions(box regclass, id name, event_id name, unpublished text)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own  xid8 := pg_current_xact_id();
    past text;
BEGIN
    PERFORM outbox_relay.lock_outbox(box);
    -- Never above own, and below what is under way.
    past := pg_snapshot_xmin(pg_current_snapshot())::text;
    PERFORM outbox_relay.drop_x(box);
    EXECUTE format('ALTER TABLE %s ADD COLUMN x xid8 NOT NULL DEFAULT %L', box,
                   CASE unpublished WHEN 'true' THEN own::text ELSE '3' END);
    IF unpublished NOT IN ('true', 'false') THEN
        EXECUTE format('UPDATE %s AS t SET x = %L WHERE %s', box, own, unpublished);
    END IF;
    EXECUTE format('ALTER TABLE %s ALTER COLUMN x SET DEFAULT pg_catalog.pg_current_xact_id()', box);
    EXECUTE format('CREATE INDEX ON %s (x, %I)', box, id);
    EXECUTE format('CREATE TRIGGER outbox_relay_x BEFORE INSERT ON %s FOR EACH ROW '
                   'WHEN (NEW.x IS DISTINCT FROM pg_catalog.pg_current_xact_id()) '
                   'EXECUTE FUNCTION outbox_relay.keep_x()', box);
    EXECUTE format('CREATE TRIGGER outbox_relay_x_stays BEFORE UPDATE ON %s FOR EACH ROW '
                   'EXECUTE FUNCTION outbox_relay.keep_place()', box);
    -- Logical replication fires no others.
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER outbox_relay_x, ENABLE ALWAYS TRIGGER outbox_relay_x_stays', box);
    DELETE FROM outbox_relay.positions p WHERE p.outbox = box;
    DELETE FROM outbox_relay.settled_ahead a WHERE a.outbox = box;
    INSERT INTO outbox_relay.positions (outbox, layout, shard, finished)
    SELECT box, s.layout, s.shard, (past || ':' || past || ':')::pg_snapshot
      FROM (SELECT 0, i.inhrelid::bigint FROM pg_partitioned_table t JOIN pg_inherits i ON i.inhparent = t.partrelid
             WHERE t.partrelid = box AND t.partstrat = 'h'
             UNION ALL
            SELECT 1, 0 WHERE NOT EXISTS (SELECT FROM pg_partitioned_table t WHERE t.partrelid = box AND t.partstrat = 'h')
           ) AS s (layout, shard);
    UPDATE outbox_relay.outboxes o
       SET position_layout = (SELECT min(p.layout) FROM outbox_relay.positions p WHERE p.outbox = box),
           position_keys = NULL, position_columns = ARRAY[id::text, event_id::text],
           position_home = outbox_relay.position_home(box)
     WHERE o.outbox = box;
END $$;

-- In the order of claims, which read the outbox and then write their positions.
CREATE OR REPLACE FUNCTION outbox_relay.lock_positions(box regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM outbox_relay.lock_outbox(box);
    LOCK TABLE outbox_relay.positions IN EXCLUSIVE MODE;
END $$;

-- The relay's shards are to be told apart in another way. Once all shards of the old layout are at one position, that
-- is the position of the new ones: whoever has shard 0 (first) brings them there. True: the session's statements are
-- of a layout that is over.
CREATE OR REPLACE FUNCTION outbox_relay.take_up(box regclass, old integer, new integer, keys text[], first boolean)
    RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last record;
BEGIN
    IF (SELECT o.position_layout IS DISTINCT FROM old OR o.position_layout = new AND o.position_keys = keys
          FROM outbox_relay.outboxes o WHERE o.outbox = box) THEN
        RETURN true; -- somebody has done so
    ELSIF NOT first OR (SELECT count(DISTINCT (p.finished::text, p.target::text, p.reached, p.walks))
                          FROM outbox_relay.last_positions(box) AS p) <> 1 THEN
        RETURN false;
    END IF;
    SELECT * INTO last FROM outbox_relay.last_positions(box) LIMIT 1;
    DELETE FROM outbox_relay.positions p WHERE p.outbox = box;
    INSERT INTO outbox_relay.positions (outbox, layout, shard, finished, target, reached, walks)
    SELECT box, new, s, last.finished, last.target, last.reached, last.walks FROM generate_series(0, new - 1) AS s;
    UPDATE outbox_relay.outboxes o SET position_layout = new, position_keys = keys WHERE o.outbox = box;
    RETURN true;
END $$;

-- Deletes the oldest settled rows that were created longer ago than `kept` ms: so many at most, after so many that are
-- passed over, of those with ids higher than `above`. A row that another session has locked is for another time. How
-- many went, and up to which id no row need be looked at again soon; NULL: there was none to look at.
-- What is no event, and a row without a time or with one in the future, stays and is walked past, but not without an
-- end, since claims of the same session wait meanwhile. `deleted` NULL: there was nothing else up to `upto`, and what
-- lies behind was not looked at. Times of clocks that differ, and of other time zones, are less than a day ahead. Whether
-- a row is an event is asked of old rows only: the young ones behind them are looked at every few seconds.
CREATE OR REPLACE FUNCTION outbox_relay.purge_settled(box regclass, leaf regclass, created name, kept bigint, most bigint,
                                                      passed bigint, above bigint)
    RETURNS TABLE (deleted bigint, upto bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    own  outbox_relay.outboxes := outbox_relay.own_outbox(box);
    walk CONSTANT bigint := 50000;
BEGIN
    IF own.settle <> 'position' OR NOT EXISTS (SELECT FROM pg_partition_tree(box) AS t WHERE t.relid = leaf) AND leaf <> box THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format('WITH seen AS MATERIALIZED (SELECT t.tableoid AS part, t.ctid AS place, t.%2$I::bigint AS '
        'id, t.%3$I < clock_timestamp() - $1 * interval ''1 ms'' AND %4$s AS is_old FROM (SELECT t.*, t.tableoid, t.ctid '
        'FROM %1$s AS t WHERE t.%2$I > $4 ORDER BY t.%2$I LIMIT $5) AS t WHERE t.%3$I < clock_timestamp() + interval '
        '''1 day'' AND (t.%3$I >= clock_timestamp() - $1 * interval ''1 ms'' OR %5$s) ORDER BY t.%2$I LIMIT $2 '
        'OFFSET $3), last AS MATERIALIZED (SELECT t.%2$I::bigint AS id FROM %1$s AS t WHERE t.%2$I > $4 AND '
        'NOT EXISTS (SELECT FROM seen) ORDER BY t.%2$I LIMIT 1 OFFSET $5 - 1), old AS '
        'MATERIALIZED (SELECT part, place FROM seen WHERE is_old), gone AS (DELETE FROM %1$s AS t USING (SELECT t.tableoid '
        'AS part, t.ctid AS place FROM %1$s AS t JOIN old ON t.tableoid = old.part AND t.ctid = old.place FOR UPDATE OF t '
        'SKIP LOCKED) AS old WHERE t.tableoid = old.part AND t.ctid = old.place RETURNING t.%2$I::bigint AS id) SELECT CASE '
        'WHEN NOT EXISTS (SELECT FROM last) THEN count(*) END, coalesce(max(id), (SELECT min(id) - 1 FROM seen), (SELECT id '
        'FROM last)) FROM gone', leaf, own.position_columns[1], created, outbox_relay.settled_condition(box),
        outbox_relay.is_event(box)) USING kept, most, passed, above, walk;
END $$;

-- Back to another way of settling: what is settled is deleted, or marked. Claims that are under way are waited for,
-- and no other one begins: a relay that is still there finds no positions any more, and publishes nothing.
CREATE OR REPLACE FUNCTION outbox_relay.leave_positions(box regclass, settle text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM outbox_relay.lock_positions(box);
    IF settle = 'mark' THEN
        IF current_setting('outbox_relay.published_value', true) <> '' THEN
            RAISE object_not_in_prerequisite_state USING MESSAGE = format('the rows of table %s that positions say are '
                'published can be marked by a time only; leave outbox.published_value out', box);
        END IF;
        EXECUTE format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS %I timestamptz', box, current_setting('outbox_relay.published'));
        EXECUTE format('UPDATE %1$s AS t SET %2$I = clock_timestamp() WHERE t.%2$I IS NULL AND %3$s AND %4$s', box,
                       current_setting('outbox_relay.published'), outbox_relay.settled_condition(box),
                       outbox_relay.is_event(box));
    ELSE
        EXECUTE format('DELETE FROM %s AS t WHERE %s AND %s', box, outbox_relay.settled_condition(box),
                       outbox_relay.is_event(box));
    END IF;
    PERFORM outbox_relay.drop_x(box);
    DELETE FROM outbox_relay.positions p WHERE p.outbox = box;
    DELETE FROM outbox_relay.settled_ahead a WHERE a.outbox = box;
    UPDATE outbox_relay.outboxes o SET position_layout = NULL, position_keys = NULL, position_columns = NULL,
                                       position_home = NULL WHERE o.outbox = box;
END $$;

-- Where the relay's sessions are, at an action that they must not see.
CREATE OR REPLACE FUNCTION outbox_relay.refuse_relays(box regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = box::oid AND l.granted
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND l.pid IS DISTINCT FROM pg_backend_pid()) THEN
        RAISE object_in_use USING MESSAGE = format('a relay of table %s is connected; stop all of them first', box);
    END IF;
END $$;

REVOKE ALL ON FUNCTION outbox_relay.refuse_relays(regclass) FROM PUBLIC;

-- A relay of before left them there for a while.
DELETE FROM outbox_relay.positions p WHERE EXISTS (
       SELECT FROM outbox_relay.positions n
        WHERE n.outbox = p.outbox AND n.layout = p.layout AND n.shard = p.shard AND n.number > p.number);
-- Of tables that were dropped since.
DELETE FROM outbox_relay.positions p WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = p.outbox);
DELETE FROM outbox_relay.settled_ahead a WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = a.outbox);

-- The first time. Rows that mark mode, or a relay of the application's own, has published stay published; in delete mode
-- all rows wait, whatever such a column is for.
DO $$
DECLARE
    box  regclass := current_setting('outbox_relay.outbox');
    kind oid;
BEGIN
    IF current_setting('outbox_relay.settle') <> 'position' THEN
        IF EXISTS (SELECT FROM outbox_relay.outboxes o WHERE o.outbox = box AND o.position_layout IS NOT NULL) THEN
            PERFORM outbox_relay.leave_positions(box, current_setting('outbox_relay.settle'));
        END IF;
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM outbox_relay.outboxes o WHERE o.outbox = box AND o.position_layout IS NOT NULL) THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = box AND t.tgfoid = 'outbox_relay.keep_x()'::regprocedure) THEN
        -- A copy of an outbox. What of it is published is for its owner to say, by set_position.
        UPDATE outbox_relay.outboxes o
           SET position_layout = CASE WHEN EXISTS (SELECT FROM pg_partitioned_table t
                                                    WHERE t.partrelid = box AND t.partstrat = 'h') THEN 0 ELSE 1 END,
               position_columns = ARRAY[current_setting('outbox_relay.id'), current_setting('outbox_relay.event_id')],
               position_home = 'not known'
         WHERE o.outbox = box;
        RETURN;
    END IF;
    SELECT a.atttypid INTO kind FROM pg_attribute a
     WHERE a.attrelid = box AND a.attname = 'x' AND NOT a.attisdropped;
    IF kind IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('table %s has a column x (%s), in which outbox.settle '
            '= "position" is to keep which transaction inserted a row; rename yours', box, format_type(kind, NULL));
    END IF;
    PERFORM outbox_relay.begin_positions(box, current_setting('outbox_relay.id'), current_setting('outbox_relay.event_id'),
        coalesce((SELECT o.waits FROM outbox_relay.outboxes o WHERE o.outbox = box),
            CASE WHEN current_setting('outbox_relay.settled_by', true) IS DISTINCT FROM 'delete' AND EXISTS (
                      SELECT FROM pg_attribute WHERE attrelid = box AND attname = 'published_at' AND NOT attisdropped)
                 THEN 't.published_at IS NULL' ELSE 'true' END));
END $$;

-- Rights. Rows are only read. Whoever owns the shard writes its position.
DO $$
DECLARE
    who name;
    rel regclass;
BEGIN
    REVOKE ALL ON FUNCTION outbox_relay.position_home(regclass), outbox_relay.last_positions(regclass),
        outbox_relay.settled_condition(regclass), outbox_relay.begin_positions(regclass, name, name, text),
        outbox_relay.count_waiting(regclass, bigint), outbox_relay.take_up(regclass, integer, integer, text[], boolean),
        outbox_relay.purge_settled(regclass, regclass, name, bigint, bigint, bigint, bigint),
        outbox_relay.leave_positions(regclass, text), outbox_relay.lacks_positions(regclass),
        outbox_relay.waiting_rows(regclass, text), outbox_relay.drop_x(regclass), outbox_relay.lock_outbox(regclass),
        outbox_relay.lock_positions(regclass) FROM PUBLIC;
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid = o.relay LOOP
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON outbox_relay.positions, outbox_relay.settled_ahead TO %I', who);
        EXECUTE format('GRANT UPDATE (position_layout, position_keys) ON outbox_relay.outboxes TO %I', who);
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.take_up(regclass, integer, integer, text[], boolean), '
                       'outbox_relay.purge_settled(regclass, regclass, name, bigint, bigint, bigint, bigint) TO %I', who);
    END LOOP;
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid IN (o.relay, o.operator) LOOP
        EXECUTE format('GRANT SELECT ON outbox_relay.positions, outbox_relay.settled_ahead TO %I', who);
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.position_home(regclass), '
                       'outbox_relay.last_positions(regclass), outbox_relay.lacks_positions(regclass), '
                       'outbox_relay.settled_condition(regclass), outbox_relay.waiting_rows(regclass, text), '
                       'outbox_relay.count_waiting(regclass, bigint) TO %I', who);
    END LOOP;
    FOREACH rel IN ARRAY ARRAY['outbox_relay.positions', 'outbox_relay.settled_ahead']::regclass[] LOOP
        IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = rel) THEN
            EXECUTE format('CREATE POLICY own ON %s USING (outbox IN (SELECT o.outbox FROM outbox_relay.outboxes o '
                           'WHERE pg_catalog.pg_has_role(o.relay, ''USAGE'') '
                           'OR pg_catalog.pg_has_role(o.operator, ''USAGE'')))', rel);
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', rel);
        END IF;
    END LOOP;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (14, '0014_positions.sql') ON CONFLICT DO NOTHING;
