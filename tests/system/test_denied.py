# SPDX-License-Identifier: ISC
"""The right to write to a topic is taken away: its events wait, those of another topic flow, and it recovers by itself."""
import pytest

from harness.consumer import Reader
from harness.waiting import until

pytestmark = pytest.mark.xdist_group("logins")


def write(database, first, last, *topics):
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT topic, 'k' || n %% 5, n::text, '{}' FROM generate_series(%s::int, %s) n, unnest(%s) topic",
                     first, last, list(topics))


def numbers(kafka, topic, count):
    consumer = Reader(kafka.bootstrap, topic)
    records = consumer.take(count, timeout=60)
    consumer.close()
    found = [int(record.header("type")) for record in records]
    for remainder in range(5):
        of_key = [n for n in dict.fromkeys(found) if n % 5 == remainder]
        assert of_key == sorted(of_key)
    return set(found)


@pytest.fixture
def topics(login_kafka, prefix):
    """Two that the user may write to; other tests rest on its having no right."""
    rights = [("limited", operation, "topic", prefix + name) for name in ("here", "there")
              for operation in ("describe", "write")]
    for name in ("here", "there"):
        login_kafka.create_topic(prefix + name)
    for right in rights:
        login_kafka.grant(*right)
    yield prefix + "here", prefix + "there"
    for right in rights:
        login_kafka.revoke(*right)


def test_a_right_is_taken_away_and_given_back(login_kafka, database, new_relay, topics):
    kafka = login_kafka
    here, there = topics
    relay = new_relay(kafka={"bootstrap_servers": kafka.at("SASL"), "properties": kafka.sasl("PLAIN", "limited")},
                      route={"topic": "${aggregate_type}"}).start()
    write(database, 1, 100, here, there)
    database.wait_empty()
    kafka.revoke("limited", "write", "topic", there)
    write(database, 101, 300, here, there)
    assert numbers(kafka, here, 300) == set(range(1, 301))
    until(lambda: relay.metric("deferred_events") > 0, 30, "events to wait aside")
    write(database, 301, 2000, here)
    assert numbers(kafka, here, 2000) >= set(range(1, 2001))
    until(lambda: relay.get("/readyz")[0] == 200, 30, "the relay to be ready beside the topic that waits")
    assert relay.metric("rejected_total") == 0
    kafka.grant("limited", "write", "topic", there)
    assert numbers(kafka, there, 300) == set(range(1, 301))
    until(lambda: relay.metric("deferred_events") == 0, 40, "nothing to wait")
