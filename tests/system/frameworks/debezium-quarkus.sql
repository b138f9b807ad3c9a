-- SPDX-License-Identifier: ISC
-- The table that Debezium's Quarkus extension makes, after debezium-quarkus-outbox (OutboxConstants, OutboxEventHbmWriter) with\n-- remove-after-insert=false.
CREATE TABLE outboxevent (
    id                 uuid         NOT NULL PRIMARY KEY,
    aggregatetype      varchar(255) NOT NULL,
    aggregateid        varchar(255) NOT NULL,
    type               varchar(255) NOT NULL,
    timestamp          timestamp(6) NOT NULL,
    payload            varchar(8000),
    tracingspancontext varchar(256)
);
