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


def process(db, record):
    """In one transaction: notes the id, and applies the event unless the id was there."""
    headers = {name: value.decode() for name, value in record.headers() or [] if value is not None}
    with db.transaction():
        new = db.execute("INSERT INTO inbox (event_id) VALUES (%s) ON CONFLICT DO NOTHING", (headers["id"],))
        if new.rowcount == 1:
            value = None if record.value() is None else json.loads(record.value())
            apply(db, headers.get("type"), record.key().decode(), value)


def keep(db, record, error):
    """Keeps a record that cannot be processed, for a person to look at."""
    ids = [value.decode() for name, value in record.headers() or [] if name == "id"]
    db.execute("INSERT INTO inbox_failed (topic, partition, position, event_id, key, value, error)"
               " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
               (record.topic(), record.partition(), record.offset(), ids[0] if ids else None, record.key(),
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
            if record is None or record.error():
                continue
            try:
                process(db, record)
            except (Poison, KeyError, ValueError, psycopg.DataError) as error:
                keep(db, record, error)
            consumer.store_offsets(record)  # only now: what was not applied is read again
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
