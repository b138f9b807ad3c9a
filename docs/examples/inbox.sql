-- SPDX-License-Identifier: ISC
-- The tables of the consumer in inbox.py and Inbox.java.

CREATE TABLE inbox (
    event_id    uuid        PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON inbox (received_at);

-- Records that cannot be processed, in bytes: they may be no text.
CREATE TABLE inbox_failed (
    topic     text, partition integer, position bigint,
    event_id  bytea,
    key       bytea,
    value     bytea,
    error     text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, position)
);

-- What this consumer makes of the events.
CREATE TABLE shipments (
    order_id text    PRIMARY KEY,
    items    integer NOT NULL DEFAULT 0
);
