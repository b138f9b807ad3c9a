"""The tables of the application: a counter for each key, and the truth.

truth is written in the transaction of the event, so that the database itself says what is committed: also of
a transaction whose COMMIT nobody answered, and on the server that is the primary after a failover.
"""
import json
import os
import socket

import psycopg2

from faults.history import COMMITTED, LOST, UNKNOWN, Event

SCHEMA = """
CREATE TABLE app_counters (key text COLLATE "C" PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
CREATE TABLE truth (
    event_id uuid PRIMARY KEY,
    id       bigint NOT NULL,   -- the outbox gave it
    topic    text   NOT NULL,
    key      text   NOT NULL,
    n        bigint NOT NULL,
    after    bigint NOT NULL,
    txn      text   NOT NULL,
    value    text   NOT NULL,   -- tokens as in a history, in JSON since a text column takes no NUL
    headers  text   NOT NULL
)
"""

INSERT = """
WITH o AS (INSERT INTO {table} (event_id, aggregate_type, aggregate_id, event_type, payload, headers)
           VALUES (%s, %s, %s, %s, %s::{column}, %s) RETURNING id)
INSERT INTO truth (event_id, topic, key, n, after, txn, value, headers, id)
SELECT %s::uuid, %s, %s, %s, %s, %s, %s, %s, id FROM o
"""


def row(event):
    """The parameters of INSERT that are for truth."""
    return (event.event_id, event.topic, event.key, event.number, event.after, event.txn,
            json.dumps(event.value), event.headers)


def create(connection, keys):
    """The tables, with a counter for each key. The connection is in autocommit mode."""
    with connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        cursor.execute("INSERT INTO app_counters SELECT unnest(%s)", (list(keys),))


def committed(connection):
    """All events that are committed, one by one. The connection is not in autocommit mode."""
    with connection.cursor("truth") as cursor:
        cursor.itersize = 10_000
        cursor.execute("SELECT event_id::text, topic, key, n, after, txn, value, headers, id FROM truth")
        for row in cursor:
            event = Event(COMMITTED, *row)
            yield event._replace(value=json.loads(event.value))
    connection.rollback()


def resolve(connection, acked, unknown):
    """Every event there was at the commits: those in truth, and those that are not there any more. acked: {event_id:
    (when COMMIT was answered, Event)}. unknown: events of commits without answer. Generates Events."""
    present = set()
    for event in committed(connection):
        present.add(event.event_id)
        when, _ = acked.get(event.event_id, (None, None))
        yield event._replace(acked=when)
    for event_id, (when, event) in acked.items():
        if event_id not in present:
            yield event._replace(state=LOST, acked=when)
    for event in unknown:
        if event.event_id not in present:
            yield event._replace(state=UNKNOWN)


def shut(connection):
    """Ends a connection from another thread, whatever its own does: it gets an error at once."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)
    except (psycopg2.Error, OSError, ValueError):
        pass  # closed already


def waiting(connection, table="outbox_events", settle="delete"):
    """The event ids that wait in the outbox."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT event_id::text FROM {table}"
                       + (" WHERE published_at IS NULL" if settle == "mark" else ""))
        return [event_id for (event_id,) in cursor.fetchall()]
