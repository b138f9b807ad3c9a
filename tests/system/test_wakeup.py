# SPDX-License-Identifier: ISC
"""Waking up: by the bell, without it, and what an idle relay asks of the database."""
import select
import time

import pytest

from harness.postgres import Database
from harness.waiting import holds, until
from harness.writers import insert

SLOW = {"poll_interval": "1h", "sweep_interval": "1h"}
BELL = """SELECT pg_sequence_last_value(bell) IS NOT NULL FROM outbox_relay.outboxes
          WHERE outbox = 'outbox_events'::regclass"""


class Listener:
    """Counts how often the bell rings."""

    def __init__(self, database):
        self.connection = database.server.connect(database.name)
        self.connection.cursor().execute("LISTEN outbox_relay")

    def rings(self):
        while select.select([self.connection], [], [], 0.05)[0]:
            self.connection.poll()
        self.connection.poll()
        return len(self.connection.notifies)

    def close(self):
        self.connection.close()


@pytest.fixture
def listener(database):
    listening = Listener(database)
    yield listening
    listening.close()


def statements(database):
    """How many statements the relay's role has run in this database so far."""
    return Database(database.server, "postgres").value(
        "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements(false) s"
        " JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.userid"
        " WHERE d.datname = %s AND r.rolname = 'outbox_relay'", database.name)


@pytest.fixture
def counted(database):
    admin = Database(database.server, "postgres")
    admin.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    return database


def test_the_bell_wakes_a_sleeping_relay(database, new_relay, reader, topic, listener):
    """With both timers an hour away, an insert is published at once because it rings."""
    topic()
    relay = new_relay(outbox=SLOW).start()
    consumer = reader()

    def woken():
        database.wait(BELL)
        insert(database, 1)
        consumer.take(1)
        return relay.metrics()['outbox_relay_wakeups_total{cause="bell"}']
    for rings in (1, 2, 3):
        woken()
        until(lambda: listener.rings() >= rings, 20, f"{rings} rings")
    # An event that it finds with its last look before it sleeps has woken nobody.
    until(lambda: woken() >= 3, 20, "three events to have woken it")


def test_without_a_trigger_the_timer_wakes_it(database, new_relay, reader, topic):
    topic()
    database.execute("DROP TRIGGER outbox_relay_bell ON outbox_events")
    relay = new_relay(outbox={"poll_interval": "200ms", "sweep_interval": "1h"}).start()
    consumer = reader()
    for _ in range(3):
        time.sleep(0.5)  # long enough to fall asleep, however that shows
        insert(database, 1)
        consumer.take(1)
    assert relay.metrics()['outbox_relay_wakeups_total{cause="bell"}'] == 0


def test_the_bell_is_quiet_while_the_relay_is_busy(database, new_relay, reader, topic, listener):
    """A writer without a pause: among two thousand commits hardly any rings. On a busy machine it does pause: the relay
    arms the bell after 8 ms without an event."""
    topic()
    new_relay(outbox=SLOW).start()
    pauses, last = 0, time.monotonic()
    with database.session() as cursor:
        for _ in range(2000):
            cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                           " VALUES ('thing', 'k', 'Happened', '{}')")
            now = time.monotonic()
            pauses += now - last > 0.005
            last = now
    assert len(reader().take(2000)) == 2000
    assert listener.rings() < 100 + pauses


def test_a_commit_long_after_its_insert_is_seen(database, new_relay, reader, topic):
    """The insert rang while the relay slept; the commit comes when it has looked and found nothing. It is seen
    although nothing rings again."""
    topic()
    new_relay(outbox=dict(SLOW, poll_interval="2s")).start()
    consumer = reader()
    database.wait(BELL)
    with database.session(autocommit=False) as cursor:
        cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                       " VALUES ('thing', 'k', 'Happened', '{}')")
        holds(lambda: consumer.rest() == [], 1, "nothing published before the commit", every=0.2)
        cursor.connection.commit()
    consumer.take(1)


def test_an_idle_relay_asks_little(counted, new_relay, reader):
    """At most five statements a second, with the default timers."""
    new_relay().start()
    insert(counted, 1)
    reader().take(1)
    counted.wait(BELL)
    time.sleep(1)
    began, before = time.monotonic(), statements(counted)
    time.sleep(5)
    assert statements(counted) - before <= 5 * (time.monotonic() - began)


def test_an_idle_relay_holds_no_transaction(relay, database):
    database.wait(BELL)
    holds(lambda: all(age < 0.5 for age in database.open_transactions()), 2, "no open transaction")
