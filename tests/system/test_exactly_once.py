# SPDX-License-Identifier: ISC
"""Exactly once: a consumer that reads committed records sees every committed event once and in order, whatever is
killed."""
import contextlib
import json
import os
import random

import pytest
from harness.checker import problems
from harness.postgres import Database, Postgres
from harness.waiting import until
from harness.writers import Writers, arrivals, insert

MODES = ["delete", "mark", "position"]
BATCH = {"claim_rows": 5, "batch_rows": 10}
WAITING = {"delete": "SELECT NOT EXISTS (SELECT FROM outbox_events)",
           "mark": "SELECT NOT EXISTS (SELECT FROM outbox_events WHERE published_at IS NULL)",
           "position": "SELECT depth = 0 FROM outbox_relay.count_waiting('outbox_events', 1)"}
UNRESOLVED = "another relay holds producer slot 1 and has not settled"
SETTLED = "SELECT coalesce(sum(settled), 0)::bigint FROM outbox_relay.producers"


@pytest.fixture
def exactly(empty_database, migrate, new_relay, ledger, topic):
    """exactly("delete", shards=4): relays of an outbox that is settled so, not yet started."""
    topic()

    def prepare(settle="delete", **outbox):
        migrate(outbox={"settle": settle})
        return lambda: new_relay(outbox={"settle": settle, **outbox}, kafka=ledger)
    return prepare


def assert_once(writers, records):
    arrived = arrivals(records)
    assert problems(writers.truth(), arrived) == []


@pytest.mark.parametrize("settle", MODES)
def test_each_event_once(exactly, empty_database, reader, settle):
    exactly(settle)().start()
    with Writers(empty_database) as writers:
        writers.wait_committed(1000)
    empty_database.wait(WAITING[settle], timeout=60)
    assert_once(writers, reader().rest())
    assert empty_database.value(SETTLED) > 0


@pytest.mark.parametrize("settle", MODES)
def test_the_relay_is_killed_again_and_again(exactly, empty_database, reader, settle):
    relay = exactly(settle, **BATCH)().start()
    rng = random.Random(11)
    with Writers(empty_database, threads=4, keys=12) as writers:
        for _ in range(8):
            writers.wait_committed(rng.randint(5, 150))
            relay.kill()
            relay.start()
    empty_database.wait(WAITING[settle], timeout=60)
    assert_once(writers, reader().rest())


def test_the_database_session_is_ended_all_the_time(exactly, empty_database, reader):
    exactly(**BATCH)().start()
    with Writers(empty_database, threads=4, keys=12) as writers:
        for _ in range(20):
            writers.wait_committed(20)
            empty_database.end_relay_sessions()
    empty_database.wait_empty(timeout=60)
    assert_once(writers, reader().rest())


def test_relays_take_over_from_each_other(exactly, empty_database, reader):
    """Of three relays one after the other is killed: what it leaves in doubt is settled by whoever has its shards."""
    make = exactly(shards=4, **BATCH)
    relays = [make().start() for _ in range(3)]
    rng = random.Random(12)
    with Writers(empty_database, threads=4, keys=24) as writers:
        for round_ in range(9):
            writers.wait_committed(rng.randint(20, 150))
            relays[round_ % 3].kill()
            writers.wait_committed(50)
            relays[round_ % 3].start(wait=False)
    empty_database.wait_empty(timeout=60)
    assert_once(writers, reader().rest())


def test_a_clean_end_leaves_nothing_in_doubt(exactly, empty_database, reader):
    relay = exactly(shards=4)().start()
    insert(empty_database, 100)
    empty_database.wait_empty()
    assert empty_database.value("SELECT count(*) FROM outbox_relay.producer_shards") == 4
    assert relay.stop() == 0
    assert empty_database.value("SELECT count(*) FROM outbox_relay.producer_shards") == 0
    assert len(reader().rest()) == 100


def test_both_ways_of_delivery_exclude_each_other(exactly, empty_database, new_relay, reader):
    first = exactly()().start()
    other = new_relay().start(wait=False)
    other.wait_log('exactly-once" are at work')
    insert(empty_database, 10)
    assert len(reader().take(10)) == 10
    assert first.stop() == 0
    other.wait_ready()
    insert(empty_database, 10)
    empty_database.wait_empty()
    assert len(reader().rest()) == 20


def test_without_a_ledger(exactly, empty_database, kafka, ledger, new_relay, reader):
    """The relay says what is missing, `check --create` makes it, and it goes on by itself."""
    make = exactly()
    kafka.delete_topic(ledger["ledger_topic"])
    relay = make().start(wait=False)
    relay.wait_log(f"{ledger['ledger_topic']}.*check --create")
    done = relay.command("check", "--create")
    assert f"ledger topic {ledger['ledger_topic']} is created: 64 partitions" in done.stdout
    relay.wait_ready(timeout=60)
    insert(empty_database, 10)
    assert len(reader().take(10)) == 10


def test_a_rejected_event(exactly, empty_database, reader, kafka, prefix):
    """Its key is parked, all others flow, and nothing is seen twice."""
    exactly()().start()
    with empty_database.session(autocommit=False) as session:
        for number in range(40):
            payload = '"' + "x" * 3_000_000 + '"' if number == 17 else str(number)
            session.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                            " VALUES ('thing', %s, 'made', %s::jsonb)", (f"k{number % 4}", payload))
        session.connection.commit()
    empty_database.wait_empty()
    records = reader().rest()
    assert len(records) == len({record.event_id for record in records}) == 34
    assert empty_database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 6


def test_the_ledger_is_lost(exactly, empty_database, kafka, ledger, reader):
    """Nothing is published that may be published already; the runbook's way out lets the relay go on."""
    relay = exactly()().start()
    insert(empty_database, 20)
    empty_database.wait_empty()
    assert relay.stop() == 0
    kafka.delete_topic(ledger["ledger_topic"])
    kafka.create_topic(ledger["ledger_topic"], 64, cleanup_policy="compact")
    insert(empty_database, 5)
    relay.start(wait=False)
    relay.wait_log("Kafka's ledger ends with batch 0, and the database has settled batch")
    assert relay.metric("in_doubt") == 1
    assert len(reader().rest()) == 20
    assert relay.stop() == 0
    relay.write_config(kafka={"ledger_topic": ledger["ledger_topic"] + ".2"})
    assert "is created" in relay.command("check", "--create").stdout
    assert relay.command("reconcile", "--after-restore").returncode == 0
    relay.start()
    empty_database.wait_empty()
    assert relay.metric("in_doubt") == 0
    assert len(reader().rest()) == 25


@pytest.mark.parametrize("setting, value", [("cleanup.policy", "delete"), ("unclean.leader.election.enable", "true")])
def test_a_ledger_that_forgets(exactly, empty_database, kafka, ledger, reader, setting, value):
    """Nothing is published before its topic is set as it must be."""
    good = {"cleanup_policy": "compact", "unclean_leader_election_enable": "false"}
    kafka.configure_topic(ledger["ledger_topic"], **{**good, setting.replace(".", "_"): value})
    relay = exactly()().start(wait=False)
    insert(empty_database, 1)
    relay.wait_log(f"{ledger['ledger_topic']} has {setting}={value}")
    assert reader().rest() == []
    kafka.configure_topic(ledger["ledger_topic"], **good)
    relay.wait_ready()
    empty_database.wait_empty()


def test_status_names_the_slots(exactly, empty_database):
    relay = exactly()().start()
    insert(empty_database, 10)
    empty_database.wait_empty()

    def slot():
        return json.loads(relay.command("status", "--json").stdout)["producers"][0]
    seen = slot()
    assert seen["held_by"].startswith("outbox-relay") and seen["settled"] > 0
    assert (seen["slot"], seen["shards"], seen["known"], seen["in_doubt"]) == (0, 1, True, False)
    assert f"slot 0: {seen['held_by']}, " in relay.command("status").stdout
    relay.kill()
    until(lambda: slot()["held_by"] is None, 20, "the session to end")
    assert slot()["in_doubt"]
    assert "slot 0: no relay has it, and events of 1 shard may be in doubt" in relay.command("status").stdout
    relay.start()
    assert relay.stop() == 0
    assert not slot()["in_doubt"] and "producers" not in relay.command("status").stdout


def test_a_role_that_may_not_look(database, new_relay, reader):
    """Rights that were granted by hand before: at least once goes on without one on the new tables, and hears the bell."""
    database.execute("REVOKE ALL ON outbox_relay.producer_shards, outbox_relay.producers FROM outbox_relay")
    relay = new_relay(outbox={"poll_interval": "1h"}).start()
    consumer = reader()
    for _ in range(3):
        insert(database, 1)
        consumer.take(1)
    assert json.loads(relay.command("status", "--json").stdout)["producers"] == []


@contextlib.contextmanager
def slot_locked(database, slot):
    with database.session() as session:
        session.execute("SELECT pg_advisory_lock('outbox_events'::regclass::oid::int, x'6b000000'::int + %s)", (slot,))
        yield


@contextlib.contextmanager
def slot_held(database, slot):
    """By another relay, which has left something in doubt of a shard and does not find out what."""
    database.execute("INSERT INTO outbox_relay.producers (outbox, slot) VALUES ('outbox_events'::regclass, %s)", slot)
    database.execute("INSERT INTO outbox_relay.producer_shards (outbox, layout, shard, slot)"
                     " VALUES ('outbox_events'::regclass, 0, 0, %s)", slot)
    with slot_locked(database, slot):
        yield


def test_a_slot_that_nobody_resolves(exactly, empty_database, reader):
    """The relay says what it waits for, a stop does not wait too, and once that relay is gone all goes on."""
    make = exactly()
    insert(empty_database, 10)
    with slot_held(empty_database, 1):
        relay = make().start(wait=False)
        relay.wait_log(UNRESOLVED)
        status, words = relay.get("/readyz")
        assert status == 503 and "producer slot 1" in words
        assert relay.stop() == 0
        relay.start(wait=False)
        relay.wait_log(UNRESOLVED)
    relay.wait_ready()
    empty_database.wait_empty()
    assert len(reader().rest()) == 10
    assert relay.get("/readyz")[0] == 200


@pytest.fixture
def letter(exactly, empty_database):
    """A relay that has published an event as a letter and is stopped; what the letter was. It is in doubt again."""
    relay = exactly()().start()
    row, = empty_database.rows("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) VALUES"
                               " ('thing', 'k', 'made', to_jsonb(repeat('x', 3000000))) RETURNING id, event_id")
    empty_database.wait("SELECT EXISTS (SELECT FROM outbox_relay.dead_letters)")
    number = empty_database.value("SELECT number FROM outbox_relay.dead_letters")
    empty_database.execute("UPDATE outbox_relay.dead_letters SET payload = '1'")
    assert relay.command("dlq", "retry", "--all").returncode == 0
    empty_database.wait("SELECT NOT EXISTS (SELECT FROM outbox_relay.dead_letters)")
    assert relay.stop() == 0
    empty_database.execute("UPDATE outbox_relay.producers SET settled = settled - 1 WHERE settled > 0")
    return relay, number, *row


def test_a_letter_with_the_number_of_another(letter, empty_database):
    """After a failover that lost commits numbers are given again: what the ledger has is another event's."""
    relay, number, *_ = letter
    empty_database.execute("INSERT INTO outbox_relay.dead_letters (outbox, number, id, event_id, reason, held_for)"
                           " OVERRIDING SYSTEM VALUE SELECT 'outbox_events'::regclass, %s, 1, gen_random_uuid(),"
                           " 'too_large', NULL", number)
    relay.start()
    insert(empty_database, 1)
    empty_database.wait_empty()
    assert empty_database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 1


def test_a_letter_that_is_a_row_again(letter, empty_database, reader):
    """A failover has lost that it was moved and published: it is not published once more."""
    relay, _, id_, event_id = letter
    empty_database.execute("INSERT INTO outbox_events (id, event_id, aggregate_type, aggregate_id, event_type, payload)"
                           " OVERRIDING SYSTEM VALUE VALUES (%s, %s, 'thing', 'k', 'made', '2')", id_, event_id)
    relay.start()
    insert(empty_database, 1)
    empty_database.wait_empty()
    assert len(reader().rest()) == 2


def test_a_letter_that_cannot_be_removed(letter, empty_database, reader):
    """A failover has lost that it was published. Nothing is published before it can be removed, or it would be again."""
    relay, number, id_, event_id = letter
    empty_database.execute("CREATE FUNCTION outbox_relay.no() RETURNS trigger LANGUAGE plpgsql AS"
                           " $$ BEGIN RAISE 'it is to stay'; END $$")
    empty_database.execute("INSERT INTO outbox_relay.dead_letters (outbox, number, id, event_id, aggregate_type,"
                           " aggregate_id, event_type, payload, reason) OVERRIDING SYSTEM VALUE SELECT"
                           " 'outbox_events'::regclass, %s, %s, %s, 'thing', 'k', 'made', '1', 'too_large'",
                           number, id_, event_id)
    empty_database.execute("CREATE TRIGGER no BEFORE DELETE ON outbox_relay.dead_letters FOR EACH ROW"
                           " EXECUTE FUNCTION outbox_relay.no()")
    try:
        relay.start(wait=False)
        relay.wait_log("1 events are published and cannot be removed")
    finally:
        empty_database.execute("DROP TRIGGER no ON outbox_relay.dead_letters")
        empty_database.execute("DROP FUNCTION outbox_relay.no")
    empty_database.wait("SELECT NOT EXISTS (SELECT FROM outbox_relay.dead_letters)", timeout=90)
    assert len(reader().rest()) == 1


def test_the_lag_of_the_ledger(exactly, empty_database, reader):
    """Kafka has committed a batch, and the database cannot yet."""
    relay = exactly()().start()
    with empty_database.session(autocommit=False) as session:
        session.execute("SELECT FROM outbox_relay.producers FOR UPDATE")
        insert(empty_database, 1)
        assert len(reader().take(1)) == 1
        until(lambda: relay.metric("ledger_lag") == 1, 30, "the ledger to be ahead")
        elsewhere, name = Database(empty_database.server, "postgres"), empty_database.name
        elsewhere.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        elsewhere.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                          " WHERE datname = %s AND usename = 'outbox_relay'", name)
        until(lambda: relay.metrics()['outbox_relay_connected{peer="database"}'] == 0, 30, "the sessions to be lost")
        assert relay.metric("ledger_lag") == 1
        elsewhere.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        session.connection.rollback()
    empty_database.wait_empty()
    until(lambda: relay.metric("ledger_lag") == 0, 30, "the database to have settled it")


@pytest.mark.parametrize("left", [
    "INSERT INTO outbox_relay.producer_shards VALUES ('outbox_events', 1, 0, 5)",
    "INSERT INTO outbox_relay.producers (outbox, slot, line) VALUES ('outbox_events', 5, '')",
    "INSERT INTO outbox_relay.producers (outbox, slot, line) VALUES ('outbox_events', 5, '8/1')",
    "UPDATE outbox_relay.producers SET line = outbox_relay.server_line()",
])
def test_producers_that_are_not_handed_over(exactly, empty_database, left):
    """Of another server: others take their place, unless something may be in doubt, or was resolved elsewhere since."""
    ask = "SELECT outbox_relay.hand_over_producers('outbox_events', split_part(%s, '/', 1))"
    relay = exactly()().start()
    assert relay.stop() == 0
    own = empty_database.value("SELECT outbox_relay.server_line()")
    assert empty_database.value(ask, own) is None  # this very server
    empty_database.execute("UPDATE outbox_relay.producers SET line = '7/1'")
    empty_database.execute("CREATE TABLE before AS SELECT * FROM outbox_relay.producers")
    empty_database.execute(left)
    assert empty_database.value(ask, "7/1") is None and empty_database.value(ask, None) is None
    empty_database.execute("DELETE FROM outbox_relay.producer_shards; DELETE FROM outbox_relay.producers;"
                           " INSERT INTO outbox_relay.producers SELECT * FROM before; DROP TABLE before")
    before = empty_database.value("SELECT producers FROM outbox_relay.outboxes")
    assert empty_database.value(ask, "7/1") not in (None, before)
    assert empty_database.value(ask, "7/1") is None  # done before


def test_another_cluster(exactly, empty_database, reader):
    """A relay whose slot was never used publishes nothing there either."""
    first = exactly(shards=2)().start()
    insert(empty_database, 1)
    empty_database.wait_empty()
    assert first.stop() == 0
    empty_database.execute("UPDATE outbox_relay.producers SET cluster = 'elsewhere'")
    with slot_locked(empty_database, 0):
        other = exactly(shards=2)().start(wait=False)
        insert(empty_database, 1)
        other.wait_log("was published to the Kafka cluster elsewhere")
    assert len(reader().rest()) == 1


def test_beside_an_old_snapshot(exactly, empty_database, reader):
    """The number of each batch is written where the one before is, which vacuum cannot remove; it is not looked for."""
    relay = exactly()().start()
    consumer = reader()
    empty_database.execute("ALTER TABLE outbox_relay.producers SET (autovacuum_enabled = off)")  # no other plan meanwhile
    counts = "SELECT n_tup_upd, seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'producers'"
    with empty_database.session(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM outbox_events")
        for _ in range(100):
            insert(empty_database, 1)
            consumer.take(1)
        assert relay.stop() == 0  # the server's counts come at the end of a session
        (updated, looked), = empty_database.rows(counts)
        assert updated >= 100 and looked < 50
        old.connection.rollback()


def test_a_ledger_that_is_empty(exactly, empty_database, kafka, ledger, reader):
    """It was deleted before anything was published: also then the relay begins no other one by itself."""
    relay = exactly()().start()
    assert relay.stop() == 0
    kafka.delete_topic(ledger["ledger_topic"])
    kafka.create_topic(ledger["ledger_topic"], 64, cleanup_policy="compact")
    relay.start(wait=False)
    insert(empty_database, 1)
    relay.wait_log("ledger knows nothing of this outbox, and the database does")
    assert reader().rest() == []
    assert relay.stop() == 0
    assert relay.command("reconcile", "--after-restore").returncode == 0
    relay.start()
    empty_database.wait_empty()


@pytest.fixture
def pair(directory):
    """A primary and its standby."""
    primary = Postgres(os.path.join(directory, "primary"), "primary").create().start()
    standby = primary.clone(os.path.join(directory, "standby")).start()
    yield primary, standby
    standby.remove()
    primary.remove()


def test_an_old_primary_that_lives_on(pair, new_relay, ledger, topic, reader):
    """Its relay is fenced by that of the new primary, and reads in the ledger why, though nothing was published there yet."""
    topic()
    primary, standby = pair
    old, new = Database(primary, "shop").create(), Database(standby, "shop")
    first, second = (new_relay(database={"dsn": database.dsn("outbox_relay")}, kafka=ledger) for database in (old, new))
    assert first.command("migrate", "--dsn", old.dsn()).returncode == 0
    first.start()
    insert(old, 10)
    old.wait_empty()
    written = old.value("SELECT pg_current_wal_flush_lsn()")
    Database(standby, "postgres").wait(f"SELECT pg_last_wal_replay_lsn() >= '{written}'")
    standby.promote()
    second.start()
    insert(old, 5)
    first.wait_log("on timeline 2, and this server is on timeline 1: another server was promoted, and this one lives on")
    insert(new, 7)
    new.wait_empty()
    assert len(reader().rest()) == 17 and old.value("SELECT count(*) FROM outbox_events") == 5
    assert first.metric("in_doubt") == 1 and second.metric("in_doubt") == 0
