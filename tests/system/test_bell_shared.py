# SPDX-License-Identifier: ISC
"""One bell for all relays of an outbox: whoever it rings for hears it, and nobody leaves it armed for nothing."""
import random
import threading
import time

import pytest

from harness.fleet import owned, wait_spread, wait_spread_for_good, wait_standby
from harness.waiting import holds
from harness.writers import insert

SLOW = {"shards": 2, "poll_interval": "1h", "sweep_interval": "1h"}
VALUE = """SELECT pg_sequence_last_value('outbox_relay."bell_public.outbox_events"'::regclass)"""
ARMED, AT_REST = f"SELECT ({VALUE}) IS NOT NULL", f"SELECT ({VALUE}) IS NULL"
SHARD = "SELECT (hashtextextended((%s || chr(31)) COLLATE \"C\", 0) & 9223372036854775807) %% 2"


@pytest.fixture
def two(fleet):
    """Two relays, one shard each, with nothing but the bell to wake them."""
    relays = fleet(2, **SLOW)
    wait_spread_for_good(relays, 1, 1)
    return relays


@pytest.fixture
def key_of(database):
    """key_of(relay): a key of its shard."""
    keys = {database.value(SHARD, f"key{number}"): f"key{number}" for number in range(20)}

    def key(relay):
        return keys[min(owned(relay))]
    return key


def add(database, key):
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', %s, 'Happened', '{}')", key)


def test_an_event_for_either_arrives_soon(two, key_of, database, reader):
    consumer = reader()
    for round_ in range(10):
        database.wait(ARMED)
        relay = two[round_ // 2 % 2]
        add(database, key_of(relay))
        consumer.take(1)
    database.wait_empty()
    assert all(relay.metric("published_total") >= 4 for relay in two)


def test_events_for_both_at_once(two, key_of, database, reader):
    consumer = reader()
    for _ in range(10):
        database.wait(ARMED)
        for relay in two:
            add(database, key_of(relay))
        consumer.take(2)


def test_events_at_any_moment(two, key_of, database, reader):
    """While both fall asleep and wake all the time."""
    consumer, rng = reader(), random.Random(4)
    keys = [key_of(relay) for relay in two]
    for _ in range(80):
        count = rng.randint(1, 8)
        for _ in range(count):
            add(database, rng.choice(keys))
            time.sleep(rng.uniform(0, 0.02))
        consumer.take(count)


def test_one_is_busy_and_the_other_asleep(two, key_of, database, reader):
    """The busy one puts the bell to rest all the time; the other arms it again, and hears of its event."""
    busy, idle = two
    key_of_busy, key_of_idle = key_of(busy), key_of(idle)
    stop = threading.Event()

    def work():
        with database.session() as cursor:
            while not stop.is_set():
                cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                               " VALUES ('busy', %s, 'Happened', '{}')", (key_of_busy,))
    thread = threading.Thread(target=work)
    thread.start()
    try:
        consumer = reader()
        for _ in range(10):
            add(database, key_of_idle)
            consumer.take(1)
            stop.wait(0.3)
        busy.wait_metric("published_total", 101)
    finally:
        stop.set()
        thread.join()
    database.wait_empty()


@pytest.mark.parametrize("events", [0, 1])
def test_one_is_killed_asleep(two, key_of, database, reader, events):
    """It leaves the bell armed. The other takes over, hears, and at its own end puts the bell to rest."""
    consumer = reader()
    database.wait(ARMED)
    key = key_of(two[0])
    two[0].kill()
    if events:
        add(database, key)
        consumer.take(1)
    wait_spread([two[1]], 2)
    database.wait(ARMED)
    add(database, key)
    consumer.take(1)
    assert two[1].stop() == 0
    assert database.value(AT_REST)


def test_a_stop_leaves_the_other_its_bell(two, key_of, database, reader):
    """One of two that sleep is stopped and puts the bell to rest; the other, with all shards now, is woken."""
    consumer = reader()
    database.wait(ARMED)
    assert two[0].stop() == 0
    wait_spread([two[1]], 2)
    for _ in range(5):
        insert(database, 10)
        consumer.take(10)
    assert two[1].stop() == 0
    assert database.value(AT_REST)


def test_the_last_one_is_killed_asleep(two, database, reader):
    """The bell is left armed with nobody there; the next relay that starts makes it its own."""
    database.wait(ARMED)
    for relay in two:
        relay.process.pause()  # otherwise the second might just be taking over from the first
    for relay in two:
        relay.kill()
    assert database.value(ARMED)
    two[0].start()
    wait_spread([two[0]], 2)
    insert(database, 100)
    reader().take(100)
    assert two[0].stop() == 0
    assert database.value(AT_REST)


def test_a_surplus_relay_leaves_the_bell_alone(fleet, database, reader):
    """It stands by and looks now and then; the bell is for those who work, and works when it is gone."""
    relays = fleet(2, **dict(SLOW, shards=1))
    shares = wait_spread_for_good(relays, 1, 0)
    owner, spare = sorted(relays, key=lambda relay: not shares[relay])
    wait_standby(spare, "another relay owns the shard")
    consumer = reader()
    insert(database, 1)
    consumer.take(1)  # by now the owner knows that it has company
    database.wait(ARMED)
    holds(lambda: database.value(ARMED), 1, "the bell stays armed")
    insert(database, 1)
    consumer.take(1)
    assert spare.stop() == 0
    database.wait(ARMED)
    insert(database, 1)
    consumer.take(1)
    assert owner.stop() == 0
    assert database.value(AT_REST)
