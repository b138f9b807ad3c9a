# SPDX-License-Identifier: ISC
"""pause and resume with relays at work."""
import pytest

from harness.checker import problems
from harness.fleet import wait_kafka
from harness.waiting import holds, until
from harness.writers import Writers, arrivals, insert


def shares(relay):
    """How many shards each relay owns that is there."""
    return sorted(len(there["shards"]) for there in relay.status()["relays"])


def wait_shares(relay, *expected):
    until(lambda: shares(relay) == sorted(expected), 20, f"shares {expected}", every=0.05)


@pytest.fixture(params=["shards", "partitions", "no order"])
def two_relays(request, empty_database, migrate, new_relay, topic):
    """A function that gives another relay; two are at work on four shards, or without order on all."""
    topic()
    migrate(*["--partitions", "4"] if request.param == "partitions" else [])
    outbox = {"shards": {"shards": 4}, "partitions": {}, "no order": {"ordering": "none"}}[request.param]

    def another():
        another.all.append(new_relay(outbox=outbox).start(wait=False))
        return another.all[-1]
    another.all = []
    first, _ = another(), another()
    wait_kafka(another.all)
    wait_shares(first, *([1, 1] if request.param == "no order" else [2, 2]))
    another.first, another.ordered = first, request.param != "no order"
    return another


def test_all_relays_stop_and_go_on(empty_database, two_relays, reader):
    """Nothing is published between the end of pause and resume, and nothing twice. A relay that comes stands by."""
    consumer, first = reader(), two_relays.first
    with Writers(empty_database, pause=0.002) as writers:
        writers.wait_committed(200)
        done = first.command("pause", "--timeout", "9s")  # it does not wait for a session's end
        assert done.returncode == 0, done.stderr
        before = consumer.rest()
        assert before and shares(first) == [0, 0]
        two_relays()
        wait_shares(first, 0, 0, 0)
        writers.wait_committed(100)
        holds(lambda: shares(first) == [0, 0, 0], 1, "nobody owns a shard")
        assert consumer.rest() == [] and first.get("/readyz")[0] == 200
        until(lambda: [relay.metric("paused") for relay in two_relays.all] == [1, 1, 1], 20, "all to say paused")
        assert first.command("resume").returncode == 0
        writers.wait_committed(200)
        until(lambda: not any(relay.metric("paused") for relay in two_relays.all), 20, "no relay to say paused")
    empty_database.wait_empty()
    came = arrivals(before + consumer.rest())
    assert sorted(a.event for a in came) == sorted(writers.truth())
    assert not two_relays.ordered or problems(writers.truth(), came) == []


def test_a_pause_outlives_the_relays(database, new_relay, reader, topic):
    topic()
    first, second = new_relay(), new_relay()
    first.start()
    assert first.command("pause").returncode == 0
    assert first.stop() == 0
    insert(database, 10)
    second.start(wait=False)
    second.wait_log("the outbox is paused")
    wait_shares(second, 0)  # the first one's session may be there for a moment
    holds(lambda: shares(second) == [0], 1, "it stands by")
    assert database.value("SELECT count(*) FROM outbox_events") == 10
    assert second.command("resume").returncode == 0
    assert len(reader().take(10)) == 10


def test_an_outage_of_kafka_puts_it_off(database, new_relay, kafka, reader, topic):
    """What is with the producer may yet be published, so its shards are not handed over; once Kafka is back
    they are, and everything arrives once."""
    topic()
    relay = new_relay(outbox={"stall_timeout": "1s"}).start()
    with Writers(database, pause=0.01) as writers:
        writers.wait_committed(100)
        kafka.pause()
        writers.wait_committed(100)
        until(lambda: relay.log_contains("Kafka has"), 20, "the stall")
        done = relay.command("pause", "--timeout", "500ms")
        assert done.returncode == 1 and "still owns 1 of its shards" in done.stderr
        kafka.resume()
        done = relay.command("pause", timeout=60)
        assert done.returncode == 0, done.stderr
        assert "was already paused" in done.stderr
        relay.command("resume")
        writers.wait_committed(100)
    database.wait_empty()
    assert problems(writers.truth(), arrivals(reader().rest())) == []
