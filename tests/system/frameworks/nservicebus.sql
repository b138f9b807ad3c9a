-- SPDX-License-Identifier: ISC
-- The table that NServiceBus (SQL persistence) makes, after Particular/docs.particular.net,\n-- Snippets/SqlPersistence/SqlPersistence_5/PostgreSql_OutboxCreate.sql.
CREATE TABLE "OutboxData" (
    "MessageId"          character varying(200),
    "Dispatched"         boolean NOT NULL DEFAULT false,
    "DispatchedAt"       timestamp,
    "PersistenceVersion" character varying(23),
    "Operations"         jsonb   NOT NULL,
    PRIMARY KEY ("MessageId")
);
