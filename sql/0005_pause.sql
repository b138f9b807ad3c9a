-- SPDX-License-Identifier: ISC
-- outbox-relay 5: whether an outbox is paused. `outbox-relay pause` and `resume` set it and NOTIFY
-- outbox_relay; the relays poll it, too. Both commands work as the relay's own role, and so with its
-- configuration.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'outbox_relay.outboxes'::regclass
                      AND attname = 'paused' AND NOT attisdropped) THEN
        ALTER TABLE outbox_relay.outboxes ADD COLUMN paused boolean NOT NULL DEFAULT false;
    END IF;
    EXECUTE format('GRANT UPDATE (paused) ON outbox_relay.outboxes TO %I', current_setting('outbox_relay.relay'));
END $$;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (5, '0005_pause.sql') ON CONFLICT DO NOTHING;
