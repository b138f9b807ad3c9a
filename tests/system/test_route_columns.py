# SPDX-License-Identifier: ISC
"""Topics by a regular expression, and a record's partition and time from columns."""
import re

import pytest


@pytest.fixture
def columns(database):
    """Columns for them, and insert(key, part=..., at=...)."""
    database.execute("ALTER TABLE outbox_events ADD part integer, ADD at timestamptz, ADD local timestamp")

    def insert(kind, key, part=None, at=None, local=None):
        database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, part, at, local)"
                         " VALUES (%s, %s, 'E', '{}', %s, %s, %s)", kind, key, part, at, local)
    return insert


def test_partition_and_time(columns, new_relay, topic, reader):
    topic(partitions=4)
    new_relay(route={"partition": "part", "timestamp": "at"}).start()
    columns("thing", "a", 3, "2020-02-29 12:34:56.789999+02")
    columns("thing", "a", 0, "1970-01-01 00:00:00+00")
    columns("thing", "a")
    records = sorted(reader().take(3), key=lambda record: record.timestamp)
    assert [(record.partition, record.timestamp) for record in records[:2]] == [(0, 1), (3, 1582972496789)]
    assert records[2].timestamp > 1.7e12


def test_a_timestamp_is_of_utc(columns, new_relay, topic, reader):
    topic()
    new_relay(route={"timestamp": "local"}).start()
    columns("thing", "a", local="2020-02-29 12:34:56.789")
    assert reader().take(1)[0].timestamp == 1582979696789


def test_what_cannot_be(database, columns, new_relay, topic, reader):
    """A partition that the topic lacks, a time that Kafka does not take: their keys are parked, others go on."""
    topic(partitions=2)
    new_relay(route={"partition": "part", "timestamp": "at"}).start()
    columns("thing", "first", 1)
    assert reader().take(1)[0].partition == 1
    columns("thing", "a", 2)
    columns("thing", "b", -1)
    columns("thing", "c", None, "1969-12-31 23:59:59+00")
    columns("thing", "d", None, "infinity")
    columns("thing", "e", 0)
    database.wait("SELECT count(*) = 4 FROM outbox_relay.dead_letters")
    assert reader().take(2)[-1].partition in (0, 1)
    letters = database.rows("SELECT key, reason, error FROM outbox_relay.dead_letters ORDER BY key")
    assert {reason for _, reason, _ in letters} == {"encoding"}
    assert "has 2 partitions, from 0" in letters[0][2]
    assert [why for _, _, why in letters[1:]] == [
        "route.partition is no number of a partition; fix the column, or make it NULL",
        "route.timestamp is before 1970, which Kafka does not take; fix the column, or make it NULL",
        "route.timestamp is no point in time; fix the column, or make it NULL"]


@pytest.mark.parametrize("route, says", [
    ({"partition": "at"}, r'route.partition names column \\?"at\\?", which is not of type integer'),
    ({"timestamp": "part"}, r'route.timestamp names column \\?"part\\?", which is not of type timestamp'),
    ({"partition": "nosuch"}, r'no (such )?column')])
def test_columns_of_other_types(columns, new_relay, topic, route, says):
    relay = new_relay(route=route)
    relay.start(wait=False)
    assert relay.wait_exit() == 1
    assert relay.log_contains(says), relay.log()
    assert re.search(says, relay.command("check").stdout), relay.command("check").stdout


def test_topics_by_a_regular_expression(database, columns, new_relay, topic, reader, prefix):
    """Events wait for a topic under the name that is in their rows, and go on once it is there."""
    topic("order")
    topic("paid")
    new_relay(route={"topic": "${aggregate_type}", "topic_regex": r"shop\.(?<what>[a-z]+)",
                     "topic_replacement": prefix + "${what}"}).start()
    columns("shop.order", "a")
    columns("shop.paid", "a")
    assert {record.topic for record in reader("order", "paid").take(2)} == {prefix + "order", prefix + "paid"}
    columns("no topic", "b")
    database.wait("SELECT count(*) = 1 FROM outbox_relay.dead_letters")
    columns(prefix + "paid", "c")
    assert len(reader("paid").take(2)) == 2
