-- SPDX-License-Identifier: ISC
-- outbox-relay 13: copies of rejected events in a topic (route.dead_letter_topic).
--
-- A letter is the outbox of its own copy: that one is owed is written with the reject, in one transaction, and
-- taken off in the transaction that publishes it. The relay that owns the letter's shard does both.

ALTER TABLE outbox_relay.dead_letters
    ADD COLUMN IF NOT EXISTS copy_owed_since timestamptz; -- NULL: none is

-- Of no use to any other question: it has the outbox, but none of them asks for this condition.
CREATE INDEX IF NOT EXISTS dead_letters_copy ON outbox_relay.dead_letters (outbox, copy_owed_since, number)
    WHERE copy_owed_since IS NOT NULL;

INSERT INTO outbox_relay.schema_version (version, script)
VALUES (13, '0013_copies.sql') ON CONFLICT DO NOTHING;
