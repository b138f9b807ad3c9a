# SPDX-License-Identifier: ISC
"""A relay that cannot reach Kafka leaves its shards to others that can."""
import pytest

from harness.fleet import owned, standby, wait_spread, wait_standby
from harness.ports import free_port
from harness.waiting import holds, until
from harness.writers import insert

WHY = "no connection to Kafka here; other relays have the shards"


@pytest.fixture
def away(new_relay):
    """away(**changes): a relay without a broker at its address, started."""
    def start(**changes):
        return new_relay(kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}"}, **changes).start(wait=False)
    return start


def wait_abstains(relay):
    until(lambda: standby(relay) == WHY, 20, f"{relay.name} to abstain", every=0.05)
    assert relay.get("/readyz") == (503, f"standby: {WHY}\n")


def test_who_cannot_publish_leaves_it_to_who_can(database, new_relay, away, topic, reader):
    """It was there first and has all the shards; then one comes that reaches Kafka."""
    topic()
    outbox = {"shards": 4}
    cut_off = away(outbox=outbox)
    wait_spread([cut_off], 4)
    assert cut_off.get("/readyz")[0] == 503
    insert(database, 100)
    other = new_relay(outbox=outbox).start(wait=False)
    wait_abstains(cut_off)
    wait_spread([cut_off, other], 0, 4)
    assert len(reader().take(100)) == 100
    relays = {relay["application"]: relay for relay in other.status()["relays"]}
    assert sorted((r["abstains"], len(r["shards"])) for r in relays.values()) == [(False, 4), (True, 0)]
    assert "cannot reach Kafka, owns 0 of 4 shards" in other.command("status").stdout
    # Nobody else is there: somebody has to tell of what waits.
    assert other.stop() == 0
    wait_spread([cut_off], 4)
    assert cut_off.get("/readyz") == (503, "no Kafka broker answers\n")
    assert cut_off.stop() == 0


def test_who_comes_and_cannot_publish_gets_nothing(database, new_relay, away, topic, reader):
    """Not for a moment: nobody hands over to it."""
    topic()
    outbox = {"shards": 4}
    there = new_relay(outbox=outbox).start()
    wait_spread([there], 4)
    with database.session() as listener:
        listener.execute("LISTEN outbox_relay")
        cut_off = away(outbox=outbox)
        wait_abstains(cut_off)
        insert(database, 100)
        assert len(reader().take(100)) == 100
        listener.execute("SELECT 1")
        heard = {notify.payload.split()[1] for notify in listener.connection.notifies if " " in notify.payload}
    assert "group" in heard and "free" not in heard
    assert owned(cut_off) == set()


def test_a_pause_comes_before_it(database, away):
    cut_off = away()
    wait_spread([cut_off], 1)
    assert cut_off.command("pause").returncode == 0
    wait_standby(cut_off, "the outbox is paused")


def test_an_outage_for_all(database, fleet, kafka, reader):
    """Both lose Kafka for longer than they wait, and share the shards again when it is back."""
    relays = fleet(2, shards=4)
    before = wait_spread(relays, 2, 2)
    insert(database, 100)
    consumer = reader()
    assert len(consumer.take(100)) == 100
    database.wait_empty()
    kafka.stop()
    insert(database, 100)
    until(lambda: all(relay.get("/readyz")[0] == 503 for relay in relays), 30, "the outage to be told of", every=0.1)
    holds(lambda: any(owned(relay) for relay in relays), 7, "somebody has the shards", every=0.2)
    kafka.start()
    assert len(consumer.take(100)) == 100
    wait_spread(relays, 2, 2)
    assert set(before) == set(relays)


def test_a_broker_that_hangs_is_not_taken_for_another_protocol(database, kafka, new_relay):
    """The relay was in before, if only for a moment and without an event."""
    relay = new_relay().start()
    kafka.pause()
    try:
        insert(database, 1)
        relay.wait_log("no Kafka broker answers", timeout=30)
        holds(lambda: not relay.log_contains("does not let this relay in"), 4, "no word of TLS or a login")
    finally:
        kafka.resume()
