"""A plain polling publisher, as many teams have one: what the relay is measured against.

usage: polling_publisher.py DSN BOOTSTRAP TOPIC     publishes until the outbox is empty
"""
import sys

import psycopg2
from confluent_kafka import Producer

BATCH = 100
CLAIM = """SELECT id, event_id::text, aggregate_id, event_type, payload::text FROM outbox_events
           ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"""


class Failed(Exception):
    pass


def on_report(error, _message):
    if error is not None:
        raise Failed(error.str())


def publish_batch(connection, producer, topic):
    """One transaction; how many events it had."""
    with connection, connection.cursor() as cursor:
        cursor.execute(CLAIM, (BATCH,))
        rows = cursor.fetchall()
        for _, event_id, key, event_type, payload in rows:
            producer.produce(topic, value=payload, key=key, on_delivery=on_report,
                             headers=[("id", event_id), ("type", event_type)])
        if producer.flush(30) > 0:
            raise Failed("Kafka did not acknowledge in 30 s")
        cursor.execute("DELETE FROM outbox_events WHERE id = ANY(%s)", ([row[0] for row in rows],))
        return len(rows)


def main():
    dsn, bootstrap, topic = sys.argv[1:]
    connection = psycopg2.connect(dsn)
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True,
                         "partitioner": "murmur2_random"})
    while publish_batch(connection, producer, topic) > 0:
        pass
    connection.close()


if __name__ == "__main__":
    main()
