-- SPDX-License-Identifier: ISC
-- The application of compose.yml's demo: an order and its event in one statement, so in one
-- transaction, five times a second for as long as psql runs.
WITH placed AS (
    INSERT INTO orders (item) VALUES ((ARRAY['teapot', 'kettle', 'samovar'])[1 + floor(random() * 3)::int])
    RETURNING id, item)
INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)
SELECT 'order', 'o-' || id, 'OrderPlaced', jsonb_build_object('item', item) FROM placed
\watch 0.2
