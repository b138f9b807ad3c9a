-- SPDX-License-Identifier: ISC
-- The table that Debezium's outbox event router reads makes, after its documentation (Outbox Event Router, "Basic outbox table"),\n-- with a column of time as its Quarkus extension adds one.
CREATE TABLE outboxevent (
    id            uuid         NOT NULL PRIMARY KEY,
    aggregatetype varchar(255) NOT NULL,
    aggregateid   varchar(255) NOT NULL,
    type          varchar(255) NOT NULL,
    payload       jsonb
);
