# SPDX-License-Identifier: ISC
"""reconcile: what the topics hold is settled, and the relay publishes the rest; what is not known is refused."""
import json
import os
import signal
import time
from collections import Counter

import psycopg2
import pytest
from confluent_kafka import Producer
from psycopg2.extras import LogicalReplicationConnection

from harness.positions import unsettled, waiting
from harness.postgres import Database, Postgres
from harness.process import Process
from harness.relay import BINARY
from harness.waiting import until
from harness.writers import insert

EVENTS = "SELECT aggregate_id, event_id::text FROM outbox_events ORDER BY id"
ACTIONS = "SELECT action FROM outbox_relay.operator_actions ORDER BY number"
PAUSED = "SELECT paused FROM outbox_relay.outboxes"
ROWS = "SELECT ctid::text, xmin::text, t::text FROM outbox_events AS t ORDER BY id"
HOUR = 3600
PRODUCERS = "SELECT producers::text FROM outbox_relay.outboxes"
RENEW = "SELECT outbox_relay.renew_producers('outbox_events')"


@pytest.fixture
def publish(kafka):
    """publish(topic, [(key, event_id), ...], ...): as another publisher has it. ago: seconds."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 20})

    def send(topic, events, header="id", text="{}", ago=0, **where):
        for key, event_id in events:
            producer.produce(topic, key=key, value=b"{}", headers=[(header, text.replace("{}", event_id))],
                             timestamp=int((time.time() - ago) * 1000), **where)
        assert producer.flush(60) == 0
    return send


def reconcile(relay, *argv, code=0):
    done = relay.command("reconcile", "--json", *argv)
    assert done.returncode == code, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert found["waiting"] == found["published_before"] + found["found"] + found["left"], found
    for name in ("waiting", "published_before", "found", "left"):
        routed = sum(topic[name] for topic in found["topics"])
        assert routed == found[name] or any("routed to no topic" in note for note in found["notes"]), found
    return found


def counts(found):
    return tuple(found[name] for name in ("waiting", "published_before", "found", "left", "settled", "behind"))


def refused(relay, database, *words, argv=(), rows=ROWS):
    """With all of these words, and nothing has changed."""
    before = database.rows(rows), database.value(PAUSED)
    done = relay.command("reconcile", *argv)
    assert done.returncode == 1 and done.stdout == "", done.stdout + done.stderr
    for word in words:
        assert word in done.stderr, (word, done.stderr)
    assert (database.rows(rows), database.value(PAUSED)) == before
    return done.stderr


@pytest.mark.parametrize("settle, options", [
    ("delete", ()), ("mark", ()), ("position", ()), ("delete", ("--partitions", "3")),
    ("mark", ("--partition-by", "id:50"))], ids=["delete", "mark", "position", "by-hash", "by-id"])
def test_the_rest_is_published(empty_database, migrate, new_relay, topic, prefix, publish, reader, settle, options):
    """60 of 100 are in the topic, some twice. A dry run changes nothing; then these are settled, a second run finds
    nothing, and the relay publishes the other 40."""
    name = topic()
    migrate(*options, outbox={"settle": settle})
    insert(empty_database, 100)
    events = empty_database.rows(EVENTS)
    there = [event for n, event in enumerate(events) if n % 5 < 3]
    publish(name, there + there[::7])
    others = [("k-1", "of another"), ("k-2", "db2b5d5e-0000-4000-8000-000000000000")]
    publish(name, others)
    relay = new_relay(outbox={"settle": settle})
    before = empty_database.rows(ROWS)
    dry = reconcile(relay, "--dry-run")
    assert counts(dry) == (100, 0, 60, 40, 0, 0) and dry["dry_run"]
    assert (dry["left_first_id"], dry["left_last_id"]) == (4, 100)
    assert empty_database.rows(ROWS) == before and empty_database.rows(ACTIONS) == []
    found = reconcile(relay)
    assert counts(found) == (100, 0, 60, 40, 60, 0) and found["not_settled"] == 0
    entry, = found["topics"]
    assert entry == {"topic": prefix + "thing", "exists": True, "records": 71, "waiting": 100, "published_before": 0,
                     "found": 60, "left": 40}
    assert waiting(empty_database) == 40
    assert [action for action, in empty_database.rows(ACTIONS)] == ["pause", "reconcile", "resume"]
    assert empty_database.value("SELECT detail FROM outbox_relay.operator_actions WHERE action = 'reconcile'") == (
        "100 waiting, 60 found in the topics, 60 settled, 40 left")
    assert counts(reconcile(relay)) == (40, 0, 0, 40, 0, 0)
    relay.start()
    until(lambda: waiting(empty_database) == 0, 20, "nothing to wait")
    assert Counter(record.event_id for record in reader().rest()) == Counter(
        event_id for _, event_id in [*events, *there[::7], *others])
    assert empty_database.value("SELECT count(*) FROM outbox_events") == (0 if settle == "delete" else 100)


def test_in_words(database, new_relay, topic, publish):
    """Also that the outbox was paused before, and that it is to stay so."""
    name = topic()
    insert(database, 3)
    publish(name, database.rows(EVENTS)[1:])
    relay = new_relay()
    done = relay.command("reconcile", "--stay-paused")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "outbox_events stays paused; `outbox-relay resume` ends it\n"
    for line in ("outbox            outbox_events, settle = delete\n", "waiting           3\n", "found             2\n",
                 "left              1, ids 1 to 1\n", "settled           2\n", "behind            0\n",
                 f"topics            {name}: 2 records; 3 waiting, 2 found, 1 left\n"):
        assert line in done.stdout, (line, done.stdout)
    done = relay.command("reconcile")
    assert done.returncode == 0 and "outbox_events was paused before, and stays so" in done.stderr, done.stderr
    assert database.value(PAUSED)
    assert relay.command("resume").returncode == 0
    done = relay.command("reconcile", "--dry-run")
    assert done.returncode == 0 and done.stderr == "" and "settled " not in done.stdout, done.stderr + done.stdout
    assert relay.command("reconcile", "--dry-run", "--stay-paused").returncode == 2


@pytest.mark.parametrize("header, text", [
    ("id", "{}"), ("id", '"{}"'), ("ce_id", "{}"),
    ("id", '{"schema":{"type":"string","optional":false},"payload":"{}"}')])
def test_headers(database, new_relay, topic, publish, header, text):
    """Text, a string of JSON, JSON with a schema; and a header of another name, without which nothing could be told."""
    name = topic()
    insert(database, 10)
    publish(name, database.rows(EVENTS)[:6], header=header, text=text)
    relay = new_relay()
    if header != "id":
        refused(relay, database, "none of the 6 records", 'has a header "id"', "--id-header")
    assert counts(reconcile(relay, "--id-header", header)) == (10, 0, 6, 4, 6, 0)


def test_the_header_of_the_configuration(database, new_relay, topic, publish):
    name = topic()
    insert(database, 10)
    publish(name, database.rows(EVENTS)[:6], header="event")
    relay = new_relay(route={"headers": ["type=${event_type}", "event=${event_id}"]})
    assert counts(reconcile(relay)) == (10, 0, 6, 4, 6, 0)


def test_published_before(database, new_relay, topic, publish):
    """Older rows count as published, whatever the topics have; these are not read from their beginning."""
    name = topic()
    insert(database, 20)
    database.execute("UPDATE outbox_events SET created_at = now() - interval '5 h' WHERE id <= 8")
    events = database.rows(EVENTS)
    publish(name, [("k", f"old {n}") for n in range(50)], ago=5 * HOUR)
    publish(name, events[12:15])
    relay = new_relay()
    dry = reconcile(relay, "--dry-run")
    assert counts(dry) == (20, 0, 3, 17, 0, 0) and dry["records"] == 53
    found = reconcile(relay, "--published-before", "1h")
    assert counts(found) == (20, 8, 3, 9, 11, 0) and found["records"] == 3
    assert [row_id for row_id, in database.rows("SELECT id FROM outbox_events ORDER BY id")] == [
        9, 10, 11, 12, 16, 17, 18, 19, 20]
    # With all of them counted no topic is read.
    found = reconcile(relay, "--published-before", "0")
    assert counts(found) == (9, 9, 0, 0, 9, 0) and found["records"] == 0 and found["topics"][0]["exists"] is None


def test_times_of_a_column(database, new_relay, topic, publish):
    """Records that have the time of a column may lie anywhere: topics are read from their beginning."""
    name = topic()
    database.execute("ALTER TABLE outbox_events ADD COLUMN happened timestamptz DEFAULT now() - interval '1 day'")
    insert(database, 5)
    publish(name, database.rows(EVENTS)[:3], ago=24 * HOUR)
    relay = new_relay(route={"timestamp": "happened"})
    assert counts(reconcile(relay, "--published-before", "1h")) == (5, 0, 3, 2, 3, 0)


@pytest.mark.xdist_group("strict")
def test_a_topic_that_is_missing(strict, database, new_relay, prefix):
    """None of its rows is published; those of the other topic are told apart."""
    strict.create_topic(prefix + "thing", 4)
    insert(database, 4)
    insert(database, 3, aggregate_type="other")
    events = database.rows(EVENTS)
    producer = Producer({"bootstrap.servers": strict.bootstrap})
    for key, event_id in events[:2]:
        producer.produce(prefix + "thing", key=key, headers=[("id", event_id)])
    assert producer.flush(30) == 0
    relay = new_relay(kafka={"bootstrap_servers": strict.bootstrap})
    found = reconcile(relay)
    assert counts(found) == (7, 0, 2, 5, 2, 0)
    assert {entry["topic"]: entry["exists"] for entry in found["topics"]} == {
        prefix + "thing": True, prefix + "other": False}
    assert f"topic {prefix}other does not exist: none of its 3 rows is published" in found["notes"]
    assert prefix + "other" not in strict.topics()


def test_a_topic_that_has_dropped_records(database, new_relay, topic, publish, kafka):
    """Refused, unless its first record is older than the oldest row; and the ways out."""
    name = topic(partitions=2)
    insert(database, 10)
    database.execute("UPDATE outbox_events SET created_at = now() - interval '1 h'")
    events = database.rows(EVENTS)
    publish(name, events[:2], ago=1800, partition=0)
    publish(name, [("k", "another")], ago=1700, partition=0)
    publish(name, events[2:6], ago=500, partition=0)
    kafka.delete_records(name, 2, before={0: 2, 1: 0})
    relay = new_relay()
    refused(relay, database, f"topic {name}, partition 0, has dropped records: its first is of 20",
            "the oldest row looked up was created at 20", "--published-before a time after the first record",
            "--ignore-retention")
    without = new_relay(outbox={"columns": {"created_at": ""}})
    refused(without, database, "it is not known when the oldest row looked up was created")
    assert without.command("reconcile", "--published-before", "1h").returncode == 2
    assert counts(reconcile(relay, "--dry-run", "--ignore-retention")) == (10, 0, 4, 6, 0, 0)
    # Rows that are younger than the first record can be looked up.
    database.execute("UPDATE outbox_events SET created_at = now() - interval '10 min' WHERE id > 2")
    assert counts(reconcile(relay, "--published-before", "20m")) == (10, 2, 4, 4, 6, 0)
    assert counts(reconcile(relay)) == (4, 0, 0, 4, 0, 0)
    # Nothing is left in it at all.
    kafka.delete_records(name, 2, before={0: 7, 1: 0})
    refused(relay, database, f"topic {name}, partition 0, has dropped records: it has none any more")


def test_a_topic_that_is_compacted(database, new_relay, topic):
    name = topic(cleanup_policy="compact,delete")
    insert(database, 2)
    relay = new_relay()
    refused(relay, database, f"topic {name} is compacted", "--published-before")
    assert counts(reconcile(relay, "--published-before", "0")) == (2, 2, 0, 0, 2, 0)


def test_a_relay_that_runs(database, new_relay, topic):
    """Refused with its name, also while it is paused."""
    topic()
    relay = new_relay().start()
    refused(relay, database, "relay outbox-relay ", "is connected to outbox_events; stop all of its relays")
    assert relay.command("pause").returncode == 0
    insert(database, 3)
    refused(relay, database, "is connected to outbox_events", argv=["--dry-run"])
    assert relay.stop() == 0
    assert reconcile(relay)["waiting"] == 3


@pytest.fixture(scope="module")
def logical_server(world):
    server = Postgres(os.path.join(world, "postgres-logical"), "logical").create()
    with open(os.path.join(server.data, "postgresql.auto.conf"), "a") as conf:
        conf.write("\nwal_level = logical\nwal_sender_timeout = 0\n")
    yield server.start()
    server.remove()


@pytest.fixture
def logical(logical_server, number):
    """A database whose log can be read."""
    database = Database(logical_server, f"logical{number}").create()
    yield database
    database.drop()


@pytest.mark.xdist_group("reconcile_slots")
def test_replication_slots(logical, new_relay, topic, publish):
    """While a connector reads from its slot it is refused; without --slot there is a note. Later its position is
    shown."""
    name = topic()
    relay = new_relay(database={"dsn": logical.dsn("outbox_relay")})
    assert relay.command("migrate", "--dsn", logical.dsn()).returncode == 0
    insert(logical, 5)
    publish(name, logical.rows(EVENTS)[:2])
    logical.execute("CREATE PUBLICATION dbz FOR TABLE outbox_events")
    refused(relay, logical, 'this database has no logical replication slot "connector", and no other',
            argv=["--slot", "connector"])
    connector = psycopg2.connect(logical.dsn(), connection_factory=LogicalReplicationConnection)
    with connector.cursor() as cursor:
        cursor.create_replication_slot("connector", output_plugin="pgoutput")
        cursor.start_replication("connector", options={"proto_version": "1", "publication_names": "dbz"})
        words = refused(relay, logical, "replication slot connector is active: session ", "stop the connector",
                        argv=["--slot", "connector"])
        assert f"session {connector.get_backend_pid()} " in words
        refused(relay, logical, 'slot "other": there are connector; fix --slot', argv=["--slot", "other"])
        dry = reconcile(relay, "--dry-run")
        assert any("replication slot connector is active" in note for note in dry["notes"]) and dry["slot"] is None
    connector.close()
    logical.wait("SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'connector'")
    found = reconcile(relay, "--slot", "connector")
    flushed = logical.value("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'connector'")
    assert counts(found) == (5, 0, 2, 3, 2, 0)
    assert found["slot"] == {"name": "connector", "confirmed_flush_lsn": flushed}
    said = relay.command("reconcile", "--slot", "connector").stdout
    assert f"slot              connector, confirmed up to {flushed}\n" in said
    logical.execute("SELECT pg_drop_replication_slot('connector')")


@pytest.fixture
def halfway(database, new_relay, topic, publish, directory):
    """12,000 rows that are all in the topic, and the command, which has settled 5,000 of them and waits at row 7,000
    until table go has a row."""
    database.execute("CREATE TABLE go (); GRANT SELECT ON go TO PUBLIC;"
                     "CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                     " WHILE OLD.id = 7000 AND NOT EXISTS (SELECT FROM public.go) LOOP PERFORM pg_sleep(0.02);"
                     " END LOOP; RETURN OLD; END $$;"
                     "CREATE TRIGGER wait_here BEFORE DELETE ON outbox_events"
                     " FOR EACH ROW EXECUTE FUNCTION wait_here()")
    name = topic()
    insert(database, 12000)
    publish(name, database.rows(EVENTS))
    relay = new_relay()
    process = Process("reconcile", [BINARY, "reconcile", "-c", relay.config], f"{directory}/reconcile.log",
                      env=relay.env)
    process.start()
    database.wait("SELECT count(*) = 7000 FROM outbox_events", timeout=60)
    database.wait("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND usename ="
                  " 'outbox_relay' AND state = 'active' AND query LIKE 'DELETE FROM %'")
    yield relay, process
    database.execute("INSERT INTO go DEFAULT VALUES")
    process.kill()


def test_killed(halfway, database, reader):
    """What was settled stays so, and the outbox paused; another run settles the rest, and nothing comes twice."""
    relay, process = halfway
    process.kill()
    database.end_relay_sessions()  # it would go on
    database.wait("SELECT count(*) = 0 FROM pg_stat_activity"
                  " WHERE usename = 'outbox_relay' AND datname = current_database()")
    database.execute("INSERT INTO go DEFAULT VALUES")
    assert database.value("SELECT count(*) FROM outbox_events") == 7000 and database.value(PAUSED)
    assert counts(reconcile(relay)) == (7000, 0, 7000, 0, 7000, 0)
    assert database.value(PAUSED) and relay.command("resume").returncode == 0
    relay.start()
    insert(database, 1)
    database.wait_empty()
    assert len(reader().rest()) == 12001


def test_told_to_stop(halfway, database):
    """It finishes the rows it is at, says what was done, and ends the pause."""
    relay, process = halfway
    process.send(signal.SIGINT)
    database.execute("INSERT INTO go DEFAULT VALUES")
    assert process.wait(30) == 1
    log = process.log()
    assert "stopped before it was done" in log and "10000 rows were settled by then" in log, log
    assert "outbox_events is resumed" in log and not database.value(PAUSED), log
    assert database.value("SELECT count(*) FROM outbox_events") == 2000
    assert database.value("SELECT detail FROM outbox_relay.operator_actions WHERE action = 'reconcile'") == (
        "12000 waiting, 12000 found in the topics, 10000 settled, 0 left")
    assert counts(reconcile(relay)) == (2000, 0, 2000, 0, 2000, 0)


def test_a_relay_that_comes_meanwhile(halfway, database, reader):
    """It waits until the pause is over, and publishes nothing twice."""
    relay, process = halfway
    relay.start(wait=False)
    until(lambda: len(relay.status()["relays"]) == 1, 20, "the relay to be there")
    database.execute("INSERT INTO go DEFAULT VALUES")
    assert process.wait(30) == 0, process.log()
    insert(database, 1)
    database.wait_empty()
    assert len(reader().rest()) == 12001


def test_rows_behind_a_published_one(database, new_relay, topic, publish):
    """Told with samples, the lowest first: they are published after it."""
    name = topic()
    insert(database, 6, key="a")
    database.execute("UPDATE outbox_events SET aggregate_id = 'one' WHERE id <= 4")
    events = database.rows(EVENTS)
    publish(name, [events[2], events[4]])
    found = reconcile(new_relay(), "--samples", "1")
    assert counts(found) == (6, 0, 2, 4, 2, 2)
    sample, = found["behind_samples"]
    assert sample == {"id": 1, "event_id": events[0][1], "key": "one", "topic": name, "after_id": 3}
    assert counts(reconcile(new_relay(outbox={"ordering": "none"}))) == (4, 0, 0, 4, 0, 0)


def test_rows_that_others_have_locked(database, new_relay, topic, publish):
    """They stay, and it says so: they would be published again."""
    name = topic()
    insert(database, 5)
    publish(name, database.rows(EVENTS))
    relay = new_relay()
    with database.session(autocommit=False) as other:
        other.execute("SELECT FROM outbox_events WHERE id = 3 FOR UPDATE")
        done = relay.command("reconcile")
        assert done.returncode == 1 and "not settled       1\n" in done.stdout, done.stdout + done.stderr
        assert "other sessions have locked them" in done.stderr and "outbox_events is resumed" in done.stderr
    assert counts(reconcile(relay)) == (1, 0, 1, 0, 1, 0)


def test_a_transaction_that_is_open(database, new_relay, topic, kafka):
    """What is behind its beginning may yet be committed."""
    name = topic(partitions=1)
    insert(database, 2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": name})
    producer.init_transactions(30)
    producer.begin_transaction()
    for key, event_id in database.rows(EVENTS):
        producer.produce(name, key=key, headers=[("id", event_id)])
    assert producer.flush(30) == 0
    relay = new_relay()
    refused(relay, database, f"topic {name}, partition 0, was not read to its end", "transaction stays open")
    producer.abort_transaction(30)
    assert counts(reconcile(relay)) == (2, 0, 0, 2, 0, 0)


def test_a_table_of_its_own(empty_database, new_relay, topic, prefix, publish):
    """Text event ids, a status, no time and no types, as an application made it; some rows without an id, or with
    another's."""
    name = topic("all")
    empty_database.execute(
        "CREATE TABLE box (seq integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text, ref text, body text,"
        " status text NOT NULL DEFAULT 'NEW');"
        "INSERT INTO box (code, ref, body)"
        " SELECT 'event \"' || n || '\"', 'r' || n % 3, 'b' FROM generate_series(1, 20) n;"
        "INSERT INTO box (code, ref, body)"
        " VALUES (NULL, 'r', 'b'), ('event \"1\"', 'r', 'b'), ('event \"19\"', 'r', 'b');"
        "INSERT INTO box (code, ref, body, status) VALUES ('event \"0\"', 'r', 'b', 'SENT')")
    outbox = {"table": "box", "settle": "mark", "published_value": "SENT", "pending_value": "NEW",
              "columns": {"id": "seq", "event_id": "code", "aggregate_type": "", "aggregate_id": "ref",
                          "event_type": "", "payload": "body", "headers": "", "created_at": "",
                          "published_at": "status"}}
    relay = new_relay(outbox=outbox, route={"topic": name})
    done = relay.command("migrate", "--ignore-flag", "--dsn", empty_database.dsn())
    assert done.returncode == 0, done.stderr
    publish(name, [("r", f'event "{n}"') for n in range(11)])
    found = reconcile(relay)
    assert counts(found) == (23, 0, 10, 13, 10, 0)
    assert "1 row without an event id: left, since nothing tells whether they are published" in found["notes"], found
    assert "2 rows with the event id of a row before: left, since one record tells of one row" in found["notes"]
    assert empty_database.rows("SELECT seq FROM box WHERE status = 'NEW' ORDER BY seq") == [(n,) for n in range(11, 24)]


def test_two_rows_with_one_id(empty_database, new_relay, migrate, topic, publish):
    """Only that with the event id that was found is settled."""
    name = topic()
    migrate()
    insert(empty_database, 4)
    events = empty_database.rows(EVENTS)
    empty_database.execute("ALTER TABLE outbox_events DROP CONSTRAINT outbox_events_pkey;"
                           "CREATE INDEX ON outbox_events (id); UPDATE outbox_events SET id = 2 WHERE id = 3")
    publish(name, [events[2]])
    assert counts(reconcile(new_relay())) == (4, 0, 1, 3, 1, 0)
    assert sorted(empty_database.rows(EVENTS)) == sorted(events[:2] + events[3:])


def test_a_number_as_the_event_id(empty_database, migrate, new_relay, topic, publish):
    """It is matched, and a note says what that rests on."""
    name = topic()
    migrate()
    insert(empty_database, 3)
    publish(name, [("k", "2")])
    found = reconcile(new_relay(outbox={"columns": {"event_id": "id"}}))
    assert counts(found) == (3, 0, 1, 2, 1, 0)
    assert any("number of the row (column id)" in note for note in found["notes"])


def test_a_table_with_added_numbers(empty_database, new_relay, topic, publish):
    """Debezium's own columns, adopted: a uuid as the event id, and relay_id."""
    name = topic("order")
    empty_database.execute(
        "CREATE TABLE outboxevent (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregatetype varchar(255) NOT NULL,"
        " aggregateid varchar(255) NOT NULL, type varchar(255) NOT NULL, payload jsonb);"
        "INSERT INTO outboxevent (aggregatetype, aggregateid, type)"
        " SELECT 'order', 'o-' || n, 'E' FROM generate_series(1, 8) n")
    outbox = {"table": "outboxevent",
              "columns": {"id": "relay_id", "event_id": "id", "aggregate_type": "aggregatetype",
                          "aggregate_id": "aggregateid", "event_type": "type", "headers": "", "created_at": ""}}
    relay = new_relay(outbox=outbox)
    done = relay.command("migrate", "--adopt", "--dsn", empty_database.dsn())
    assert done.returncode == 0, done.stderr
    events = empty_database.rows("SELECT aggregateid, id::text FROM outboxevent ORDER BY aggregateid")
    publish(name, events[:5], text='"{}"')
    assert counts(reconcile(relay)) == (8, 0, 5, 3, 5, 0)
    assert empty_database.rows("SELECT aggregateid FROM outboxevent ORDER BY 1") == [("o-6",), ("o-7",), ("o-8",)]


def test_rows_that_can_be_routed_nowhere(database, new_relay, topic):
    """And no events at all, by outbox.where, are none of these."""
    topic()
    insert(database, 2)
    insert(database, 1, aggregate_type="no topic")
    found = reconcile(new_relay())
    assert counts(found) == (3, 0, 0, 3, 0, 0)
    assert "1 row that can be routed to no topic: the relay would reject them" in found["notes"]
    database.execute("UPDATE outbox_relay.outboxes SET condition = 'id = 2'")
    assert reconcile(new_relay(outbox={"where": "id = 2"}))["waiting"] == 1
    refused(new_relay(), database, "was migrated for outbox.where")


def test_who_may(database, new_relay, topic, publish):
    """The relay's role may; an operator may not settle rows, nor may another configuration's relay."""
    name = topic()
    insert(database, 2)
    publish(name, database.rows(EVENTS))
    database.execute("DO $$ BEGIN CREATE ROLE olga LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
                     " GRANT outbox_operator TO olga")
    olga = new_relay(database={"dsn": database.dsn("olga")})
    refused(olga, database, "role olga may not settle rows of table outbox_events; connect as the relay does")
    refused(new_relay(outbox={"settle": "mark"}), database, 'was migrated for outbox.settle = "delete"')
    unreachable = new_relay(kafka={"bootstrap_servers": "127.0.0.1:1"})
    refused(unreachable, database, "127.0.0.1:1")
    assert ("reconcile",) not in database.rows(ACTIONS)
    database.execute("REVOKE outbox_operator FROM olga")


def test_positions_of_another_server(empty_database, migrate, new_relay, topic, publish):
    """They tell nothing of rows: refused with the way out, after which it goes on."""
    name = topic()
    migrate(outbox={"settle": "position"})
    insert(empty_database, 4)
    publish(name, empty_database.rows(EVENTS)[:3])
    empty_database.execute("UPDATE outbox_relay.outboxes SET position_home = 'elsewhere'")
    relay = new_relay(outbox={"settle": "position"})
    refused(relay, empty_database, "are of another server, database or table", "outbox_relay.set_position")
    empty_database.execute("SELECT outbox_relay.set_position('outbox_events', 'start')")
    assert counts(reconcile(relay)) == (4, 0, 3, 1, 3, 0)
    assert unsettled(empty_database) == 1


def test_after_the_loss_of_the_ledger(database, new_relay, topic, ledger, reader):
    """20 events are published; the ledger is lost, and the database has 3 of them again, and 5 that are not published.
    With another ledger the relays begin anew: each event is there once."""
    name = topic()
    relay = new_relay(kafka=ledger).start()
    insert(database, 20)
    database.wait_empty()
    producers = database.value(PRODUCERS)
    with pytest.raises(psycopg2.Error, match="a relay of table .*outbox_events is connected"):
        database.execute(RENEW)
    refused(relay, database, "is connected to outbox_events", argv=["--after-restore"])
    assert relay.stop() == 0
    anew = ["--after-restore"]
    refused(relay, database, f"ledger topic {ledger['ledger_topic']} has records of before", argv=anew)
    insert(database, 8)
    events = reader().rest()
    for at, record in enumerate(events[:3]):
        database.execute("UPDATE outbox_events SET event_id = %s, aggregate_id = %s WHERE id = 21 + %s",
                         record.event_id, record.key.decode(), at)
    relay.write_config(kafka={"ledger_topic": ledger["ledger_topic"] + ".2"})
    refused(relay, database, f"show no ledger topic {ledger['ledger_topic']}.2", "check --create", argv=anew)
    assert "is created" in relay.command("check", "--create").stdout
    relay.start(wait=False)
    relay.wait_log("run `outbox-relay reconcile --after-restore`; see docs/runbooks/ledger-mismatch.md")
    assert relay.stop() == 0
    assert counts(reconcile(relay, "--after-restore", "--dry-run")) == (8, 0, 3, 5, 0, 0)
    assert database.value(PRODUCERS) == producers
    found = reconcile(relay, "--after-restore")
    assert counts(found) == (8, 0, 3, 5, 3, 0) and found["topics"][0]["topic"] == name
    assert found["producers"] == database.value(PRODUCERS) != producers
    assert database.value("SELECT (SELECT count(*) FROM outbox_relay.producers)"
                          " + (SELECT count(*) FROM outbox_relay.producer_shards)") == 0
    assert not database.value("SELECT has_function_privilege('outbox_operator',"
                              " 'outbox_relay.renew_producers(regclass)', 'EXECUTE')")
    relay.start()
    database.wait_empty()
    ids = [record.event_id for record in reader().rest()]
    assert len(ids) == len(set(ids)) == 25
    assert new_relay().command("reconcile", "--after-restore").returncode == 2


def test_many(database, new_relay, topic, publish):
    """100,000 rows, half of them in the topics, in seconds."""
    name = topic()
    insert(database, 100_000)
    events = database.rows(EVENTS)
    publish(name, events[::2])
    begun = time.monotonic()
    found = reconcile(new_relay())
    took = time.monotonic() - begun
    assert counts(found)[:5] == (100_000, 0, 50_000, 50_000, 50_000)
    assert took < 60, took
    assert database.value("SELECT count(*) FROM outbox_events WHERE id % 2 = 1") == 0
