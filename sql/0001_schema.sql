-- SPDX-License-Identifier: ISC
-- outbox-relay 1: the schema with the relay's own objects. Events stay in the outbox table; only dead
-- letters are stored here.
--
-- All files of this directory may be run again at any time: they change nothing that exists already.
-- `outbox-relay migrate` runs them in order, under a lock, in one transaction, and
-- `outbox-relay migrate --print` writes them as one script with the names filled in. By hand:
--
--     psql -1 -v ON_ERROR_STOP=1 -v outbox_schema=public -v outbox_table=outbox_events \
--          -v outbox_id=id -v outbox_event_id=event_id -v settle=delete -v relay_role= \
--          -v partition_by= -v outbox_where= -v outbox_published=published_at \
--          -v outbox_published_value= -v outbox_pending_value= \
--          -f begin.sql -f guard.sql -f 0001_schema.sql -f 0002_outbox.sql -f 0003_bell.sql \
--          -f 0004_roles.sql -f 0005_pause.sql -f 0006_operator.sql -f 0007_actions.sql \
--          -f 0008_letters.sql -f 0009_depth_guard.sql -f 0010_handover.sql \
--          -f 0011_replays.sql -f 0012_ranges.sql -f 0013_copies.sql \
--          -f 0014_positions.sql -f 0015_withdrawn.sql -f 0016_exactly_once.sql -f 0017_marks.sql \
--          -f 0018_reconcile.sql -f 0019_letters_without_key.sql -f 0020_aside.sql \
--          -f 0021_partition_age.sql -f 0022_actions_kept.sql -f end.sql
--
-- outbox_id is the column with the ascending number; settle is "delete", "mark" or "position"; relay_role is the role
-- of 0004, where it is to be another than outbox_relay; partition_by is for 0012. The other four are
-- options of the configuration, as docs/configuration.md has them.

CREATE SCHEMA IF NOT EXISTS outbox_relay;

-- Which of these files have been applied. The relay compares the highest number with its own.
CREATE TABLE IF NOT EXISTS outbox_relay.schema_version (
    version    integer     PRIMARY KEY,
    script     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The outbox tables of this database, and the bell (0003) of each.
CREATE TABLE IF NOT EXISTS outbox_relay.outboxes (
    outbox regclass PRIMARY KEY,
    bell   regclass NOT NULL,
    settle text     NOT NULL CHECK (settle IN ('delete', 'mark', 'position'))
);

-- A schema that was made before version 14 does not know "position".
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'outbox_relay.outboxes'::regclass
                  AND conname = 'outboxes_settle_check' AND pg_get_constraintdef(oid) !~ 'position') THEN
        ALTER TABLE outbox_relay.outboxes DROP CONSTRAINT outboxes_settle_check,
            ADD CONSTRAINT outboxes_settle_check CHECK (settle IN ('delete', 'mark', 'position'));
    END IF;
END $$;

-- Dead letters: events that Kafka can never accept, with the whole row and the reason.
CREATE TABLE IF NOT EXISTS outbox_relay.dead_letters (
    outbox         regclass    NOT NULL,
    id             bigint      NOT NULL,
    event_id       text        NOT NULL,
    aggregate_type text,
    aggregate_id   text,
    event_type     text,
    payload        bytea,                -- the bytes that would have been the value; NULL: a tombstone
    payload_type   text,                 -- the type of the payload column, to put it back
    headers        text,
    created_at     timestamptz,
    extra          jsonb,                -- the other columns of the row
    error          text,                 -- what was wrong, in words
    reason         text,                 -- ... and in one: too_large, topic, headers, route, broker
    attempts       integer     NOT NULL DEFAULT 1,
    dead_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (outbox, id, event_id)
);

-- What 0017 fills in, and other files go by.
ALTER TABLE outbox_relay.outboxes
    ADD COLUMN IF NOT EXISTS condition   text NOT NULL DEFAULT '', -- outbox.where
    ADD COLUMN IF NOT EXISTS mark_column name,                     -- as configured; NULL: rows are not marked
    ADD COLUMN IF NOT EXISTS mark_value  text,
    ADD COLUMN IF NOT EXISTS mark_waits  text,
    ADD COLUMN IF NOT EXISTS mark_timed  boolean,                  -- the column is a time
    ADD COLUMN IF NOT EXISTS waits       text,                     -- the condition that a row is not published yet
    ADD COLUMN IF NOT EXISTS published   text,                     -- that it is
    ADD COLUMN IF NOT EXISTS marked      text,                     -- what the column is set to
    ADD COLUMN IF NOT EXISTS waits_index text;                     -- waits as PostgreSQL writes it

-- The condition on a row, as text, that it meets this one; and that it is an event.
CREATE OR REPLACE FUNCTION outbox_relay.meets(condition text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE condition WHEN '' THEN 'true' ELSE format(E'coalesce((\n%s\n), false)', condition) END
$$;
CREATE OR REPLACE FUNCTION outbox_relay.is_event(box regclass) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT outbox_relay.meets(o.condition) FROM outbox_relay.outboxes o WHERE o.outbox = box), 'true')
$$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (1, '0001_schema.sql') ON CONFLICT DO NOTHING;
