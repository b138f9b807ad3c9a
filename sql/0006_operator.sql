-- SPDX-License-Identifier: ISC
-- outbox-relay 6: the role of operators. It may see what waits in its outbox, pause and resume it, and
-- see its dead letters; 0008 adds what it may ask of them. Give it to people and their tools:
--
--     GRANT outbox_operator TO alice;
--
-- With another relay_role it is relay_role_operator (shop_relay_operator). It may not write to the
-- outbox: whose role may DELETE there counts as a relay.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'outbox_relay.outboxes'::regclass
                      AND attname = 'operator' AND NOT attisdropped) THEN
        ALTER TABLE outbox_relay.outboxes ADD COLUMN operator regrole;
    END IF;
END $$;

DO $$
DECLARE
    operates text := CASE current_setting('outbox_relay.relay') WHEN 'outbox_relay' THEN 'outbox_operator'
                     ELSE current_setting('outbox_relay.relay') || '_operator' END;
BEGIN
    PERFORM set_config('outbox_relay.operator', operates, false);
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = operates) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', operates);
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL; -- made by another session at this moment
END $$;

-- The outbox had another one before.
DO $$
DECLARE
    box  regclass := current_setting('outbox_relay.outbox');
    who  name;
    rel  regclass;
BEGIN
    FOR who, rel IN
        SELECT r.rolname, t.rel FROM outbox_relay.outboxes o
          JOIN pg_roles r ON r.oid = o.operator
         CROSS JOIN LATERAL (SELECT o.outbox::oid AS rel UNION
                             SELECT d.refobjid FROM pg_attrdef ad
                               JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid
                               JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
                              WHERE ad.adrelid = o.outbox AND d.refclassid = 'pg_class'::regclass UNION
                             SELECT d.objid FROM pg_depend d
                               JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
                              WHERE d.classid = 'pg_class'::regclass
                                AND d.refclassid = 'pg_class'::regclass AND d.refobjid = o.outbox) AS t
         WHERE o.outbox = box
           AND o.operator::oid <> quote_ident(current_setting('outbox_relay.operator'))::regrole
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I', rel, who);
    END LOOP;
    UPDATE outbox_relay.outboxes o
       SET operator = quote_ident(current_setting('outbox_relay.operator'))::regrole
     WHERE o.outbox = box;
END $$;

-- As each relay's role, each operators' role has its own outboxes: their pause, and their dead letters.
DO $$
DECLARE
    who text := current_setting('outbox_relay.operator');
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA outbox_relay TO %I', who);
    EXECUTE format('GRANT SELECT ON outbox_relay.schema_version, outbox_relay.outboxes TO %I', who);
    EXECUTE format('GRANT UPDATE (paused) ON outbox_relay.outboxes TO %I', who);
    EXECUTE format('GRANT SELECT, DELETE ON outbox_relay.dead_letters TO %I', who);
    IF EXISTS (SELECT FROM pg_policy WHERE polrelid = 'outbox_relay.outboxes'::regclass AND polname = 'own'
                  AND pg_get_expr(polqual, polrelid) NOT LIKE '%operator%') THEN
        ALTER POLICY own ON outbox_relay.outboxes
            USING (pg_catalog.pg_has_role(relay, 'USAGE') OR pg_catalog.pg_has_role(operator, 'USAGE'));
        ALTER POLICY own ON outbox_relay.dead_letters USING (outbox IN (
            SELECT o.outbox FROM outbox_relay.outboxes o
             WHERE pg_catalog.pg_has_role(o.relay, 'USAGE') OR pg_catalog.pg_has_role(o.operator, 'USAGE')));
    END IF;
END $$;

-- On the outbox itself, through the parent of partitions. The sequences are those of 0004: `status` reads how
-- far the ids are.
DO $$
DECLARE
    box  regclass := current_setting('outbox_relay.outbox');
    home regnamespace := (SELECT relnamespace FROM pg_class WHERE oid = box);
    who  text := current_setting('outbox_relay.operator');
    seq  regclass;
BEGIN
    IF NOT has_schema_privilege(who, home, 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', home, who);
    END IF;
    EXECUTE format('GRANT SELECT ON %s TO %I', box, who);
    seq := pg_get_serial_sequence(box::text, current_setting('outbox_relay.id'));
    IF seq IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO %I', seq, who);
    END IF;
    FOR seq IN
        SELECT d.refobjid FROM pg_attrdef ad
          JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid
          JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
         WHERE ad.adrelid = box AND d.refclassid = 'pg_class'::regclass
    LOOP
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO %I', seq, who);
    END LOOP;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (6, '0006_operator.sql') ON CONFLICT DO NOTHING;
