-- SPDX-License-Identifier: ISC
-- outbox-relay 22: of each kind of action the last 10,000 of an outbox are kept (0007), and a retry, an edit and a discard
-- name each event (0008): in delete mode nothing else tells what was discarded.

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (22, '0022_actions_kept.sql') ON CONFLICT DO NOTHING;
