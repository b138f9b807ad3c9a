# SPDX-License-Identifier: ISC
"""A topic that cannot be used keeps its own events waiting, and no others; once it can be, they arrive in order."""
import json

import pytest

from harness.consumer import Reader
from harness.positions import wait_nothing_waits
from harness.waiting import until

pytestmark = pytest.mark.xdist_group("strict")


def write(database, first, last, *topics, key="k"):
    """Events for each topic, all with the same keys; numbered."""
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT topic, %s || n %% 7, n::text, '{}' FROM generate_series(%s::int, %s) n, unnest(%s) topic",
                     key, first, last, list(topics))


def in_order(records, first, last):
    numbers = [int(record.header("type")) for record in records]
    assert sorted(numbers) == list(range(first, last + 1))
    for remainder in range(7):
        of_key = [n for n in numbers if n % 7 == remainder]
        assert of_key == sorted(of_key)


def take(strict, topic, count, timeout=40):
    consumer = Reader(strict.bootstrap, topic)
    records = consumer.take(count, timeout=timeout)
    consumer.close()
    return records


@pytest.mark.parametrize("options, outbox", [([], {}), ([], {"settle": "mark"}), ([], {"shards": 2}),
                                             (["--partitions", "2"], {}), ([], {"ordering": "none"}),
                                             ([], {"settle": "position"}), ([], {"settle": "position", "shards": 2}),
                                             (["--partitions", "2"], {"settle": "position"})],
                         ids=["plain", "mark", "shards", "partitions", "none", "position", "position, shards",
                              "position, partitions"])
def test_the_others_flow(empty_database, migrate, new_relay, strict, options, outbox):
    """Of the same keys, too."""
    database = empty_database
    migrate(*options, outbox=outbox)
    strict.create_topic("present")
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"},
                      outbox=outbox).start()
    write(database, 1, 100, "absent", "present")
    in_order(take(strict, "present", 100), 1, 100)
    write(database, 101, 500, "absent", "present")
    in_order(take(strict, "present", 500), 1, 500)
    until(lambda: relay.metric("deferred_events") == relay.metric("depth") == 500, 20, "all to be counted")
    assert relay.metric("oldest_age_seconds") > 0
    assert relay.metric("parked_keys") == relay.metric("dead_letters") == relay.metric("rejected_total") == 0
    assert relay.get("/readyz")[0] == relay.get("/healthz")[0] == 200
    until(lambda: 'wait for topic \\"absent\\"' in relay.get("/status")[1], 20, "it to be named")  # not while it is tried
    strict.create_topic("absent")
    write(database, 501, 600, "absent", "present")
    in_order(take(strict, "absent", 600), 1, 600)
    in_order(take(strict, "present", 600), 1, 600)
    until(lambda: relay.metric("deferred_events") == 0, 20, "nothing to wait")
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0


@pytest.mark.parametrize("settle", ["delete", "position"])
def test_a_topic_is_deleted(empty_database, migrate, new_relay, strict, settle):
    """While events flow to it and to another."""
    database = empty_database
    migrate(outbox={"settle": settle})
    for topic in ("gone", "stays"):
        strict.create_topic(topic)
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"},
                      outbox={"settle": settle}).start()
    write(database, 1, 50, "gone", "stays")
    in_order(take(strict, "stays", 50), 1, 50)
    wait_nothing_waits(database)
    strict.delete_topic("gone")
    write(database, 51, 200, "gone", "stays")
    in_order(take(strict, "stays", 200), 1, 200)
    relay.wait_metric("deferred_events", 150, timeout=60)

    def told():
        status = json.loads(relay.get("/status")[1])
        return status["deferred_events"], status["deferred_topic"]
    until(lambda: told() == (150, "gone"), 20, "the topic to be told")  # it is not named while it is tried
    until(lambda: 'ready\ntopic_missing: events that wait for topic "gone"' in relay.get("/readyz")[1], 20, "it to be named",
          every=0.1)
    assert relay.status()["deferred_events"] == 150 and "\nfor topics     150" in relay.command("status").stdout
    strict.create_topic("gone")
    write(database, 201, 210, "gone")
    in_order(take(strict, "gone", 160), 51, 210)


@pytest.mark.parametrize("settle", ["delete", "position"])
def test_a_key_is_parked_meanwhile(empty_database, migrate, new_relay, strict, settle):
    """An event that waits for its topic is rejected there: its key is parked, and keeps its order."""
    database = empty_database
    migrate(outbox={"settle": settle})
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"},
                      outbox={"settle": settle}).start()
    write(database, 1, 3, "absent", key="bad")
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('absent', 'bad4', '4', to_jsonb(repeat('x', 20000)))")
    write(database, 11, 11, "absent", key="bad")  # of the same key
    write(database, 5, 10, "absent", key="bad")
    relay.wait_metric("deferred_events", 11)
    strict.create_topic("absent", max_message_bytes="10000")
    take(strict, "absent", 9)
    relay.wait_metric("parked_keys", 1)
    letters = "SELECT event_type, held_for, reason FROM outbox_relay.dead_letters ORDER BY number"
    until(lambda: database.rows(letters) == [("4", "key", "too_large"), ("11", "key", None)], 20, "the others to be settled")
    write(database, 18, 18, "absent", key="bad")
    until(lambda: len(database.rows(letters)) == 3, 20, "the later one to be set aside")
    database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action) SELECT outbox, number, 'discard'"
                     " FROM outbox_relay.dead_letters WHERE reason IS NOT NULL")
    assert [r.header("type") for r in take(strict, "absent", 11) if r.key == b"bad4"] == ["11", "18"]


@pytest.mark.parametrize("outbox, key", [({}, None), ({"on_reject": "halt"}, None),
                                         ({"on_reject": "halt", "ordering": "none"}, "bad4")],
                         ids=["park", "halt", "none"])
def test_without_a_key_or_order_nothing_is_parked_meanwhile(empty_database, migrate, new_relay, strict, outbox, key):
    """An event that waits for its topic is rejected there: it is a dead letter, which is counted and can be retried, and
    nothing waits behind it."""
    database = empty_database
    migrate(outbox=outbox)
    database.execute("ALTER TABLE outbox_events ALTER aggregate_id DROP NOT NULL")
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"},
                      outbox=outbox).start()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('absent', %s, '4', to_jsonb(repeat('x', 20000)))", key)
    write(database, 11, 11, "absent", key="bad")  # its key is bad4
    relay.wait_metric("deferred_events", 2)
    strict.create_topic("absent", max_message_bytes="10000")
    assert [record.header("type") for record in take(strict, "absent", 1)] == ["11"]
    letters = "SELECT event_type, held_for, reason FROM outbox_relay.dead_letters"
    until(lambda: database.rows(letters) == [("4", None, "too_large")], 20, "the dead letter alone to be left")
    relay.wait_metric("dead_letters", 1)
    assert relay.metric("parked_keys") == 0
    database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action, payload) SELECT outbox, number, 'edit', '{}'"
                     " FROM outbox_relay.dead_letters")
    database.wait("SELECT count(*) = 0 FROM outbox_relay.letter_requests")
    done = relay.command("dlq", "retry", "--id", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(record.header("type") for record in take(strict, "absent", 2)) == ["11", "4"]
    assert database.rows(letters) == []


def test_a_relay_that_halts_joins_what_waits(database, new_relay, strict):
    """What it halts at is mended, and others of its topic wait: they all arrive."""
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"},
                      outbox={"on_reject": "halt"}).start()
    write(database, 7, 7, "absent")  # the topic is known to be absent then
    relay.wait_metric("deferred_events", 1)
    database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action) SELECT outbox, number, 'discard'"
                     " FROM outbox_relay.dead_letters")
    until(lambda: relay.metric("deferred_events") == 0, 20, "nothing to wait")
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers) SELECT"
                     " 'absent', 'k' || n, n::text, '{}', CASE n WHEN 4 THEN '[4]'::jsonb END FROM generate_series(1, 4) n")
    relay.wait_metric("halted", 1)
    strict.create_topic("absent")
    database.execute("UPDATE outbox_events SET headers = NULL")
    in_order(take(strict, "absent", 4), 1, 4)
    until(lambda: relay.metric("halted") == relay.metric("depth") == 0, 20, "nothing to wait")


def test_what_waited_parks_its_key_where_a_relay_halts(database, new_relay, strict):
    """It has left the outbox: the relay does not halt, and does not say that it does, here or after a retry."""
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"},
                      outbox={"on_reject": "halt"}).start()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('absent', 'bad4', '4', to_jsonb(repeat('x', 20000)))")
    write(database, 11, 12, "absent", key="bad")  # the first is of its key
    relay.wait_metric("deferred_events", 3)
    strict.create_topic("absent", max_message_bytes="10000")
    relay.wait_log(r"event 1 is rejected \(too_large\): .*the relay does not halt")
    assert [record.header("type") for record in take(strict, "absent", 1)] == ["12"]
    letters = "SELECT event_type, held_for FROM outbox_relay.dead_letters ORDER BY number"
    until(lambda: database.rows(letters) == [("4", "key"), ("11", "key")], 20, "the key to be parked")
    relay.wait_metric("parked_keys", 1)
    assert relay.metric("halted") == 0 and not relay.log_contains("the relay halts")
    assert "rejected again (too_large)" in relay.command("dlq", "retry", "--id", "1").stdout
    until(lambda: relay.log().count("the relay does not halt") == 2, 20, "the retry to be logged")
    assert relay.metric("halted") == 0 and not relay.log_contains("the relay halts")
    assert relay.command("dlq", "discard", "--id", "1").returncode == 0
    assert sorted(record.header("type") for record in take(strict, "absent", 2)) == ["11", "12"]


def test_what_is_to_be_changed_is_not_passed(database, new_relay, strict):
    """It goes out as an operator wants it, before the later ones of its key, however long that takes."""
    config = {"kafka": {"bootstrap_servers": strict.bootstrap}, "route": {"topic": "${aggregate_type}"}}
    relay = new_relay(**config).start()
    for number in range(1, 6):
        write(database, 7 * number, 7 * number, "absent")  # all of one key
    relay.wait_metric("deferred_events", 5)
    relay.stop()
    database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action, payload) SELECT outbox, number,"
                     " CASE event_type WHEN '14' THEN 'edit' ELSE 'discard' END, convert_to('{\"n\": 2}', 'UTF8')"
                     " FROM outbox_relay.dead_letters WHERE event_type IN ('14', '28')")
    with database.session(autocommit=False) as connection:
        connection.execute("SELECT FROM outbox_relay.letter_requests FOR UPDATE")  # so that they are passed over
        strict.create_topic("absent")
        relay = new_relay(**config).start()
        assert [record.header("type") for record in take(strict, "absent", 1)] == ["7"]
        until(lambda: relay.metric("deferred_events") == 4, 20, "one letter less")
    records = take(strict, "absent", 4)
    assert [record.header("type") for record in records] == ["7", "14", "21", "35"]
    assert json.loads(records[1].value) == {"n": 2}
    until(lambda: database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0, 20, "nothing to wait")


def test_a_retry_waits_for_its_topic(database, new_relay, strict):
    """What was rejected, mended and asked for goes out once its topic is there; until then nothing is forgotten."""
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"},
                      outbox={"on_reject": "dead-letter"}).start()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
                     " VALUES ('absent', 'k', '1', '{}', '[1]')")
    relay.wait_metric("dead_letters", 1)
    database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action) SELECT outbox, number, action"
                     " FROM outbox_relay.dead_letters, unnest(ARRAY['edit', 'retry']) AS action")
    database.wait("SELECT count(*) = 1 FROM outbox_relay.letter_requests")  # it was edited
    write(database, 1, 2, "absent")
    # The topic is tried again, and the retry with it.
    database.wait("SELECT count(*) > 0 FROM outbox_relay.dead_letters WHERE held_for = 'topic' AND attempted_at IS NOT NULL")
    assert database.rows("SELECT reason, held_for, action FROM outbox_relay.dead_letters LEFT JOIN"
                         " outbox_relay.letter_requests ON letter = dead_letters.number WHERE key = 'k'") == [
        ("headers", None, "retry")]
    strict.create_topic("absent")
    assert len(take(strict, "absent", 3)) == 3
    until(lambda: database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0, 20, "nothing to wait")


def test_what_waits_is_discarded(database, new_relay, strict):
    """The topic was a mistake: nothing waits for it any more."""
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, route={"topic": "${aggregate_type}"}).start()
    write(database, 1, 20, "mistake")
    relay.wait_metric("deferred_events", 20)
    database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action)"
                     " SELECT outbox, number, 'discard' FROM outbox_relay.dead_letters")
    until(lambda: database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0, 20, "them to be gone")
    until(lambda: relay.metric("deferred_events") == relay.metric("depth") == 0, 20, "nothing to wait")
