# SPDX-License-Identifier: ISC
"""migrate --adopt --like NAME: the outbox tables of frameworks, as each project publishes them (frameworks/NAME.sql)."""
import os
import re

import pytest

from harness.block import block
from harness.relay import ROOT, run_relay
from harness.waiting import until

HERE = os.path.join(os.path.dirname(__file__), "frameworks")
TIME = "'2024-05-01'::timestamptz + n * interval '1 s'"

# Rows: those that are published, and those that wait ({0}..{1}); the value, key and headers of the n-th; which are published.
WORKS = {
    "debezium": {
        "waits": "INSERT INTO outboxevent SELECT gen_random_uuid(), 'thing', 'k' || n % 3, 'Made', to_jsonb(n) FROM"
                 " generate_series({0}, {1}) AS n",
        "value": lambda n: str(n), "key": lambda n: f"k{n % 3}", "topic": "outbox.event.${aggregate_type}", "headers": ["id"]},
    "axon": {
        "waits": "INSERT INTO domainevententry (aggregateidentifier, sequencenumber, type, eventidentifier, payload, payloadtype,"
                 " timestamp) SELECT 'k' || n % 3, n, 'thing', 'e' || n, convert_to('{{\"n\": ' || n || '}}', 'UTF8'),"
                 " 'com.acme.Made', '2024-05-01T00:00:00Z' FROM generate_series({0}, {1}) AS n",
        "value": lambda n: '{"n": %d}' % n, "key": lambda n: f"k{n % 3}", "topic": "events.${aggregate_type}",
        "headers": ["id", "type"]},
    "masstransit": {
        "done": "INSERT INTO \"OutboxMessage\" (\"SentTime\", \"InboxMessageId\", \"MessageId\", \"ContentType\", \"MessageType\","
                " \"Body\", \"ConversationId\") SELECT now(), gen_random_uuid(), gen_random_uuid(), 'application/json', 'urn:x',"
                " 'consumer', gen_random_uuid() FROM generate_series(1, 3)",
        "waits": "INSERT INTO \"OutboxMessage\" (\"SentTime\", \"OutboxId\", \"MessageId\", \"ContentType\", \"MessageType\","
                 " \"Body\", \"ConversationId\") SELECT now(), gen_random_uuid(), gen_random_uuid(), 'application/json',"
                 " 'urn:message:Made', '{{\"n\": ' || n || '}}', lpad(n::text, 32, '0')::uuid FROM generate_series({0}, {1}) AS n",
        "value": lambda n: '{"n": %d}' % n, "key": lambda n: f"00000000-0000-0000-0000-{n:012}", "topic": "masstransit",
        "headers": ["id", "type"]},
    "rails-event-store": {
        "waits": "INSERT INTO event_store_events (event_id, event_type, data, created_at) SELECT lpad(n::text, 32, '0')::uuid,"
                 " 'Thing::Made', to_jsonb(n), now() FROM generate_series({0}, {1}) AS n",
        "value": lambda n: str(n), "key": lambda n: f"00000000-0000-0000-0000-{n:012}", "topic": "events.event_store",
        "headers": ["id", "type"]},
    "django-outbox-pattern": {
        "done": "INSERT INTO published SELECT gen_random_uuid(), NULL, '/topic/a', '0', now(), now(), 0, s, '{}' FROM"
                " unnest(ARRAY[2, 2, -1]) AS s",
        "waits": "INSERT INTO published SELECT lpad(n::text, 32, '0')::uuid, NULL, '/topic/a', to_jsonb(n), " + TIME + ", now(), 0,"
                 " 1, '{{\"dop-msg-id\": \"x\"}}' FROM generate_series({0}, {1}) AS n",
        "value": lambda n: str(n), "key": lambda n: f"00000000-0000-0000-0000-{n:012}", "topic": "events.published",
        "headers": ["id", "dop-msg-id"], "marked": ("SELECT count(*) FROM published WHERE status = 2", 2)},
    "namastack": {
        "done": "INSERT INTO outbox_record SELECT s || random(), s, 'k', 'thing', '0', NULL, now(), now(), 0, NULL, now(), 0, 'h'"
                " FROM unnest(ARRAY['COMPLETED', 'FAILED']) AS s",
        "waits": "INSERT INTO outbox_record SELECT 'e' || n, 'NEW', 'k' || n % 3, 'thing', n::text, NULL, " + TIME + ", NULL, 0,"
                 " NULL, now(), 0, 'h' FROM generate_series({0}, {1}) AS n",
        "value": lambda n: str(n), "key": lambda n: f"k{n % 3}", "topic": "events.${event_type}", "headers": ["id", "type"],
        "marked": ("SELECT count(*) FROM outbox_record WHERE status = 'COMPLETED'", 1)},
}

REFUSED = {
    "debezium-quarkus": ("deletes it in the same transaction", "remove-after-insert=false"),
    "spring-modulith": ("a row for each listener", "outbox of their own"),
    "eventuate-tram": ("PARTITION_ID", "stay with Eventuate CDC"),
    "wolverine": ("Wolverine's own binary format", "Kafka transport"),
    "nservicebus": ("all messages of one handler in an array", "outbox of their own"),
    "cap": ("CAP publishes each row itself", "Kafka transport"),
    "outboxer": ("have no payload", "--adopt --table events"),
    "django-celery-outbox": ("calls of Celery tasks", "outbox of their own"),
    "django-jaiminho": ("pickled", "outbox of their own"),
    "gruelbox": ("calls of Java methods", "outbox of their own"),
}


def ddl(name):
    with open(os.path.join(HERE, name + ".sql")) as script:
        return script.read()


def like(database, name, *options):
    return run_relay("migrate", "--adopt", "--like", name, "--dsn", database.dsn(), *options)


def test_each_has_its_table_and_its_line(empty_database):
    """All that the binary knows is tried here, and stands in docs/frameworks.md as it is."""
    said = like(empty_database, "nothing")
    names = re.search(r"is none of (.*)", said.stderr).group(1).split(", ")
    assert said.returncode == 2 and sorted(names) == sorted([*WORKS, *REFUSED])
    assert sorted(name + ".sql" for name in names) == sorted(os.listdir(HERE))
    with open(os.path.join(ROOT, "docs", "frameworks.md")) as page:
        lines = dict(re.findall(r"^\| `([\w-]+)` \| `.*?` \| (yes|no) \|", page.read(), re.M))
    assert lines == {**{name: "yes" for name in WORKS}, **{name: "no" for name in REFUSED}}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_adopted(empty_database, name):
    """Refused with why and what to do; nothing is made."""
    empty_database.execute(ddl(name))
    refused = like(empty_database, name)
    assert refused.returncode == 2 and refused.stdout == ""
    assert all(words in refused.stderr for words in REFUSED[name])
    assert empty_database.value("SELECT to_regnamespace('outbox_relay') IS NULL")


@pytest.mark.parametrize("name", sorted(WORKS))
def test_what_is_adopted(empty_database, new_relay, prefix, kafka, reader, name):
    """Rows that wait come in their order, with those that are inserted later; the others stay as they are."""
    case = WORKS[name]
    empty_database.execute(ddl(name))
    if "done" in case:
        empty_database.execute(case["done"])
    empty_database.execute(case["waits"].format(1, 10))
    done = like(empty_database, name)
    if done.returncode != 0:  # nothing in a row says whether it was published
        assert "nothing in" in done.stderr and "--published-where" in done.stderr and "--ignore-flag" in done.stderr
        assert empty_database.value("SELECT to_regnamespace('outbox_relay') IS NULL")
        done = like(empty_database, name, "--ignore-flag")
    assert done.returncode == 0, done.stderr
    empty_database.execute(case["waits"].format(11, 12))
    found = block(done.stdout)
    assert found["route"]["topic"] == case["topic"]
    kafka.create_topic(prefix + "box", 1)
    relay = new_relay(outbox={**found["outbox"], "poll_interval": "100ms"},
                      route={**found["route"], "topic": prefix + "box"}).start()
    records = reader("box").take(12)
    assert [record.value.decode() for record in records] == [case["value"](n) for n in range(1, 13)]
    assert [record.key.decode() for record in records] == [case["key"](n) for n in range(1, 13)]
    assert all([header for header, _ in record.headers] == case["headers"] for record in records)
    if "marked" in case:
        question, before = case["marked"]
        until(lambda: empty_database.value(question) == before + 12, 20, "all to be marked")
    until(lambda: relay.metric("depth") == 0, 10, "a depth of 0")
    assert relay.command("check").returncode == 0
