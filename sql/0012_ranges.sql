-- SPDX-License-Identifier: ISC
-- outbox-relay 12: partitions by range that the relay makes ahead and drops behind.
--
-- outbox_relay.outboxes.partition_step says how far each reaches: a number of ids, or an interval. NULL: the relay
-- makes and drops none. `outbox-relay migrate --partition-by` sets it. The relay owns nothing, so it asks the
-- functions below. They have the rights of their owner, and so look at everything themselves: they make no
-- partition but the next one, and drop none in which an event waits, or could be inserted.

ALTER TABLE outbox_relay.outboxes ADD COLUMN IF NOT EXISTS partition_step text
    CHECK (partition_step ~ '^[1-9][0-9]{0,14}( hours| days)?$');

-- The partitions by range of one column, below the outbox or below its partitions by hash. What a bound says is
-- as PostgreSQL prints it, with times in UTC; both are NULL for a DEFAULT partition.
CREATE OR REPLACE FUNCTION outbox_relay.range_partitions(box regclass)
    RETURNS TABLE (parent regclass, part regclass, col name, type regtype, low text, high text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' AS $$
    SELECT p.partrelid::regclass, k.oid::regclass, a.attname, a.atttypid::regtype, b.bound[1], b.bound[2]
      FROM pg_partitioned_table p
      JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
      JOIN pg_inherits i ON i.inhparent = p.partrelid AND NOT i.inhdetachpending
      JOIN pg_class k ON k.oid = i.inhrelid
      LEFT JOIN LATERAL (SELECT regexp_match(pg_get_expr(k.relpartbound, k.oid),
                         '^FOR VALUES FROM \(''?(.*?)''?\) TO \(''?(.*?)''?\)$') AS bound) AS b ON true
     WHERE p.partstrat = 'r' AND p.partnatts = 1
       AND (p.partrelid = box OR p.partrelid IN (
            SELECT h.inhrelid FROM pg_inherits h JOIN pg_partitioned_table q ON q.partrelid = h.inhparent
             WHERE h.inhparent = box AND q.partstrat = 'h'))
$$;

-- Where inserts are now in a partitioned column: the last id drawn, or the time. NULL: it cannot be told.
CREATE OR REPLACE FUNCTION outbox_relay.range_position(box regclass, col name, type regtype) RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' AS $$
    SELECT CASE WHEN type IN ('int8'::regtype, 'int4'::regtype)
                THEN (SELECT coalesce(pg_sequence_last_value(s::regclass), 0)::text
                        FROM pg_get_serial_sequence(box::text, col::text) AS s WHERE s IS NOT NULL)
                WHEN type = 'timestamptz'::regtype THEN clock_timestamp()::text END
$$;

-- Why partitions of the outbox can be neither made, dropped nor counted; NULL: they can. A time without a zone is
-- the application's, up to 14 hours from ours: the partition that it inserts into may look over.
CREATE OR REPLACE FUNCTION outbox_relay.range_trouble(box regclass) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('is partitioned by column %I of type %s, which does not say at what moment a partition is over, '
                  'as timestamptz does', p.col, p.type)
      FROM outbox_relay.range_partitions(box) AS p
     WHERE p.type IN ('timestamp'::regtype, 'date'::regtype) LIMIT 1
$$;

-- A bound, or a position, as a number that can be compared: an id, or microseconds.
CREATE OR REPLACE FUNCTION outbox_relay.range_number(value text, type regtype) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' AS $$
    SELECT CASE WHEN value IN ('MINVALUE', '-infinity') THEN '-Infinity'::numeric
                WHEN value IN ('MAXVALUE', 'infinity') THEN 'Infinity'::numeric
                WHEN type IN ('int8'::regtype, 'int4'::regtype) THEN value::numeric
                ELSE extract(epoch FROM value::timestamptz) * 1000000 END
$$;

-- How many partitions there are that begin above where inserts are now: the fewest below any parent. 0: the next
-- inserts may fail, or fail already. NULL: there is always a partition, or it cannot be told.
CREATE OR REPLACE FUNCTION outbox_relay.partitions_ahead(box regclass) RETURNS bigint
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT min(CASE WHEN n.covered THEN n.ahead ELSE 0 END)
      FROM (SELECT r.parent, bool_or(r.low <= r.here AND r.here < r.high) AS covered,
                   count(*) FILTER (WHERE r.low > r.here) AS ahead,
                   bool_or(r.high IS NULL OR r.high = 'Infinity' OR r.here IS NULL) AS endless
              FROM (SELECT p.parent, outbox_relay.range_number(p.low, p.type) AS low,
                           outbox_relay.range_number(p.high, p.type) AS high,
                           outbox_relay.range_number(outbox_relay.range_position(box, p.col, p.type), p.type)
                           + CASE WHEN p.type IN ('int8'::regtype, 'int4'::regtype) THEN 1 ELSE 0 END AS here
                      FROM outbox_relay.range_partitions(box) AS p) AS r
             GROUP BY r.parent) AS n
     WHERE NOT n.endless
$$;

-- Whether pg_partman makes and drops the partitions of the outbox, or of a partition of it. NULL: it is installed,
-- and what it does cannot be read.
CREATE OR REPLACE FUNCTION outbox_relay.kept_by_partman(box regclass) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    home name := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                   WHERE e.extname = 'pg_partman');
    kept boolean;
BEGIN
    IF home IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I.part_config c JOIN pg_class k ON k.oid = $1 OR k.oid IN (
                    SELECT h.inhrelid FROM pg_inherits h WHERE h.inhparent = $1)
                    JOIN pg_namespace n ON n.oid = k.relnamespace
                    WHERE c.parent_table IN (n.nspname || ''.'' || k.relname, format(''%%I.%%I'', n.nspname, k.relname)))',
                   home) INTO kept USING box::oid;
    RETURN kept;
EXCEPTION
    WHEN insufficient_privilege OR undefined_table OR undefined_column THEN
        RETURN NULL;
END $$;

-- The outbox's row, if the session is a relay of it.
CREATE OR REPLACE FUNCTION outbox_relay.own_outbox(box regclass) RETURNS outbox_relay.outboxes
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own outbox_relay.outboxes;
BEGIN
    SELECT o.* INTO own FROM outbox_relay.outboxes o
      JOIN pg_class c ON c.oid = 'outbox_relay.outboxes'::regclass
     WHERE o.outbox = box AND (pg_has_role(session_user, o.relay, 'MEMBER')
                               OR pg_has_role(session_user, c.relowner, 'MEMBER'));
    IF NOT FOUND THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %I is no relay of table %s', session_user, box);
    END IF;
    RETURN own;
END $$;

-- Grants the relay on each partition what it has on the outbox, as 0004 does: new ones come without.
CREATE OR REPLACE FUNCTION outbox_relay.grant_partitions(box regclass, relay oid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    marks name;
    leaf  regclass;
BEGIN
    IF (SELECT o.settle = 'position' FROM outbox_relay.outboxes o WHERE o.outbox = box) THEN -- rows stay
        FOR leaf IN SELECT t.relid FROM pg_partition_tree(box) AS t WHERE NOT has_table_privilege(relay, t.relid, 'SELECT') LOOP
            EXECUTE format('GRANT SELECT ON %s TO %I', leaf, pg_get_userbyid(relay));
        END LOOP;
        RETURN;
    END IF;
    SELECT a.attname INTO STRICT marks FROM pg_attribute a
     WHERE a.attrelid = box AND a.attnum > 0 AND NOT a.attisdropped
       AND EXISTS (SELECT FROM aclexplode(a.attacl) AS x WHERE x.grantee = relay AND x.privilege_type = 'UPDATE')
     LIMIT 1;
    FOR leaf IN
        SELECT t.relid FROM pg_partition_tree(box) AS t
         WHERE NOT (has_table_privilege(relay, t.relid, 'SELECT') AND has_table_privilege(relay, t.relid, 'DELETE')
                    AND has_column_privilege(relay, t.relid, marks, 'UPDATE'))
    LOOP
        EXECUTE format('GRANT SELECT, DELETE, UPDATE (%I) ON %s TO %I', marks, leaf, pg_get_userbyid(relay));
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION outbox_relay.admit_partitions(box regclass) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own outbox_relay.outboxes := outbox_relay.own_outbox(box);
BEGIN
    PERFORM outbox_relay.grant_partitions(box, own.relay);
END $$;

-- A bound, so many steps higher. No id is above MAXVALUE.
CREATE OR REPLACE FUNCTION outbox_relay.range_after(value text, step text, times numeric, type regtype) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' AS $$
    SELECT CASE WHEN type NOT IN ('int8'::regtype, 'int4'::regtype)
                THEN (value::timestamptz + times::float8 * step::interval)::text
                WHEN value::numeric + times * step::numeric
                     > CASE type WHEN 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END
                THEN 'MAXVALUE'
                ELSE (value::numeric + times * step::numeric)::text END
$$;

-- The bounds of the next partition of a parent that is to be made, so that there is one for the next insert and
-- `ahead` above it; NULL: there are. at: where inserts are to be, if not where they are. If that is beyond the last
-- partition, those between are left out.
CREATE OR REPLACE FUNCTION outbox_relay.next_partition(box regclass, parent regclass, step text, at bigint,
                                                       ahead integer, OUT low text, OUT high text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last  record; -- the highest
    by_id boolean;
    here  numeric;
    wide  numeric;
BEGIN
    SELECT p.*, outbox_relay.range_number(p.high, p.type) AS number INTO last
      FROM outbox_relay.range_partitions(parent) AS p ORDER BY 7 DESC NULLS FIRST LIMIT 1;
    by_id := last.type IN ('int8'::regtype, 'int4'::regtype);
    here := coalesce(CASE WHEN by_id THEN at END, outbox_relay.range_number(
                     outbox_relay.range_position(box, last.col, last.type), last.type));
    IF last.high IS NULL OR last.high = 'MAXVALUE' OR here IS NULL
       OR (last.number > here + by_id::integer
           AND (SELECT count(*) FROM outbox_relay.range_partitions(parent) AS p
                 WHERE outbox_relay.range_number(p.low, p.type) > here + by_id::integer) >= ahead) THEN
        RETURN;
    END IF;
    wide := CASE WHEN by_id THEN step::numeric ELSE extract(epoch FROM step::interval) * 1000000 END;
    low := outbox_relay.range_after(last.high, step, greatest(floor((here - last.number) / wide), 0), last.type);
    high := outbox_relay.range_after(low, step, 1, last.type);
END $$;

-- Makes one, as the highest that there is. ATTACH holds up neither inserts nor claims (it takes SHARE UPDATE
-- EXCLUSIVE), CREATE TABLE ... PARTITION OF would. A name that is taken gets a number, one that is too long is cut.
CREATE OR REPLACE FUNCTION outbox_relay.make_partition(parent regclass, step text, low text, high text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC'
    SET quote_all_identifiers = off AS $$
DECLARE
    like_it record;
    base    text;
    tail    text;
    number  integer := 1;
    options text;
    fresh   text;
BEGIN
    SELECT p.part, c.relnamespace, n.nspname, c.relname, k.relowner, k.reloptions, k.reltoastrelid INTO STRICT like_it
      FROM outbox_relay.range_partitions(parent) AS p
      JOIN pg_class c ON c.oid = p.parent JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_class k ON k.oid = p.part
     ORDER BY outbox_relay.range_number(p.high, p.type) DESC LIMIT 1;
    base := like_it.relname;
    tail := '_' || CASE WHEN step !~ ' ' THEN low
                        ELSE to_char(low::timestamptz, CASE WHEN step::interval >= '1 day' THEN 'YYYYMMDD'
                                                       ELSE 'YYYYMMDD_HH24MI' END) END;
    LOOP
        WHILE octet_length(base || tail) > 63 LOOP
            base := left(base, -1);
        END LOOP;
        EXIT WHEN NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = like_it.relnamespace AND relname = base || tail)
              AND NOT EXISTS (SELECT FROM pg_type WHERE typnamespace = like_it.relnamespace AND typname = base || tail);
        tail := CASE number WHEN 1 THEN tail ELSE regexp_replace(tail, '_[0-9]+$', '') END || '_' || number + 1;
        number := number + 1;
    END LOOP;
    fresh := format('%I.%I', like_it.nspname, base || tail);
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES '
                   'INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION)', fresh, parent);
    SELECT string_agg(format('%s = %L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', ') INTO options
      FROM (SELECT unnest(like_it.reloptions) AS o
             UNION ALL
            SELECT 'toast.' || unnest(t.reloptions) FROM pg_class t WHERE t.oid = like_it.reltoastrelid) AS all_options;
    IF options IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s SET (%s)', fresh, options);
    END IF;
    IF like_it.relowner <> (SELECT c.relowner FROM pg_class c WHERE c.oid = fresh::regclass) THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %I', fresh, pg_get_userbyid(like_it.relowner));
    END IF;
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%s)', parent, fresh, low,
                   CASE high WHEN 'MAXVALUE' THEN high ELSE quote_literal(high) END);
END $$;

-- Makes what is missing, `most` at most; how many, and what went wrong with another one. Below each parent by itself.
-- Two that make at once wait for each other, and the later one finds nothing missing.
CREATE OR REPLACE FUNCTION outbox_relay.make_missing(box regclass, at bigint, ahead integer, most integer,
                                                     OUT made integer, OUT state text, OUT trouble text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    own    outbox_relay.outboxes := (SELECT o FROM outbox_relay.outboxes o WHERE o.outbox = box);
    parent regclass;
    span   record;
BEGIN
    made := 0;
    FOR parent IN SELECT DISTINCT p.parent FROM outbox_relay.range_partitions(box) AS p ORDER BY 1 LOOP
        LOOP
            SELECT n.* INTO span FROM outbox_relay.next_partition(box, parent, own.partition_step, at, ahead) AS n;
            EXIT WHEN span.low IS NULL OR made >= most;
            BEGIN
                EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
                SELECT n.* INTO span FROM outbox_relay.next_partition(box, parent, own.partition_step, at, ahead) AS n;
                EXIT WHEN span.low IS NULL;
                PERFORM outbox_relay.make_partition(parent, own.partition_step, span.low, span.high);
                made := made + 1;
            EXCEPTION WHEN OTHERS THEN
                state := SQLSTATE;
                trouble := SQLERRM;
                EXIT;
            END;
        END LOOP;
    END LOOP;
    IF made > 0 THEN
        PERFORM outbox_relay.grant_partitions(box, own.relay);
    END IF;
END $$;

-- So that `ahead` partitions begin above where inserts are now; how many were made. What cannot be made is told
-- when all others are.
CREATE OR REPLACE FUNCTION outbox_relay.make_partitions(box regclass, ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own  outbox_relay.outboxes := outbox_relay.own_outbox(box);
    done record;
BEGIN
    IF own.partition_step IS NULL OR ahead NOT BETWEEN 0 AND 1000 THEN
        RETURN 0;
    ELSIF outbox_relay.range_trouble(box) IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('table %s %s', box, outbox_relay.range_trouble(box));
    END IF;
    SELECT m.* INTO done FROM outbox_relay.make_missing(box, NULL, ahead, 100) AS m;
    IF done.made = 0 AND done.trouble IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = done.state, MESSAGE = done.trouble;
    END IF;
    RETURN done.made;
END $$;

-- The rows of a partition that are to be published, or are no events, for FROM, as text; all, where a shard has no position
-- that would tell.
CREATE OR REPLACE FUNCTION outbox_relay.rows_to_keep(box regclass, part regclass) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own outbox_relay.outboxes := (SELECT o FROM outbox_relay.outboxes o WHERE o.outbox = box);
BEGIN
    IF own.settle = 'position' AND NOT outbox_relay.lacks_positions(box) THEN
        RETURN outbox_relay.waiting_rows(box, format('ONLY %s', part)) || CASE WHEN own.condition = '' THEN ''
            ELSE format(') UNION ALL (SELECT FROM ONLY %s WHERE NOT %s', part, outbox_relay.is_event(box)) END;
    END IF;
    RETURN format('ONLY %s%s', part, CASE WHEN own.settle <> 'mark' THEN ''
        ELSE format(' WHERE (%s) OR NOT %s', CASE WHEN own.mark_timed THEN own.waits
                    ELSE format('%s IS NOT TRUE', own.published) END, outbox_relay.is_event(box)) END);
END $$;

-- Drops all that are over, each in a transaction of its own: no lock is held while another is waited for. What was
-- dropped, one a line, and what the next one waits for. With the rights, and the names, of the caller, as COMMIT asks for.
-- Relays of before version 21 call it; drop_partition is in 0021.
CREATE OR REPLACE PROCEDURE outbox_relay.drop_partitions(box regclass, behind bigint, kept bigint,
                                                         INOUT dropped text DEFAULT NULL, INOUT waits text DEFAULT NULL)
    LANGUAGE plpgsql AS $$
DECLARE
    done record;
BEGIN
    FOR i IN 1 .. 32 LOOP -- nothing else is done meanwhile
        SELECT d.dropped, d.waits INTO done FROM outbox_relay.drop_partition(box, behind, kept) AS d;
        waits := done.waits;
        EXIT WHEN done.dropped IS NULL;
        dropped := pg_catalog.concat_ws(E'\n', dropped, done.dropped);
        COMMIT;
    END LOOP;
END $$;

-- By whom, and how far each partition reaches.
SELECT set_config('outbox_relay.outbox', format('%I.%I', :'outbox_schema', :'outbox_table'), false),
       set_config('outbox_relay.partition_by', :'partition_by', false);

DO $$
DECLARE
    box    regclass := current_setting('outbox_relay.outbox');
    wanted text     := nullif(current_setting('outbox_relay.partition_by'), '');
    step   text     := split_part(wanted, ':', 2);
    who    name;
    says   text;
BEGIN
    REVOKE ALL ON FUNCTION outbox_relay.range_partitions(regclass), outbox_relay.range_position(regclass, name, regtype),
        outbox_relay.range_trouble(regclass), outbox_relay.range_number(text, regtype),
        outbox_relay.range_after(text, text, numeric, regtype), outbox_relay.partitions_ahead(regclass),
        outbox_relay.kept_by_partman(regclass), outbox_relay.own_outbox(regclass),
        outbox_relay.rows_to_keep(regclass, regclass),
        outbox_relay.grant_partitions(regclass, oid), outbox_relay.admit_partitions(regclass),
        outbox_relay.next_partition(regclass, regclass, text, bigint, integer),
        outbox_relay.make_partition(regclass, text, text, text),
        outbox_relay.make_missing(regclass, bigint, integer, integer),
        outbox_relay.make_partitions(regclass, integer) FROM PUBLIC;
    REVOKE ALL ON PROCEDURE outbox_relay.drop_partitions(regclass, bigint, bigint, text, text) FROM PUBLIC;
    FOR who IN
        SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid IN (o.relay, o.operator)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.range_partitions(regclass), '
                       'outbox_relay.range_position(regclass, name, regtype), outbox_relay.range_trouble(regclass), '
                       'outbox_relay.range_number(text, regtype), outbox_relay.partitions_ahead(regclass), '
                       'outbox_relay.kept_by_partman(regclass) TO %I', who);
    END LOOP;
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid = o.relay LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.admit_partitions(regclass), '
                       'outbox_relay.make_partitions(regclass, integer) TO %I', who);
        EXECUTE format('GRANT EXECUTE ON PROCEDURE outbox_relay.drop_partitions(regclass, bigint, bigint, text, text) '
                       'TO %I', who);
    END LOOP;
    IF wanted IS NULL THEN
        RETURN;
    END IF;
    SELECT CASE WHEN p.part IS NULL THEN 'is not partitioned by range of one column'
                WHEN p.high IS NULL THEN 'has a DEFAULT partition'
                WHEN wanted NOT LIKE 'id:%' AND outbox_relay.range_trouble(box) IS NOT NULL
                THEN outbox_relay.range_trouble(box)
                WHEN outbox_relay.range_position(box, p.col, p.type) IS NULL
                     OR (p.type IN ('int8'::regtype, 'int4'::regtype)) <> (wanted LIKE 'id:%')
                THEN format('is partitioned by %I', p.col)
                WHEN k.relkind <> 'r' THEN 'has partitions by range that are partitioned again'
                WHEN outbox_relay.kept_by_partman(box) THEN 'is kept by pg_partman' END
      INTO says
      FROM (SELECT 1) AS one LEFT JOIN outbox_relay.range_partitions(box) AS p ON true
      LEFT JOIN pg_class k ON k.oid = p.part
     ORDER BY 1 NULLS LAST LIMIT 1;
    IF says IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('table %s %s, so the relay cannot make and drop '
            'partitions of it as --partition-by %s asks for; make another table with --table, or leave --partition-by '
            'out', box, says, wanted);
    END IF;
    UPDATE outbox_relay.outboxes o SET partition_step = CASE
        WHEN step LIKE '%h' THEN rtrim(step, 'h') || ' hours' WHEN step LIKE '%d' THEN rtrim(step, 'd') || ' days'
        ELSE step END
     WHERE o.outbox = box;
    PERFORM outbox_relay.make_partitions(box, 4);
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (12, '0012_ranges.sql') ON CONFLICT DO NOTHING;
