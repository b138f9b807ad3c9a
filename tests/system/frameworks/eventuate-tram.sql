-- SPDX-License-Identifier: ISC
-- The table that Eventuate Tram makes, after eventuate-foundation/eventuate-common, postgres/2.initialize-database.sql and\n-- postgres/5.initialize-database-db-id.sql.
CREATE SCHEMA eventuate;
CREATE SEQUENCE eventuate.message_table_id_sequence START 1;
CREATE TABLE eventuate.message (
    id            varchar(1000),
    dbid          bigint   NOT NULL DEFAULT nextval('eventuate.message_table_id_sequence') PRIMARY KEY,
    destination   text     NOT NULL,
    headers       text     NOT NULL,
    payload       text     NOT NULL,
    published     smallint DEFAULT 0,
    creation_time bigint
);
