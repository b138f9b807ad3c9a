-- SPDX-License-Identifier: ISC
-- outbox-relay 10: what `outbox-relay handover` needs on the new side of a switch of databases: ids above the
-- old ones, by relays and operators, who may not move a sequence by themselves.

-- Raises the ids: the next one is above this. Never lowers them, and does nothing a second time. The last id drawn
-- from then on; NULL: the database does not give the ids. Only relays and operators of the outbox may, as
-- record_action sees to, and no further than to half of all ids: an insert fails when there are none left.
--
-- With partitions by id there has to be one for the next id (0012). They are made first. Then the table is locked
-- until they are committed, since a sequence is raised at once: no insert draws an id that has no partition for it.
CREATE OR REPLACE FUNCTION outbox_relay.raise_ids(box regclass, above bigint, words text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    near CONSTANT bigint := 1000000;
    own   record;
    seq   regclass;
    top   bigint; -- the highest id
    drawn bigint;
    made  integer := 0;
    state text;
    wrong text;
BEGIN
    PERFORM outbox_relay.record_action(box, 'handover', words);
    SELECT o.partition_step, c.relowner INTO own FROM outbox_relay.outboxes o
      JOIN pg_class c ON c.oid = 'outbox_relay.outboxes'::regclass WHERE o.outbox = box;
    SELECT d.ids, least(s.seqmax, CASE a.atttypid WHEN 'int4'::regtype THEN 2147483647 ELSE s.seqmax END) INTO seq, top
      FROM outbox_relay.depths d JOIN pg_sequence s ON s.seqrelid = d.ids
      JOIN pg_attribute a ON a.attrelid = d.outbox AND a.attname = d.id
     WHERE d.outbox = box;
    drawn := pg_sequence_last_value(seq);
    IF seq IS NULL OR coalesce(drawn, 0) >= above THEN
        RETURN drawn;
    ELSIF above > top / 2 AND NOT pg_has_role(session_user, own.relowner, 'MEMBER') THEN
        RAISE insufficient_privilege USING MESSAGE = format('ids of table %s end at %s, so only the owner of schema '
            'outbox_relay may raise them above %s, and %s is; that cannot be undone', box, top, top / 2, above);
    END IF;
    IF own.partition_step IS NOT NULL THEN
        SELECT m.made, m.state, m.trouble INTO made, state, wrong
          FROM outbox_relay.make_missing(box, above, 1, 100000) AS m;
        IF wrong IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = state, MESSAGE = wrong;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM outbox_relay.range_partitions(box) AS p WHERE p.type IN ('int8'::regtype, 'int4'::regtype)
                GROUP BY p.parent HAVING NOT bool_or(p.high IS NULL OR above + 1::numeric
                   BETWEEN outbox_relay.range_number(p.low, p.type) AND outbox_relay.range_number(p.high, p.type) - 1)) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('table %s has no partition for ids above %s, so '
            'inserts would fail; make one, and run this again', box, above);
    END IF;
    FOR try IN REVERSE 4 .. 0 LOOP
        EXIT WHEN made = 0;
        BEGIN
            EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', box);
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF try = 0 THEN
                RAISE lock_not_available USING MESSAGE = format('transactions that write to table %s stay open, and '
                    'do not see its new partitions; end them, and run this again', box);
            END IF;
            PERFORM pg_sleep(0.5);
        END;
    END LOOP;
    -- Others draw ids meanwhile, but not so many, and setval could put them back.
    drawn := coalesce(pg_sequence_last_value(seq), 0);
    IF above - drawn::numeric > near THEN
        PERFORM setval(seq, above);
    ELSE
        FOR i IN 1 .. near LOOP
            EXIT WHEN nextval(seq) >= above;
        END LOOP;
    END IF;
    RETURN pg_sequence_last_value(seq);
END $$;
REVOKE ALL ON FUNCTION outbox_relay.raise_ids(regclass, bigint, text) FROM PUBLIC;

DO $$
DECLARE
    who name;
BEGIN
    FOR who IN
        SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid IN (o.relay, o.operator)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_relay.raise_ids(regclass, bigint, text) TO %I', who);
    END LOOP;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (10, '0010_handover.sql') ON CONFLICT DO NOTHING;
