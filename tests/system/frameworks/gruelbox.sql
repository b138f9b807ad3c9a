-- SPDX-License-Identifier: ISC
-- The table that gruelbox transaction-outbox makes, after gruelbox/transaction-outbox,\n-- transactionoutbox-core/src/main/java/com/gruelbox/transactionoutbox/DefaultDialect.java.
CREATE TABLE TXNO_OUTBOX (
    id              varchar(36) PRIMARY KEY,
    invocation      text,
    lastAttemptTime timestamp(6),
    nextAttemptTime timestamp(6),
    attempts        int,
    blocked         boolean,
    version         int,
    uniqueRequestId varchar(250) UNIQUE,
    processed       boolean,
    topic           varchar(250) NOT NULL DEFAULT '*',
    seq             bigint
);
