# SPDX-License-Identifier: ISC
"""ordering = "none" on an outbox in partitions: relays compete for the events of each."""
import pytest

from harness.fleet import owned
from harness.waiting import until
from harness.writers import Writers, arrivals, insert

NONE = {"ordering": "none", "claim_rows": 50, "batch_rows": 100, "sweep_interval": "1h"}


@pytest.fixture
def compete(migrate, new_relay, topic):
    """compete(): another relay on an outbox in four partitions, at work."""
    topic()
    migrate("--partitions", "4")

    def start():
        relay = new_relay(outbox=NONE).start()
        until(lambda: owned(relay), 20, f"{relay.name} to be at work")
        return relay
    return start


def test_exactly_once_without_faults(compete, empty_database, reader):
    """Under load, while one leaves and comes back: nothing is lost, nothing repeated."""
    relays = [compete(), compete()]
    with Writers(empty_database, threads=6, keys=30) as writers:
        writers.wait_committed(300)
        assert relays[0].stop() == 0
        writers.wait_committed(300)
        relays[0].start()
        relays[0].wait_metric("published_total", 1)
        writers.wait_committed(300)
    empty_database.wait_empty()
    assert sorted(a.event for a in arrivals(reader().rest())) == sorted(writers.truth())
    assert all(relay.metric("published_total") > 0 for relay in relays)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_every_partition_is_served_whoever_leaves(compete, empty_database, reader, end):
    """The first of three has partitions that the others have not, and leaves."""
    relays = [compete() for _ in range(3)]
    consumer = reader()
    insert(empty_database, 1)
    consumer.take(1)  # it is connected now: below only the relays are waited for
    empty_database.wait_empty()
    getattr(relays[0], end)()
    insert(empty_database, 100)
    consumer.take(100, timeout=8, prompt=True)
    empty_database.wait_empty()
