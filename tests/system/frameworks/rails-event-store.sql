-- SPDX-License-Identifier: ISC
-- The table that Rails Event Store makes, after RailsEventStore/rails_event_store, ruby_event_store-active_record/lib/\n-- ruby_event_store/active_record/generators/templates/postgres/create_event_store_events_template.erb (data_type: jsonb).
CREATE TABLE event_store_events (
    id         bigserial    PRIMARY KEY,
    event_id   uuid         NOT NULL UNIQUE,
    event_type varchar      NOT NULL,
    metadata   jsonb,
    data       jsonb        NOT NULL,
    created_at timestamp(6) NOT NULL,
    valid_at   timestamp(6)
);
CREATE TABLE event_store_events_in_streams (
    id         bigserial    PRIMARY KEY,
    stream     varchar      NOT NULL,
    position   integer,
    event_id   uuid         NOT NULL REFERENCES event_store_events (event_id),
    created_at timestamp(6) NOT NULL,
    UNIQUE (stream, position),
    UNIQUE (stream, event_id)
);
