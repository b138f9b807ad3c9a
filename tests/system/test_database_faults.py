# SPDX-License-Identifier: ISC
"""Postgres goes away in every way it can: while the relay lives, each event arrives exactly once."""
import json
import os

import pytest

from harness.checker import problems
from harness.postgres import Database
from harness.waiting import until
from harness.writers import Writers, arrivals, insert


@pytest.fixture
def all_once(database, reader):
    """all_once(writers): everything committed has arrived, once and in order."""
    def check(writers):
        database.wait_empty(timeout=60)
        assert problems(writers.truth(), arrivals(reader().rest())) == []
    return check


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restarts_under_load(relay, database, topic, all_once, mode):
    topic()
    with Writers(database) as writers:
        for _ in range(4):
            writers.wait_committed(150)
            database.server.restart(mode)
        writers.wait_committed(150)
    all_once(writers)
    assert relay.metric("retries_total") > 0


def test_sessions_are_ended_all_the_time(relay, database, topic, all_once):
    """pg_terminate_backend, fifty times, at any point of a batch. With small batches there are many."""
    topic()
    relay.stop()
    relay.write_config(outbox={"claim_rows": 20, "batch_rows": 50})
    relay.start()
    ended = 0
    with Writers(database, threads=3) as writers:
        while ended < 50:
            writers.wait_committed(20)
            ended += database.end_relay_sessions()
    all_once(writers)


def test_sessions_are_ended_in_mark_mode(empty_database, migrate, new_relay, reader, topic):
    topic()
    mark = {"settle": "mark", "claim_rows": 20, "batch_rows": 50}
    migrate(outbox=mark)
    new_relay(outbox=mark).start()
    ended = 0
    with Writers(empty_database, threads=3) as writers:
        while ended < 20:
            writers.wait_committed(20)
            ended += empty_database.end_relay_sessions()
    empty_database.wait("SELECT NOT EXISTS (SELECT FROM outbox_events WHERE published_at IS NULL)", 60)
    assert problems(writers.truth(), arrivals(reader().rest())) == []


def test_the_database_is_away_at_the_start(database, new_relay, reader, topic):
    """The relay waits for it and says so."""
    topic()
    insert(database, 10)
    database.server.stop()
    relay = new_relay().start(wait=False)
    relay.wait_log("no session with the database: cannot connect to the database")
    assert not relay.log_contains("is gone")
    until(lambda: relay.get("/readyz")[0] == 503, 10, "readyz to say so")
    database.server.start()
    relay.wait_ready()
    assert len(reader().take(10)) == 10


def test_a_crash_between_acknowledgement_and_commit(relay, database, kafka, reader, topic):
    """The broker has the batch and the relay does not know yet when Postgres crashes; the rows are there
    again after it and are settled without being published again."""
    topic()
    consumer = reader()
    insert(database, 100)  # the first record to a partition goes alone
    consumer.take(100)
    database.wait_empty()
    kafka.pause()
    insert(database, 500)
    relay.wait_in_flight(500)
    database.server.stop("immediate")
    relay.wait_log("session with the database is gone")
    kafka.resume()
    assert len(consumer.take(500)) == 500
    database.server.start()
    database.wait_empty()
    assert consumer.rest() == []


def test_failover(database, new_relay, reader, topic, world, number, kafka):
    """A dsn with two hosts: the primary dies for good, the standby is promoted, the relay follows by itself.
    Every event committed on what is now the primary arrives exactly once."""
    topic()
    primary = database.server
    standby = primary.clone(os.path.join(world, f"standby{number}")).start()
    promoted = Database(standby, database.name)
    relay = new_relay(database={
        "dsn": f"host=127.0.0.1,127.0.0.1 port={primary.port},{standby.port} dbname={database.name}"
               " user=outbox_relay target_session_attrs=read-write"}).start()
    try:
        with Writers(database) as writers:
            writers.wait_committed(300)
        database.wait_empty()
        truth = writers.truth()
        lsn = database.value("SELECT pg_current_wal_lsn()")
        promoted.wait(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")
        primary.stop("immediate")
        standby.promote()
        insert(promoted, 100, key="after")
        promoted.wait_empty()
        records = reader().rest()
        assert problems(truth, arrivals(r for r in records if r.key.startswith(b"key-"))) == []
        assert len([r for r in records if r.key.startswith(b"after-")]) == 100
        relay.stop()
    finally:
        standby.remove()
        primary.start()


def test_a_vanished_relay_is_noticed_soon(relay, database):
    """The server's end of the session has a keepalive due within 5 seconds, and not two hours, so that the
    lock of a relay whose host is gone falls to a standby. Linux shows the timer in proc(5), net/tcp."""
    def due():
        port = database.value("SELECT client_port FROM pg_stat_activity WHERE usename = 'outbox_relay'"
                              " AND datname = current_database()")
        ends = f":{database.server.port:04X}", f":{port:04X}"
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table]
        when, = [row[5].split(":") for row in rows if (row[1][-5:], row[2][-5:]) == ends]
        return when[0] == "02" and int(when[1], 16) <= 5 * os.sysconf("SC_CLK_TCK")
    until(due, 10, "a keepalive timer of at most 5 s")


def test_a_standby_is_refused(database, new_relay, world, number):
    """Pointed at a standby the relay says so."""
    standby = database.server.clone(os.path.join(world, f"standby{number}")).start()
    try:
        dsn = standby.dsn(database.name, "outbox_relay")
        relay = new_relay(database={"dsn": dsn}).start(wait=False)
        relay.wait_log("standby")
        done = relay.command("check")
        assert done.returncode == 1 and "standby" in done.stdout + done.stderr
    finally:
        standby.remove()


def test_crashes_in_the_middle_of_a_backlog(database, new_relay, reader, topic):
    """A crash of the server undoes no batch that the relay has been told is committed, and the batch whose commit
    has no answer is settled by identity: nothing is published twice."""
    topic()
    database.execute(
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
        " SELECT 'thing', 'key-' || i % 100, 'Made', to_jsonb(i) FROM generate_series(1, 200000) i")
    relay = new_relay(outbox={"batch_rows": 4000, "claim_rows": 1000}).start()
    for published in (20_000, 60_000, 100_000, 140_000):
        until(lambda: relay.metric("published_total") >= published, 60, f"{published} events")
        database.server.restart("immediate")
    database.wait_empty(timeout=60)
    records = reader().rest(timeout=120)
    assert len(records) == 200_000
    assert [r.json for r in records if r.key == b"key-7"] == list(range(7, 200_001, 100))


def test_the_same_reason_is_not_repeated(database, relay):
    """Each try that fails for it has no line of its own."""
    database.execute("REVOKE USAGE ON SCHEMA outbox_relay FROM outbox_relay")
    database.end_relay_sessions()
    relay.wait_metric("retries_total", 5)
    assert relay.log().count("the database cannot be worked with: ") == 1
    database.execute("GRANT USAGE ON SCHEMA outbox_relay TO outbox_relay")
    insert(database, 1)
    database.wait_empty()


def test_a_rollback_that_is_refused(database, relay):
    """The claim's temporary file may not grow, as on a full disk, and the ROLLBACK, which writes the rest of it, fails
    likewise. The relay begins a new session instead of waiting in the failed transaction."""
    database.execute(f"ALTER ROLE outbox_relay IN DATABASE {database.name} SET work_mem = '64kB';"
                     f"ALTER ROLE outbox_relay IN DATABASE {database.name} SET temp_file_limit = '128kB'")
    database.end_relay_sessions()
    insert(database, 3000, payload=json.dumps("x" * 2000))
    relay.wait_log(r"is gone: SQLSTATE 53400: temporary file size exceeds", timeout=30)
    database.execute(f"ALTER ROLE outbox_relay IN DATABASE {database.name} RESET ALL")
    database.wait_empty()
