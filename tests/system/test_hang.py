# SPDX-License-Identifier: ISC
"""A relay that hangs loses its session after outbox.session_timeout, and its shards to another; when it goes on
it touches nothing any more."""
import time

import pytest

from harness.checker import problems
from harness.fleet import locked, sessions, wait_spread, wait_spread_for_good, wait_standby
from harness.waiting import holds, until
from harness.writers import Writers, arrivals, insert

SOON = {"session_timeout": "1s", "claim_rows": 10, "batch_rows": 20}
WRITES = ("SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'outbox_relay'"
          " AND datname = current_database() AND wait_event = 'ClientWrite'")
STOPPED = r"this process did not run for \d"


def of_first_arrivals(arrived):
    """Without repeats. Those of a relay that was paused may come in the midst of another's events."""
    seen = set()
    return [a for a in arrived if a.event not in seen and not seen.add(a.event)]


@pytest.fixture
def first_in_order(database, reader):
    """first_in_order(writers, pauses): everything committed has arrived, the first arrivals of each key in
    order; a relay repeats after each pause what it had with Kafka, one batch at most."""
    def check(writers, pauses):
        database.wait_empty(timeout=60)
        arrived = sorted(arrivals(reader().rest()), key=lambda a: (a.partition, a.offset))
        first = of_first_arrivals(arrived)
        # Another relay publishes the batch again, and then the paused one what it still had.
        assert len(arrived) - len(first) <= 2 * pauses * SOON["batch_rows"]
        gapless = [a._replace(offset=n) for n, a in enumerate(first)]
        assert problems(writers.truth(), gapless) == []
    return check


def test_another_takes_over_from_a_paused_one(fleet, database, first_in_order):
    """Three times one of two relays is stopped under load until the other owns all, and then goes on."""
    relays = fleet(2, shards=8, **SOON)
    with Writers(database, threads=4, keys=40) as writers:
        for round_ in range(3):
            paused, other = relays[round_ % 2], relays[1 - round_ % 2]
            wait_spread(relays, 4, 4)
            writers.wait_committed(100)
            paused.process.pause()
            said = len(paused.log())
            wait_spread([other], 8)
            writers.wait_committed(100)
            paused.process.resume()
            paused.wait_log(STOPPED, after=said)
        wait_spread(relays, 4, 4)
        writers.wait_committed(100)
    first_in_order(writers, pauses=3)


def test_a_standby_takes_over_from_a_paused_one(fleet, database, first_in_order):
    """One shard: the one that was paused stands by from then on."""
    relays = fleet(2, shards=1, **SOON)
    shares = wait_spread_for_good(relays, 1, 0)
    owner, other = sorted(relays, key=lambda relay: not shares[relay])
    with Writers(database, threads=4, keys=10) as writers:
        writers.wait_committed(200)
        owner.process.pause()
        wait_spread([other], 1)
        writers.wait_committed(200)
        owner.process.resume()
        owner.wait_log(STOPPED)
        owner.wait_log("standby: another relay owns the shard")
        writers.wait_committed(200)
    first_in_order(writers, pauses=1)


def test_paused_with_events_at_kafka(fleet, database, kafka, reader):
    """Kafka answers nothing while the relay has a batch there, then the relay is paused too: another publishes
    the batch; what the first one still sends are repeats, and it settles nothing of it."""
    relays = fleet(2, shards=1, **SOON)
    shares = wait_spread_for_good(relays, 1, 0)
    owner, other = sorted(relays, key=lambda relay: not shares[relay])
    consumer = reader()
    kafka.pause()
    insert(database, 20)
    database.wait("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'outbox_relay'"
                  " AND datname = current_database() AND state = 'idle in transaction')")
    owner.process.pause()
    until(lambda: len(sessions(database)) == 1, 20, "the server to end the session of the paused one")
    kafka.resume()
    database.wait_empty()
    wait_spread([other], 1)
    insert(database, 10, key="later")
    database.wait_empty()
    owner.process.resume()
    owner.wait_log(STOPPED)
    until(lambda: len(sessions(database)) == 2, 20, "it to be back")
    records = consumer.take(30)
    records += consumer.rest()
    assert len({record.event_id for record in records}) == 30 and len(records) <= 50


def test_paused_in_the_midst_of_an_answer(fleet, database, reader):
    """The server is writing megabytes to a relay that reads no more. Its session is not idle: tcp_user_timeout ends it."""
    relays = fleet(2, shards=1, session_timeout="1s")
    shares = wait_spread_for_good(relays, 1, 0)
    owner, other = sorted(relays, key=lambda relay: not shares[relay])
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'thing', 'k', 'Happened', to_jsonb(repeat('x', 500000)) FROM generate_series(1, 300)")

    def caught():
        owner.process.pause()
        if database.value(WRITES):
            return True
        owner.process.resume()
        return False
    # Not by until(): it asks less and less often, and in between the relay gets through.
    end = time.monotonic() + 60
    while not caught():
        assert time.monotonic() < end, "waited in vain for the server to wait for the relay to read"
        time.sleep(0.01)
    wait_spread([other], 1, timeout=60)
    owner.process.resume()
    owner.wait_log("session with the database is gone")
    database.wait_empty(timeout=60)
    assert len({record.event_id for record in reader().rest()}) == 300


@pytest.mark.parametrize("count", [1, 2])
def test_paused_while_idle(fleet, database, reader, count):
    """It has nothing under way. An event that comes meanwhile is published by the other; where there is none, by
    the paused one when it goes on."""
    relays = fleet(count, shards=1, poll_interval="1h", sweep_interval="1h", **SOON)
    shares = wait_spread_for_good(relays, *([1, 0] if count == 2 else [1]))
    owner, = (relay for relay in relays if shares[relay])
    consumer = reader()
    insert(database, 1)
    consumer.take(1)
    database.wait_empty()
    owner.process.pause()
    until(lambda: len(sessions(database)) == count - 1, 20, "the server to end its session")
    insert(database, 1)
    if count == 2:
        consumer.take(1)
    owner.process.resume()
    owner.wait_log(STOPPED)
    if count == 1:
        consumer.take(1)
    until(lambda: len(sessions(database)) == count, 20, "it to be back")
    insert(database, 1)
    consumer.take(1)
    assert consumer.rest() == []


def test_a_short_pause_is_no_hang(fleet, database, in_order):
    """Shorter than session_timeout: nobody takes over, and nothing is repeated."""
    relays = fleet(2, shards=8, claim_rows=10, batch_rows=20, session_timeout="20s")
    wait_spread_for_good(relays, 4, 4)
    before = locked(database, 8)
    with Writers(database, threads=4, keys=40) as writers:
        writers.wait_committed(100)
        relays[0].process.pause()
        holds(lambda: locked(database, 8) == before, 1.5, "everybody's shards stay")
        relays[0].process.resume()
        writers.wait_committed(100)
        wait_spread(relays, 4, 4)
        assert locked(database, 8) == before
    in_order(writers)
    assert not relays[0].log_contains(STOPPED)


def keeps_its_session(relay, database, seconds):
    before = sessions(database)
    holds(lambda: sessions(database) == before, seconds, "the session is kept")
    assert len(before) == 1 and not relay.log_contains("session with the database is gone")


def test_kafka_stalls_for_longer_than_the_timeout(fleet, database, kafka, reader):
    """The transaction waits for Kafka, the session says that it lives."""
    relay, = fleet(1, **SOON)
    wait_spread_for_good([relay], 1)
    kafka.pause()
    insert(database, 100)
    database.wait("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'outbox_relay'"
                  " AND datname = current_database() AND state = 'idle in transaction')")
    keeps_its_session(relay, database, 4)
    kafka.resume()
    assert len(reader().take(100)) == 100
    database.wait_empty()
    assert not relay.log_contains("session with the database is gone")


def test_poll_interval_longer_than_the_timeout(fleet, database, reader):
    """Without a bell nothing is said for poll_interval; the session lives."""
    database.execute("DROP TRIGGER outbox_relay_bell ON outbox_events")
    relay, = fleet(1, poll_interval="3s", sweep_interval="1h", **SOON)
    wait_spread([relay], 1)
    keeps_its_session(relay, database, 4)
    insert(database, 1)
    assert len(reader().take(1)) == 1
    keeps_its_session(relay, database, 2)


def test_a_standby_keeps_its_session(fleet, database):
    relays = fleet(2, shards=1, **SOON)
    shares = wait_spread_for_good(relays, 1, 0)
    spare, = (relay for relay in relays if not shares[relay])
    wait_standby(spare, "another relay owns the shard")  # until it says so it has perhaps no session yet
    before = sessions(database)
    holds(lambda: sessions(database) == before, 4, "the sessions are kept")
    assert len(before) == 2
