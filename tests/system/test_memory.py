# SPDX-License-Identifier: ISC
"""Memory is bounded whatever waits in the outbox."""
from harness.writers import insert

BOUND = 110  # MiB: a few batches of 8 MiB, libraries and their buffers; far less than what waits
LZ4 = {"properties": ["compression.codec=lz4"]}
LONG = 180  # s: hundreds of MB go through Postgres and Kafka, whatever else the machine does


def test_a_backlog_of_big_rows(database, new_relay, reader, topic):
    """300 MB wait in rows of 150 kB, more than a hundred of which make a batch: the relay's memory follows
    batch_bytes and not the number of rows."""
    topic()
    insert(database, 2000, payload='"' + "x" * 150_000 + '"')
    relay = new_relay(outbox={"batch_bytes": "8MiB"}, kafka=LZ4).start()
    relay.wait_metric("published_total", 2000, timeout=LONG)
    database.wait_empty()
    assert relay.peak_memory() < BOUND
    assert len(reader().take(2000, timeout=LONG)) == 2000


def test_rows_that_grow_all_at_once(database, new_relay, topic):
    """After thousands of tiny rows the average says little about those that follow: 500 kB each."""
    topic()
    insert(database, 20_000)
    insert(database, 600, payload='"' + "x" * 500_000 + '"')
    relay = new_relay(outbox={"batch_bytes": "8MiB"}, kafka=LZ4).start()
    relay.wait_metric("published_total", 20_600, timeout=LONG)
    assert relay.peak_memory() < BOUND


def test_texts_far_longer_than_what_is_stored(database, new_relay, reader, topic):
    """A number of a few bytes that prints 131 kB: 400 MB of text wait in a table of 1 MB. The claim notices,
    and from then on measures."""
    topic()
    insert(database, 3000, payload="[1e131071]")
    relay = new_relay(outbox={"batch_bytes": "8MiB"}, kafka=LZ4).start()
    relay.wait_metric("published_total", 3000, timeout=LONG)
    database.wait_empty()
    assert relay.peak_memory() < BOUND
    assert relay.log_contains("measured before they are claimed")
    assert {len(record.value) for record in reader().take(3000, timeout=LONG)} == {131_074}


def test_a_backlog_of_big_keys(database, new_relay, topic):
    """Memory follows all of an event, not its payload only."""
    topic()
    insert(database, 1000, key="x" * 500_000)
    relay = new_relay(outbox={"batch_bytes": "8MiB"}, kafka=LZ4).start()
    relay.wait_metric("published_total", 1000, timeout=LONG)
    assert relay.peak_memory() < BOUND


def test_a_backlog_of_many_small_rows(database, new_relay, topic):
    """200,000 small events leave it as small as 50,000 did."""
    topic()
    insert(database, 50_000)
    relay = new_relay().start()
    relay.wait_metric("published_total", 50_000, timeout=LONG)
    early = relay.peak_memory()
    insert(database, 150_000)
    relay.wait_metric("published_total", 200_000, timeout=LONG)
    assert relay.peak_memory() < 60
    assert relay.peak_memory() - early < 10


def test_memory_with_kafka_away(database, new_relay, kafka, topic):
    """No more than a batch is taken while Kafka is away."""
    topic()
    relay = new_relay(outbox={"stall_timeout": "1s", "batch_bytes": "8MiB"}).start()
    insert(database, 100)  # the topic is known, and each partition has had a record
    relay.wait_metric("published_total", 100)
    kafka.pause()
    insert(database, 3000, payload='"' + "x" * 100_000 + '"')
    relay.wait_log("Kafka has acknowledged nothing")
    assert relay.peak_memory() < BOUND
    kafka.resume()
    relay.wait_metric("published_total", 3100, timeout=LONG)
