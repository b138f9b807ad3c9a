# SPDX-License-Identifier: ISC
"""Settling: what was published is deleted, or marked and kept for a while."""
import re
import subprocess

import pytest

from harness.checker import problems
from harness.writers import Writers, arrivals, insert

MARK = {"settle": "mark"}
# Exact once no relay is connected.
PRIMARY_KEY_READS = "SELECT idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'outbox_events_pkey'"


def test_delete_leaves_nothing(relay, database, reader):
    insert(database, 5000)
    assert len(reader().take(5000)) == 5000
    database.wait_empty()


def test_mark_keeps_the_rows(empty_database, migrate, new_relay, reader):
    """Marked rows stay, each with the time of its publication, and are not published again."""
    migrate(outbox=MARK)
    relay = new_relay(outbox=MARK).start()
    insert(empty_database, 3000)
    consumer = reader()
    assert len(consumer.take(3000)) == 3000
    empty_database.wait("SELECT count(*) = 0 FROM outbox_events WHERE published_at IS NULL")
    assert empty_database.rows("SELECT count(*), count(*) FILTER (WHERE published_at >= created_at)"
                               " FROM outbox_events") == [(3000, 3000)]
    assert relay.stop() == 0
    relay.start()
    insert(empty_database, 1)
    consumer.take(1)
    empty_database.wait("SELECT count(*) = 0 FROM outbox_events WHERE published_at IS NULL")
    assert consumer.rest() == []


def test_mark_keeps_the_order(empty_database, migrate, new_relay, reader, topic):
    topic()
    migrate(outbox=MARK)
    new_relay(outbox=MARK).start()
    with Writers(empty_database) as writers:
        writers.wait_committed(1000)
    empty_database.wait("SELECT count(*) = 0 FROM outbox_events WHERE published_at IS NULL")
    assert problems(writers.truth(), arrivals(reader().rest())) == []


def test_retention_takes_old_marked_rows_only(empty_database, migrate, new_relay, reader):
    """Rows published longer ago than `retention` go; younger ones, and those not yet published, stay."""
    migrate(outbox=MARK)
    insert(empty_database, 1000)
    empty_database.execute("UPDATE outbox_events SET published_at = clock_timestamp()"
                           " - CASE WHEN id <= 600 THEN interval '2 hours' ELSE interval '1 minute' END")
    insert(empty_database, 5, aggregate_type="fresh")
    new_relay(outbox=dict(MARK, retention="1h")).start()
    assert len(reader("fresh").take(5)) == 5
    empty_database.wait("SELECT count(*) = 405 FROM outbox_events", timeout=90)
    assert empty_database.value("SELECT min(id) FROM outbox_events") == 601


@pytest.mark.parametrize("ahead", ["infinity", "2099-01-01"])
def test_rows_marked_in_the_future_hold_up_none(empty_database, migrate, new_relay, ahead):
    """More of them than one step takes, below all others, as of a clock that was ahead for a while."""
    migrate(outbox=MARK)
    insert(empty_database, 5100)
    empty_database.execute("UPDATE outbox_events SET published_at = %s", ahead)
    insert(empty_database, 5100)
    empty_database.execute("UPDATE outbox_events SET published_at = now() - interval '2 hours' WHERE published_at IS NULL")
    new_relay(outbox=dict(MARK, retention="1h")).start()
    empty_database.wait("SELECT count(*) = 5100 FROM outbox_events", timeout=60)
    assert empty_database.value("SELECT count(*) FROM outbox_events WHERE published_at > now()") == 5100


def test_what_was_deleted_is_not_walked_again(empty_database, migrate, new_relay, topic):
    """30,000 old rows go under an old snapshot. A relay that begins then reads them once, and not in each of the rounds
    that take what is old enough later."""
    database, outbox = empty_database, dict(MARK, retention="2s")
    topic()
    migrate(outbox=outbox)
    with database.session(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM outbox_events")
        insert(database, 30_000)
        # Statistics of an empty table would have this test's own count walk the primary key, and be counted.
        database.execute("ALTER TABLE outbox_events SET (autovacuum_enabled = off)")
        database.execute("UPDATE outbox_events SET published_at = '2020-01-01'")
        relay = new_relay(outbox=outbox).start()
        database.wait("SELECT count(*) = 0 FROM outbox_events", timeout=90)
        assert relay.stop() == 0
        relay = new_relay(outbox=outbox).start()
        before = database.value(PRIMARY_KEY_READS)
        for _ in range(4):
            insert(database, 10)
            database.wait("SELECT count(*) = 0 FROM outbox_events", timeout=60)
        assert relay.stop() == 0
        assert database.value(PRIMARY_KEY_READS) - before < 150_000
        old.connection.rollback()


def test_old_rows_that_cannot_be_deleted(empty_database, migrate, new_relay, reader):
    """One is referred to: the relay says so, keeps its session and publishes."""
    database, outbox = empty_database, dict(MARK, retention="1h")
    migrate(outbox=outbox)
    insert(database, 10)
    database.execute("UPDATE outbox_events SET published_at = '2020-01-01';"
                     "CREATE TABLE refers (event bigint REFERENCES outbox_events (id));"
                     "INSERT INTO refers VALUES (3)")
    relay = new_relay(outbox=outbox).start()
    relay.wait_log('published events that are older than outbox.retention cannot be deleted from table'
                   ' outbox_events: SQLSTATE 23503: .*"refers_event_fkey"')
    insert(database, 1, aggregate_type="fresh")
    reader("fresh").take(1)
    assert relay.get("/readyz")[0] == 200
    database.wait("SELECT count(*) = 2 FROM outbox_events", timeout=60)
    assert not relay.log_contains("session")


def test_the_history_of_mark_mode_is_not_published_by_delete_mode(empty_database, migrate, new_relay, reader):
    """run refuses the change, and migrate makes it only once the published rows are out of the table."""
    migrate(outbox=MARK)
    relay = new_relay(outbox=MARK).start()
    insert(empty_database, 10)
    consumer = reader()
    consumer.take(10)
    empty_database.wait("SELECT count(*) = 0 FROM outbox_events WHERE published_at IS NULL")
    assert relay.stop() == 0

    changed = new_relay()
    refused = changed.command("migrate", "--dsn", empty_database.dsn())
    assert refused.returncode == 1
    assert re.search(r'outbox_events was migrated for outbox\.settle = "mark".*'
                     r'DELETE FROM (public\.)?outbox_events WHERE published_at IS NOT NULL', refused.stderr)
    assert changed.start(wait=False).wait_exit() == 1

    empty_database.execute("DELETE FROM outbox_events WHERE published_at IS NOT NULL")
    migrate()
    insert(empty_database, 1)
    changed.start()
    consumer.take(1)
    empty_database.wait_empty()
    assert consumer.rest() == []


def test_migrate_without_a_file_keeps_the_settle(empty_database, migrate, new_relay):
    """--table and --dsn say nothing of it: what the table was migrated for holds."""
    migrate(outbox=MARK)
    argv = [new_relay().process.argv[0], "migrate", "--table", "outbox_events", "--dsn", empty_database.dsn()]
    for settle in ("mark", "delete"):
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0 and f"settle = {settle}" in done.stderr
        assert empty_database.value("SELECT settle FROM outbox_relay.outboxes") == settle
        migrate()


def test_an_event_is_settled_only_when_it_is_acknowledged(relay, database, kafka, reader, topic):
    """While the broker does not answer, the row stays."""
    topic()
    insert(database, 1)
    consumer = reader()
    consumer.take(1)
    database.wait_empty()
    kafka.pause()
    insert(database, 10)
    database.wait("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'outbox_relay'"
                  " AND datname = current_database() AND state = 'idle in transaction')")
    assert database.value("SELECT count(*) FROM outbox_events") == 10
    kafka.resume()
    assert len(consumer.take(10)) == 10
    database.wait_empty()
