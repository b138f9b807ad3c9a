-- SPDX-License-Identifier: ISC
\set key random(1, 10000)
INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) VALUES ('bench', 'key-' || :key, 'BenchEvent', '{"n": "0000000000", "t": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}');
