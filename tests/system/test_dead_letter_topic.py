# SPDX-License-Identifier: ISC
"""route.dead_letter_topic: a copy of each rejected event goes there, at least once, and holds up nothing."""
import json
import random
import signal

import pytest

from harness.consumer import Reader
from harness.strangers import ERROR, Stranger, batches, refused_produce
from harness.waiting import until

ERROR.setdefault("POLICY_VIOLATION", 44)
POLICY, RECORD = b"breaks the policy", b"is no record"  # what the broker refuses, by its payload
KINDS = ["too_large", "topic", "key", "headers", "invalid_record", "policy_violation"]
ROWS = """
INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers, region)
SELECT CASE WHEN kind = 'topic' THEN 'no topic!' ELSE 'thing' END, kind, 'Bad',
       CASE kind WHEN 'too_large' THEN to_jsonb(repeat('x', 20000))
                 WHEN 'invalid_record' THEN to_jsonb('is no record'::text)
                 WHEN 'policy_violation' THEN to_jsonb('breaks the policy'::text)
                 ELSE '{"umlaut": "\u00e4", "n":   1.50}' END,
       CASE WHEN kind = 'headers' THEN '{"a": "1", "trace": {"id": 7}}' ELSE '{"a": "1"}' END::jsonb,
       CASE WHEN kind <> 'key' THEN 'eu' END
FROM unnest(%s::text[]) WITH ORDINALITY AS kinds (kind, n) ORDER BY n"""
GOOD = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
        " SELECT 'thing', 'good' || n %% 20, n::text, '{}' FROM generate_series(%s::int, %s) n")
# Of key "bad", rejected at this number for its headers; those behind it are held.
PARKED = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
          " SELECT 'thing', %s, n::text, '{}', CASE WHEN n = %s THEN '[]'::jsonb END FROM generate_series(1, %s) n")
OWED = "SELECT count(*) FROM outbox_relay.dead_letters WHERE copy_owed_since IS NOT NULL"
LETTERS = "SELECT count(*) FROM outbox_relay.dead_letters"


def reload(relay, **changes):
    before = len(relay.log())
    relay.write_config(**changes)
    relay.process.send(signal.SIGHUP)
    relay.wait_log("reload: done", after=before)


def notes(record):
    return {name[len("dead-letter-"):]: value.decode() for name, value in record.headers if name.startswith("dead-letter-")}


def take(bootstrap, topic, count, timeout=40):
    consumer = Reader(bootstrap, topic)
    records = consumer.take(count, timeout=timeout)
    consumer.close()
    return records


@pytest.fixture
def run(database, new_relay, topic, prefix):
    """run("park", **outbox): a relay that copies to this test's topic "dead"; the topic."""
    topic()
    topic("dead")

    def start(policy="park", route=None, **outbox):
        relay = new_relay(outbox={"on_reject": policy, **outbox},
                          route={"dead_letter_topic": prefix + "dead", **(route or {})})
        return relay.start()
    return start


@pytest.fixture
def policed(kafka, prefix):
    """A broker with a policy for records of the events' own topic. Like Kafka it refuses the whole batch."""
    def judge(request):
        if request.name != "Produce":
            return None
        for topic, partitions in batches(request):
            name = topic.decode() if isinstance(topic, bytes) else topic
            for marker, error in ((POLICY, "POLICY_VIOLATION"), (RECORD, "INVALID_RECORD")):
                if name == prefix + "thing" and any(marker in records for _, records in partitions):
                    return refused_produce(request, ERROR[error])
        return None
    broker = Stranger(("127.0.0.1", kafka.port), answers=judge)
    yield broker
    broker.close()


@pytest.mark.parametrize("policy, settle", [("park", "delete"), ("dead-letter", "mark")])
def test_each_reason(empty_database, migrate, new_relay, reader, topic, policed, prefix, policy, settle):
    """Key and value as they were, the headers that it would have had, and why it was rejected. Good events between them
    arrive, and the copies count as none of them."""
    database, outbox = empty_database, {"on_reject": policy, "settle": settle}
    migrate(outbox=outbox)
    topic(max_message_bytes="10000")
    topic("dead")
    database.execute("ALTER TABLE outbox_events ADD COLUMN region text")
    relay = new_relay(outbox=outbox, kafka={"bootstrap_servers": policed.bootstrap, "properties": ["compression.codec=none"]},
                      route={"key": "${region}-${aggregate_id}", "dead_letter_topic": prefix + "dead",
                             "headers": ["id=${event_id}", "place=in ${region}", "plain=x"]}).start()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, region)"
                     " SELECT 'thing', 'good' || n % 20, n::text, '{}', 'eu' FROM generate_series(1, 200) n")
    database.execute(ROWS, KINDS)
    copies = {notes(record)["reason"]: record for record in reader("dead").take(len(KINDS), timeout=60)}
    assert set(copies) == set(KINDS)
    letters = {row[0]: row[1:] for row in database.rows(
        "SELECT reason, id::text, event_id, payload, error, topic, attempts::text,"
        " to_char(dead_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM outbox_relay.dead_letters")}
    for kind, record in copies.items():
        id_, event_id, payload, error, meant, attempts, at = letters[kind]
        assert record.key == (None if kind == "key" else f"eu-{kind}".encode())
        assert record.value == bytes(payload)
        told = notes(record)
        own = told.pop("headers", None)
        assert told == {"reason": kind, "error": error, "topic": meant, "outbox": "public.outbox_events", "id": id_,
                        "event-id": event_id, "attempts": attempts, "at": at}
        assert meant == prefix + ("no topic!" if kind == "topic" else "thing") and attempts == "1"
        other = [header for header in record.headers if not header[0].startswith("dead-letter-")]
        assert other == [("id", event_id.encode())] + [("place", b"in eu")] * (kind != "key") + [("plain", b"x")] + (
            [("a", b"1")] if kind != "headers" else [])
        assert (own and json.loads(own)) == ({"a": "1", "trace": {"id": 7}} if kind == "headers" else None)
    until(lambda: relay.metric("published_total") == 200, 20, "exactly the good ones to be counted")
    until(lambda: database.value(OWED) == 0, 20, "nothing to be owed")
    assert database.value(LETTERS) == len(KINDS) and relay.metric("rejected_total") == len(KINDS)
    assert len(reader("thing").rest()) == 200 and relay.metric("dead_letter_copies_total") == len(KINDS)


def test_what_cannot_be_copied(database, run, reader, prefix, topic):
    """It stays without a copy, with one warning each, and stops nothing: too large for the relay or for this topic; a
    value that the database cannot hand out."""
    topic("small", max_message_bytes="1000")
    relay = run(route={"dead_letter_topic": prefix + "small"})
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) VALUES"
                     " ('thing', 'a', 'Bad', to_jsonb(repeat('x', 2000000))),"
                     " ('thing', 'b', 'Bad', ('[' || repeat('1e131071,', 8999) || '1]')::jsonb),"
                     " ('no topic!', 'c', 'Bad', to_jsonb(repeat('x', 5000))), ('no topic!', 'd', 'Bad', '{}')")
    record, = reader("small").take(1)
    assert notes(record)["reason"] == "topic" and record.value == b"{}"
    until(lambda: database.value(OWED) == 0, 20, "nothing to be owed")
    assert database.value(LETTERS) == 4
    told = [line for line in relay.log().splitlines() if "cannot be copied" in line]
    assert len(told) == 3 and all(prefix + "small" in line for line in told)
    database.execute(GOOD, 1, 50)
    assert len(reader().take(50)) == 50


@pytest.mark.parametrize("options, outbox", [([], {"shards": 2}), (["--partitions", "2"], {"settle": "mark"}),
                                             ([], {"ordering": "none"})], ids=["shards", "partitions", "none"])
def test_with_two_relays(empty_database, migrate, new_relay, topic, prefix, reader, options, outbox):
    """Whoever owns a letter's shard sends its copy; none is sent twice, whoever else is there."""
    migrate(*options, outbox=outbox)
    topic()
    topic("dead")
    relays = [new_relay(outbox=outbox, route={"dead_letter_topic": prefix + "dead"}).start(wait=False) for _ in range(2)]
    for relay in relays:
        relay.wait_log(r"ready:|standby:")
    for key in range(30):
        empty_database.execute(PARKED, f"bad{key}", 1, 2)
    consumer = reader("dead")
    records = consumer.take(30)
    assert len({record.event_id for record in records}) == 30
    until(lambda: empty_database.value(OWED) == 0, 20, "nothing to be owed")
    assert consumer.rest() == []

    def published():
        return sum(relay.metric("published_total") for relay in relays)
    if outbox.get("ordering"):
        until(lambda: published() >= 30, 20, "the good ones to be published")  # relays that compete may repeat an event
    else:
        assert published() == 0


def test_a_parked_key(database, run, reader):
    """Of what only waits there is no copy. A retry that is rejected is told again. The key keeps its order."""
    relay = run()
    database.execute(PARKED, "bad", 3, 6)
    copies = reader("dead")
    first, = copies.take(1)
    assert notes(first)["attempts"] == "1" and first.header("type") == "3"
    until(lambda: database.value(LETTERS) == 4, 20, "all behind it to wait")
    assert relay.command("dlq", "retry", "--key", "bad").returncode == 1
    again, = copies.take(1)
    assert notes(again)["attempts"] == "2" and notes(again)["at"] > notes(first)["at"]
    assert relay.command("dlq", "edit", "--reason", "headers", "--headers", "null").returncode == 0
    assert relay.command("dlq", "retry", "--key", "bad").returncode == 0
    assert [record.header("type") for record in reader().take(6)] == list("123456")
    until(lambda: database.value(LETTERS) == 0, 20, "all of the key to be settled")
    assert copies.rest() == []


def test_reload(database, run, reader, prefix, topic):
    """What was rejected without the option owes nothing. What is owed waits while it is empty, and goes where it says then."""
    topic("other")
    relay = run(route={"dead_letter_topic": ""})
    database.execute(PARKED, "before", 1, 1)
    until(lambda: database.value(LETTERS) == 1, 20, "it to be set aside")
    reload(relay, route={"dead_letter_topic": prefix + "dead"})
    database.execute(PARKED, "with", 1, 1)
    assert reader("dead").take(1)[0].key == b"with"
    reload(relay, route={"dead_letter_topic": ""})
    database.execute(PARKED, "without", 1, 1)
    until(lambda: database.value(LETTERS) == 3, 20, "it to be set aside")
    database.execute("UPDATE outbox_relay.dead_letters SET copy_owed_since = now() WHERE key = 'without'")
    database.execute(GOOD, 1, 10)
    reader().take(10)
    assert database.value(OWED) == 1
    reload(relay, route={"dead_letter_topic": prefix + "other"})
    assert [record.key for record in reader("other").take(1)] == [b"without"]
    reload(relay, outbox={"on_reject": "halt"})
    database.execute(PARKED, "halts", 1, 1)
    until(lambda: relay.metric("halted") == 1, 20, "the relay to halt")
    reload(relay, outbox={"on_reject": "dead-letter"})
    assert {record.key for record in reader("other").take(2)} == {b"without", b"halts"}


def test_among_many_letters(database, run, reader):
    """What is owed is found by its own index, though the statement was planned on an empty table."""
    run()
    database.execute(PARKED, "first", 1, 1)
    copies = reader("dead")
    copies.take(1)
    database.execute("INSERT INTO outbox_relay.dead_letters (outbox, id, event_id, held_for, key_hash, reason)"
                     " SELECT 'outbox_events'::regclass, n, n::text, CASE n % 2 WHEN 0 THEN 'key' END, n / 100, 'topic'"
                     " FROM generate_series(1000, 31000) n")
    read = ("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'dead_letters_pkey'",
            "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'dead_letters'")
    before = [database.value(sql) for sql in read]
    database.execute(PARKED, "second", 1, 1)
    assert [record.key for record in copies.take(1)] == [b"second"]
    used = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'dead_letters_copy'"
    until(lambda: database.value(used) >= 4, 20, "the statistics to tell")
    assert all(database.value(sql) - was < 1000 for sql, was in zip(read, before))


def test_kill(database, run, kafka, reader):
    """Again and again, at any moment: no letter and no copy is lost."""
    relay = run("dead-letter")
    rng, count = random.Random(12), 0
    for round_ in range(8):
        for _ in range(20):
            count += 1
            database.execute(PARKED, f"k{count}", 1, 1)
        if round_ % 2:  # copies are claimed, and not acknowledged
            kafka.pause()
            database.execute(PARKED, f"p{count}", 1, 3)
            count += 1
            until(lambda: rng.random() < 0.2, 5, "some time")
        relay.kill()
        kafka.resume()
        relay.start(wait=False)
    until(lambda: database.value(LETTERS) == count and database.value(OWED) == 0, 60, "all copies to be sent")
    records = reader("dead").rest()
    assert len({record.event_id for record in records}) == count
    assert {notes(record)["event-id"] for record in records} == {
        event_id for event_id, in database.rows("SELECT event_id FROM outbox_relay.dead_letters")}


def test_killed_between_acknowledgement_and_commit(database, run, reader):
    """The copy is there, and comes once more; the letter stays as it is."""
    database.execute("""
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON outbox_relay.dead_letters DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            WHEN (NEW.copy_owed_since IS NULL) EXECUTE FUNCTION wait()""")
    relay = run()
    blocked = "SELECT max(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted"
    with database.session() as holder:
        holder.execute("SELECT pg_advisory_lock(1)")
        database.execute(PARKED, "bad", 1, 3)
        copies = reader("dead")
        first, = copies.take(1)
        pid = until(lambda: database.value(blocked), 20, "the relay to be at its COMMIT")
        assert database.value(OWED) == 1
        relay.kill()
        database.value("SELECT pg_terminate_backend(%s)", pid)
    relay.start(wait=False)
    again, = copies.take(1)
    assert again.headers == first.headers and again.value == first.value
    until(lambda: database.value(OWED) == 0, 20, "it to be settled")
    assert copies.rest() == []
    until(lambda: database.value(LETTERS) == 3, 20, "all behind it to wait")
    assert database.rows("SELECT event_type, held_for, reason FROM outbox_relay.dead_letters ORDER BY number") == [
        ("1", "key", "headers"), ("2", "key", None), ("3", "key", None)]


@pytest.mark.xdist_group("strict")
@pytest.mark.parametrize("constant", [False, True])
def test_the_topic_is_missing(database, new_relay, strict, constant):
    """Copies wait there, and nothing else does. Once the topic is there they come, but not those of events that are
    discarded or published by then."""
    strict.create_topic("thing")
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap}, outbox={"on_reject": "dead-letter"},
                      route={"topic": "thing" if constant else "${aggregate_type}", "dead_letter_topic": "dead"}).start()
    for key in ("discarded", "published", "rejected", "stays"):
        database.execute(PARKED, key, 1, 1)
    ready = []
    until(lambda: ready.append(relay.get("/readyz")[0]) or relay.log_contains('topic "dead" does not exist'), 20, "a warning")
    assert set(ready) == {200}
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('absent', 'waits', '1', '{}')")  # for its own topic, and owes no copy
    for first in range(1, 2000, 100):
        database.execute(GOOD, first, first + 99)
    assert len(take(strict.bootstrap, "thing", 2000 + constant, timeout=20)) == 2000 + constant
    assert database.value(OWED) == 4
    shown = json.loads(relay.command("dlq", "show", "--key", "stays", "--json").stdout)[0]
    assert shown["copy_owed_since"]
    assert "copy owed since" in relay.command("dlq", "show", "--key", "stays").stdout
    assert relay.status()["copies_owed"] == 4
    assert relay.get("/healthz")[0] == relay.get("/readyz")[0] == 200
    assert relay.command("dlq", "discard", "--key", "discarded").returncode == 0
    assert relay.command("dlq", "edit", "--key", "published", "--headers", "null").returncode == 0
    assert relay.command("dlq", "retry", "--key", "published").returncode == 0
    assert relay.command("dlq", "retry", "--key", "rejected").returncode == 1
    assert database.value(OWED) == 2
    strict.create_topic("dead")
    records = take(strict.bootstrap, "dead", 2)
    assert {(record.key, notes(record)["attempts"]) for record in records} == {(b"stays", "1"), (b"rejected", "2")}
    until(lambda: database.value(OWED) == 0, 20, "nothing to be owed")
    assert relay.status()["copies_owed"] == 0 and database.value(LETTERS) == (2 if constant else 3)


@pytest.mark.xdist_group("logins")
def test_no_right(login_kafka, database, new_relay, prefix):
    """As long as it may not write there copies wait, and events flow."""
    kafka, dead = login_kafka, prefix + "dead"
    rights = [("limited", operation, "topic", prefix + name) for name in ("thing", "dead") for operation in ("describe", "write")]
    for name in ("thing", "dead"):
        kafka.create_topic(prefix + name)
    for right in rights[:3]:
        kafka.grant(*right)
    relay = new_relay(kafka={"bootstrap_servers": kafka.at("SASL"), "properties": kafka.sasl("PLAIN", "limited")},
                      route={"dead_letter_topic": dead}).start()
    check = relay.command("check")
    database.execute(PARKED, "bad", 1, 2)
    until(lambda: database.value(LETTERS) == 2, 20, "the key to be parked")
    database.execute(GOOD, 1, 1000)
    assert {record.header("type") for record in take(kafka.bootstrap, prefix + "thing", 1000)} == {str(n) for n in range(1, 1001)}
    assert database.value(OWED) == 1
    kafka.grant(*rights[3])
    assert notes(take(kafka.bootstrap, dead, 1, timeout=60)[0])["reason"] == "headers"
    until(lambda: database.value(OWED) == 0, 20, "nothing to be owed")
    for right in rights:
        kafka.revoke(*right)
    assert check.returncode in (0, 1) and dead in check.stdout


def test_names_that_are_refused(new_relay, prefix):
    for name, words in (("no topic!", "has a character other than"), ("dead.${aggregate_type}", "without fields"),
                        ("__dead", "Kafka's own"), (".", "."), (prefix + "same", "is route.topic")):
        done = new_relay(route={"topic": prefix + "same", "dead_letter_topic": name}).command("check")
        assert done.returncode == 2 and "route.dead_letter_topic" in done.stderr and words in done.stderr


def test_check(run, database, prefix, topic):
    """The topic is looked at as those of events are. No events should go there."""
    relay = run()
    assert f"topic {prefix}dead: 4 partitions" in relay.command("check").stdout
    relay.write_config(route={"dead_letter_topic": prefix + "absent"})
    absent = relay.command("check")
    assert f"topic {prefix}absent does not exist" in absent.stdout
    relay.stop()
    database.execute(GOOD, 1, 1)
    relay.write_config(route={"dead_letter_topic": prefix + "thing"})
    assert f"events go to topic {prefix}thing, too" in relay.command("check").stdout
