-- SPDX-License-Identifier: ISC
-- The logins of compose.yml's demo. `outbox-relay migrate` grants them what they need; made before it,
-- so that they have passwords.
CREATE ROLE outbox_relay LOGIN PASSWORD 'relay';
CREATE ROLE outbox_writer;
CREATE ROLE shop LOGIN PASSWORD 'shop' IN ROLE outbox_writer;
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text NOT NULL,
                     placed_at timestamptz NOT NULL DEFAULT clock_timestamp());
GRANT SELECT, INSERT ON orders TO shop;
