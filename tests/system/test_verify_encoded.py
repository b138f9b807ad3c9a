# SPDX-License-Identifier: ISC
"""verify of records as Debezium publishes them: keys and headers of converters, partitions and times from columns. What it
finds that was planted, and that it finds nothing else."""
import json
import re
from collections import Counter

import pytest
from confluent_kafka import Producer

from harness import murmur2
from harness.verifying import counts, verify
from harness.writers import insert

MARK = {"settle": "mark"}
MARKED = "SELECT count(*) = 0 FROM outbox_events WHERE published_at IS NULL"
JSON = {"key": "json", "value": "json", "headers": "json"}
ENCODINGS = {"json": JSON, "json-schema": dict.fromkeys(JSON, "json-schema"),
             "string": {"key": "string", "value": "string", "headers": "simple"}}
UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def published(empty_database, migrate, new_relay, topic):
    """published(prepare, rows, **changes): a relay in mark mode that has published 200 events on 100 keys, and what the
    statement `rows` inserts behind them, and has stopped. prepare: what is done to the table before."""
    def make(prepare="SELECT 1", rows="SELECT 1", outbox=None, **changes):
        topic()
        migrate(outbox=MARK)
        empty_database.execute(prepare)
        relay = new_relay(outbox={**MARK, **(outbox or {})}, **changes).start()
        insert(empty_database, 200)
        empty_database.execute(rows)
        empty_database.wait(MARKED)
        assert relay.stop() == 0
        return relay
    return make


@pytest.fixture
def plant(kafka):
    """plant(record, event_id, ...): the record once more behind the relay's back, as that of this event, with changes."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})

    def send(record, event_id=None, **changes):
        headers = [(name, UUID.sub(event_id.encode(), value) if event_id and name == "id" else value)
                   for name, value in record.headers]
        producer.produce(record.topic, **{"key": record.key, "value": record.value, "headers": headers,
                                          "partition": record.partition, **changes})
        assert producer.flush(30) == 0
    return send


@pytest.fixture
def mark(empty_database):
    """mark(key, **columns): a row that is marked and was never sent; its event id."""
    def add(key, **columns):
        names = "".join(f", {name}" for name in columns)
        values = "".join(f", {value}" for value in columns.values())
        return empty_database.value("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, published_at"
                                    f"{names}) VALUES ('thing', '{key}', 'E', clock_timestamp(){values})"
                                    " RETURNING event_id::text")
    return add


@pytest.fixture
def swap(empty_database):
    """swap(one, other): the rows have each other's id: as if they had been published the wrong way round."""
    def exchange(one, other):
        for was, is_now in ((one, -1), (other, one), (-1, other)):
            empty_database.execute(f"UPDATE outbox_events SET id = {is_now} WHERE id = {was}")
    return exchange


def by_event(records):
    """{event id: record}, whatever has been made of the id."""
    return {UUID.search(dict(record.headers)["id"]).group().decode(): record for record in records}


@pytest.mark.parametrize("encode", [pytest.param(encode, id=name) for name, encode in ENCODINGS.items()])
def test_what_converters_wrote(empty_database, published, plant, mark, swap, reader, encode):
    """A loss, a repeat, a swap and a wrong key."""
    relay = published(encode=encode)
    found = verify(relay, code=0)
    assert (counts(found), found["checked"], found["unknown"], found["without_event_id"]) == ({}, 200, 0, 0)
    records = by_event(reader().take(200))
    events = dict(empty_database.rows("SELECT id, event_id::text FROM outbox_events"))
    seven = records[events[7]]
    assert "k-7" in seven.key.decode()

    lost = mark("k-7")
    found = verify(relay, code=1)
    assert counts(found) == {"missing": 1}
    sample, = found["missing"]
    assert (sample["event_id"], sample["key"], sample["partition"]) == (lost, seven.key.decode(), seven.partition)
    plant(seven, lost)
    assert counts(verify(relay, code=0)) == {}

    plant(records[events[50]])
    found = verify(relay, code=1)
    assert counts(found) == {"repeated": 1}
    sample, = found["repeated"]
    assert (sample["id"], sample["event_id"]) == (50, events[50])

    swap(33, 133)
    found = verify(relay, "--allow-repeats", code=1)
    assert counts(found) == {"repeated": 1, "out_of_order": 1}
    sample, = found["out_of_order"]
    assert (sample["id"], sample["event_id"], sample["after_id"]) == (33, events[133], 133)
    swap(33, 133)

    plant(seven, mark("k-7"), key=b"k 7")
    found = verify(relay, "--allow-repeats", code=1)
    assert counts(found) == {"repeated": 1, "wrong_key": 1}
    sample, = found["wrong_key"]
    assert (sample["key"], sample["row_key"]) == ("k 7", seven.key.decode())
    done = relay.command("verify")
    assert re.search(r"^wrong key +1\n.*, key k 7, .*, key of its row " + re.escape(seven.key.decode()), done.stdout,
                     re.M), done.stdout


def test_a_wrong_key_as_it_is(published, plant, mark, reader):
    """Also where keys are what PostgreSQL prints; a replay is judged by nothing."""
    relay = published()
    record = reader().take(1)[0]
    event_id = mark("other")
    plant(record, event_id, headers=[*record.headers[1:], ("id", event_id), ("outbox-relay-replay", "1")])
    assert counts(verify(relay, code=0)) == {}
    plant(record, event_id)
    found = verify(relay, code=1)
    assert counts(found) == {"wrong_key": 1} and found["wrong_key"][0]["row_key"] == "other"


def test_values_that_were_expanded(empty_database, published, plant, reader):
    """Samples show what the record has; a tombstone has nothing."""
    rows = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
            " SELECT 'thing', 'k-0', 'E', p::jsonb FROM unnest(ARRAY[NULL, '{\"a\": [1, 2]}']) p")
    relay = published(rows=rows, encode={**JSON, "expand": True, "tombstone_on_empty": True})
    assert counts(verify(relay, code=0)) == {}
    records = by_event(reader().take(202))
    for number in (201, 202):
        plant(records[empty_database.value(f"SELECT event_id::text FROM outbox_events WHERE id = {number}")])
    found = verify(relay, "--payloads", code=1)
    assert counts(found) == {"repeated": 2}
    assert {sample["id"]: sample["payload"] for sample in found["repeated"]} == {201: None, 202: '{"a":[1,2]}'}


def test_events_without_a_key(published, swap):
    """A NULL key is JSON's null, and has no order."""
    relay = published("ALTER TABLE outbox_events ALTER aggregate_id DROP NOT NULL",
                      "INSERT INTO outbox_events (aggregate_type, event_type) VALUES ('thing', 'E'), ('thing', 'E')",
                      encode=JSON)
    swap(201, 202)
    found = verify(relay, code=0)
    assert (counts(found), found["checked"]) == ({}, 202)


def test_keys_of_which_the_length_is_written(published, swap):
    """StringConverter prints no more of bytes, so that all keys of a length are one: said plainly, and no order is missed."""
    relay = published("ALTER TABLE outbox_events ADD bytes bytea NOT NULL DEFAULT 'ab'", route={"key": "${bytes}"},
                      encode={"key": "string"})
    swap(33, 133)
    found = verify(relay, code=0)
    assert counts(found) == {} and any("length alone" in note for note in found["notes"])


@pytest.mark.parametrize("type_, default", [("char(40)", "gen_random_uuid()::text"), ("bigint", "(random() * 1e15)::bigint")])
def test_event_ids_of_other_types(published, type_, default):
    """As converters write them: filled up with blanks, or a number."""
    relay = published("ALTER TABLE outbox_events ALTER event_id DROP DEFAULT, ALTER event_id TYPE"
                      f" {type_} USING NULL, ALTER event_id SET DEFAULT {default}", encode=JSON)
    found = verify(relay, code=0)
    assert (counts(found), found["checked"], found["unknown"]) == ({}, 200, 0)


def test_event_ids_that_cannot_be_read(empty_database, migrate, new_relay):
    migrate(outbox=MARK)
    empty_database.execute("ALTER TABLE outbox_events ALTER event_id DROP DEFAULT, ALTER event_id TYPE numeric USING NULL")
    done = new_relay(outbox=MARK, encode=JSON).command("verify")
    assert done.returncode == 1 and 'column "event_id", the event id, not as the database prints it' in done.stderr


def test_partitions_that_rows_name(empty_database, published, plant, mark, swap, reader):
    """A key is where its rows say, with an order in each partition; those that say nothing are where the key puts them."""
    rows = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, part)"
            " SELECT 'thing', 'p', 'E', nullif(n % 4, 3) FROM generate_series(1, 40) n")
    relay = published("ALTER TABLE outbox_events ADD part smallint", rows, route={"partition": "part"})
    found = verify(relay, code=0)
    assert (counts(found), found["checked"]) == ({}, 240)
    records = by_event(reader().take(240))
    events = dict(empty_database.rows("SELECT id, event_id::text FROM outbox_events"))
    assert {records[events[id]].partition for id in range(201, 241)} >= {0, 1, 2}
    swap(204, 205)  # in two partitions
    assert counts(verify(relay, code=0)) == {}
    swap(204, 205)
    home = murmur2.partition(b"p", 4)
    one = 204 if home != 0 else 205  # where there is nothing between it and the next one of its partition
    swap(one, one + 4)
    found = verify(relay, code=1)
    assert counts(found) == {"out_of_order": 1}
    assert (found["out_of_order"][0]["id"], found["out_of_order"][0]["after_id"]) == (one, one + 4)
    swap(one, one + 4)

    plant(records[events[204]], mark("p", part=2), partition=1)
    found = verify(relay, code=1)
    assert counts(found) == {"misplaced": 1}
    sample, = found["misplaced"]
    assert (sample["partition"], sample["row_partition"]) == (1, 2) and "before_partition" not in sample
    done = relay.command("verify")
    assert done.returncode == 1 and ", its row names partition 2, " in done.stdout, done.stdout
    plant(records[events[204]], mark("p"), partition=(home + 1) % 4)
    found = verify(relay, code=1)
    assert counts(found) == {"misplaced": 2}
    sample, = (sample for sample in found["misplaced"] if "row_partition" not in sample)
    assert {sample["partition"], sample["before_partition"]} == {home, (home + 1) % 4}
    mark("p", part=3)
    found = verify(relay, code=1)
    assert counts(found) == {"misplaced": 2, "missing": 1} and found["missing"][0]["partition"] == 3


def test_partitions_of_rows_that_are_gone(database, topic, new_relay):
    """With settle = "delete" nothing tells what a row has named: said plainly."""
    topic()
    database.execute("ALTER TABLE outbox_events ADD part smallint")
    relay = new_relay(route={"partition": "part"}).start()
    for part in (0, 1):
        database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, part)"
                         f" VALUES ('thing', 'k', 'E', {part})")
    database.wait_empty()
    found = verify(relay, code=0)
    assert (counts(found), found["records"]) == ({}, 2) and any("route.partition" in note for note in found["notes"])
    done = relay.command("verify")
    assert "misplaced      not known\n" in done.stdout and "wrong key      not known\n" in done.stdout, done.stdout


def test_times_that_rows_name(empty_database, published, mark, kafka, prefix, reader):
    """Neither does a range pass over records that look old, nor is what retention took away missing."""
    relay = published("ALTER TABLE outbox_events ADD at timestamptz NOT NULL DEFAULT '2020-01-01 00:00:00Z'",
                      route={"timestamp": "at"})
    found = verify(relay, "--since", "1h", code=0)
    assert (counts(found), found["checked"], found["records"]) == ({}, 200, 200)
    assert counts(verify(relay, "--from-id", "150", code=0)) == {}
    sizes = Counter(record.partition for record in reader().take(200))
    kafka.delete_records(prefix + "thing", before={part: sizes[part] // 2 for part in range(4)})
    dropped = sum(size // 2 for size in sizes.values())
    found = verify(relay, code=0)
    assert (counts(found), found["not_checkable"]["retention"], found["checked"]) == ({}, dropped, 200 - dropped)
    mark("k-7")
    empty_database.execute("UPDATE outbox_events SET (created_at, published_at) = (published_at + interval '5 minutes',"
                           " published_at + interval '5 minutes') WHERE id = 201")
    assert counts(verify(relay, code=1)) == {"missing": 1}


def test_a_range_by_times_that_rows_name(database, new_relay):
    done = new_relay(route={"timestamp": "created_at"}).command("verify", "--since", "1h")
    assert done.returncode == 2 and "route.timestamp" in done.stderr


def test_rows_that_are_gone(database, directory, topic, new_relay, plant, reader):
    """With settle = "delete": ids of a list, and the order by a header, which are JSON in the records."""
    topic()
    relay = new_relay(encode=JSON, route={"headers": ["id=${event_id}", "row=${id}"]}).start()
    ids = [database.value("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)"
                          " VALUES ('thing', 'k', 'E') RETURNING event_id::text") for _ in range(5)]
    database.wait_empty()
    listed = f"{directory}/ids"
    with open(listed, "w") as file:
        file.write("\n".join(ids) + "\n")
    found = verify(relay, "--from-event-ids", listed, code=0)
    assert (found["checked"], found["records"], found["without_event_id"]) == (5, 5, 0)
    record = reader().take(1)[0]
    for row in (9, 8):
        event_id = database.value("SELECT gen_random_uuid()::text")
        plant(record, headers=[("id", json.dumps(event_id)), ("row", json.dumps(row))])
    plant(record)
    found = verify(relay, code=1)
    assert counts(found) == {"repeated": 1, "out_of_order": 1} and found["out_of_order"][0]["id"] == 8
    assert found["repeated"][0]["event_id"] == ids[0]


def test_copies_of_rejected_events(empty_database, published, topic, prefix, reader):
    """They are no events, though route.topic might give the name of their topic."""
    topic("dead")
    relay = published(outbox={"on_reject": "dead-letter"}, route={"dead_letter_topic": prefix + "dead"}, encode=JSON)
    relay.start()
    empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, headers)"
                           " VALUES ('thing', 'k-7', 'E', '[1]')")
    assert reader("dead").take(1)
    found = verify(relay, code=0)
    assert (counts(found), found["records"]) == ({}, 200)
    assert {part["topic"] for part in found["partitions"]} == {prefix + "thing"}
