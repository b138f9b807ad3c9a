# SPDX-License-Identifier: ISC
"""ordering = "none": relays compete for every event, and which of them gets it is nobody's business."""
import pytest

from harness.fleet import locked, standby, wait_kafka, wait_spread
from harness.waiting import holds, until
from harness.writers import Writers, arrivals, insert

NONE = {"ordering": "none", "claim_rows": 50, "batch_rows": 100, "sweep_interval": "1h"}


def wait_at_work(relays):
    """All of them own the one shard there is."""
    for relay in relays:
        until(lambda relay=relay: relay.metrics().get('outbox_relay_shard_owned{shard="0"}') == 1, 20,
              f"{relay.name} to be at work")


def test_two_share_a_backlog(fleet, database, reader):
    """Each publishes a part, and every event comes once. They begin together: one that started first would be
    done with it before the other had Kafka."""
    relays = fleet(2, **NONE)
    wait_at_work(relays)
    wait_kafka(relays)
    assert relays[0].command("pause").returncode == 0
    insert(database, 20_000)
    assert relays[0].command("resume").returncode == 0
    records = reader().take(20_000)
    database.wait_empty()
    assert len({record.event_id for record in records}) == 20_000
    wait_at_work(relays)
    until(lambda: sum(relay.metric("published_total") for relay in relays) == 20_000, 20, "all to be counted")
    assert all(relay.metric("published_total") > 1000 for relay in relays)
    assert all(standby(relay) == "" for relay in relays)
    assert list(locked(database, 0).values()) == [{0}, {0}]


def test_exactly_once_without_faults(fleet, database, reader):
    """Under load, while one joins and one leaves: nothing is lost, nothing repeated."""
    relays = fleet(1, **NONE)
    with Writers(database, threads=6) as writers:
        writers.wait_committed(300)
        relays += fleet(2, **NONE)
        wait_at_work(relays)
        writers.wait_committed(300)
        assert relays[0].stop() == 0
        writers.wait_committed(300)
        for relay in relays[1:]:
            relay.wait_metric("published_total", 1)
    database.wait_empty()
    assert sorted(a.event for a in arrivals(reader().rest())) == sorted(writers.truth())


def test_one_is_killed(fleet, database, reader):
    """Five times under load: what it had comes again from the other, without any sweep; nothing is lost."""
    relays = fleet(2, **NONE)
    with Writers(database, threads=6) as writers:
        for round_ in range(5):
            writers.wait_committed(150)
            relays[round_ % 2].kill()
            relays[round_ % 2].start(wait=False)
        writers.wait_committed(150)
    database.wait_empty(timeout=60)
    arrived = [a.event for a in arrivals(reader().rest())]
    assert set(arrived) == set(writers.truth())
    assert len(arrived) - len(set(arrived)) <= 5 * NONE["batch_rows"]


@pytest.mark.parametrize("relays", [1, 2])
def test_a_lock_of_somebody_else(fleet, database, reader, relays):
    """It holds back its row and no other, not even of the key; the row comes when the lock ends."""
    insert(database, 300)
    with database.session(autocommit=False) as lock:
        lock.execute("SELECT FROM outbox_events WHERE id = 1 FOR UPDATE")
        fleet(relays, **NONE)
        consumer = reader()
        consumer.take(299)
        holds(lambda: consumer.rest() == [], 0.5, "the locked one does not come", every=0.1)
        lock.connection.commit()
        assert len(consumer.take(1)) == 1
    database.wait_empty()


def test_events_are_seen_soon_with_long_timers(fleet, database, reader):
    """The bell wakes one of two relays that are asleep, every time."""
    relays = fleet(2, **dict(NONE, poll_interval="1h"))
    wait_at_work(relays)
    consumer = reader()
    for _ in range(10):
        insert(database, 1)
        consumer.take(1)


def test_shards_mean_nothing(fleet, database, reader):
    """outbox.shards is for order."""
    relay, = fleet(1, shards=4, **NONE)
    wait_spread([relay], 1)
    insert(database, 1000)
    assert len({record.event_id for record in reader().take(1000)}) == 1000
    database.wait_empty()


@pytest.mark.parametrize("relays", [1, 2, 3])
def test_what_another_gives_back_is_seen_soon_with_long_timers(fleet, database, reader, relays):
    """Somebody has taken the event and dies; those who found nothing are asleep by then."""
    relays = fleet(relays, **dict(NONE, poll_interval="1h"))
    wait_at_work(relays)
    assert relays[0].command("pause").returncode == 0
    insert(database, 1)
    with database.session(user="outbox_relay", autocommit=False) as other:
        other.execute("DELETE FROM outbox_events")
        assert relays[0].command("resume").returncode == 0
        wait_at_work(relays)
        database.wait("SELECT pg_sequence_last_value(bell) IS NOT NULL FROM outbox_relay.outboxes")
    reader().take(1)
    database.wait_empty()


def test_texts_much_longer_than_what_is_stored(fleet, database, reader):
    """Two relays go over to exact claims in the middle: nothing is lost, nothing repeated."""
    fleet(2, **dict(NONE, poll_interval="1h"))
    for _ in range(5):
        database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) SELECT 'thing',"
                         " 'key-' || n, 'Big', CASE WHEN n % 10 = 0 THEN '[1e100000]' ELSE '1' END::jsonb"
                         " FROM generate_series(1, 60) n")
    consumer = reader()
    assert len({record.event_id for record in consumer.take(300)}) == 300
    database.wait_empty()
    assert consumer.rest() == []
