# SPDX-License-Identifier: ISC
"""From a row to a record: where every column goes, on a real Postgres and a real Kafka."""
import time

import psycopg2
import pytest

from harness.murmur2 import partition
from harness.writers import insert


def test_every_column_arrives(relay, database, reader, prefix):
    """A row written by an application's role becomes one record: topic, key, value and headers by the
    default route, and the row is gone from the outbox."""
    database.execute(
        "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload, headers)"
        " VALUES ('6b1c2f0e-6d0f-4a39-9c9e-0d2a51d3a001', 'order', 'o-17', 'OrderPlaced',"
        " '{\"total\": 12.50, \"lines\": [1, 2]}', '{\"trace\": \"abc\", \"attempt\": 1}')")
    record, = reader("order").take(1)
    assert record.topic == prefix + "order"
    assert record.key == b"o-17"
    assert record.value == b'{"lines": [1, 2], "total": 12.50}'  # as Postgres prints jsonb
    assert record.headers == [("id", b"6b1c2f0e-6d0f-4a39-9c9e-0d2a51d3a001"), ("type", b"OrderPlaced"),
                              ("trace", b"abc"), ("attempt", b"1")]
    database.wait_empty()


def test_a_writer_needs_only_the_writers_role(relay, database, reader):
    """A role with nothing but outbox_writer inserts, and can neither read nor delete events."""
    database.execute("DO $$ BEGIN CREATE ROLE app LOGIN IN ROLE outbox_writer;"
                     " EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    insert(database, 3, user="app")
    assert len(reader().take(3)) == 3
    for forbidden in ("SELECT * FROM outbox_events", "DELETE FROM outbox_events"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            database.execute(forbidden, user="app")


def test_keys_go_where_java_puts_them(relay, database, reader, topic):
    """500 keys on 7 partitions: each in the partition that Java's default partitioner computes."""
    topic("thing", partitions=7)
    database.execute(
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
        " SELECT 'thing', 'schlüssel-' || repeat('x', n % 9) || n, 'Happened', '{}'"
        " FROM generate_series(1, 500) n")
    for record in reader().take(500):
        assert record.partition == partition(record.key, 7), record.key


def test_types_go_to_topics_of_their_own(relay, database, reader):
    """Two aggregate types in one transaction land in two topics."""
    with database.session(autocommit=False) as cursor:
        cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                       " VALUES ('order', '1', 'Placed', '{}'), ('customer', '2', 'Joined', '{}'),"
                       " ('order', '1', 'Paid', '{}')")
        cursor.connection.commit()
    assert [r.header("type") for r in reader("order").take(2)] == ["Placed", "Paid"]
    assert [r.header("type") for r in reader("customer").take(1)] == ["Joined"]


def test_nothing_of_a_rolled_back_transaction_is_published(relay, database, reader):
    """The event of a transaction that was rolled back is not among those that arrive."""
    with database.session(autocommit=False) as cursor:
        cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)"
                       " VALUES ('thing', 'k', 'Undone')")
        cursor.connection.rollback()
    insert(database, 1)
    consumer = reader()
    assert [r.header("type") for r in consumer.take(1)] == ["Happened"]
    database.wait_empty()
    assert consumer.rest() == []


def test_nothing_of_a_rolled_back_savepoint_is_published(relay, database, reader):
    """Of a transaction that commits, as ORMs nest them."""
    with database.session(autocommit=False) as cursor:
        for kind, end in (("First", "RELEASE nested"), ("Undone", "ROLLBACK TO nested"), ("Last", "RELEASE nested")):
            cursor.execute("SAVEPOINT nested")
            cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)"
                           " VALUES ('thing', 'k', %s)", (kind,))
            cursor.execute(end)
        cursor.connection.commit()
    consumer = reader()
    assert [r.header("type") for r in consumer.take(2)] == ["First", "Last"]
    database.wait_empty()
    assert consumer.rest() == []


def test_a_sleeping_relay_is_quick(relay, database, reader, topic):
    """From commit to consumer in well under the poll interval, in the middle of 21 tries."""
    topic()
    consumer, times = reader(), []
    for _ in range(21):
        insert(database, 1)
        start = time.monotonic()
        consumer.take(1)
        times.append(time.monotonic() - start)
    assert sorted(times)[10] < 0.25, times
