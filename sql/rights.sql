-- SPDX-License-Identifier: ISC
-- outbox-relay: whether this role may make what is missing. No migration: it comes after guard.sql, before
-- anything is changed. A managed PostgreSQL has no superuser to migrate as, so it names everything that an
-- administrator must run first.

SELECT set_config('outbox_relay.outbox', format('%I.%I', :'outbox_schema', :'outbox_table'), false),
       set_config('outbox_relay.relay', :'relay_role', false);

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
