-- SPDX-License-Identifier: ISC
-- outbox-relay 4: the roles of relay and writers, and to each what it needs and nothing more. Neither owns anything.
--
--   outbox_writer  may insert events, and read of them no more than id and event_id (for RETURNING and
--                  ON CONFLICT). Give it to the roles of your applications:
--                      GRANT outbox_writer TO my_service;
--   outbox_relay   is the role the relay connects as. It has no password yet: give it one, or let
--                  pg_hba.conf say how it authenticates.
--                      ALTER ROLE outbox_relay PASSWORD '...';
--
-- With another relay_role these are relay_role and relay_role_writer (shop_relay, shop_relay_writer), so
-- that services in one database share no rights. An outbox keeps its roles when relay_role is empty.

SELECT set_config('outbox_relay.outbox', format('%I.%I', :'outbox_schema', :'outbox_table'), false),
       set_config('outbox_relay.id', :'outbox_id', false),
       set_config('outbox_relay.event_id', :'outbox_event_id', false),
       set_config('outbox_relay.settle', :'settle', false),
       set_config('outbox_relay.published', :'outbox_published', false),
       set_config('outbox_relay.relay', :'relay_role', false);

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'outbox_relay.outboxes'::regclass
                      AND attname = 'relay' AND NOT attisdropped) THEN
        ALTER TABLE outbox_relay.outboxes ADD COLUMN relay regrole, ADD COLUMN writer regrole;
        UPDATE outbox_relay.outboxes
           SET relay = to_regrole('outbox_relay'), writer = to_regrole('outbox_writer');
    END IF;
END $$;

-- Roles belong to the cluster, so another database may have brought them already.
DO $$
DECLARE
    box   regclass := current_setting('outbox_relay.outbox');
    named text     := nullif(current_setting('outbox_relay.relay'), '');
    reads text;
    writes text;
    operates text; -- made by 0006
BEGIN
    reads := coalesce(named, (SELECT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid = o.relay
                               WHERE o.outbox = box), 'outbox_relay');
    writes := CASE reads WHEN 'outbox_relay' THEN 'outbox_writer' ELSE reads || '_writer' END;
    operates := CASE reads WHEN 'outbox_relay' THEN 'outbox_operator' ELSE reads || '_operator' END;
    IF octet_length(operates) > 63 THEN
        RAISE name_too_long USING MESSAGE = format('role name %I is too long: that of the operators is to end '
            'in _operator, and no name has more than 63 bytes; give another one with --role', reads);
    END IF;
    PERFORM set_config('outbox_relay.relay', reads, false), set_config('outbox_relay.writer', writes, false);
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = writes) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', writes);
        END IF;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = reads) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', reads);
        END IF;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN
            NULL; -- made by another session at this moment
    END;
END $$;

-- The outbox had other roles before.
DO $$
DECLARE
    box  regclass := current_setting('outbox_relay.outbox');
    who  name;
    rel  regclass;
BEGIN
    FOR who, rel IN
        SELECT r.rolname, t.rel FROM outbox_relay.outboxes o
          JOIN pg_roles r ON r.oid IN (o.relay, o.writer)
         CROSS JOIN LATERAL (SELECT o.outbox::oid AS rel UNION SELECT o.bell UNION
                             SELECT relid FROM pg_partition_tree(o.outbox) UNION
                             SELECT d.refobjid FROM pg_attrdef ad
                               JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid
                               JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
                              WHERE ad.adrelid = o.outbox AND d.refclassid = 'pg_class'::regclass UNION
                             SELECT d.objid FROM pg_depend d
                               JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
                              WHERE d.classid = 'pg_class'::regclass
                                AND d.refclassid = 'pg_class'::regclass AND d.refobjid = o.outbox) AS t
         WHERE o.outbox = box AND o.relay::oid <> quote_ident(current_setting('outbox_relay.relay'))::regrole
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I', rel, who);
    END LOOP;
    UPDATE outbox_relay.outboxes o
       SET relay = quote_ident(current_setting('outbox_relay.relay'))::regrole,
           writer = quote_ident(current_setting('outbox_relay.writer'))::regrole
     WHERE o.outbox = box;
END $$;

-- Each relay's role sees the dead letters of its own outboxes, and pauses no others. The owner sees all.
DO $$
DECLARE
    who text := current_setting('outbox_relay.relay');
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA outbox_relay TO %I', who);
    EXECUTE format('GRANT SELECT ON outbox_relay.schema_version, outbox_relay.outboxes TO %I', who);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON outbox_relay.dead_letters TO %I', who);
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = 'outbox_relay.outboxes'::regclass) THEN
        CREATE POLICY known ON outbox_relay.outboxes FOR SELECT USING (true);
        CREATE POLICY own ON outbox_relay.outboxes FOR UPDATE
            USING (pg_catalog.pg_has_role(relay, 'USAGE'));
        ALTER TABLE outbox_relay.outboxes ENABLE ROW LEVEL SECURITY;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = 'outbox_relay.dead_letters'::regclass) THEN
        CREATE POLICY own ON outbox_relay.dead_letters USING (outbox IN (
            SELECT o.outbox FROM outbox_relay.outboxes o WHERE pg_catalog.pg_has_role(o.relay, 'USAGE')));
        ALTER TABLE outbox_relay.dead_letters ENABLE ROW LEVEL SECURITY;
    END IF;
END $$;

-- On the outbox itself. FOR UPDATE, by which the relay claims rows, needs UPDATE on some column. The
-- relay reads partitions one by one, so each needs the grants: run this again after adding one.
DO $$
DECLARE
    box    regclass := current_setting('outbox_relay.outbox');
    marks  name     := CASE current_setting('outbox_relay.settle')
                       WHEN 'mark' THEN current_setting('outbox_relay.published')
                       ELSE current_setting('outbox_relay.id') END;
    home   regnamespace := (SELECT relnamespace FROM pg_class WHERE oid = box);
    relay  text     := current_setting('outbox_relay.relay');
    writer text     := current_setting('outbox_relay.writer');
    names  text;
    seq    regclass;
    leaf   regclass;
    who    text;
BEGIN
    FOREACH who IN ARRAY ARRAY[writer, relay] LOOP
        IF NOT has_schema_privilege(who, home, 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', home, who);
        END IF;
    END LOOP;

    SELECT string_agg(quote_ident(attname), ', ') INTO names FROM pg_attribute
     WHERE attrelid = box AND NOT attisdropped
       AND attname IN (current_setting('outbox_relay.id'), current_setting('outbox_relay.event_id'));
    EXECUTE format('GRANT INSERT, SELECT (%s) ON %s TO %I', names, box, writer);
    FOR leaf IN SELECT box UNION SELECT relid FROM pg_partition_tree(box) LOOP
        EXECUTE format('REVOKE UPDATE ON %s FROM %I', leaf, relay); -- of the other settle mode
        IF current_setting('outbox_relay.settle') = 'position' THEN -- rows stay, and a relay of another mode stops
            EXECUTE format('REVOKE DELETE ON %s FROM %I', leaf, relay);
            EXECUTE format('GRANT SELECT ON %s TO %I', leaf, relay);
        ELSE
            EXECUTE format('GRANT SELECT, DELETE, UPDATE (%I) ON %s TO %I', marks, leaf, relay);
        END IF;
    END LOOP;

    -- The sequence that gives the ids. An identity is drawn from without rights, a plain default is not.
    seq := pg_get_serial_sequence(box::text, current_setting('outbox_relay.id'));
    IF seq IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO %I', seq, relay);
    END IF;
    FOR seq IN
        SELECT d.refobjid FROM pg_attrdef ad
          JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid
          JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
         WHERE ad.adrelid = box AND d.refclassid = 'pg_class'::regclass
    LOOP
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO %I', seq, relay);
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO %I', seq, writer);
    END LOOP;
END $$;

-- Only the bell of this outbox is the relay's to move.
DO $$
DECLARE
    seq regclass;
BEGIN
    SELECT bell INTO STRICT seq FROM outbox_relay.outboxes
     WHERE outbox = current_setting('outbox_relay.outbox')::regclass;
    EXECUTE format('GRANT SELECT, UPDATE ON SEQUENCE %s TO %I', seq,
                   current_setting('outbox_relay.relay'));
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (4, '0004_roles.sql') ON CONFLICT DO NOTHING;
