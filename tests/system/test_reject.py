# SPDX-License-Identifier: ISC
"""Events that Kafka can never accept: the relay sets them aside, or halts at them, as configured.
What parks a key: test_park.py."""
import json
import os

import pytest
from confluent_kafka import KafkaError, Producer

from harness.waiting import until
from harness.writers import insert

HALT = {"on_reject": "halt"}
DEAD_LETTER = {"on_reject": "dead-letter"}
# What is wrong with an event, how to write one, and the reason that names it.
BAD_EVENTS = {
    "headers": "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload,"
               " headers) VALUES (%s, 'thing', 'bad', 'Bad', '{}', '[\"no object\"]')",
    "nested": "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload,"
              " headers) VALUES (%s, 'thing', 'bad', 'Bad', '{}', '{\"deep\": {\"er\": 1}}')",
    "topic": "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload)"
             " VALUES (%s, 'no topic!', 'bad', 'Bad', '{}')",
    "too_large": "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload)"
                 " VALUES (%s, 'thing', 'bad', 'Bad', to_jsonb(repeat('x', 2000000)))",
}
REASONS = dict({name: name for name in BAD_EVENTS}, nested="headers")
BAD_ID = "0bad0bad-0bad-4bad-8bad-0bad0bad0bad"


@pytest.mark.parametrize("kind", BAD_EVENTS)
def test_halt(database, new_relay, reader, topic, kind):
    """The relay halts, with an error that names the event. What came before is published and
    settled; the event and what follows stay in the outbox. Once the row is gone the relay goes on from there."""
    topic()
    insert(database, 50)
    database.execute(BAD_EVENTS[kind], BAD_ID)
    insert(database, 50, key="after")
    bad = database.value("SELECT id FROM outbox_events WHERE event_id = %s", BAD_ID)
    relay = new_relay(outbox=HALT).start(wait=False)
    relay.wait_log(rf"event {bad} is rejected \({REASONS[kind]}\): .+; the relay halts")
    relay.wait_metric("halted", 1)
    consumer = reader()
    assert len(consumer.take(50)) == 50
    assert consumer.rest() == []
    database.wait("SELECT count(*) = 51 FROM outbox_events")
    assert database.value("SELECT min(id) FROM outbox_events") == bad

    database.execute("DELETE FROM outbox_events WHERE id = %s", bad)
    assert {r.key[:5] for r in consumer.take(50)} == {b"after"}
    database.wait_empty()
    assert consumer.rest() == []


@pytest.mark.parametrize("kind", BAD_EVENTS)
def test_dead_letter(database, new_relay, reader, topic, kind):
    """Set aside: the whole event and why lie in outbox_relay.dead_letters, all others are published once."""
    topic()
    relay = new_relay(outbox=DEAD_LETTER).start()
    insert(database, 50)
    database.execute(BAD_EVENTS[kind], BAD_ID)
    insert(database, 50, key="after")
    consumer = reader()
    assert len(consumer.take(100)) == 100
    database.wait_empty()
    assert consumer.rest() == []
    (event_id, key, event_type, size, error, reason), = database.rows(
        "SELECT event_id, aggregate_id, event_type, length(payload), error, reason"
        " FROM outbox_relay.dead_letters")
    assert (event_id, key, event_type, reason) == (BAD_ID, "bad", "Bad", REASONS[kind])
    assert size == (2_000_002 if kind == "too_large" else 2)
    assert error and "x" * 100 not in error
    relay.wait_log(rf"event \d+ is rejected \({REASONS[kind]}\)")
    assert relay.metric("rejected_total") == 1
    assert relay.metric("published_total") == 100


def test_many_dead_letters_among_good_events(database, new_relay, reader, topic):
    """A thousand events, every tenth of them bad: 900 published once, 100 set aside."""
    topic()
    database.execute(
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
        " SELECT 'thing', 'k' || n % 7, n::text, '{}', CASE WHEN n % 10 = 0 THEN '[]'::jsonb END"
        " FROM generate_series(1, 1000) n")
    new_relay(outbox=dict(DEAD_LETTER, claim_rows=64, batch_rows=256)).start()
    consumer = reader()
    records = consumer.take(900)
    database.wait_empty()
    assert consumer.rest() == []
    assert {int(r.header("type")) for r in records} == {n for n in range(1, 1001) if n % 10}
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 100


def test_events_without_identity(database, new_relay, reader, topic):
    """A table of one's own may hold NULL as event id: `check` warns, and the relay settles and sets aside such
    events all the same, by their id."""
    topic()
    database.execute("ALTER TABLE outbox_events ALTER event_id DROP NOT NULL, ALTER event_id DROP DEFAULT")
    relay = new_relay(outbox=DEAD_LETTER)
    done = relay.command("check")
    assert done.returncode == 0 and "event_id of outbox_events may be NULL" in done.stdout, done.stdout
    insert(database, 50)
    database.execute(BAD_EVENTS["headers"], None)
    relay.start()
    consumer = reader()
    assert len(consumer.take(50)) == 50
    database.wait_empty()
    assert consumer.rest() == []
    assert database.rows("SELECT event_id, reason FROM outbox_relay.dead_letters") == [(None, "headers")]


def test_a_letter_of_an_event_that_came_before(database, new_relay, topic):
    """Put back under its id with another payload and refused again: neither is lost. `dlq` tells them by their numbers."""
    topic()
    relay = new_relay(outbox=DEAD_LETTER).start()
    for text in ("old", "mended"):
        database.execute("INSERT INTO outbox_events (id, event_id, aggregate_type, aggregate_id, event_type,"
                         " payload, headers) VALUES (7, %s, 'thing', %s, %s, to_jsonb(%s::text), '[]')",
                         BAD_ID, text, text, text)
        database.wait_empty()
    assert database.rows("SELECT aggregate_id, event_type, convert_from(payload, 'UTF8'), attempts"
                         " FROM outbox_relay.dead_letters ORDER BY number") == [
        ("old", "old", '"old"', 1), ("mended", "mended", '"mended"', 1)]
    done = relay.command("dlq", "list", "--id", "7", "--json")
    assert [letter["number"] for letter in json.loads(done.stdout)] == [1, 2]


def test_columns_that_jsonb_cannot_hold(database, new_relay, reader, topic):
    """What jsonb cannot hold as it is goes into `extra` as its text; where that is too long, the event is set aside
    without its extra columns, and the log names it. The others pass either way."""
    topic()
    database.execute("ALTER TABLE outbox_events ADD meta json, ADD notes json[], ADD essay text")
    relay = new_relay(outbox=DEAD_LETTER).start()
    consumer = reader()
    sql = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, headers, {0})"
           " VALUES ('thing', 'bad', 'Bad', '[]', {1})")
    database.execute(sql.format("meta, notes", "'[\"\\u0000\", 1e400000]', ARRAY['\"\\u0000\"'::json]"))
    database.wait_empty()
    assert database.rows("SELECT extra->>'meta', (extra->>'notes')::json[]::text[] FROM outbox_relay.dead_letters") == [
        ('["\\u0000", 1e400000]', ['"\\u0000"'])]
    database.execute(sql.format("meta, essay", "'1', repeat('x', 1 << 28)"))
    insert(database, 5)
    assert len(consumer.take(5, timeout=120)) == 5
    database.wait_empty(timeout=120)
    relay.wait_log(r"SQLSTATE 54000: .*; a column that has no place of its own .* makes no jsonb")
    relay.wait_log(r"event \d+ is dead-lettered without the columns that have no place")
    database.execute(sql.format("meta", "'2'"))  # with its own again
    database.wait_empty()
    assert database.rows("SELECT extra->>'meta' FROM outbox_relay.dead_letters ORDER BY id") == [
        ('["\\u0000", 1e400000]',), (None,), ("2",)]


def test_dead_letters_in_mark_mode(empty_database, migrate, new_relay, reader, topic):
    """The event set aside is not left waiting in the table."""
    topic()
    mark = {"settle": "mark", "on_reject": "dead-letter"}
    migrate(outbox=mark)
    insert(empty_database, 10)
    empty_database.execute(BAD_EVENTS["headers"], BAD_ID)
    new_relay(outbox=mark).start()
    assert len(reader().take(10)) == 10
    empty_database.wait("SELECT EXISTS (SELECT FROM outbox_relay.dead_letters)")
    empty_database.wait(f"SELECT NOT EXISTS (SELECT FROM outbox_events WHERE event_id = '{BAD_ID}'"
                        " AND published_at IS NULL)")


def test_a_hundred_megabytes(database, new_relay, reader, topic):
    """A payload of 100 MB is set aside with a clear reason, and the relay stays small: it was not even
    fetched."""
    topic()
    relay = new_relay(outbox=DEAD_LETTER).start()
    consumer = reader()
    insert(database, 1)
    consumer.take(1)
    before = relay.peak_memory()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', 'huge', 'Bad', to_jsonb(repeat('x', 100000000)))")
    insert(database, 10)
    relay.wait_log("is rejected .*100000002", timeout=120)
    assert len(consumer.take(10)) == 10
    database.wait_empty(timeout=60)
    assert database.rows("SELECT length(payload), reason FROM outbox_relay.dead_letters") == [
        (100_000_002, "too_large")]
    assert relay.peak_memory() - before < 10


def test_the_topics_own_limit(database, new_relay, reader, topic):
    """What is too large for this topic is rejected; what fits by a little is published, though together
    the events are larger than the limit."""
    topic("small", max_message_bytes=20_000)
    new_relay(outbox=DEAD_LETTER).start()
    for size in (19_000, 19_000, 25_000, 19_000):
        database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                         " VALUES ('small', 'k', 'Sized', to_jsonb(repeat('x', %s)))", size)
    consumer = reader("small")
    assert [len(r.value) for r in consumer.take(3)] == [19_002] * 3
    database.wait_empty()
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 1


def test_a_topic_that_takes_more(database, new_relay, reader, topic):
    """With a larger limit on the topic and the property for it, five megabytes pass."""
    topic("large", max_message_bytes=8 << 20)
    new_relay(kafka={"properties": ["message.max.bytes=8388608"]}).start()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('large', 'k', 'Sized', to_jsonb(repeat('x', 5000000)))")
    record, = reader("large").take(1)
    assert len(record.value) == 5_000_002


def test_a_limit_lowered_while_the_relay_runs(database, new_relay, reader, topic, kafka):
    """The broker refuses what the relay believed would fit: the event is set aside, the rest goes on."""
    name = topic()
    new_relay(outbox=DEAD_LETTER).start()
    consumer = reader()
    insert(database, 1)
    consumer.take(1)
    kafka.configure_topic(name, max_message_bytes=10_000)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})

    def lowered():
        said = []
        producer.produce(name, os.urandom(20_000), b"probe", on_delivery=lambda error, _: said.append(error))
        assert producer.flush(60) == 0
        return said[0] is not None and said[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    until(lowered, 30, "the broker to have heard of it from the controller")
    consumer.rest()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'thing', 'k', 'Sized', to_jsonb(string_agg(md5(n::text), ''))"
                     " FROM generate_series(1, 2000) n")  # compresses badly, and the broker counts after that
    insert(database, 20)
    assert len(consumer.take(20, timeout=60)) == 20
    database.wait_empty()
    assert database.rows("SELECT reason FROM outbox_relay.dead_letters") == [("too_large",)]
