-- SPDX-License-Identifier: ISC
-- The table that Spring Modulith makes, after spring-projects/spring-modulith,\n-- spring-modulith-events/spring-modulith-events-jdbc/src/main/resources/schemas/v2/schema-postgresql.sql.
CREATE TABLE event_publication (
    id                     uuid        NOT NULL,
    listener_id            text        NOT NULL,
    event_type             text        NOT NULL,
    serialized_event       text        NOT NULL,
    publication_date       timestamptz NOT NULL,
    completion_date        timestamptz,
    status                 text,
    completion_attempts    int,
    last_resubmission_date timestamptz,
    PRIMARY KEY (id)
);
CREATE INDEX ON event_publication USING hash (serialized_event);
CREATE INDEX ON event_publication (completion_date);
