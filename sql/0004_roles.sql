-- outbox-relay 4: two roles, and to each what it needs and nothing more. Neither owns anything.
--
--   outbox_writer  may insert events, and not read them. Give it to the roles of your applications:
--                      GRANT outbox_writer TO my_service;
--   outbox_relay   is the role the relay connects as. It has no password yet: give it one, or let
--                  pg_hba.conf say how it is known.
--                      ALTER ROLE outbox_relay PASSWORD '...';

SELECT set_config('outbox_relay.outbox', format('%I.%I', :'outbox_schema', :'outbox_table'), false),
       set_config('outbox_relay.id', :'outbox_id', false),
       set_config('outbox_relay.settle', :'settle', false);

-- Roles belong to the cluster, so another database may have brought them already.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'outbox_writer') THEN
        CREATE ROLE outbox_writer NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'outbox_relay') THEN
        CREATE ROLE outbox_relay LOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL; -- made by somebody else at this moment
    WHEN insufficient_privilege THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %s may not create roles; have an '
            'administrator run: CREATE ROLE outbox_writer NOLOGIN; CREATE ROLE outbox_relay LOGIN',
            current_user);
END $$;

GRANT USAGE ON SCHEMA outbox_relay TO outbox_relay;
GRANT SELECT ON outbox_relay.schema_version, outbox_relay.outboxes TO outbox_relay;
GRANT SELECT, INSERT, UPDATE ON outbox_relay.dead_letters TO outbox_relay;

-- On the outbox itself. FOR UPDATE, by which the relay claims rows, needs UPDATE on some column. The
-- relay reads partitions one by one, so each needs the grants: run this again after adding one.
DO $$
DECLARE
    box    regclass := current_setting('outbox_relay.outbox');
    marks  name     := CASE current_setting('outbox_relay.settle')
                       WHEN 'mark' THEN 'published_at' ELSE current_setting('outbox_relay.id') END;
    home   regnamespace := (SELECT relnamespace FROM pg_class WHERE oid = box);
    seq    regclass;
    leaf   regclass;
    who    name;
BEGIN
    FOREACH who IN ARRAY ARRAY['outbox_writer', 'outbox_relay'] LOOP
        IF NOT has_schema_privilege(who, home, 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', home, who);
        END IF;
    END LOOP;

    EXECUTE format('GRANT INSERT ON %s TO outbox_writer', box);
    FOR leaf IN SELECT box UNION SELECT relid FROM pg_partition_tree(box) LOOP
        EXECUTE format('REVOKE UPDATE ON %s FROM outbox_relay', leaf); -- of the other settle mode
        EXECUTE format('GRANT SELECT, DELETE, UPDATE (%I) ON %s TO outbox_relay', marks, leaf);
    END LOOP;

    -- The sequence that gives the ids. An identity is drawn from without rights, a plain default is not.
    seq := pg_get_serial_sequence(box::text, current_setting('outbox_relay.id'));
    IF seq IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO outbox_relay', seq);
    END IF;
    FOR seq IN
        SELECT d.refobjid FROM pg_attrdef ad
          JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid
          JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
         WHERE ad.adrelid = box AND d.refclassid = 'pg_class'::regclass
    LOOP
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO outbox_relay', seq);
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO outbox_writer', seq);
    END LOOP;
END $$;

-- Only the bell of this outbox is the relay's to move.
DO $$
DECLARE
    seq regclass;
BEGIN
    SELECT bell INTO STRICT seq FROM outbox_relay.outboxes
     WHERE outbox = current_setting('outbox_relay.outbox')::regclass;
    EXECUTE format('GRANT SELECT, UPDATE ON SEQUENCE %s TO outbox_relay', seq);
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (4, '0004_roles.sql') ON CONFLICT DO NOTHING;
