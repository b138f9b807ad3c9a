# SPDX-License-Identifier: ISC
"""verify: what it finds that was planted, and that it finds nothing else."""
import re
import time
import uuid

import pytest
from confluent_kafka import Producer

from harness import murmur2
from harness.process import Process
from harness.verifying import counts, verify
from harness.writers import Writers, insert

MARK = {"settle": "mark"}
ORDERED = {"headers": ["id=${event_id}", "type=${event_type}", "row=${id}"]}
MARKED = "SELECT count(*) = 0 FROM outbox_events WHERE published_at IS NULL"


@pytest.fixture
def produce(kafka):
    """produce(topic, key, event_id, ...): a record behind the relay's back."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})

    def send(topic, key, event_id, partitions=4, value=b"{}", headers=(), partition=None):
        producer.produce(topic, value=value, key=key, headers=[("id", str(event_id)), *headers],
                         partition=murmur2.partition(key.encode(), partitions) if partition is None else partition)
        assert producer.flush(30) == 0
    return send


@pytest.fixture
def published(empty_database, migrate, new_relay, topic):
    """A relay in mark mode that has published 1,000 events on 100 keys, and has stopped."""
    topic()
    migrate(outbox=MARK)
    relay = new_relay(outbox=MARK).start()
    insert(empty_database, 1000)
    empty_database.wait(MARKED)
    assert relay.stop() == 0
    return relay


def test_an_honest_run(published):
    """Nothing is found; in words, too."""
    found = verify(published, code=0)
    assert counts(found) == {} and found["missing"] == found["repeated"] == found["out_of_order"] == []
    assert (found["checked"], found["records"], found["unknown"]) == (1000, 1000, 0)
    assert sum(part["records"] for part in found["partitions"]) == 1000 and len(found["partitions"]) == 4
    done = published.command("verify")
    assert done.returncode == 0 and "missing        0\n" in done.stdout, done.stdout + done.stderr


def test_a_loss(published, empty_database, prefix):
    """A row that is marked and was never sent."""
    lost = empty_database.value(
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, published_at)"
        " VALUES ('thing', 'k-7', 'Happened', '{\"lost\": 1}', clock_timestamp()) RETURNING event_id::text")
    found = verify(published, code=1)
    assert counts(found) == {"missing": 1} and found["checked"] == 1001
    sample, = found["missing"]
    assert (sample["id"], sample["event_id"], sample["key"]) == (1001, lost, "k-7")
    assert sample["topic"] == prefix + "thing" and sample["offset"] is None
    assert sample["partition"] == murmur2.partition(b"k-7", 4) and "payload" not in sample
    done = published.command("verify", "--payloads")
    assert done.returncode == 1 and f"event_id {lost}, id 1001, key k-7" in done.stdout
    assert '{"lost": 1}' in done.stdout


def test_a_repeat(published, empty_database, prefix, produce):
    """Also one in another topic or partition; a replay that says so is none."""
    key, event_id = empty_database.rows("SELECT aggregate_id, event_id::text FROM outbox_events WHERE id = 500")[0]
    produce(prefix + "thing", key, event_id, headers=[("outbox-relay-replay", "1")])
    found = verify(published, code=0)
    assert counts(found) == {} and found["replays"] == 1
    produce(prefix + "thing", key, event_id, value=b'{"again": 1}')
    home = murmur2.partition(key.encode(), 4)
    found = verify(published, "--payloads", code=1)
    assert counts(found) == {"repeated": 1} and found["repeated_runs"] == 1
    sample, = found["repeated"]
    assert (sample["id"], sample["event_id"], sample["key"]) == (500, event_id, key)
    assert (sample["partition"], sample["payload"]) == (home, '{"again": 1}')
    assert counts(verify(published, "--allow-repeats", code=0)) == {"repeated": 1}
    produce(prefix + "thing", key, event_id, partition=(home + 1) % 4)
    found = verify(published, code=1)
    assert counts(found) == {"repeated": 2, "misplaced": 1}
    for sample in found["repeated"]:  # whichever of the partitions was read first
        assert {sample["partition"], sample.get("before_partition", home)} <= {home, (home + 1) % 4}
    assert any("before_partition" in sample for sample in found["repeated"])


def test_a_swap(empty_database, migrate, new_relay, topic, prefix, produce):
    """Two events of a key the wrong way round, by a producer that is no relay."""
    topic()
    migrate(outbox=MARK)
    insert(empty_database, 200)
    rows = empty_database.rows("UPDATE outbox_events SET published_at = clock_timestamp()"
                               " RETURNING aggregate_id, event_id::text")
    swapped = dict(enumerate(rows))
    swapped[3], swapped[103] = swapped[103], swapped[3]
    for key, event_id in swapped.values():
        produce(prefix + "thing", key, event_id)
    found = verify(new_relay(outbox=MARK), code=1)
    assert counts(found) == {"out_of_order": 1}
    sample, = found["out_of_order"]
    assert (sample["id"], sample["event_id"], sample["key"], sample["after_id"]) == (4, rows[3][1], rows[3][0], 104)
    assert any("--allow-overlaps" in note for note in found["notes"])
    # Inserted 100 s apart: with transactions that took so long there was no order to keep.
    empty_database.execute("UPDATE outbox_events SET created_at = timestamptz '2026-01-01' + id * interval '1 s'")
    assert counts(verify(new_relay(outbox=MARK), "--allow-overlaps", "100s", code=1)) == {"out_of_order": 1}
    found = verify(new_relay(outbox=MARK), "--allow-overlaps", "101s", code=0)
    assert counts(found) == {} and found["overlapping"] == 1 and found["out_of_order"] == []


def test_writers_that_overlap(published, empty_database):
    """A late commit behind a later insert of its key: no order was promised, and only --allow-overlaps knows how late it may be."""
    published.start()
    insert_one = "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('thing', 'k-7', 'Happened')"
    with empty_database.session(autocommit=False) as late:
        late.execute(insert_one)
        empty_database.execute(insert_one)
        empty_database.wait(MARKED)
        late.connection.commit()
    empty_database.wait(MARKED)
    assert published.stop() == 0
    found = verify(published, code=1)
    assert counts(found) == {"out_of_order": 1} and found["out_of_order"][0]["after_id"] == 1002
    assert counts(verify(published, "--allow-overlaps", "5m", code=0)) == {}
    done = published.command("verify", "--allow-overlaps", "5m")
    assert done.returncode == 0 and "overlapping    1 events came after one inserted a little later" in done.stdout, done.stdout


def test_rows_that_cannot_be_told_apart(published, empty_database):
    """Without an event id a row is not checkable, and said to be so; times before 1970 are times."""
    empty_database.execute("ALTER TABLE outbox_events ALTER event_id DROP NOT NULL; INSERT INTO outbox_events (event_id,"
                           " aggregate_type, aggregate_id, event_type, published_at) SELECT NULL, 'thing', 'k-7', 'Happened', t"
                           " FROM unnest(ARRAY[clock_timestamp(), NULL]) t")
    found = verify(published, code=0)
    assert (found["not_checkable"]["without_event_id"], found["checked"]) == (1, 1000)
    done = published.command("verify")
    assert "not checkable  1 published rows that have no event id" in done.stdout, done.stdout
    assert verify(published, "--until", "1969-12-31", code=0)["checked"] == 0
    assert verify(published, "--since", "1969-12-31", code=0)["checked"] == 1000


def test_rows_of_one_id(empty_database, migrate, new_relay, topic):
    """In partitions by hash of the key an id may be there twice: each row is judged once, whatever page it comes with."""
    topic()
    migrate("--partitions", "2", outbox=MARK)
    empty_database.execute("INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, published_at)"
                           " SELECT n, 'thing', k, 'Happened', clock_timestamp()"
                           " FROM generate_series(1, 1500) n, unnest(ARRAY['a', 'b', 'c', 'd']) k")
    found = verify(new_relay(outbox=MARK), code=1)
    assert (found["missing_count"], found["checked"], found["not_checkable"]["purged"]) == (6000, 6000, 0)


def test_a_key_in_two_partitions(published, empty_database, prefix, produce):
    event_id = empty_database.value(
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, published_at)"
        " VALUES ('thing', 'k-7', 'Happened', clock_timestamp()) RETURNING event_id::text")
    produce(prefix + "thing", "k-7", event_id, partition=(murmur2.partition(b"k-7", 4) + 1) % 4)
    assert counts(verify(published, code=1)) == {"misplaced": 1}


def test_what_waits_or_is_a_dead_letter_is_not_missing(published, empty_database):
    insert(empty_database, 5)
    empty_database.execute(
        "WITH aside AS (INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, published_at)"
        " VALUES ('thing', 'k', 'Happened', clock_timestamp()) RETURNING id, event_id)"
        " INSERT INTO outbox_relay.dead_letters (outbox, id, event_id, reason)"
        " SELECT 'outbox_events', id, event_id::text, 'too_large' FROM aside")
    found = verify(published, code=0)
    assert (found["waiting"], found["dead_letters"], found["checked"]) == (5, 1, 1000)


def test_parked_and_discarded(published, empty_database):
    """An event that is rejected, and those of its key behind it; a discarded one is not missing either."""
    published.start()
    for headers in ("[1]", "{}", "{}"):
        empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, headers)"
                               f" VALUES ('thing', 'k-7', 'Happened', '{headers}')")
    empty_database.wait(MARKED)
    found = verify(published, code=0)
    assert (found["dead_letters"], found["checked"]) == (3, 1000)
    done = published.command("dlq", "discard", "--reason", "headers")
    assert done.returncode == 0, done.stderr
    empty_database.wait("SELECT count(*) = 0 FROM outbox_relay.dead_letters")
    found = verify(published, code=0)
    assert (found["dead_letters"], found["checked"], found["records"], found["unknown"]) == (0, 1002, 1002, 0)


def test_an_operator_verifies(published, empty_database, new_relay):
    """It needs no more than that role; one without it is told what to do."""
    empty_database.execute("DROP ROLE IF EXISTS vera; CREATE ROLE vera LOGIN IN ROLE outbox_operator")
    vera = new_relay(outbox=MARK, database={"dsn": empty_database.dsn("vera")})
    assert verify(vera, code=0)["checked"] == 1000
    empty_database.execute("REVOKE outbox_operator FROM vera")
    done = vera.command("verify")
    assert done.returncode == 1 and "42501" in done.stderr and "outbox_operator" in done.stderr
    empty_database.execute("DROP ROLE vera")


def test_a_replay_is_no_repeat(published):
    done = published.command("replay", "--from-id", "1", "--to-id", "50")
    assert done.returncode == 0, done.stderr
    found = verify(published, code=0)
    assert (found["replays"], found["records"], found["repeated_count"]) == (50, 1050, 0)


def test_strangers_are_told(published, prefix, produce):
    """Records of events that are not in the outbox; they are no finding."""
    for _ in range(3):
        produce(prefix + "thing", "stranger", uuid.uuid4())
    found = verify(published, code=0)
    assert (found["unknown"], found["records"]) == (3, 1003)


def test_a_range_of_rows(published, empty_database, topic):
    """By id, by time, by topic; what is outside is neither missing nor unknown."""
    topic("other")
    for number, (aggregate, age) in enumerate((("thing", "3 hours"), ("thing", "1 second"), ("other", "1 second"))):
        empty_database.execute(
            "INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, published_at)"
            f" VALUES ({5001 + number}, '{aggregate}', 'k', 'Happened', clock_timestamp() - interval '{age}')")

    def missing(*argv):
        return sorted(sample["id"] for sample in verify(published, *argv)["missing"])
    assert missing() == [5001, 5002, 5003]
    assert missing("--to-id", "1000") == []
    assert missing("--from-id", "1", "--to-id", "5001") == [5001]
    assert missing("--since", "1h") == [5002, 5003]
    assert missing("--until", "1h") == [5001]
    noon = empty_database.value("SELECT (now() - interval '2 hours')::text")
    assert missing("--since", noon) == [5002, 5003]
    done = published.command("verify", "--since", "when")
    assert done.returncode == 1 and '"when" is no point in time' in done.stderr
    found = verify(published, "--from-id", "5002", code=1)
    assert (found["checked"], found["unknown"]) == (2, None)
    thing, = {part["topic"] for part in verify(published)["partitions"] if part["records"]}
    assert missing("--topic", thing) == [5001, 5002]


def test_retention_of_the_topic(published, empty_database, kafka, prefix):
    """What the topic has dropped cannot be checked, and is not missing; what it must still hold can."""
    kafka.delete_records(prefix + "thing")
    found = verify(published, code=0)
    assert (found["not_checkable"]["retention"], found["checked"], found["records"]) == (1000, 0, 0)
    insert(empty_database, 100)
    published.start()
    empty_database.wait(MARKED)
    empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, published_at)"
                           " VALUES ('thing', 'k-7', 'Happened', clock_timestamp() + interval '5 minutes')")
    assert counts(verify(published, code=0)) == {}  # it may have been written before it was marked
    empty_database.execute("UPDATE outbox_events SET created_at = published_at WHERE id = 1101")
    assert counts(verify(published, code=1)) == {"missing": 1}


MARKED_LATE = "UPDATE outbox_events SET published_at = published_at + interval '2 hours'"


def test_marks_that_come_late(published, empty_database):
    """Kafka was away, and the producer had the events meanwhile: a range by marks still finds their records, which are older."""
    empty_database.execute(MARKED_LATE)
    since = empty_database.value("SELECT (clock_timestamp() + interval '1 hour')::text")
    ranges = (("--since", since), ("--from-id", "1"), ("--from-id", "1", "--since", since))

    def check(code, missing):
        for argv in ranges:
            found = verify(published, *argv, code=code)
            assert (counts(found), found["checked"]) == ({"missing": 1} if missing else {}, 1000), argv
    check(0, False)
    empty_database.execute("UPDATE outbox_events SET created_at = published_at + interval '8 hours'")  # another time zone
    check(0, False)
    merge_columns(published, created_at="")
    check(0, False)
    empty_database.execute("UPDATE outbox_events SET event_id = gen_random_uuid() WHERE id = 7")  # never sent
    check(1, True)
    merge_columns(published, created_at="created_at")
    empty_database.execute("UPDATE outbox_events SET created_at = published_at - interval '2 hours'")
    check(1, True)


def test_retention_and_marks_that_come_late(published, empty_database, kafka, prefix):
    """What was created before the first record that is left may have been dropped, whenever it was marked. Without that
    time, a note says what follows."""
    empty_database.execute(MARKED_LATE)
    kafka.delete_records(prefix + "thing")
    published.start()
    insert(empty_database, 100)
    empty_database.wait(MARKED)
    assert published.stop() == 0
    found = verify(published, code=0)
    # The other 100 are there.
    assert (counts(found), found["not_checkable"]["retention"], found["checked"], found["notes"]) == ({}, 1000, 100, [])
    found = verify(merge_columns(published, created_at=""), code=1)
    assert counts(found) == {"missing": 1000} and any("outbox.columns.created_at" in note for note in found["notes"])


def test_a_compacted_topic(empty_database, migrate, new_relay, topic):
    """It keeps the last event of a key: said plainly, and nothing is missing."""
    topic(cleanup_policy="compact")
    migrate(outbox=MARK)
    empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, published_at)"
                           " VALUES ('thing', 'k', 'Happened', clock_timestamp())")
    found = verify(new_relay(outbox=MARK), code=0)
    assert found["not_checkable"]["compacted"] == 1
    assert any("compacted" in note for note in found["notes"])


@pytest.mark.xdist_group("logins")
def test_a_topic_that_may_be_compacted(login_kafka, empty_database, migrate, new_relay, prefix):
    """Who may read and not see the settings cannot tell what is missing, and is told what right that takes."""
    kafka, name = login_kafka, prefix + "thing"
    kafka.create_topic(name)
    migrate(outbox=MARK)
    relay = new_relay(outbox=MARK, kafka={"bootstrap_servers": kafka.at("SASL"), "properties": kafka.sasl("PLAIN", "limited")})
    empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, published_at)"
                           " VALUES ('thing', 'k', 'Happened', clock_timestamp())")
    rights = [("limited", operation, "topic", name) for operation in ("read", "describe", "describe_configs")]
    for right in rights[:2]:
        kafka.grant(*right)
    found = verify(relay, code=0)
    assert (found["not_checkable"]["compacted"], found["checked"]) == (1, 0)
    note, = found["notes"]
    assert f"whether topic {name} is compacted could not be read" in note
    assert "TOPIC_AUTHORIZATION_FAILED" in note and "or grant this user DESCRIBE_CONFIGS" in note
    done = relay.command("verify")
    assert "not checkable  1 events that are not in topics that are, or may be, compacted\n" in done.stdout, done.stdout
    kafka.grant(*rights[2])
    found = verify(relay, code=1)
    assert (counts(found), found["notes"]) == ({"missing": 1}, [])
    for right in rights:
        kafka.revoke(*right)


def test_after_kills(empty_database, migrate, new_relay, topic, reader):
    """Nothing is missing or out of order; repeats are those that a consumer sees."""
    topic()
    migrate(outbox=MARK)
    relay = new_relay(outbox=MARK).start()
    with Writers(empty_database, keys=50) as writers:
        for _ in range(3):
            writers.wait_committed(400)
            relay.kill()
            relay.start()
        writers.wait_committed(200)
    empty_database.wait(MARKED)
    records = reader().rest()
    repeats = len(records) - len({record.event_id for record in records})
    found = verify(relay, "--allow-repeats", code=0)
    assert (found["missing_count"], found["out_of_order_count"], found["misplaced_count"]) == (0, 0, 0)
    assert (found["repeated_count"], found["records"]) == (repeats, len(records))
    assert found["checked"] == len(writers.truth()) and found["unknown"] == 0


def test_while_it_runs(empty_database, migrate, new_relay, topic):
    """What is published meanwhile is neither missing nor unknown."""
    topic()
    migrate(outbox=MARK)
    relay = new_relay(outbox=MARK).start()
    with Writers(empty_database, keys=50) as writers:
        for _ in range(3):
            writers.wait_committed(200)
            found = verify(relay, code=0)
            assert (counts(found), found["unknown"]) == ({}, 0)


def test_delete_mode(relay, database, directory, prefix, produce, topic, new_relay):
    """Repeats, order by the header of ids, and a list of ids that must be there."""
    topic()
    ids = [database.value("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)"
                          " VALUES ('thing', 'k', 'Happened') RETURNING event_id::text") for _ in range(5)]
    database.wait_empty()
    found = verify(relay, code=0)
    assert found["records"] == 5 and found["unknown"] is None and len(found["notes"]) == 2
    listed = f"{directory}/ids"
    with open(listed, "w") as file:
        file.write("\n".join(ids).upper() + "\n")
    assert verify(relay, "--from-event-ids", listed, code=0)["checked"] == 5
    lost = str(uuid.uuid4())
    with open(listed, "a") as file:
        file.write(f"{lost}\n{lost}\n{'x' * 3000}\n")
    done = relay.command("verify", "--from-event-ids", directory)
    assert done.returncode == 1 and f"cannot read {directory}: Is a directory" in done.stderr and done.stdout == ""
    found = verify(relay, "--from-event-ids", listed, code=1)
    assert counts(found) == {"missing": 2} and found["missing"][0]["event_id"] == lost
    produce(prefix + "thing", "k", ids[2])
    assert counts(verify(relay, code=1)) == {"repeated": 1}
    for number in (9, 8):
        produce(prefix + "thing", "k", uuid.uuid4(), headers=[("row", str(number))])
    found = verify(new_relay(route=ORDERED), code=1)
    assert counts(found) == {"repeated": 1, "out_of_order": 1} and found["out_of_order"][0]["id"] == 8


def test_transactions_of_others(published, empty_database, kafka, prefix, number):
    """What is not committed is not read. An open one hides what is behind it: that is waited for, and then told."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"other{number}",
                         "transaction.timeout.ms": 600_000})  # it is open while verify waits for it
    producer.init_transactions(30)

    def produce():
        producer.begin_transaction()
        for part in range(4):
            producer.produce(prefix + "thing", value=b"{}", headers=[("id", str(uuid.uuid4()))], partition=part)
        assert producer.flush(30) == 0
    produce()
    published.start()
    insert(empty_database, 10)
    empty_database.wait(MARKED)
    found = verify(published, code=0)
    assert (found["records"], found["not_checkable"]["transactions"], found["checked"]) == (1000, 10, 1000)
    assert any("transaction" in note for note in found["notes"])
    producer.abort_transaction(30)
    found = verify(published, code=0)
    assert (found["records"], found["checked"], found["unknown"], found["notes"]) == (1010, 1010, 0, [])
    produce()
    producer.commit_transaction(30)
    found = verify(published, code=0)
    assert (found["records"], found["unknown"]) == (1014, 4)


def test_wrong_usage(database, new_relay):
    plain = new_relay()
    for argv, words in ((("--allow-overlaps", "5s"), 'outbox.settle = "mark"'), (("--to-id", "5"), "outbox.settle is \"delete\""),
                        (("--from-id", "x"), "is no whole number"),
                        (("surplus",), "unexpected argument")):
        done = plain.command("verify", *argv)
        assert done.returncode == 2 and words in done.stderr
    done = new_relay(route={"headers": ["type=${event_type}"]}).command("verify")
    assert done.returncode == 2 and 'add "id=${event_id}" to route.headers' in done.stderr
    done = plain.command("verify", "--topic", "nowhere.at.all")
    assert done.returncode == 1 and "no topic nowhere.at.all" in done.stderr
    done = new_relay(kafka={"bootstrap_servers": "127.0.0.1:1"}).command("verify")
    assert done.returncode == 1 and "127.0.0.1:1" in done.stderr


@pytest.fixture
def canary(directory, new_relay, topic):
    """canary(*argv): verify --continuous, running, on a topic of its own; not the relay whose configuration it has."""
    topic("outbox-relay-canary")
    made = []

    def start(*argv, **changes):
        relay = new_relay(**changes)
        relay.process = Process(f"canary{len(made)}", [
            relay.process.argv[0], "verify", "--continuous", "-c", relay.config, *argv], f"{relay.config}.log")
        relay.process.start()
        made.append(relay)
        return relay
    return start


def as_owner(database):
    return ("--dsn", database.dsn())


def test_a_canary(relay, database, canary, reader):
    """It comes back, on keys in turn; the round trip is exported."""
    bird = canary(*as_owner(database), "--interval", "50ms", "--listen", "127.0.0.1:0")
    bird.wait_metric("canary_round_trip_seconds_count", 20, timeout=60)
    metrics = bird.metrics()
    assert metrics["outbox_relay_canary_up"] == 1 and metrics["outbox_relay_canary_lost_total"] == 0
    assert metrics["outbox_relay_canary_sent_total"] >= 20
    count = metrics["outbox_relay_canary_round_trip_seconds_count"]
    assert 0 < metrics["outbox_relay_canary_round_trip_seconds_sum"] < 2 * count
    assert abs(time.time() - metrics["outbox_relay_canary_returned_timestamp_seconds"]) < 60
    records = reader("outbox-relay-canary").take(20)
    assert {record.header("type") for record in records} == {"Canary"} and len({record.key for record in records}) > 15
    assert bird.stop() == 0
    assert verify(relay, code=0)["records"] >= 20


@pytest.mark.parametrize("headers", ["json", "json-schema", "simple"])
def test_a_canary_in_a_table_of_debezium(empty_database, migrate, new_relay, canary, headers):
    """Without a default for the event id, and without an event type; headers as converters write them."""
    changes = {"outbox": {"table": "outbox", "columns": {
        "id": "relay_id", "event_id": "id", "aggregate_type": "aggregatetype", "aggregate_id": "aggregateid",
        "event_type": "", "headers": "", "created_at": ""}},
        "route": {"headers": ["id=${event_id}"]}, "encode": {"key": "json", "value": "json", "headers": headers}}
    empty_database.execute("CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, aggregateid"
                           " varchar(255) NOT NULL, payload jsonb)")
    migrate("--adopt", **changes)
    new_relay(**changes).start()
    bird = canary(*as_owner(empty_database), "--interval", "50ms", "--listen", "127.0.0.1:0", **changes)
    bird.wait_metric("canary_round_trip_seconds_count", 5)
    assert bird.metric("canary_lost_total") == 0
    assert bird.stop() == 0


def test_a_canary_that_cannot_be_found_again(database, canary):
    database.execute("ALTER TABLE outbox_events ALTER event_id DROP DEFAULT, ALTER event_id TYPE numeric USING NULL")
    bird = canary(*as_owner(database), "--timeout", "3s", encode={"headers": "json"})
    assert bird.wait_exit() == 1
    assert bird.log_contains("did not come back within 3s: encode.headers writes the event id not as the database prints it")
    assert database.value("SELECT count(*) FROM outbox_events") == 0
    bird = canary(*as_owner(database), "--timeout", "3s", outbox={"table": "nowhere"})
    assert bird.wait_exit() == 1 and bird.log_contains("did not come back within 3s: there is no such table")


def test_a_canary_that_is_lost(relay, database, canary):
    """While the relay is stopped it alarms, and goes on by itself. One that nobody scrapes ends with status 1."""
    assert relay.stop() == 0
    # Time enough for a session and an INSERT: where the first one was is told, and of the next ones nothing.
    bird = canary(*as_owner(database), "--timeout", "3s", "--interval", "100ms", "--listen", "127.0.0.1:0")
    bird.wait_metric("canary_lost_total", 2)
    assert bird.metric("canary_up") == 0
    bird.wait_log("error +a canary did not come back within 3s: it is in the outbox")
    alone = canary(*as_owner(database), "--timeout", "500ms")
    assert alone.wait_exit() == 1 and alone.log_contains("a canary did not come back")
    relay.start()
    bird.wait_log(r"a canary came back after .* before it did not")
    bird.wait_metric("canary_up", 1)
    assert bird.stop() == 0


def test_a_canary_without_a_database(relay, database, postgres, canary):
    """Its page answers meanwhile."""
    bird = canary(*as_owner(database), "--timeout", "3s", "--interval", "100ms", "--listen", "127.0.0.1:0")
    bird.wait_metric("canary_round_trip_seconds_count", 1)
    postgres.stop()
    bird.wait_metric("canary_lost_total", 1)
    bird.wait_log("warning canaries cannot be inserted: ")
    postgres.start()
    bird.wait_log(r"a canary came back after .* before it did not", timeout=40)


def test_rights_of_a_canary(relay, database, canary):
    """A writer's will do; the relay's may not insert, and the log says so."""
    database.execute("CREATE ROLE canary_writer LOGIN IN ROLE outbox_writer")
    try:
        bird = canary("--dsn", database.dsn("canary_writer"), "--interval", "100ms", "--listen", "127.0.0.1:0")
        bird.wait_metric("canary_round_trip_seconds_count", 1)
        assert bird.stop() == 0
        bird = canary("--timeout", "5s")
        assert bird.wait_exit() == 1
        assert bird.log_contains("a canary did not come back within 5s: SQLSTATE 42501: permission denied")
    finally:
        database.execute("DROP ROLE canary_writer")


def test_wrong_usage_of_a_canary(database, new_relay):
    plain = new_relay()
    for argv in (("--continuous", "--json"), ("--listen", "127.0.0.1:0"), ("--continuous", "--interval", "5")):
        assert plain.command("verify", *argv).returncode == 2
    done = plain.command("verify", "--continuous", "--canary-type", "nowhere")
    assert done.returncode == 1 and re.search(r"no topic \S*nowhere; see that it exists", done.stderr), done.stderr
    done = new_relay(route={"topic": "events.${aggregate_id}"}).command("verify", "--continuous")
    assert done.returncode == 1 and "names a field that a canary does not fill in" in done.stderr


POSITION = {"settle": "position"}
SETTLED = "SELECT depth = 0 FROM outbox_relay.count_waiting('outbox_events', 1)"


@pytest.fixture
def staying(empty_database, migrate, new_relay, topic):
    """A relay by positions, with two shards, that has published 1,000 events on 100 keys, and has stopped."""
    topic()
    outbox = {**POSITION, "shards": 2}
    migrate(outbox=outbox)
    relay = new_relay(outbox=outbox).start()
    insert(empty_database, 1000)
    empty_database.wait(SETTLED)
    assert relay.stop() == 0
    return relay


def test_a_history_by_positions(staying, empty_database, prefix, produce):
    """What the position shows as published must be there; what waits need not. Ranges are by created_at."""
    found = verify(staying, code=0)
    assert counts(found) == {} and (found["checked"], found["records"], found["unknown"]) == (1000, 1000, 0)
    insert(empty_database, 5)
    found = verify(staying, code=0)
    assert (found["waiting"], found["checked"], found["settle"]) == (5, 1000, "position")
    # Settled, and never sent: by the position itself, and ahead of it.
    row = "WITH t AS (INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, created_at) VALUES ('thing', 'k-7',"
    lost = empty_database.value(row + " 'Happened', clock_timestamp() - interval '3 h') RETURNING id, event_id) INSERT INTO"
                                " outbox_relay.settled_ahead SELECT 'outbox_events', id, event_id::text FROM t RETURNING id")
    found = verify(staying, code=1)
    assert counts(found) == {"missing": 1} and found["checked"] == 1001
    assert (found["missing"][0]["id"], found["missing"][0]["key"]) == (lost, "k-7")
    assert verify(staying, "--until", "1h", code=1)["checked"] == 1
    assert verify(staying, "--since", "1h", code=0)["checked"] == 1000
    assert verify(staying, "--from-id", "11", "--to-id", "20", code=0)["checked"] == 10
    empty_database.execute("INSERT INTO outbox_relay.positions (outbox, layout, shard, finished) SELECT p.outbox, p.layout, p.shard,"
                           " pg_current_snapshot() FROM (SELECT DISTINCT outbox, layout, shard FROM outbox_relay.positions) AS p")
    assert counts(verify(staying, code=1)) == {"missing": 6}
    bare = merge_columns(staying, created_at="")
    done = bare.command("verify", "--since", "1h")
    assert done.returncode == 2 and "outbox.columns.created_at" in done.stderr
    assert counts(verify(bare, code=1)) == {"missing": 6}


def merge_columns(relay, **columns):
    relay.write_config(outbox={"columns": columns})
    return relay


def test_two_transactions_that_overlapped(staying, empty_database):
    """With positions rows say by whom they were inserted: where that shows that there was no order, none is missed."""
    insert_one = "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('thing', 'k-7', 'Happened')"
    staying.start()
    with empty_database.session(autocommit=False) as late:
        late.execute(insert_one)
        empty_database.execute(insert_one)
        empty_database.wait("SELECT (SELECT count(*) FROM outbox_events) = 1001 AND depth = 0 FROM"
                            " outbox_relay.count_waiting('outbox_events', 1)")
        late.connection.commit()
    empty_database.wait(SETTLED)
    found = verify(staying, code=1)
    assert counts(found) == {"out_of_order": 1}  # its transaction began first, and may have ended first
    assert counts(verify(staying, "--allow-overlaps", "5m", code=0)) == {}
    with empty_database.session(autocommit=False) as early, empty_database.session(autocommit=False) as late:
        early.execute("SELECT pg_current_xact_id()")
        late.execute(insert_one.replace("k-7", "k-8"))
        early.execute(insert_one.replace("k-7", "k-8"))
        early.connection.commit()
        empty_database.wait("SELECT (SELECT count(*) FROM outbox_events) = 1003 AND depth = 0 FROM"
                            " outbox_relay.count_waiting('outbox_events', 1)")
        late.connection.commit()
    empty_database.wait(SETTLED)
    found = verify(staying, code=1)
    assert counts(found) == {"out_of_order": 1} and found["overlapping"] == 1
