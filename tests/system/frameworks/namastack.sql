-- SPDX-License-Identifier: ISC
-- The table that Namastack Outbox makes, after namastack/namastack-outbox, namastack-outbox-examples/\n-- namastack-outbox-example-flyway-jdbc/src/main/resources/db/migration/V1__outbox_tables.sql.
CREATE TABLE outbox_record (
    id             varchar(255)  NOT NULL,
    status         varchar(20)   NOT NULL,
    record_key     varchar(255)  NOT NULL,
    record_type    varchar(255)  NOT NULL,
    payload        text          NOT NULL,
    context        text,
    created_at     timestamptz   NOT NULL,
    completed_at   timestamptz,
    failure_count  int           NOT NULL,
    failure_reason varchar(1000),
    next_retry_at  timestamptz   NOT NULL,
    partition_no   integer       NOT NULL,
    handler_id     varchar(1000) NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ON outbox_record (record_key, created_at);
CREATE INDEX ON outbox_record (status, next_retry_at);
