# SPDX-License-Identifier: ISC
"""The embedded broker, for trying things out without a Kafka."""
from harness.consumer import Reader
from harness.fleet import wait_spread
from harness.writers import insert

EMBEDDED = {"embedded": True, "bootstrap_servers": None}


def test_any_consumer_can_read_from_it(database, new_relay, prefix):
    """Events go to a broker inside the relay, whose address the log tells."""
    relay = new_relay(kafka=EMBEDDED).start()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
                     " VALUES ('thing', 'k', 'Happened', '{\"a\": 1}', '{\"h\": \"v\"}')")
    consumer = Reader(relay.bootstrap, prefix + "thing")
    record, = consumer.take(1)
    assert (record.key, record.value) == (b"k", b'{"a": 1}')
    assert record.headers[1:] == [("type", b"Happened"), ("h", b"v")]
    database.wait_empty()
    insert(database, 1000)
    assert len(consumer.take(1000)) == 1000
    consumer.close()
    assert relay.stop() == 0
    assert not relay.log_contains(" warn .*CONFWARN")


def test_a_second_relay_on_the_firsts_broker(database, new_relay, prefix):
    """As the guide says. That broker cannot be asked for a topic's limit: the second relay publishes without it."""
    first = new_relay(kafka=EMBEDDED, outbox={"shards": 2}).start()
    second = new_relay(kafka={"bootstrap_servers": first.bootstrap}, outbox={"shards": 2}).start()
    wait_spread([first, second], 1, 1)
    insert(database, 400)
    consumer = Reader(first.bootstrap, prefix + "thing")
    assert len(consumer.take(400, timeout=15)) == 400
    consumer.close()
    database.wait_empty()
    assert second.metric("published_total") > 0
    assert second.command("check").returncode == 0
