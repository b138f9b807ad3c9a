# SPDX-License-Identifier: ISC
"""Kafka goes away in every way it can: nothing is lost, nothing repeated, no transaction stays open."""
import time

import pytest

from harness.checker import problems
from harness.waiting import holds, until
from harness.writers import Writers, arrivals, insert

STALL = {"stall_timeout": "2s"}


@pytest.fixture
def all_once(database, reader):
    """all_once(writers): everything committed has arrived, once and in order."""
    def check(writers):
        database.wait_empty(timeout=90)
        assert problems(writers.truth(), arrivals(reader().rest())) == []
    return check


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_restarts_under_load(relay, database, kafka, topic, all_once, how):
    topic()
    with Writers(database, pause=0.01) as writers:
        for _ in range(2):
            writers.wait_committed(150)
            getattr(kafka, how)()
            kafka.start()
        writers.wait_committed(150)
    all_once(writers)


@pytest.mark.parametrize("how", ["stop", "pause"])
def test_away_for_longer_than_the_stall_timeout(database, new_relay, kafka, topic, all_once, how):
    """Stopped, or there and silent: after stall_timeout the relay has no transaction open, for as long as
    this lasts, and the session stays. Then everything arrives once."""
    topic()
    relay = new_relay(outbox=STALL).start()
    with Writers(database, pause=0.01) as writers:
        writers.wait_committed(200)
        getattr(kafka, how)()
        writers.wait_committed(200)
        time.sleep(4)
        holds(lambda: all(age < 3.5 for age in database.open_transactions()), 3,
              "no transaction older than the stall timeout")
        assert database.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'outbox_relay'"
                              " AND datname = current_database()") == 1
        getattr(kafka, {"stop": "start", "pause": "resume"}[how])()
        writers.wait_committed(200)
    all_once(writers)
    assert relay.process.alive


def test_away_at_the_start(database, new_relay, kafka, reader, topic):
    """The relay waits, and no transaction waits with it."""
    topic()
    insert(database, 100)
    kafka.stop()
    relay = new_relay(outbox=STALL).start(wait=False)
    until(lambda: relay.get("/readyz")[0] == 503, 10, "readyz to say so")
    time.sleep(3)
    holds(lambda: all(age < 3.5 for age in database.open_transactions()), 2, "no old transaction")
    assert database.value("SELECT count(*) FROM outbox_events") == 100
    kafka.start()
    consumer = reader()
    assert len(consumer.take(100, timeout=60)) == 100
    database.wait_empty()
    assert consumer.rest() == []


def test_both_away(relay, database, kafka, topic, all_once):
    """Kafka stops and Postgres crashes while it is away; both come back."""
    topic()
    with Writers(database, pause=0.01) as writers:
        writers.wait_committed(150)
        kafka.kill()
        writers.wait_committed(150)
        database.server.restart("immediate")
        kafka.start()
        writers.wait_committed(150)
    all_once(writers)
