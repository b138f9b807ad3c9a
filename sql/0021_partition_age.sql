-- SPDX-License-Identifier: ISC
-- outbox-relay 21: partitions by id go by outbox.retention whatever the column is called that says how old a row is.
-- The relay names it, and the id. Where nothing says how old its rows are, a partition by id stays.

-- Drops the lowest partition that is over, if there is one; or says what it waits for, or which one is kept since
-- nothing says how old its rows are. Over is one that
--   ended by its own length ago, in ids or in time, and by an hour at least: an id may have been drawn, or a time
--     taken, before the insert; by id it also ends at or below `behind`;
--   holds no event that is to be published, nor one that was published within `kept` ms; where the mark has no time,
--     or rows are not marked: created, as column `created` says ('' or NULL: none does). A time that lies in the
--     future, by more than clocks and time zones differ, says nothing: it would keep all partitions until it comes;
--   has a lower neighbour no longer, so that there never is a hole.
-- Whether it holds an event is looked at again with all locks held: nobody can insert then. The outbox is locked
-- for that moment, and waited for no longer than lock_timeout: its writers wait behind us meanwhile. What a policy
-- hides from our owner could not be seen: it is an error then.
CREATE OR REPLACE FUNCTION outbox_relay.drop_partition(box regclass, created name, id name, behind bigint, kept bigint,
                                                       OUT dropped text, OUT waits text, OUT untold text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
    SET datestyle = 'ISO' SET timezone = 'UTC' SET row_security = off AS $$
DECLARE
    own    outbox_relay.outboxes := outbox_relay.own_outbox(box);
    shown  text := CASE WHEN own.mark_timed THEN format('t.%I', own.mark_column)
                        WHEN created <> '' THEN format('t.%I', created) ELSE 'NULL::timestamptz' END;
    first  record;
    there  boolean;
    filled boolean;
    recent boolean; -- NULL: nothing tells
BEGIN
    IF own.partition_step IS NULL THEN
        RETURN;
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'drop_partition has to see what was committed last: '
            'call it with isolation level read committed';
    ELSIF outbox_relay.range_trouble(box) IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('table %s %s', box,
                                                                      outbox_relay.range_trouble(box));
    END IF;
    IF own.settle = 'position' THEN -- by the index on x
        PERFORM set_config('enable_seqscan', 'off', true);
    END IF;
    FOR first IN
        SELECT p.*, p.type IN ('int8'::regtype, 'int4'::regtype) AS by_id
          FROM (SELECT DISTINCT ON (r.parent) r.*, (
                                SELECT count(*) FROM pg_inherits i WHERE i.inhparent = r.parent) AS many
                           FROM outbox_relay.range_partitions(box) AS r
                          ORDER BY r.parent, outbox_relay.range_number(r.low, r.type)) AS p
          JOIN pg_class k ON k.oid = p.part AND k.relkind = 'r'
         WHERE p.high IS NOT NULL AND p.high <> 'MAXVALUE' AND p.many > 1
           AND CASE WHEN p.type IN ('int8'::regtype, 'int4'::regtype)
                    THEN p.high::numeric <= behind AND p.high::numeric + own.partition_step::numeric
                         <= outbox_relay.range_position(box, p.col, p.type)::numeric
                    ELSE p.high::timestamptz + greatest(own.partition_step::interval, '1 hour') < clock_timestamp()
                         AND (own.settle = 'delete'
                              OR p.high::timestamptz < clock_timestamp() - kept * interval '1 ms') END
    LOOP
        -- In this order: whether a row waits may cost a look at all of them, and most often they are young.
        recent := false;
        IF own.settle <> 'delete' THEN
            -- Those that were published last have the highest ids. Of a partition by time the bounds tell, too.
            EXECUTE format('SELECT count(*) > 0, max(last.at) FILTER (WHERE last.at < clock_timestamp() + interval '
                           '''1 day'') > clock_timestamp() - $1 * interval ''1 ms'' FROM '
                           '(SELECT %s AS at FROM ONLY %s AS t ORDER BY t.%I DESC LIMIT 1000) AS last',
                           shown, first.part, id)
               INTO filled, recent USING kept;
            CONTINUE WHEN recent;
        END IF;
        EXECUTE format('SELECT EXISTS ((SELECT FROM %s))', outbox_relay.rows_to_keep(box, first.part)) INTO there;
        CONTINUE WHEN there;
        IF filled AND recent IS NULL AND first.by_id THEN
            untold := first.part::text;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', first.parent);
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', first.part);
            EXECUTE format('SELECT EXISTS ((SELECT FROM %s))', outbox_relay.rows_to_keep(box, first.part)) INTO there;
            IF NOT there THEN
                dropped := first.part::text;
                EXECUTE format('DROP TABLE %s', dropped);
                RETURN;
            END IF;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN
                dropped := NULL;
                waits := format('the lock on %s', first.part);
        END;
    END LOOP;
END $$;

-- Drops all that are over, each in a transaction of its own: no lock is held while another is waited for. What was
-- dropped, one a line, what the next one waits for, and one that is kept since nothing says how old it is. With the
-- rights, and the names, of the caller, as COMMIT asks for.
CREATE OR REPLACE PROCEDURE outbox_relay.drop_partitions(box regclass, created name, id name, behind bigint,
                                                         kept bigint, INOUT dropped text DEFAULT NULL,
                                                         INOUT waits text DEFAULT NULL,
                                                         INOUT untold text DEFAULT NULL)
    LANGUAGE plpgsql AS $$
DECLARE
    done record;
BEGIN
    FOR i IN 1 .. 32 LOOP -- nothing else is done meanwhile
        SELECT d.dropped, d.waits, d.untold INTO done
          FROM outbox_relay.drop_partition(box, created, id, behind, kept) AS d;
        waits := done.waits;
        untold := done.untold;
        EXIT WHEN done.dropped IS NULL;
        dropped := pg_catalog.concat_ws(E'\n', dropped, done.dropped);
        COMMIT;
    END LOOP;
END $$;

-- As relays call it that know no names (0012): the id is that of the migration. A time that is called created_at tells
-- how old a row is.
CREATE OR REPLACE FUNCTION outbox_relay.drop_partition(box regclass, behind bigint, kept bigint,
                                                       OUT dropped text, OUT waits text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT d.dropped, d.waits INTO dropped, waits
      FROM outbox_relay.drop_partition(box,
           (SELECT a.attname FROM pg_attribute a
             WHERE a.attrelid = box AND a.attname = 'created_at' AND NOT a.attisdropped
               AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype)),
           (SELECT s.id FROM outbox_relay.depths s WHERE s.outbox = box), behind, kept) AS d;
END $$;

DO $$
DECLARE
    who name;
BEGIN
    REVOKE ALL ON FUNCTION outbox_relay.drop_partition(regclass, name, name, bigint, bigint),
        outbox_relay.drop_partition(regclass, bigint, bigint) FROM PUBLIC;
    REVOKE ALL ON PROCEDURE outbox_relay.drop_partitions(regclass, name, name, bigint, bigint, text, text, text)
      FROM PUBLIC;
    FOR who IN SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid = o.relay LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.drop_partition(regclass, name, name, bigint, bigint), '
                       'outbox_relay.drop_partition(regclass, bigint, bigint) TO %I', who);
        EXECUTE format('GRANT EXECUTE ON PROCEDURE outbox_relay.drop_partitions(regclass, name, name, bigint, bigint, '
                       'text, text, text) TO %I', who);
    END LOOP;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (21, '0021_partition_age.sql') ON CONFLICT DO NOTHING;
