"""The embedded broker, for trying things out without a Kafka."""
from harness.consumer import Reader
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
