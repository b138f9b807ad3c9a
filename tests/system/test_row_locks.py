# SPDX-License-Identifier: ISC
"""Somebody else's lock on a row of the outbox holds back the later events of its key and nothing else."""
import threading
import time
from contextlib import contextmanager

import pytest

from harness.fleet import wait_spread, wait_spread_for_good
from harness.waiting import holds, until
from harness.writers import Writers, insert

SLOW = {"sweep_interval": "1h"}


def add(database, *keys):
    """An event of each of these keys, in one transaction."""
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'thing', key, 'Happened', to_jsonb(n)"
                     " FROM unnest(%s) WITH ORDINALITY AS keys (key, n)", list(keys))


@contextmanager
def locked(database, where):
    """A transaction that holds FOR UPDATE on these rows; its cursor."""
    with database.session(autocommit=False) as cursor:
        cursor.execute(f"SELECT id FROM outbox_events WHERE {where} FOR UPDATE")
        assert cursor.fetchall(), f"no row with {where}"
        yield cursor


def keys_of(records):
    return [record.key.decode() for record in records]


def left(database):
    """The keys of what waits, in order."""
    return [key for key, in database.rows("SELECT aggregate_id FROM outbox_events ORDER BY id")]


def numbers(records, key):
    """What the payloads of a key's events are, in their order."""
    return [record.json for record in records if record.key.decode() == key]


def four_that_cancel(database):
    """The ids of four rows whose places have hashes that add up to nothing."""
    rows = database.rows("SELECT id, hashtid(ctid) FROM outbox_events")
    pairs = {}
    for at, (first, hash_of_first) in enumerate(rows):
        for second, hash_of_second in rows[at + 1:]:
            total = hash_of_first + hash_of_second
            other = pairs.get(-total)
            if other and len({first, second, *other}) == 4:
                return [first, second, *other]
            pairs[total] = (first, second)
    raise AssertionError("no four such rows")


def test_locked_rows_whose_hashes_cancel(database, new_relay, reader, topic):
    """A claim compares the rows that it sees with those that it could lock, whatever the hashes of their places."""
    topic()
    insert(database, 1500)
    ids = four_that_cancel(database)
    database.execute("DELETE FROM outbox_events WHERE NOT id = ANY (%s)", ids)
    add(database, "other")
    with locked(database, "aggregate_id <> 'other'"):
        new_relay(outbox=SLOW).start()
        assert keys_of(reader().take(1)) == ["other"]


@pytest.mark.parametrize("place, keys, back", [
    ("first", "hxyhz", "hh"), ("only", "h", "h"), ("last", "xyzh", "h"), ("middle", "xhyhz", "hh"),
    ("middle again", "hxhyh", "hhh"), ("all of a key", "hhh", "hhh")])
def test_the_place_of_the_locked_row(database, new_relay, reader, topic, place, keys, back):
    """The first of key h is locked: whatever comes behind it of its key waits, all others flow; then what waited
    comes in order."""
    topic()
    add(database, *keys)
    with locked(database, "id = (SELECT min(id) FROM outbox_events WHERE aggregate_id = 'h')") as lock:
        new_relay(outbox=SLOW).start()
        consumer = reader()
        others = consumer.take(len(keys) - len(back))
        add(database, "h", "w")
        others += consumer.take(1)
        holds(lambda: consumer.rest() == [], 0.5, f"{place}: nothing of the held key comes", every=0.1)
        assert "h" not in keys_of(others)
        until(lambda: left(database) == ["h"] * (len(back) + 1), 10, "the others to be settled")
        lock.connection.commit()
        held = consumer.take(len(back) + 1)
    expected = [n for n, key in enumerate(keys, 1) if key == "h"] + [1]
    assert numbers(held, "h") == expected
    database.wait_empty()


def test_a_lock_in_the_midst_of_a_key(database, new_relay, reader, topic):
    """The events before the locked one are published, those behind it are not."""
    topic()
    add(database, *"hhhhxhh")
    with locked(database, "id = 3") as lock:
        new_relay(outbox=SLOW).start()
        consumer = reader()
        first = consumer.take(3)
        assert numbers(first, "h") == [1, 2] and numbers(first, "x") == [5]
        holds(lambda: consumer.rest() == [], 0.5, "nothing else comes", every=0.1)
        lock.connection.rollback()
        assert numbers(consumer.take(4), "h") == [3, 4, 6, 7]


def test_two_locked_rows_of_two_keys(database, new_relay, reader, topic):
    """Each holds back its own, and each is let go on its own."""
    topic()
    add(database, *"gxhyghzgh")
    with locked(database, "id = 1") as of_g, locked(database, "id = 3") as of_h:
        new_relay(outbox=SLOW).start()
        consumer = reader()
        assert sorted(keys_of(consumer.take(3))) == ["x", "y", "z"]
        of_h.connection.commit()
        assert numbers(consumer.take(3), "h") == [3, 6, 9]
        holds(lambda: consumer.rest() == [], 0.5, "g stays", every=0.1)
        of_g.connection.commit()
        assert numbers(consumer.take(3), "g") == [1, 5, 8]
    database.wait_empty()


@pytest.mark.parametrize("end", ["commit", "rollback", "deletion", "change"])
def test_the_end_of_the_lock(relay, database, reader, topic, end):
    """What waits comes soon: with the row, without it, or with what it has become."""
    topic()
    consumer = reader()
    relay.stop()
    add(database, "h", "h", "h")
    first = database.value("SELECT min(id) FROM outbox_events")
    with locked(database, f"id = {first}") as lock:
        relay.start()
        add(database, "x")
        consumer.take(1)
        until(lambda: left(database) == ["h", "h", "h"], 10, "the other to be settled")
        if end == "deletion":
            lock.execute("DELETE FROM outbox_events WHERE id = %s", (first,))
        elif end == "change":
            lock.execute("UPDATE outbox_events SET payload = '17' WHERE id = %s", (first,))
        getattr(lock.connection, "rollback" if end == "rollback" else "commit")()
    expected = {"commit": [1, 2, 3], "rollback": [1, 2, 3], "deletion": [2, 3], "change": [17, 2, 3]}[end]
    assert numbers(consumer.take(len(expected), timeout=15, prompt=True), "h") == expected
    database.wait_empty()
    assert consumer.rest() == []


@pytest.mark.parametrize("shards", [1, 4])
def test_many_events_of_the_held_key(database, fleet, reader, shards):
    """3,000 wait behind the lock, thirty times what a claim takes: the other keys flow past them."""
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'thing', 'h', 'Happened', to_jsonb(n) FROM generate_series(1, 3000) n")
    insert(database, 500, key="before")
    with locked(database, "id = 1") as lock:
        relay, = fleet(1, shards=shards, claim_rows=100, **SLOW)
        wait_spread([relay], shards)
        consumer = reader()
        assert "h" not in keys_of(consumer.take(500))
        for _ in range(5):
            insert(database, 100, key="after")
            assert "h" not in keys_of(consumer.take(100))
        database.wait("SELECT count(*) = 3000 FROM outbox_events")
        lock.connection.commit()
        assert numbers(consumer.take(3000), "h") == list(range(1, 3001))
    database.wait_empty()


def interleave(database, count, held_every):
    """count events numbered from 1: each held_every-th, from the first on, of key h, the others of seven keys."""
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'thing', CASE WHEN n %% %s = 1 THEN 'h' ELSE 'x' || n %% 7 END, 'Happened', to_jsonb(n)"
                     " FROM generate_series(1, %s) n", held_every, count)


def in_turn(records):
    """Whether each key's numbers rise."""
    return all(list(own) == sorted(own) for own in
               (numbers(records, key) for key in set(keys_of(records))))


@pytest.mark.parametrize("held_every, claim_rows", [(2, 50), (2, 400), (20, 100)])
def test_a_held_key_among_the_others(database, fleet, reader, held_every, claim_rows):
    """Its events come to fill whole claims: the others of the backlog flow past, each key in order, and of the
    held one comes what is before the lock."""
    interleave(database, 4000, held_every)
    held = list(range(1, 4001, held_every))
    with locked(database, f"id = {held[2]}") as lock:
        fleet(1, claim_rows=claim_rows, batch_rows=3 * claim_rows, **SLOW)
        consumer = reader()
        others = consumer.take(4000 - len(held) + 2)
        assert numbers(others, "h") == held[:2] and in_turn(others)
        until(lambda: len(left(database)) == len(held) - 2, 10, "all others to be settled")
        assert consumer.rest() == []
        lock.connection.commit()
        assert numbers(consumer.take(len(held) - 2), "h") == held[2:]
    database.wait_empty()


@pytest.mark.parametrize("claim_rows", [1, 50, 150, 1000])
def test_many_keys_locked_at_once(database, fleet, reader, claim_rows):
    """The first 100 rows are of keys of their own and locked, more than a claim takes or fewer; a second event
    of each comes among the others' and waits, the others do not."""
    insert(database, 100, key="h")
    interleave(database, 600, 700)
    insert(database, 100, key="h")
    insert(database, 100, key="y")
    with locked(database, "id <= 100") as lock:
        fleet(1, claim_rows=claim_rows, **SLOW)
        consumer = reader()
        others = consumer.take(700)
        assert in_turn(others) and not [key for key in keys_of(others) if key.startswith("h-")]
        until(lambda: len(left(database)) == 200, 10, "all others to be settled")
        assert consumer.rest() == []
        lock.connection.commit()
        assert sorted(keys_of(consumer.take(200))) == sorted([f"h-{n}" for n in range(100)] * 2)
    database.wait_empty()


def test_a_lock_behind_those_that_are_held(database, fleet, reader):
    """A claim that looks past the events of a held key takes what is before the lock there and finds the next
    one locked, too."""
    add(database, *["h"] * 300)
    add(database, "g", *"gxgygz")
    with locked(database, "id = 3") as of_h, locked(database, "id = 301") as of_g:
        fleet(1, claim_rows=100, **SLOW)
        consumer = reader()
        assert sorted(keys_of(consumer.take(5))) == ["h", "h", "x", "y", "z"]
        holds(lambda: consumer.rest() == [], 0.5, "g and the rest of h stay", every=0.1)
        of_g.connection.commit()
        assert numbers(consumer.take(4), "g") == [1, 2, 4, 6]
        of_h.connection.commit()
        assert numbers(consumer.take(298), "h") == list(range(3, 301))
    database.wait_empty()


def test_a_lock_makes_no_batch_smaller(database, fleet, reader):
    """A claim that takes all but the locked row is followed by the next in the same transaction."""
    add(database, "h")
    insert(database, 4000)
    with locked(database, "id = 1"):
        relay, = fleet(1, claim_rows=500, batch_rows=4000, **SLOW)
        reader().take(4000)
        until(lambda: left(database) == ["h"], 10, "all others to be settled")
        assert relay.metrics()["outbox_relay_batch_events_count"] <= 3


def test_bytes_are_bounded_beside_a_lock(database, fleet, reader):
    """Small events let it ask for many rows; of large ones, clear of a lock, a batch has room for ten only."""
    add(database, "h", "h")
    with locked(database, "id = 1") as lock:
        relay, = fleet(1, batch_bytes="100KiB", **SLOW)
        consumer = reader()
        insert(database, 3000)
        consumer.take(3000)
        until(lambda: left(database) == ["h", "h"], 10, "the small ones to be settled")
        batches = relay.metrics()["outbox_relay_batch_events_count"]
        insert(database, 300, payload='"' + "x" * 10_000 + '"')
        assert "h" not in keys_of(consumer.take(300))
        until(lambda: left(database) == ["h", "h"], 10, "the large ones to be settled")
        assert relay.metrics()["outbox_relay_batch_events_count"] >= batches + 20
        lock.connection.commit()
        assert numbers(consumer.take(2), "h") == [1, 2]
    database.wait_empty()


def test_one_row_at_a_time_beside_a_lock(database, new_relay, reader, topic):
    """After a text that is longer than what is stored of it tells, rows are claimed one by one."""
    topic()
    add(database, *"hxhyhz")
    database.execute("UPDATE outbox_events SET payload = ('[' || repeat('1e131071,', 2) || '1]')::jsonb WHERE id = 2")
    with locked(database, "id = 3") as lock:
        relay = new_relay(outbox=SLOW).start()
        consumer = reader()
        assert sorted(keys_of(consumer.take(4))) == ["h", "x", "y", "z"]
        until(lambda: left(database) == ["h", "h"], 10, "all others to be settled")
        lock.connection.commit()
        assert numbers(consumer.take(2), "h") == [3, 5]
    database.wait_empty()
    assert relay.metric("retries_total") > 0


def test_a_batch_ends_beside_a_lock(database, new_relay, reader, topic):
    """The batch's later claims find only the locked row: what was claimed before is removed, and comes once."""
    topic()
    add(database, "locked")
    database.execute("UPDATE outbox_events SET id = 1000000")
    with locked(database, "true"):
        new_relay(outbox=dict(SLOW, claim_rows=10)).start()
        consumer = reader()
        for _ in range(3):
            time.sleep(1.2)  # a claim reads the writers again after a second, and then doubts that it is empty
            add(database, *"abcdefghij")
            assert sorted(keys_of(consumer.take(10))) == list("abcdefghij")
            until(lambda: left(database) == ["locked"], 10, "the others to be removed")
    assert keys_of(consumer.take(1)) == ["locked"]
    assert consumer.rest() == []


def test_two_relays_with_shards(database, fleet, reader):
    """A lock in the shard of one of them: all keys of both flow but one."""
    insert(database, 1000)
    with locked(database, "id = 1") as lock:
        key = database.value("SELECT aggregate_id FROM outbox_events WHERE id = 1")
        relays = fleet(2, shards=4, claim_rows=50, **SLOW)
        wait_spread_for_good(relays, 2, 2)
        consumer = reader()
        assert key not in keys_of(consumer.take(990))
        until(lambda: left(database) == [key] * 10, 10, "the others to be settled")
        lock.connection.commit()
        assert keys_of(consumer.take(10)) == [key] * 10
    database.wait_empty()


def test_mark_mode(empty_database, migrate, new_relay, reader, topic):
    """What is published already is not in the way, and what is locked of it neither."""
    topic()
    mark = {"settle": "mark", **SLOW}
    migrate(outbox=mark)
    new_relay(outbox=mark).start()
    consumer = reader()
    add(empty_database, *"hxhx")
    consumer.take(4)
    empty_database.wait("SELECT bool_and(published_at IS NOT NULL) FROM outbox_events")
    with locked(empty_database, "id = 1"):
        add(empty_database, *"hx")
        assert sorted(keys_of(consumer.take(2))) == ["h", "x"]
    empty_database.wait("SELECT bool_and(published_at IS NOT NULL) FROM outbox_events")


@pytest.mark.parametrize("claim_rows", [1, 100])
def test_mark_mode_holds_a_key(empty_database, migrate, new_relay, reader, topic, claim_rows):
    topic()
    mark = {"settle": "mark", "claim_rows": claim_rows, **SLOW}
    migrate(outbox=mark)
    add(empty_database, *"hxhyh")
    with locked(empty_database, "id = 1") as lock:
        new_relay(outbox=mark).start()
        consumer = reader()
        assert sorted(keys_of(consumer.take(2))) == ["x", "y"]
        holds(lambda: consumer.rest() == [], 0.5, "h stays", every=0.1)
        lock.connection.commit()
        assert numbers(consumer.take(3), "h") == [1, 3, 5]


def test_the_floor_does_not_pass_a_locked_row(relay, database, reader, topic):
    """Rows die under an old snapshot so that the floor has something to rise over, while one is locked: it and
    what is behind it come when the lock ends, in order, without any sweep."""
    topic()
    relay.stop()
    relay.write_config(outbox=SLOW)
    consumer = reader()
    with database.session(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM outbox_events")
        add(database, *"hxh")
        with locked(database, "id = 1") as lock:
            relay.start()
            taken = []
            for _ in range(40):
                insert(database, 100)
                taken += consumer.take(100 if taken else 101)
                add(database, "h")
            until(lambda: left(database) == ["h"] * 42, 10, "all others to be settled")
            lock.connection.commit()
            held = consumer.take(42)
        assert numbers(held, "h") == [1, 3] + [1] * 40
        offsets = [record.offset for record in held]
        assert offsets == sorted(offsets)
        old.connection.rollback()
    database.wait_empty()
    assert relay.metrics()['outbox_relay_wakeups_total{cause="sweep"}'] == 0


@contextmanager
def meddling(database, sql, hold=0.0):
    """Runs this again and again in a thread, each time in a transaction that stays open for a moment."""
    stop = threading.Event()

    def run():
        with database.session(autocommit=False) as cursor:
            while not stop.is_set():
                cursor.execute(sql)
                stop.wait(hold)
                cursor.connection.commit()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("shards", [1, 2])
def test_locks_come_and_go_under_load(database, fleet, in_order, shards):
    """Somebody locks rows at random all the time: the order of each key holds, and nothing is lost."""
    relays = fleet(shards, shards=shards, claim_rows=20, batch_rows=40)
    with meddling(database, "SELECT id FROM outbox_events ORDER BY random() LIMIT 3 FOR UPDATE SKIP LOCKED", 0.03):
        with Writers(database, threads=6, keys=8) as writers:
            writers.wait_committed(1500)
    wait_spread(relays, *[1] * shards)
    in_order(writers)


CHANGE = ("UPDATE outbox_events SET headers = '{}' WHERE id = (SELECT id FROM outbox_events WHERE id >="
          " (SELECT min(id) + (random() * 10000)::int FROM outbox_events) ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)")


def test_rows_change_while_they_are_claimed(database, fleet, reader):
    """Somebody updates waiting events all the time, one of them between a claim's snapshot and its lock: the
    claim finds the row in another place than it saw it, and takes no later event of its key before it."""
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'thing', 'k' || n % 10, 'Happened', to_jsonb(n) FROM generate_series(1, 60000) n")
    with meddling(database, CHANGE), meddling(database, CHANGE):
        fleet(1, claim_rows=10000, batch_rows=10000)
        database.wait_empty(timeout=120)
    records = reader().take(60_000, timeout=120)
    for key in range(10):
        assert numbers(records, f"k{key}") == list(range(key or 10, 60_001, 10))


@pytest.mark.parametrize("name", ["places", "count", "size", "key", "t", "id", "over", "given", "place", "taken"])
def test_columns_with_the_statements_own_names(empty_database, migrate, new_relay, reader, topic, name):
    """The application's column is called like something within the claim: as a plain one and as the key."""
    topic()
    column = "seq" if name == "id" else "id"
    empty_database.execute(
        f'CREATE TABLE outbox_events ({column} bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,'
        f' event_id uuid NOT NULL DEFAULT gen_random_uuid(), aggregate_type text, "{name}" text, event_type text,'
        ' payload jsonb, headers jsonb, created_at timestamptz DEFAULT now())')
    changes = {"outbox": {"shards": 2, "columns": {"id": column, "aggregate_id": name}, **SLOW}}
    migrate(**changes)
    empty_database.execute(
        f'INSERT INTO outbox_events (aggregate_type, "{name}", event_type, payload)'
        " SELECT 'thing', CASE n % 3 WHEN 0 THEN 'h' ELSE 'x' || n % 7 END, 'E', to_jsonb(n)"
        " FROM generate_series(1, 60) n")
    with empty_database.session(autocommit=False) as lock:
        lock.execute(f"SELECT FROM outbox_events WHERE {column} = 3 FOR UPDATE")
        new_relay(**changes).start()
        consumer = reader()
        assert "h" not in keys_of(consumer.take(40))
        lock.connection.commit()
    assert numbers(consumer.take(20), "h") == list(range(3, 61, 3))
