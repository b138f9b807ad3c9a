# SPDX-License-Identifier: ISC
"""A consumer that applies each event once: inbox.py BOOTSTRAP_SERVERS GROUP TOPIC. Its tables are in inbox.sql, on the
server of PGHOST, PGUSER and so on."""
import json
import signal
import sys

import psycopg
from confluent_kafka import Consumer


class Poison(Exception):
    """The record can never be processed: to try again would not help."""


def apply(db, kind, order_id, value):
    """What the event means here. Types that are not known are left alone: producers may add some."""
    if kind == "OrderPlaced":
        db.execute("INSERT INTO shipments (order_id) VALUES (%s) ON CONFLICT DO NOTHING", (order_id,))
    elif kind == "ItemReserved":
        if not isinstance(value, dict) or "item" not in value:
            raise Poison("no item")
        db.execute("UPDATE shipments SET items = items + 1 WHERE order_id = %s", (order_id,))


def header(record, name):
    """The first header of this name, in bytes, or None. Further ones are the producer's, and no event's identity."""
    return next((value for found, value in record.headers() or [] if found == name), None)


def text(value):
    if value is None:
        raise Poison("no id, type or key")
    return value.decode()


def process(db, record):
    """In one transaction: notes the id, and applies the event unless the id was there."""
    event_id, kind, key = text(header(record, "id")), text(header(record, "type")), text(record.key())
    with db.transaction():
        new = db.execute("INSERT INTO inbox (event_id) VALUES (%s) ON CONFLICT DO NOTHING", (event_id,))
        if new.rowcount == 1:
            apply(db, kind, key, None if record.value() is None else json.loads(record.value()))


def keep(db, record, error):
    """Keeps a record that cannot be processed, for a person to look at."""
    db.execute("INSERT INTO inbox_failed (topic, partition, position, event_id, key, value, error)"
               " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
               (record.topic(), record.partition(), record.offset(), header(record, "id"), record.key(),
                record.value(), repr(error)))


def main(servers, group, topic):
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.offset.store": False})
    consumer.subscribe([topic])
    with psycopg.connect(autocommit=True) as db:
        while not stopped:
            record = consumer.poll(0.5)
            if record is None:
                continue
            if record.error():
                print(record.error(), file=sys.stderr)
                continue
            try:
                process(db, record)
            except (Poison, KeyError, ValueError, psycopg.DataError) as error:
                keep(db, record, error)
            consumer.store_offsets(record)  # only now: what was not applied is read again
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
