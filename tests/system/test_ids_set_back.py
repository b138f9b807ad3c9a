# SPDX-License-Identifier: ISC
"""Ids that begin again below those that were published: a table emptied with its sequence, a sequence set back
or moved to negative values; and the lowest ids there are."""
import json
import time

import pytest

from harness.waiting import until

NO_SWEEP = {"sweep_interval": "1h"}
WAYS = {
    "truncate": "TRUNCATE outbox_events RESTART IDENTITY",
    "truncate, setval": "TRUNCATE outbox_events; SELECT setval('outbox_events_id_seq', 1, false)",
    "restart": "ALTER SEQUENCE outbox_events_id_seq RESTART",
    "alter column": "ALTER TABLE outbox_events ALTER COLUMN id RESTART WITH 2",
    "setval": "SELECT setval('outbox_events_id_seq', 1, false)",
}


def write(database, *numbers, before=""):
    """Events of one key, in one statement."""
    database.execute(before + "; INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'thing', 'k', 'Happened', jsonb_build_object('n', n) FROM unnest(%s) n", list(numbers))


def take(consumer, count):
    return [record.json["n"] for record in consumer.take(count, timeout=20)]


def floor(relay):
    return json.loads(relay.get("/status")[1])["floor"]


def settled(database, relay, last):
    """The relay has published everything up to this id, and looks no lower."""
    database.wait_empty()
    until(lambda: floor(relay) == last, 20, "the floor to follow")


@pytest.mark.parametrize("changes, ways", [({}, WAYS), ({"shards": 4}, ["truncate", "setval"]),
                                           ({"ordering": "none"}, ["restart", "setval"])], ids=["", "shards", "none"])
def test_new_ids_that_pass_the_old_ones_come_in_order(database, new_relay, reader, topic, changes, ways):
    """Some of the new ids lie below the last one published, some above. Nothing looks there but the first claim:
    the sweep is an hour away."""
    topic()
    relay = new_relay(outbox={**NO_SWEEP, **changes}).start()
    consumer = reader()
    write(database, 1, 2, 3)
    assert take(consumer, 3) == [1, 2, 3]
    for way in ways:
        settled(database, relay, database.value("SELECT last_value FROM outbox_events_id_seq"))
        numbers = list(range(int(floor(relay)) + 5))
        write(database, *numbers, before=WAYS[way])
        assert (way, take(consumer, len(numbers))) == (way, numbers)


def test_a_sequence_set_back_twice(database, new_relay, reader, topic):
    """Both times the first event comes with the next look, though its id is the lowest of all."""
    topic()
    relay = new_relay(outbox=NO_SWEEP).start()
    consumer = reader()
    write(database, *range(10))
    take(consumer, 10)
    settled(database, relay, 10)
    for target in (7, 4, 1):
        database.execute("SELECT setval('outbox_events_id_seq', %s, false)", target)
        write(database, target)
        assert take(consumer, 1) == [target]
        settled(database, relay, target)


@pytest.mark.parametrize("kind, lowest, highest", [("integer", -2**31, 2**31 - 1), ("bigint", -2**63, 2**63 - 1)])
def test_ids_move_to_the_negative_range(database, new_relay, reader, topic, kind, lowest, highest):
    """The last ids of the positive range are followed by the lowest of all; a late row with a high id, given by hand,
    changes nothing."""
    topic()
    database.execute(f"ALTER TABLE outbox_events ALTER id TYPE {kind};"
                     f"ALTER SEQUENCE outbox_events_id_seq AS {kind} RESTART WITH {highest - 2}")
    relay = new_relay(outbox=NO_SWEEP).start()
    consumer = reader()
    write(database, 1, 2, 3)
    assert take(consumer, 3) == [1, 2, 3]
    settled(database, relay, highest)
    database.execute(f"ALTER SEQUENCE outbox_events_id_seq MINVALUE {lowest} RESTART WITH {lowest}")
    database.execute("INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES (%s, 'thing', 'k', 'Happened', '{\"n\": 4}')", highest - 1)
    assert take(consumer, 1) == [4]
    database.wait_empty()
    for n in range(5, 9):
        write(database, n)
        assert take(consumer, 1) == [n]
        database.wait_empty()


def test_a_locked_row_with_the_lowest_id(database, new_relay, reader, topic):
    """It is passed over while another session holds its lock, and comes when that ends, without a sweep."""
    topic()
    database.execute("INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES (%s, 'thing', 'lowest', 'Happened', '{\"n\": 0}')", -2**63)
    with database.session(autocommit=False) as cursor:
        cursor.execute("SELECT FROM outbox_events FOR UPDATE")
        new_relay(outbox=NO_SWEEP).start()
        consumer = reader()
        for n in range(1, 15):
            write(database, n)
            assert take(consumer, 1) == [n]
            time.sleep(0.1)  # the low watermark would rise about once in a second
        cursor.connection.rollback()
    assert take(consumer, 1) == [0]
