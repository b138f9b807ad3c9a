-- SPDX-License-Identifier: ISC
-- The table that Wolverine makes, after JasperFx/wolverine, src/Persistence/Wolverine.Postgresql/Schema/OutgoingEnvelopeTable.cs.
CREATE TABLE wolverine_outgoing_envelopes (
    id           uuid    NOT NULL PRIMARY KEY,
    owner_id     integer NOT NULL,
    destination  varchar NOT NULL,
    deliver_by   timestamptz,
    body         bytea   NOT NULL,
    attempts     integer DEFAULT 0,
    message_type varchar NOT NULL
);
