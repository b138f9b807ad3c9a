-- SPDX-License-Identifier: ISC
-- outbox-relay 19: an event without a key keeps nothing waiting, so its letter is a dead letter. Relays before this
-- version counted one as parked that had waited for its topic and was rejected then; it was never due again, and
-- nothing counted it.

UPDATE outbox_relay.dead_letters SET held_for = NULL WHERE held_for = 'key' AND key_hash IS NULL;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (19, '0019_letters_without_key.sql') ON CONFLICT DO NOTHING;
