-- SPDX-License-Identifier: ISC
-- outbox-relay 11: replays, by `outbox-relay replay`: which published rows are published once more, and how far
-- that has come. A replay goes through its rows in the order of their ids, so its position is an id: all up
-- to it is done. The rows of the outbox are only read.

CREATE TABLE IF NOT EXISTS outbox_relay.replays (
    number      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the value of the header outbox-relay-replay
    outbox      regclass    NOT NULL REFERENCES outbox_relay.outboxes ON DELETE CASCADE,
    selection   jsonb       NOT NULL, -- as it was asked for
    topic       text,                 -- instead of route.topic; NULL: as ever
    since       timestamptz,          -- rows published from then on; NULL: from the first one on
    until       timestamptz NOT NULL, -- rows published before
    first_id    bigint      NOT NULL,
    last_id     bigint      NOT NULL,
    events      bigint      NOT NULL, -- so many they were when it began
    position    bigint      NOT NULL,
    published   bigint      NOT NULL DEFAULT 0,
    rejected    bigint      NOT NULL DEFAULT 0,
    role        text        NOT NULL DEFAULT session_user,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);

-- The roles of all outboxes, since none of the others may be migrated again. The relay's: `replay` works with
-- the relay's configuration, as `pause` does.
DO $$
DECLARE
    who name;
BEGIN
    FOR who IN
        SELECT DISTINCT r.rolname FROM outbox_relay.outboxes o JOIN pg_roles r ON r.oid IN (o.relay, o.operator)
    LOOP
        EXECUTE format('GRANT SELECT, INSERT (outbox, selection, topic, since, until, first_id, last_id, events, '
                       'position), UPDATE (position, published, rejected, finished_at) '
                       'ON outbox_relay.replays TO %I', who);
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = 'outbox_relay.replays'::regclass) THEN
        CREATE POLICY own ON outbox_relay.replays USING (outbox IN (
            SELECT o.outbox FROM outbox_relay.outboxes o
             WHERE pg_catalog.pg_has_role(o.relay, 'USAGE') OR pg_catalog.pg_has_role(o.operator, 'USAGE')));
        ALTER TABLE outbox_relay.replays ENABLE ROW LEVEL SECURITY;
    END IF;
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (11, '0011_replays.sql') ON CONFLICT DO NOTHING;
