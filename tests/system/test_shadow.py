# SPDX-License-Identifier: ISC
"""shadow: publishes every row beside whoever else does, in order, and changes nothing; compare finds both the same."""
import json
import os
import re
import signal

import pytest

from harness.checker import problems
from harness.consumer import Reader
from harness.process import Process
from harness.relay import BINARY, run_relay
from harness.writers import Writers, arrivals, insert

MARK = {"settle": "mark"}
MARKED = "SELECT count(*) = 0 FROM outbox_events WHERE published_at IS NULL"
BEGUN = re.compile("the shadow begins")
ROWS = "SELECT id, ctid::text, xmin::text, xmax::text FROM outbox_events ORDER BY id"


@pytest.fixture
def shadow_topic(kafka, topic, prefix):
    """The live topic and its shadow, with as many partitions."""
    topic()
    kafka.create_topic(f"shadow.{prefix}thing", 4)
    return f"shadow.{prefix}thing"


@pytest.fixture
def shadow_of(directory):
    """shadow_of(relay, ...): a shadow with this relay's configuration, at work."""
    made = []

    def start(relay, *argv, wait=True):
        name = f"shadow{len(made) + 1}"
        made.append(Process(name, [BINARY, "shadow", "-c", relay.config, "--prefix", "shadow.", "--json", *argv],
                            f"{directory}/{name}.log", env=relay.env).start())
        if wait:
            made[-1].wait_log(BEGUN)
        return made[-1]
    yield start
    for process in made:
        process.end(timeout=20)


@pytest.fixture
def records(kafka, shadow_topic):
    reader = Reader(kafka.bootstrap, shadow_topic)
    yield reader
    reader.close()


def finish(process, code=0):
    """Its report, once it has ended; it is told to stop."""
    process.send(signal.SIGTERM)
    assert process.wait(20) == code, process.log()
    log = process.log()
    return json.JSONDecoder().raw_decode(log[log.index("{\n"):])[0]


def once(relay, *argv, code=0):
    done = relay.command("shadow", "--prefix", "shadow.", "--once", "--json", *argv)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


def compare(kafka, prefix, *argv, code=0):
    done = run_relay("compare", "--bootstrap", kafka.bootstrap, "--live", prefix + "thing", "--json", *argv)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_once_from_the_start(empty_database, database, new_relay, records):
    """All rows, as they are; nothing of them changes, and a role that may only read is enough."""
    insert(database, 1000)
    for sql in ("CREATE ROLE looker LOGIN", "GRANT SELECT ON outbox_events TO looker"):
        try:
            database.execute(sql)
        except Exception as there:  # roles are the server's, and another test may have made it
            assert "already exists" in str(there)
    before = database.rows(ROWS)
    relay = new_relay(database={"dsn": database.dsn("looker")})
    done = once(relay, "--from", "start")
    assert (done["published"], done["rejected"], done["finished"], done["position"]) == (1000, 0, True, 1000)
    assert database.rows(ROWS) == before and len(before) == 1000
    taken = records.take(1000)
    rows = dict(database.rows("SELECT event_id::text, aggregate_id FROM outbox_events"))
    assert {record.event_id: record.key.decode() for record in taken} == rows
    assert {name for record in taken for name, _ in record.headers} == {"id", "type"}
    assert once(relay, "--from", "991")["published"] == 10
    assert once(relay)["published"] == 0 and once(relay, "--from", "1001")["published"] == 0


def test_without_our_schema(empty_database, new_relay, records):
    """Before anything was migrated: a first look needs no DDL."""
    empty_database.execute(
        "CREATE TABLE outbox_events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL DEFAULT"
        " gen_random_uuid(), aggregate_type text NOT NULL, aggregate_id text NOT NULL, event_type text NOT NULL,"
        " payload jsonb, headers jsonb, created_at timestamptz NOT NULL DEFAULT clock_timestamp())")
    insert(empty_database, 50)
    relay = new_relay(database={"dsn": empty_database.dsn()})
    assert once(relay, "--from", "start")["published"] == 50
    assert len(records.take(50)) == 50


def test_beside_a_relay(empty_database, migrate, new_relay, shadow_of, kafka, prefix, shadow_topic):
    """Both publish what writers commit, and compare finds no difference, not even in partitions."""
    migrate(outbox=MARK)
    relay = new_relay(outbox=MARK).start()
    shadow = shadow_of(relay)
    with Writers(empty_database, threads=4) as writers:
        writers.wait_committed(500)
    empty_database.wait(MARKED)
    count = empty_database.value("SELECT count(*) FROM outbox_events")
    reader = Reader(kafka.bootstrap, shadow_topic)
    reader.take(count, timeout=60)
    reader.close()
    done = finish(shadow)
    assert (done["published"], done["rejected"], done["finished"]) == (count, 0, False)
    found = compare(kafka, prefix)
    assert (found["compared"], found["good"]) == (count, True)
    by_file = relay.command("compare", "--live", prefix + "thing")
    assert by_file.returncode == 0 and f"compared           {count} events\n" in by_file.stdout, by_file.stderr


def test_what_compare_finds(empty_database, migrate, new_relay, kafka, prefix, shadow_topic):
    """A shadow with another configuration than the relay's."""
    migrate(outbox=MARK)
    relay = new_relay(outbox=MARK).start()
    insert(empty_database, 200)
    empty_database.wait(MARKED)
    other = new_relay(outbox=MARK, route={"topic": prefix + "${aggregate_type}", "key": "${aggregate_type}",
                                          "headers": ["id=${event_id}", "type=${aggregate_type}"]})
    assert once(other, "--from", "start")["published"] == 200
    found = compare(kafka, prefix, code=1)
    assert (found["compared"], found["key_count"], found["headers_count"]) == (200, 200, 200)
    assert (found["value_count"], found["missing_in_shadow_count"], found["order_count"]) == (0, 0, 0)
    assert found["headers"][0]["headers"] == [{"name": "type", "live": "Happened", "shadow": "thing"}]
    assert relay.stop() == 0


def test_long_transactions(empty_database, database, new_relay, shadow_of, records):
    """What commits late with a low id is neither missed nor overtaken."""
    relay = new_relay(route={"headers": ["id=${event_id}", "row=${id}"]})
    shadow = shadow_of(relay, "--from", "start")
    late = [database.server.connect(database.name, autocommit=False) for _ in range(3)]
    sql = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
           " VALUES ('thing', 'one key', 'Happened', '{}')")
    for session in late:
        session.cursor().execute(sql)
    for _ in range(20):
        database.execute(sql)
    # The last one is rolled back; nothing goes out before all have ended.
    for session in late[:2]:
        assert records.poll(0.5) == []
        session.commit()
    assert records.poll(0.5) == []
    late[2].rollback()
    taken = records.take(22)
    assert [int(record.header("row")) for record in taken] == [1, 2, *range(4, 24)]
    for session in late:
        session.close()
    assert finish(shadow)["published"] == 22


def test_writers(empty_database, database, new_relay, shadow_of, records):
    """Many at once, with roll-backs: all that was committed, once, each key in order."""
    shadow = shadow_of(new_relay())
    with Writers(database, threads=6, keys=10) as writers:
        writers.wait_committed(1500)
    count = database.value("SELECT count(*) FROM outbox_events")
    taken = records.take(count, timeout=60)
    assert problems(writers.truth(), arrivals(taken)) == []
    done = finish(shadow)
    assert (done["published"], done["position"]) == (count, database.value("SELECT max(id) FROM outbox_events"))


def test_partitions(empty_database, migrate, new_relay, shadow_of, records):
    """A writer that has its row in a partition is waited for, too."""
    migrate("--partitions", "4")
    shadow = shadow_of(new_relay(), "--from", "start")
    late = empty_database.server.connect(empty_database.name, autocommit=False)
    late.cursor().execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                          " VALUES ('thing', 'k-1', 'Happened', '{}')")
    insert(empty_database, 200)
    assert records.poll(0.5) == []
    late.commit()
    late.close()
    assert len({record.event_id for record in records.take(201)}) == 201
    assert finish(shadow)["published"] == 201


def test_from_now(empty_database, database, new_relay, shadow_of, records):
    """Rows that were there are left out; it says where it begins, and how to go on."""
    insert(database, 100)
    shadow = shadow_of(new_relay())
    assert "begins behind id 100; the table ends at id 100" in shadow.log()
    insert(database, 10)
    assert len(records.take(10)) == 10
    done = finish(shadow)
    assert (done["published"], done["position"]) == (10, 110)
    assert "--prefix shadow. --from 111\n" in shadow.log()


def test_its_log_as_json(empty_database, database, new_relay, records):
    insert(database, 5)
    done = new_relay(log={"format": "json"}).command("shadow", "--prefix", "shadow.", "--from", "start", "--once")
    line = next(json.loads(line) for line in done.stderr.splitlines() if "shadow_begins" in line)
    assert (line["database"], line["outbox"], line["upto"]) == (database.name, "public.outbox_events", 5)
    assert done.stdout == "published  5\nrejected   0\nposition   id 5\n" and len(records.take(5)) == 5


def test_a_lost_session(empty_database, database, new_relay, shadow_of, records):
    """It goes on where it was; what was acknowledged is not published again."""
    shadow = shadow_of(new_relay(), "--rate", "400")
    insert(database, 1000)
    taken = records.take(200)
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                     " WHERE application_name = 'outbox-relay shadow'")
    taken += records.take(800, timeout=60)
    assert len({record.event_id for record in taken}) == 1000
    assert finish(shadow)["published"] == 1000 and records.rest() == []


def test_a_kafka_outage(empty_database, database, new_relay, shadow_of, records, kafka):
    shadow = shadow_of(new_relay())
    insert(database, 100)
    records.take(100)
    kafka.stop()
    insert(database, 100)
    kafka.start()
    taken = records.take(100, timeout=60)
    assert len({record.event_id for record in taken}) == 100
    assert finish(shadow)["published"] == 200


def test_a_rejected_event(empty_database, database, new_relay, records):
    """It is told, counted and left out."""
    insert(database, 10)
    insert(database, 1, aggregate_type="no topic!")
    insert(database, 10)
    done = once(new_relay(), "--from", "start", code=1)
    assert (done["published"], done["rejected"], done["position"]) == (20, 1, 21)
    assert len(records.take(20)) == 20
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0


def test_it_waits_aloud(empty_database, database, new_relay, shadow_of):
    """For a transaction that writes, at a glance."""
    session = database.server.connect(database.name, autocommit=False)
    session.cursor().execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                             " VALUES ('thing', 'k', 'Happened', '{}')")
    shadow = shadow_of(new_relay(), wait=False)
    shadow.wait_log(re.compile("the shadow waits for 1 transactions"), timeout=40)
    assert not BEGUN.search(shadow.log())
    session.rollback()
    shadow.wait_log(BEGUN)
    session.close()
    assert finish(shadow)["published"] == 0


@pytest.mark.parametrize("argv, words", [
    ([], "--prefix is missing"),
    (["--prefix", ""], "may begin"),
    (["--prefix", "a b"], "may begin"),
    (["--prefix", "__"], "may begin"),
    (["--prefix", "a.", "--from", "there"], "none of start, now, and an id"),
    (["--prefix", "a.", "--rate", "-1"], "whole number"),
])
def test_usage(new_relay, argv, words):
    done = new_relay().command("shadow", *argv)
    assert done.returncode == 2 and words in done.stderr, done.stderr


@pytest.mark.parametrize("argv", [("shadow", "--prefix", "a."), ("compare",)])
def test_embedded(new_relay, argv):
    done = new_relay(kafka={"embedded": True}).command(*argv)
    assert done.returncode == 2 and "kafka.embedded keeps its topics" in done.stderr, done.stderr


def test_no_table(empty_database, new_relay):
    relay = new_relay(database={"dsn": empty_database.dsn()}, outbox={"table": "nothing"})
    done = relay.command("shadow", "--prefix", "shadow.", "--once")
    assert done.returncode == 1 and '"nothing" does not exist' in done.stderr, done.stderr


def test_a_standby(empty_database, database, new_relay, postgres, directory):
    standby = postgres.clone(os.path.join(directory, "standby")).start()
    try:
        relay = new_relay(database={"dsn": standby.dsn(database.name)})
        done = relay.command("shadow", "--prefix", "shadow.", "--once")
        assert done.returncode == 1 and "is a standby" in done.stderr, done.stderr
    finally:
        standby.stop("immediate")
        standby.remove()


def test_nothing_is_left_behind(empty_database, database, new_relay, shadow_of, records):
    """No lock on the table but that of a reader, and no row of ours anywhere."""
    shadow = shadow_of(new_relay(), "--from", "start")
    insert(database, 100)
    records.take(100)
    held = "SELECT DISTINCT mode FROM pg_locks WHERE relation = 'outbox_events'::regclass AND pid IN" \
           " (SELECT pid FROM pg_stat_activity WHERE application_name = 'outbox-relay shadow')"
    for _ in range(20):
        assert {mode for mode, in database.rows(held)} <= {"AccessShareLock"}
    assert database.value("SELECT count(*) FROM outbox_events") == 100
    assert database.value("SELECT count(*) FROM outbox_relay.replays") == 0
    assert database.value("SELECT count(*) FROM outbox_relay.operator_actions") == 0
    finish(shadow)


def test_what_is_no_event_and_a_topic_by_a_rule(empty_database, migrate, new_relay, kafka, prefix):
    """outbox.where holds for a shadow, too, and no name of a topic is without the prefix, be it renamed or not."""
    migrate()
    for kind in ("thing", "other", "draft"):
        empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                               " VALUES (%s, 'k', 'made', '1')", kind)
    names = [f"shadow.{prefix}renamed.thing", "shadow.other"]
    for name in names:
        kafka.create_topic(name, 1)
    relay = new_relay(outbox={"where": "aggregate_type <> 'draft'"},
                      route={"topic": "${aggregate_type}", "topic_regex": "(thing)",
                             "topic_replacement": prefix + "renamed.$1"})
    assert once(relay, "--from", "start")["published"] == 2
    for name in names:
        reader = Reader(kafka.bootstrap, name)
        assert len(reader.take(1)) == 1
        reader.close()
