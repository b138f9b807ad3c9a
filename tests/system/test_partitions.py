# SPDX-License-Identifier: ISC
"""An outbox partitioned by hash: every partition is a shard, and belongs to one relay at a time."""
import time

import psycopg2
import pytest

from harness.checker import problems
from harness.fleet import locked, wait_spread, wait_spread_for_good
from harness.waiting import holds, until
from harness.writers import Writers, arrivals, insert

SMALL = {"claim_rows": 20, "batch_rows": 40}
SLOW = {"sweep_interval": "1h"}
LEAVES = ("SELECT inhrelid::regclass::text, (SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = inhrelid)"
          " FROM pg_inherits WHERE inhparent = 'outbox_events'::regclass ORDER BY inhrelid")
ADD = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
       " VALUES ('thing', %s, %s, '{}')")


@pytest.fixture
def parted(migrate, start_relays):
    """parted(2, settle="mark"): an outbox in four partitions, and so many relays, started."""
    migrated = []

    def start(count, **outbox):
        if not migrated:
            migrated.append(migrate("--partitions", "4", outbox=outbox))
        return start_relays(count, **outbox)
    return start


@pytest.fixture
def keys(empty_database):
    """{partition: a key of it}, found by trying."""
    def find():
        with empty_database.session(autocommit=False) as cursor:
            cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)"
                           " SELECT 'thing', 'key' || n, 'Tried' FROM generate_series(1, 100) n"
                           " RETURNING tableoid::regclass::text, aggregate_id")
            found = dict(cursor.fetchall())
            cursor.connection.rollback()
        assert len(found) == 4
        return found
    return find


def test_one_relay(parted, empty_database, in_order):
    """It owns all four, by its word and by the locks of the parent."""
    relay, = parted(1, **SMALL)
    wait_spread([relay], 4)
    assert list(locked(empty_database, 4).values()) == [{0, 1, 2, 3}]
    with Writers(empty_database, threads=6, keys=30) as writers:
        writers.wait_committed(800)
    in_order(writers)


def test_a_backlog(parted, empty_database, in_order):
    """More than a claim takes lies in each partition."""
    parted(0)
    with Writers(empty_database, threads=6, keys=30) as writers:
        writers.wait_committed(2000, timeout=180)
    parted(1, **SMALL)
    in_order(writers)


def test_two_relays_join_and_leave(parted, empty_database, in_order):
    """Two partitions each; one of the relays leaves and comes back under load, nothing is repeated."""
    relays = parted(2, **SMALL)
    with Writers(empty_database, threads=6, keys=30) as writers:
        for _ in range(3):
            wait_spread(relays, 2, 2)
            writers.wait_committed(150)
            assert relays[0].stop() == 0
            wait_spread(relays[1:], 4)
            writers.wait_committed(150)
            relays[0].start()
        wait_spread(relays, 2, 2)
        writers.wait_committed(150)
    in_order(writers)
    assert all(relay.metric("published_total") > 0 for relay in relays)


def test_one_of_two_is_killed(parted, empty_database, in_order):
    relays = parted(2, **SMALL)
    wait_spread(relays, 2, 2)
    with Writers(empty_database, threads=6, keys=30) as writers:
        writers.wait_committed(300)
        relays[0].kill()
        wait_spread(relays[1:], 4)
        writers.wait_committed(300)
    in_order(writers, kills=1)


def test_the_sessions_are_ended(parted, empty_database, in_order):
    """One relay remembers what it published from every partition."""
    relay, = parted(1, **SMALL)
    wait_spread([relay], 4)
    ended = 0
    with Writers(empty_database, threads=4, keys=30) as writers:
        while ended < 10:
            writers.wait_committed(40)
            ended += empty_database.end_relay_sessions()
    in_order(writers)


@pytest.mark.parametrize("count, spread", [(1, [4]), (2, [2, 2])])
def test_the_bell(parted, empty_database, reader, keys, count, spread):
    """With the timers an hour away, an event in any partition is published at once."""
    relays = parted(count, poll_interval="1h", **SLOW)
    wait_spread_for_good(relays, *spread)
    consumer = reader()
    for leaf, key in sorted(keys().items()) * 3:
        empty_database.wait("SELECT pg_sequence_last_value(bell) IS NOT NULL FROM outbox_relay.outboxes")
        empty_database.execute(ADD, key, leaf)
        assert [record.header("type") for record in consumer.take(1)] == [leaf]


def test_an_event_behind_its_partitions_claim(parted, empty_database, reader, keys):
    """The last look before the relay sleeps: an event is committed when the claim of its partition has found nothing, and
    that of another still runs. It is published at once: what is left shows it, and its ring is heard."""
    relay, = parted(1, poll_interval="1h", **SLOW)
    wait_spread_for_good([relay], 4)
    (first, key), *_, (last, _) = sorted(keys().items())
    armed = "SELECT pg_sequence_last_value(bell) IS NOT NULL FROM outbox_relay.outboxes"
    empty_database.wait(armed)
    empty_database.execute(f"""
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN IF ({armed}) THEN PERFORM pg_advisory_xact_lock_shared(1); END IF; RETURN NULL; END $$;
        CREATE TRIGGER slow BEFORE DELETE ON {last} FOR EACH STATEMENT EXECUTE FUNCTION wait()""")
    consumer = reader()
    for _ in range(3):
        empty_database.wait(armed)
        with empty_database.session(autocommit=False) as slow:
            slow.execute("SELECT pg_advisory_xact_lock(1), setval(bell, 1, false) FROM outbox_relay.outboxes")
            empty_database.execute(ADD, key, first)
            empty_database.execute("SELECT pg_notify('outbox_relay', 'outbox_events'::regclass::oid::text)")
            consumer.take(1)
            empty_database.wait("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
            empty_database.execute(ADD, key, first)
            slow.connection.commit()
        assert [record.header("type") for record in consumer.take(1)] == [first]


def test_a_late_commit_under_the_floor(parted, empty_database, reader, keys):
    """A transaction draws the lowest id, in a partition of its own, and stays open while others go on in all."""
    parted(1, **SLOW)
    consumer = reader()
    with empty_database.session(autocommit=False) as slow:
        slow.execute(ADD, (min(keys().values()), "Late"))
        for _ in range(30):
            insert(empty_database, 100)
            consumer.take(100)
            time.sleep(0.1)  # the floor rises about once in a second
        slow.connection.commit()
    assert [record.header("type") for record in consumer.take(1)] == ["Late"]


def test_a_partition_that_was_empty(parted, empty_database, reader, keys):
    """The floor has risen by what came in the other partitions, then the first event comes in this one."""
    parted(1, **SLOW)
    consumer = reader()
    *others, last = sorted(keys().values())
    for _ in range(30):
        with empty_database.session() as cursor:
            for key in others:
                cursor.execute(ADD, (key, "Other"))
        consumer.take(3)
        time.sleep(0.1)
    empty_database.execute(ADD, last, "First")
    assert [record.header("type") for record in consumer.take(1)] == ["First"]


def test_a_backlog_in_one_partition(parted, empty_database, reader, keys):
    """Some seconds' worth, while the other partitions have nothing left: the floor rises by what waits there."""
    parted(0)
    empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                           " SELECT 'thing', %s, 'Happened', to_jsonb(n) FROM generate_series(1, 6000) n",
                           min(keys().values()))
    parted(1, **SMALL, **SLOW)
    assert [record.json for record in reader().take(6000, timeout=120)] == list(range(1, 6001))
    empty_database.wait_empty()


def test_dead_rows_are_not_walked_at_every_claim(parted, empty_database, reader):
    """As test_floor.py has it for one table: 30,000 rows that cannot be cleaned away, then a hundred events."""
    relay, = parted(1, **SLOW)
    consumer = reader()
    reads = ("SELECT sum(idx_tup_read)::bigint FROM pg_stat_all_indexes"
             " WHERE schemaname = 'public' AND relname LIKE 'outbox_events%%'")
    with empty_database.session(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM outbox_events")
        insert(empty_database, 30_000)
        consumer.take(30_000, timeout=120)
        empty_database.wait_empty()
        for _ in range(30):
            insert(empty_database, 1)
            consumer.take(1)
            time.sleep(0.1)
        before = empty_database.value(reads)
        for _ in range(100):
            insert(empty_database, 1)
            consumer.take(1)
        assert relay.stop() == 0
        assert empty_database.value(reads) - before < 300_000
        old.connection.rollback()


def test_mark_mode_and_its_retention(parted, empty_database, reader):
    """Rows are marked in their partition; old ones go from each."""
    mark = {"settle": "mark", "retention": "1h"}
    parted(0, **mark)
    insert(empty_database, 1000)
    empty_database.execute("UPDATE outbox_events SET published_at = clock_timestamp()"
                           " - CASE WHEN id <= 600 THEN interval '2 hours' ELSE interval '1 minute' END")
    parted(1, **mark)
    insert(empty_database, 100, key="fresh")
    consumer = reader()
    assert {record.key[:5] for record in consumer.take(100)} == {b"fresh"}
    empty_database.wait("SELECT count(*) = 500 FROM outbox_events WHERE published_at IS NOT NULL", timeout=60)
    assert empty_database.value("SELECT min(id) FROM outbox_events") == 601
    assert empty_database.value("SELECT count(DISTINCT tableoid) FROM outbox_events") == 4
    assert consumer.rest() == []


def test_dead_letters(parted, empty_database, reader, keys):
    """What Kafka can never accept is set aside from each partition, with all else published once."""
    parted(2, on_reject="dead-letter")
    insert(empty_database, 100)
    for leaf, key in keys().items():
        empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                               " VALUES ('no topic!', %s, %s, '{}')", key, leaf)
    insert(empty_database, 100)
    consumer = reader()
    assert len(consumer.take(200)) == 200
    empty_database.wait_empty()
    letters = empty_database.rows("SELECT event_type, aggregate_id, reason FROM outbox_relay.dead_letters")
    assert sorted(letters) == sorted((leaf, key, "topic") for leaf, key in keys().items())
    assert consumer.rest() == []


def test_a_reject_that_halts(parted, empty_database, reader, keys):
    """The event and what is behind it of its key stay; the relay names it and goes on once it is mended."""
    relay, = parted(1, on_reject="halt")
    insert(empty_database, 100)
    consumer = reader()
    consumer.take(100)
    key = max(keys().values())
    empty_database.execute("INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload)"
                           " OVERRIDING SYSTEM VALUE VALUES (5000, 'no topic!', %s, 'Bad', '{}')", key)
    relay.wait_log(r"event 5000 is rejected \(topic\)")
    relay.wait_metric("halted", 1)
    empty_database.execute("UPDATE outbox_events SET aggregate_type = 'thing' WHERE id = 5000")
    assert [record.header("type") for record in consumer.take(1)] == ["Bad"]
    empty_database.wait_empty()


def test_a_lock_of_somebody_else(parted, empty_database, reader):
    """The later events of the key wait, all others flow, also those of the same partition."""
    parted(0)
    insert(empty_database, 1000)
    with empty_database.session(autocommit=False) as lock:
        lock.execute("SELECT aggregate_id FROM outbox_events WHERE id = 1 FOR UPDATE")
        key = lock.fetchone()[0].encode()
        parted(1, claim_rows=100, **SLOW)
        consumer = reader()
        assert key not in {record.key for record in consumer.take(990)}
        holds(lambda: consumer.rest() == [], 0.5, "the held key waits", every=0.1)
        lock.connection.commit()
        assert {record.key for record in consumer.take(10)} == {key}
    empty_database.wait_empty()


def test_a_key_of_more_than_the_partitions_column(parted, empty_database, new_relay, reader):
    """The key may have more to it: its events are in one partition still."""
    parted(0)
    relay = new_relay(route={"key": "${aggregate_type}/${aggregate_id}"}).start()
    wait_spread([relay], 4)
    insert(empty_database, 200)
    assert {record.key[:6] for record in reader().take(200)} == {b"thing/"}


def altered(database, change):
    """Alters the outbox, unless its relays are in the way for too long."""
    try:
        with database.session() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
            cursor.execute(f"ALTER TABLE outbox_events {change}")
        return True
    except psycopg2.OperationalError:
        return False


def keys_for(database, bound):
    """Keys that belong in the partition with this bound."""
    remainder = bound.split("remainder ")[1].rstrip(")")
    return [key for key, in database.rows(
        "SELECT 'key' || n FROM generate_series(1, 100) n WHERE satisfies_hash_partition("
        f"'outbox_events'::regclass, 4, {remainder}, 'key' || n) LIMIT 3")]


@pytest.mark.parametrize("count, four, three", [(1, [4], [3]), (2, [2, 2], [2, 1])])
def test_partitions_change_while_relays_run(parted, empty_database, reader, count, four, three):
    """One is detached: what is in the others goes on. It is attached again: what it holds is published."""
    relays = parted(count, poll_interval="200ms", sweep_interval="500ms")
    wait_spread(relays, *four)
    (leaf, bound), (_, other) = empty_database.rows(LEAVES)[:2]
    until(lambda: altered(empty_database, f"DETACH PARTITION {leaf}"), 90, "the detachment")
    wait_spread(relays, *three)
    assert any(relay.log_contains("its partitions have changed") for relay in relays)
    consumer = reader()
    empty_database.execute(ADD, keys_for(empty_database, other)[0], "Other")
    consumer.take(1)
    empty_database.execute(f"INSERT INTO {leaf} (id, aggregate_type, aggregate_id, event_type)"
                           " SELECT nextval(pg_get_serial_sequence('outbox_events', 'id')), 'thing', key, 'Back'"
                           " FROM unnest(%s) AS key", keys_for(empty_database, bound))
    until(lambda: altered(empty_database, f"ATTACH PARTITION {leaf} {bound}"), 90, "the attachment")
    wait_spread(relays, *four)
    assert {record.header("type") for record in consumer.take(3)} == {"Back"}
    empty_database.wait_empty()


def test_the_sessions_are_ended_in_mark_mode(parted, empty_database, reader):
    """Two relays remember what they published; each row is marked, and none is published twice."""
    wait_spread(parted(2, settle="mark", **SMALL), 2, 2)
    with Writers(empty_database, threads=4, keys=30) as writers:
        for _ in range(6):
            writers.wait_committed(60)
            empty_database.end_relay_sessions()
    empty_database.wait("SELECT NOT EXISTS (SELECT FROM outbox_events WHERE published_at IS NULL)", 30)
    assert problems(writers.truth(), arrivals(reader().rest())) == []
    assert empty_database.value("SELECT count(*) FROM outbox_events") == len(writers.truth())
