# SPDX-License-Identifier: ISC
"""outbox.publish_after: events go out once what they were claimed from survives a crash, or is at standbys too."""
import json
import os
import signal

import pytest

from harness.checker import problems
from harness.positions import wait_nothing_waits
from harness.postgres import Database
from harness.waiting import until
from harness.writers import Writers, arrivals, insert

BOTH = {"publish_after": "standby", "publish_standbys": "ANY 2 (s1, s2)", "stall_timeout": "1s"}
# The relay's COMMIT is held up before it is written, while what it claimed is with Kafka.
SLOW_COMMIT = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow AFTER DELETE ON outbox_events DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait();
"""
END_SECOND = ("SELECT count(pg_terminate_backend(pid)) = 1 FROM pg_stat_activity WHERE datname = current_database() AND"
              " usename = 'outbox_relay' AND (query LIKE '%flushed%' OR query LIKE '%pg_logical_emit_message%')")


class Standby:
    """One that can stop to confirm while it stays connected."""

    def __init__(self, primary, directory, name):
        self.server = primary.clone(os.path.join(directory, name), name).start()

    def _receiver(self):
        return Database(self.server, "postgres").value("SELECT max(pid) FROM pg_stat_wal_receiver")

    def silence(self):
        self.pid = until(self._receiver, 20, "the standby to receive")
        os.kill(self.pid, signal.SIGSTOP)

    def speak(self):
        os.kill(self.pid, signal.SIGCONT)

    def remove(self):
        self.server.remove()


@pytest.fixture
def standbys(database, world, number):
    """Two of the database's server, which stream; the relay may see that."""
    directory = os.path.join(world, f"standbys{number}")
    os.makedirs(directory)
    os.chmod(directory, 0o755)
    made = [Standby(database.server, directory, name) for name in ("s1", "s2")]
    database.wait("SELECT count(*) = 2 FROM pg_stat_replication WHERE state = 'streaming'")
    database.execute("GRANT pg_read_all_stats TO outbox_relay")
    yield made
    database.execute("REVOKE pg_read_all_stats FROM outbox_relay")
    for standby in made:
        standby.remove()


def waits(relay, *words):
    """It says why nothing is published, everywhere."""
    until(lambda: all(word in json.loads(relay.get("/status")[1])["unconfirmed"] for word in words), 20, words)
    relay.wait_metric("unconfirmed", 1)
    relay.wait_log("nothing is published: events wait until")
    status, text = relay.get("/readyz")
    assert status == 503 and all(word in text for word in words)


def goes_on(relay):
    relay.wait_log("events are confirmed again")
    until(lambda: relay.metric("unconfirmed") == 0 and relay.get("/readyz")[0] == 200, 20, "the relay to be ready")


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_both_standbys_must_have_it(database, standbys, new_relay, topic, ledger, in_order, delivery):
    """While one does not confirm, nothing goes out, no transaction stays open, and the relay says why."""
    topic()
    relay = new_relay(outbox=BOTH, kafka={**ledger, "delivery": delivery}).start()
    with Writers(database) as writers:
        writers.wait_committed(300)
        standbys[1].silence()
        waits(relay, "until 2 of 2 standbys have them", "s1 has it up to", "s2 has it up to")
        published = relay.metric("published_total")
        writers.wait_committed(100)
        database.wait("SELECT count(*) > 100 FROM outbox_events")
        database.wait("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'outbox_relay' AND state <> 'idle'"
                      " AND datname = current_database() AND backend_xid IS NOT NULL")
        assert relay.metric("published_total") == published
        standbys[1].speak()
        goes_on(relay)
        writers.wait_committed(100)
    in_order(writers)
    assert relay.metric("publish_wait_seconds_count") > 0


def test_a_quorum_goes_on_without_one(database, standbys, new_relay, topic, in_order):
    topic()
    relay = new_relay(outbox={**BOTH, "publish_standbys": "ANY 1 (s1, S2)"}).start()
    with Writers(database) as writers:
        writers.wait_committed(100)
        standbys[0].server.stop()
        database.wait("SELECT count(*) = 1 FROM pg_stat_replication")
        writers.wait_committed(100)
        until(lambda: relay.metric("published_total") > 200, 20, "events")
        standbys[1].server.stop()
        waits(relay, "until 1 of 2 standbys have them", "s1 is not connected", "S2 is not connected")
        standbys[0].server.start()
        goes_on(relay)
    in_order(writers)


@pytest.mark.parametrize("settle", ["mark", "position"])
def test_the_other_ways_to_settle(empty_database, migrate, new_relay, topic, reader, settle):
    """Several shards, small batches, and a session that flushes and is ended meanwhile."""
    topic()
    migrate(outbox={"settle": settle})
    relay = new_relay(outbox={"publish_after": "flush", "settle": settle, "shards": 4, "claim_rows": 5,
                              "batch_rows": 20}).start()
    with Writers(empty_database) as writers:
        for _ in range(3):
            writers.wait_committed(200)
            empty_database.wait(END_SECOND)
    wait_nothing_waits(empty_database, timeout=60)
    assert problems(writers.truth(), arrivals(reader().rest())) == []
    assert relay.metric("publish_wait_seconds_count") > 0


def test_no_right_to_see_them(database, standbys, new_relay, topic):
    topic()
    database.execute("REVOKE pg_read_all_stats FROM outbox_relay")
    relay = new_relay(outbox=BOTH).start()
    insert(database, 1)
    waits(relay, "GRANT pg_read_all_stats TO outbox_relay")
    said = relay.command("check")
    assert said.returncode == 1
    assert "role outbox_relay may not see how far standbys are" in said.stdout
    database.execute("GRANT pg_read_all_stats TO outbox_relay")
    goes_on(relay)
    database.wait_empty()


def test_check_looks_at_each(database, standbys, new_relay, topic):
    topic()

    def said(spec, status, *words):
        done = new_relay(outbox={**BOTH, "publish_standbys": spec}).command("check")
        assert done.returncode == status, done.stdout
        for word in words:
            assert word in done.stdout
    said("ANY 2 (s1, s2)", 0, "once 2 of 2 standbys have them; at a failover promote any of them")
    said("ANY 1 (s1, s2)", 0, "once 1 of 2 standbys have them; at a failover promote the one that has most")
    said("s1", 0, "standby s2 is not asked: were it promoted, it might lack what is published")
    said("ANY 1 (s1, s3)", 0, "standby s3 is not connected")
    said("ANY 2 (s1, s3)", 1, "standby s3 is not connected")
    standbys[0].server.stop()
    database.wait("SELECT count(*) = 1 FROM pg_stat_replication")
    said("s1", 1, "standby s1 is not connected")


def stop_wal_writer(database):
    """It flushes whatever is committed, a few times a second; its pid. It sleeps when it is stopped, so that it holds no
    lock that others wait for."""
    pid = database.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
    sleeps = f"SELECT wait_event = 'WalWriterMain' FROM pg_stat_activity WHERE pid = {pid}"

    def stopped():
        os.kill(pid, signal.SIGSTOP)
        if database.value(sleeps):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    until(stopped, 20, "the server's WAL writer to sleep")
    return pid


def crash_behind_kafka(database, reader):
    """An event is with Kafka whose commit did not wait for a flush; its id, and those that the server has after its crash."""
    database.execute(SLOW_COMMIT)
    consumer = reader()
    wal_writer = stop_wal_writer(database)
    try:
        written = database.value("SET synchronous_commit = off; INSERT INTO outbox_events"
                                 " (aggregate_type, aggregate_id, event_type) VALUES ('thing', 'k', 'Made')"
                                 " RETURNING event_id::text")
        assert [record.event_id for record in consumer.take(1)] == [written]
    finally:
        os.kill(wal_writer, signal.SIGKILL)
        database.server.stop("immediate")
    database.server.start()
    return written, [event for event, in database.rows("SELECT event_id::text FROM outbox_events")]


@pytest.mark.parametrize("after, survives", [("commit", False), ("flush", True)])
def test_a_crash_behind_a_commit_that_did_not_wait(database, new_relay, topic, reader, after, survives):
    """With synchronous_commit = off a row is visible before it is durable: published then, it may never have
    happened."""
    topic()
    relay = new_relay(outbox={"publish_after": after}).start()
    written, known = crash_behind_kafka(database, reader)
    assert (written in known) == survives
    relay.kill()
