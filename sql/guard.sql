-- outbox-relay: what must hold before anything is changed. No migration: `outbox-relay migrate` runs it
-- before 0001, and so does the script that `--print` writes. It changes nothing.

SELECT set_config('outbox_relay.outbox', format('%I.%I', :'outbox_schema', :'outbox_table'), false),
       set_config('outbox_relay.relay', :'relay_role', false);

-- Schema outbox_relay is the relay's own: it may not belong to another role, nor hold what these files have
-- not made. What a new file makes there is added here.

DO $$
DECLARE
    home  oid;
    owner oid;
    other text;
BEGIN
    SELECT n.oid, n.nspowner INTO home, owner FROM pg_namespace n WHERE n.nspname = 'outbox_relay';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF NOT pg_has_role(owner, 'USAGE') THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('schema outbox_relay belongs to role '
            '%I, and role %I is no member of it; where several services share a database, an administrator '
            'runs outbox-relay migrate for each of them, with --table and --role (see the guide, '
            '"Several services in one database")', pg_get_userbyid(owner), current_user);
    END IF;

    SELECT format('%s outbox_relay.%I', o.kind, o.name) INTO other FROM (
        SELECT CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
               WHEN 'c' THEN 'type' WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind, c.relname AS name
          FROM pg_class c
         WHERE c.relnamespace = home AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c', 'S')
           AND NOT (c.relkind = 'S' AND left(c.relname, 5) = 'bell_')
           AND NOT (c.relkind = 'r' AND c.relname IN ('schema_version', 'outboxes', 'dead_letters')
                    AND NOT EXISTS (
                        SELECT FROM (VALUES ('schema_version', 'version', 'int4'::regtype),
                                            ('schema_version', 'script', 'text'),
                                            ('outboxes', 'outbox', 'regclass'),
                                            ('outboxes', 'bell', 'regclass'),
                                            ('outboxes', 'settle', 'text'),
                                            ('dead_letters', 'outbox', 'regclass'),
                                            ('dead_letters', 'id', 'int8'),
                                            ('dead_letters', 'event_id', 'text'),
                                            ('dead_letters', 'payload', 'bytea')) AS ours (rel, col, type)
                         WHERE ours.rel = c.relname AND NOT EXISTS (
                               SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = ours.col
                                  AND a.atttypid = ours.type AND NOT a.attisdropped)))
         UNION ALL
        SELECT 'function', p.proname FROM pg_proc p
         WHERE p.pronamespace = home
           AND NOT (p.proname = 'ring' AND p.pronargs = 0 AND p.prorettype = 'trigger'::regtype)
         UNION ALL
        SELECT 'type', t.typname FROM pg_type t
         WHERE t.typnamespace = home AND t.typrelid = 0 AND t.typcategory <> 'A') AS o
     LIMIT 1;
    IF FOUND THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('schema outbox_relay holds %s, which '
            'outbox-relay has not made; the schema is the relay''s own: move what is yours to another one '
            '(ALTER ... SET SCHEMA), or rename this one', other);
    END IF;
END $$;

-- What this role may not make, all of it, as a managed PostgreSQL has no superuser to migrate as.
DO $$
DECLARE
    reads text := nullif(current_setting('outbox_relay.relay'), '');
    base  text;
    lacks text := '';
BEGIN
    IF reads IS NULL AND to_regclass('outbox_relay.outboxes') IS NOT NULL THEN
        SELECT r.rolname INTO reads FROM outbox_relay.outboxes o JOIN pg_roles r
            ON r.oid = to_regrole(to_jsonb(o) ->> 'relay') -- no such column before 0004
         WHERE o.outbox = to_regclass(current_setting('outbox_relay.outbox'));
    END IF;
    reads := coalesce(reads, 'outbox_relay');
    base := CASE reads WHEN 'outbox_relay' THEN 'outbox' ELSE reads END; -- see 0004 and 0006
    IF to_regnamespace('outbox_relay') IS NULL
       AND NOT has_database_privilege(current_database(), 'CREATE') THEN
        lacks := format('GRANT CREATE ON DATABASE %I TO %I; ', current_database(), current_user);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolcreaterole)) THEN
        SELECT lacks || coalesce(string_agg(format('CREATE ROLE %I %s; ', r.name, r.login), '' ORDER BY r.at), '')
          INTO lacks
          FROM (VALUES (1, reads, 'LOGIN'), (2, base || '_writer', 'NOLOGIN'), (3, base || '_operator', 'NOLOGIN'))
               AS r (at, name, login)
         WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r.name);
    END IF;
    IF lacks <> '' AND current_user = reads THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %s is the relay''s own and is to own nothing; '
            'connect as the owner of the table (--dsn)', current_user);
    ELSIF lacks <> '' THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %s may not make what is missing; have an '
            'administrator run: %s', current_user, rtrim(lacks, '; '));
    END IF;
END $$;
