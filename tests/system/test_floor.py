# SPDX-License-Identifier: ISC
"""The floor: dead rows are not walked again and again, and no row is lost from sight because of it."""
import time

import pytest

from harness.writers import insert

SLOW = {"sweep_interval": "1h"}
WAITING = {"delete": "", "mark": " WHERE published_at IS NULL"}
PACE = 0.1  # between inserts that shall be spread over some seconds: the floor rises about once in one


def index_reads(database):
    """Entries that scans of the outbox's indexes have returned; exact once no relay is connected."""
    return database.value("SELECT sum(idx_tup_read)::bigint FROM pg_stat_all_indexes"
                          " WHERE schemaname = 'public' AND relname = 'outbox_events'")


@pytest.mark.parametrize("settle", ["delete", "mark"])
def test_dead_rows_are_not_walked_at_every_claim(empty_database, migrate, new_relay, reader, topic, settle):
    """30,000 rows die under an old snapshot, so nothing can clean them away. Then 100 events come one by one:
    together they read less than walking the dead rows a few times would. The statistics say meanwhile that hardly any
    row waits: no plan may take that for a small index."""
    topic()
    database = empty_database
    migrate(outbox={"settle": settle})
    relay = new_relay(outbox={"settle": settle, **SLOW}).start()
    consumer = reader()
    with database.session(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM outbox_events")
        insert(database, 30_000)
        consumer.take(30_000)
        database.wait(f"SELECT count(*) = 0 FROM outbox_events{WAITING[settle]}")
        database.execute("ANALYZE outbox_events")
        for _ in range(30):
            insert(database, 1)
            consumer.take(1)
            time.sleep(PACE)
        before = index_reads(database)
        for _ in range(100):
            insert(database, 1)
            consumer.take(1)
        assert relay.stop() == 0
        assert index_reads(database) - before < 300_000
        old.connection.rollback()


def test_a_late_commit_under_the_floor_is_not_lost(database, new_relay, reader, topic):
    """A transaction draws the lowest id and stays open while thousands of others are published over several
    seconds. Its event comes when it commits, long before any sweep."""
    topic()
    new_relay(outbox=SLOW).start()
    consumer = reader()
    with database.session(autocommit=False) as slow:
        slow.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', 'slow', 'Late', '{}')")
        for _ in range(30):
            insert(database, 100)
            consumer.take(100)
            time.sleep(PACE)
        slow.connection.commit()
    assert [r.header("type") for r in consumer.take(1)] == ["Late"]


def test_a_prepared_transaction_under_the_floor_is_not_lost(database, new_relay, reader, topic):
    """The same with a prepared transaction, whose session is gone. PostgreSQL prepares nothing that has notified,
    so the bell is off, as README says for applications that use two-phase commit."""
    topic()
    database.execute("ALTER TABLE outbox_events DISABLE TRIGGER outbox_relay_bell")
    new_relay(outbox=SLOW).start()
    consumer = reader()
    gid = f"prepared-{database.name}"
    with database.session() as cursor:
        cursor.execute("BEGIN; INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                       f" VALUES ('thing', 'slow', 'Late', '{{}}'); PREPARE TRANSACTION '{gid}'")
    for _ in range(20):
        insert(database, 100)
        consumer.take(100)
        time.sleep(PACE)
    database.execute(f"COMMIT PREPARED '{gid}'")
    assert [r.header("type") for r in consumer.take(1)] == ["Late"]


def test_a_low_id_given_by_hand_is_found_by_the_sweep(database, new_relay, reader, topic):
    """An event is put back under an id that the floor has passed: the sweep finds it."""
    topic()
    relay = new_relay(outbox={"sweep_interval": "2s"}).start()
    consumer = reader()
    for _ in range(20):
        insert(database, 100)
        consumer.take(100)
        time.sleep(PACE)
    database.execute("INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES (5, 'thing', 'k', 'PutBack', '{}')")
    assert [r.header("type") for r in consumer.take(1)] == ["PutBack"]
    assert relay.process.alive


def test_application_side_blocks_of_ids_are_not_lost(database, new_relay, reader, topic):
    """Writers that draw ids in advance break the order, which the docs say; but nothing is lost."""
    topic()
    database.execute("ALTER TABLE outbox_events ALTER COLUMN id SET CACHE 50")
    new_relay(outbox={"sweep_interval": "1s"}).start()
    consumer = reader()
    with database.session() as one, database.session() as other:
        for _ in range(40):
            for cursor in (one, other):
                cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)"
                               " VALUES ('thing', 'k', 'Happened')")
            time.sleep(PACE)
    assert len({r.event_id for r in consumer.take(80)}) == 80
