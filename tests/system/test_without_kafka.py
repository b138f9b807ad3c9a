"""A relay that cannot reach Kafka leaves its shards to others that can."""
from harness.fleet import owned, standby, wait_spread
from harness.ports import free_port
from harness.waiting import holds, until
from harness.writers import insert

WHY = "no Kafka broker answers here; the shards are left to other relays"


def wait_abstains(relay):
    until(lambda: standby(relay) == WHY, 20, f"{relay.name} to abstain", every=0.05)
    assert relay.get("/readyz") == (503, f"standing by: {WHY}\n")


def test_who_cannot_publish_leaves_it_to_who_can(database, new_relay, topic, reader):
    """It was there first and has all the shards; then one comes that reaches Kafka."""
    topic()
    outbox = {"shards": 4}
    cut_off = new_relay(outbox=outbox, kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}"}).start(wait=False)
    wait_spread([cut_off], 4)
    assert cut_off.get("/readyz")[0] == 503
    insert(database, 100)
    other = new_relay(outbox=outbox).start(wait=False)
    wait_abstains(cut_off)
    wait_spread([cut_off, other], 0, 4)
    assert len(reader().take(100)) == 100
    relays = {relay["application"]: relay for relay in other.status()["relays"]}
    assert sorted((r["abstains"], len(r["shards"])) for r in relays.values()) == [(False, 4), (True, 0)]
    assert "cannot reach Kafka, leaves the shards to others" in other.command("status").stdout
    # Nobody else is there: somebody has to tell of what waits.
    assert other.stop() == 0
    wait_spread([cut_off], 4)
    assert cut_off.get("/readyz") == (503, "no Kafka broker answers\n")
    assert cut_off.stop() == 0


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
