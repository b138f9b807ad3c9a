-- SPDX-License-Identifier: ISC
-- The table that outboxer makes, after fast-programmer/outboxer, db/migrate/create_outboxer_messages.rb.
CREATE TABLE outboxer_messages (
    id               bigserial    PRIMARY KEY,
    status           varchar(255) NOT NULL,
    messageable_id   varchar(255) NOT NULL,
    messageable_type varchar(255) NOT NULL,
    queued_at        timestamp(6) NOT NULL,
    buffered_at      timestamp(6),
    publishing_at    timestamp(6),
    updated_at       timestamp(6) NOT NULL,
    publisher_name   varchar(263),
    publisher_id     bigint
);
