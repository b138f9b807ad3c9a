# SPDX-License-Identifier: ISC
"""A topic that does not exist, on a broker that makes none by itself."""
import json
import re

import pytest

from harness.consumer import Reader
from harness.fleet import wait_spread_for_good
from harness.waiting import holds, until
from harness.writers import insert


pytestmark = pytest.mark.xdist_group("strict")  # one such broker is enough


@pytest.fixture
def waiting(database, new_relay, strict):
    """A relay whose only topic does not exist, with an event."""
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "absent"})
    insert(database, 1)
    relay.start(wait=False)
    relay.wait_log('topic "absent" does not exist', timeout=40)
    until(lambda: relay.get("/readyz") == (503, 'waiting for topic "absent", see the log\n'), 20, "readyz to say so")
    return relay


def test_its_line_has_fields(database, new_relay, strict):
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"},
                      log={"format": "json"})
    insert(database, 1, aggregate_type="absent")
    relay.start(wait=False)
    found = relay.wait_log('.*"code":"topic_missing".*', timeout=40).group(0)
    line = json.loads(found)
    assert (line["topic"], line["error_code"], line["level"]) == ("absent", "UNKNOWN_TOPIC_OR_PART", "warning")
    assert line["waits_seconds"] >= 3


def test_the_row_is_deleted_instead_of_the_topic_made(database, waiting):
    """Nothing tells the relay of it: it looks from time to time, and goes on. It holds the row's lock for a second
    at most; a busy machine has some more."""
    database.execute("SET lock_timeout = '3s'; DELETE FROM outbox_events")
    until(lambda: waiting.get("/readyz")[0] == 200, 20, "readyz to be well again")


def test_no_transaction_stays_open_meanwhile(database, waiting):
    """It would hold up vacuum in the whole database for as long as the topic is missing."""
    none_for = ("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'outbox-relay%%'"
                " AND xact_start < clock_timestamp() - %s::interval")
    until(lambda: database.value(none_for, "900 ms"), 10, "the first transaction to be given up")
    holds(lambda: database.value(none_for, "2 s"), 12, "no long transaction, on a busy machine either")
    assert waiting.get("/healthz")[0] == 200


def test_the_gauges_show_what_waits(database, strict, new_relay):
    """A relay that was idle meets an event without a topic: two seconds later it tells how many wait."""
    strict.create_topic("present")
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"}).start()
    insert(database, 1, aggregate_type="present")
    database.wait_empty()
    with database.session(autocommit=False) as cursor:
        cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) SELECT topic, 'k', 'E'"
                       " FROM unnest(ARRAY['absent', 'present', 'present']) topic")
        cursor.connection.commit()
    until(lambda: relay.metric("depth") == 3, 4, "the depth to be 3", prompt=True)
    assert relay.metric("oldest_age_seconds") > 0.5


def test_the_gauges_of_two_relays(database, strict, new_relay):
    """Each looks at the other first; that takes no time from the gauges."""
    relays = [new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"},
                        outbox={"shards": 8}).start(wait=False) for _ in range(2)]
    wait_spread_for_good(relays, 4, 4)
    insert(database, 30, aggregate_type="absent")
    # Within two seconds; a busy machine has one more.
    until(lambda: sum(relay.metric("depth") for relay in relays) == 30, 3, "the depth to be 30", prompt=True)


def test_a_topic_that_is_deleted(database, strict, new_relay):
    """The relay has published to it. It says that the topic is gone, and holds no lock of the rows that wait."""
    strict.create_topic("gone", 1)
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"}).start()
    insert(database, 1, aggregate_type="gone")
    database.wait_empty()
    strict.delete_topic("gone")
    insert(database, 2, aggregate_type="gone")
    relay.wait_log('topic "gone" does not exist', timeout=40)
    for _ in range(3):
        database.execute("SET lock_timeout = '3s'; UPDATE outbox_events SET event_type = event_type || '!'")
    strict.create_topic("gone", 1)
    consumer = Reader(strict.bootstrap, "gone")
    assert len(consumer.take(2, timeout=40)) == 2
    consumer.close()
    database.wait_empty()


def test_names_that_collide(database, new_relay, kafka, prefix):
    """Brokers refuse a topic whose name is another's with _ for the dots, for their metrics' sake. They do create
    topics by themselves, so that is what is said."""
    name = prefix.rstrip(".")
    kafka.create_topic(f"{name}.a.b")
    insert(database, 1, aggregate_type="a_b")
    relay = new_relay(route={"topic": name + ".${aggregate_type}"})
    words = rf"{name}.a_b\S* does not exist, and the brokers do not create it: .*collide.*{name}.a.b"
    done = relay.command("check")
    assert done.returncode == 1
    assert re.search("error .*" + words, done.stdout), done.stdout
    relay.start(wait=False)
    relay.wait_log(words)
    assert not relay.log_contains("auto.create.topics.enable")
