# SPDX-License-Identifier: ISC
"""replay: which published rows it publishes once more, in what order and how fast, and that no interruption loses any."""
import json
import re
import signal

import pytest

from harness.process import Process
from harness.relay import BINARY
from harness.terminal import Terminal
from harness.waiting import until
from harness.writers import insert

MARK = {"settle": "mark"}
MARKED = "SELECT count(*) = 0 FROM outbox_events WHERE published_at IS NULL"


def replay(relay, *argv, code=0):
    done = relay.command("replay", "--json", *argv)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


def refused(relay, *argv, code=1):
    done = relay.command("replay", *argv)
    assert done.returncode == code, done.stderr + done.stdout
    return done.stderr


def number_of(record):
    """Which replay a record is of; None: of none."""
    return dict(record.headers).get("outbox-relay-replay")


@pytest.fixture
def relay(empty_database, migrate, new_relay, topic):
    """A relay in mark mode that has published 1,000 events on 100 keys, in two halves, and is at work."""
    topic()
    topic("again")
    migrate(outbox=MARK)
    relay = new_relay(outbox=MARK).start()
    for _ in range(2):
        insert(empty_database, 500)
        empty_database.wait(MARKED)
    return relay


@pytest.fixture
def rows(empty_database, relay):
    """What was published: (id, event_id, key), in order."""
    return empty_database.rows("SELECT id, event_id::text, aggregate_id FROM outbox_events ORDER BY id")


@pytest.fixture
def records(relay, reader):
    """The records so far are taken; records(): those that are new since the last call."""
    consumer = reader()
    consumer.take(1000)
    return consumer.rest


def by_key(pairs):
    order = {}
    for key, event_id in pairs:
        order.setdefault(key, []).append(event_id)
    return order


def check(records, rows, number):
    """Exactly these rows, each key in order, and each says which replay it is of."""
    assert {number_of(record) for record in records} <= {str(number).encode()}
    assert by_key((record.key.decode(), record.event_id) for record in records) == \
        by_key((key, event_id) for _, event_id, key in rows)


def begin(relay, directory, *argv, name="replay"):
    """A replay in the background; once it is at work."""
    process = Process(name, [BINARY, "replay", "-c", relay.config, "--json", *argv], f"{directory}/{name}.log",
                      env=relay.env)
    return process.start()


def position(database, number=1):
    return database.value("SELECT coalesce((SELECT position FROM outbox_relay.replays WHERE number = %s), 0)", number)


def wait_position(database, least, number=1):
    """What a test does then, it does to a replay at work: its rate leaves a busy machine the time."""
    until(lambda: position(database, number) >= least, 30, f"position {least}")


def kill(database, process):
    """kill -9; once its session has ended, too, nobody is at work."""
    process.kill()
    database.wait("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'outbox-relay replay'")


SELECTIONS = [
    (["--all"], lambda rows: rows),
    (["--from-id", "101", "--to-id", "350"], lambda rows: rows[100:350]),
    (["--from-id", "901"], lambda rows: rows[900:]),
    (["--from-id", "-9223372036854775808", "--to-id", "9223372036854775807"], lambda rows: rows),
    (["--key", "k-7"], lambda rows: [row for row in rows if row[2] == "k-7"]),
    (["--key", "k-7", "--to-id", "500"], lambda rows: [row for row in rows[:500] if row[2] == "k-7"]),
    (["--since", "SECOND"], lambda rows: rows[500:]),
    (["--until", "SECOND", "--from-id", "400"], lambda rows: rows[399:500]),
    (["--since", "2h"], lambda rows: rows),
    (["--event-id", "ID3", "--event-id", "ID700"], lambda rows: [rows[2], rows[699]]),
    (["--key", "nobody"], lambda rows: []),
    (["--until", "2h"], lambda rows: [])]


def test_selections(relay, rows, records, empty_database):
    """Each condition, and several together; --dry-run says the same beforehand and does nothing."""
    second = empty_database.value("SELECT min(published_at)::text FROM outbox_events WHERE id > 500")
    for argv, choose in SELECTIONS:
        argv = [{"SECOND": second, "ID3": rows[2][1], "ID700": rows[699][1]}.get(word, word) for word in argv]
        wanted = choose(rows)
        made = empty_database.value("SELECT count(*) FROM outbox_relay.replays")
        code = 0 if wanted else 1
        told = replay(relay, *argv, "--dry-run", code=code)
        assert told["events"] == len(wanted) and told["dry_run"] and "replay" not in told, argv
        assert records() == [] and empty_database.value("SELECT count(*) FROM outbox_relay.replays") == made
        done = replay(relay, *argv, "--rate", "0", code=code)
        assert {name: done[name] for name in told if name != "dry_run"} == \
            {name: told[name] for name in told if name != "dry_run"}
        if wanted:
            assert (told["first_id"], told["last_id"]) == (wanted[0][0], wanted[-1][0])
            assert sum(told["topics"].values()) == len(wanted)
            assert (done["published"], done["rejected"], done["finished"]) == (len(wanted), 0, True)
        check(records(), wanted, done.get("replay"))
    # What stands in a row of another operator's is a value and no SQL; and no position lies below the lowest id.
    number = empty_database.value("INSERT INTO outbox_relay.replays (outbox, selection, since, until, first_id, last_id, events, position)"
                                  " VALUES ('outbox_events', '{\"from_id\": \"1 OR true\"}', NULL, now(), 1, 1000, 1000, 0) RETURNING number")
    assert "has a selection that cannot be read" in refused(relay, "--resume", str(number)) and records() == []
    empty_database.execute("INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, published_at)"
                           " VALUES (-9223372036854775808, 'thing', 'k', 'E', clock_timestamp())")
    assert "has the lowest id there can be" in refused(relay, "--to-id", "0")


def test_in_words(relay, records, directory, prefix):
    """The count, and on a terminal how far it is."""
    done = relay.command("replay", "--dry-run", "--to-id", "10")
    assert re.search(rf"^events     10\nfirst      id 1, published \S+ \S+\nlast       id 10, published .*\n"
                     rf"topic      {re.escape(prefix)}thing: 10\n$", done.stdout), done.stdout
    terminal = Terminal(directory, columns=120, env=relay.env)
    try:
        terminal.run(BINARY, "replay", "-c", relay.config, "--all", "--rate", "200")
        shown = until(lambda: re.search(r"\d+ of 1000 events, \d+/s, \d+ s left", terminal.text()), 20, "the progress")
        assert shown
        assert "published  1000" in terminal.wait("position   id 1000")
    finally:
        terminal.quit()


def test_another_topic(relay, rows, records, reader, prefix, empty_database):
    """--to-topic; what the rows say is otherwise the same, and no row has changed."""
    before = empty_database.rows("SELECT xmin::text, id FROM outbox_events ORDER BY id")
    done = replay(relay, "--to-id", "200", "--to-topic", prefix + "again")
    assert done["topics"] == {prefix + "again": 200} and done["to_topic"] == prefix + "again"
    again = reader("again").rest()
    check(again, rows[:200], done["replay"])
    assert again[0].json == {"n": 1} and again[0].header("type") == "Happened"
    assert records() == [] and empty_database.rows("SELECT xmin::text, id FROM outbox_events ORDER BY id") == before
    assert "no legal name" in refused(relay, "--all", "--to-topic", "a b", code=2)


def finish(process, code, timeout=60):
    """Its exit status is this; the JSON that it wrote."""
    assert process.wait(timeout) == code, process.log()
    log = process.log()
    return json.loads(log[log.index("{"):log.rindex("}") + 1])


def repeats_of(records):
    """How many records came more than once."""
    ids = [record.event_id for record in records]
    return len(ids) - len(set(ids))


def first_of_each(records):
    seen = set()
    return [record for record in records if record.event_id not in seen and not seen.add(record.event_id)]


def test_killed_and_resumed(relay, rows, records, empty_database, directory):
    """kill -9 in the middle, twice; then --resume: nothing is missing, and no more than a batch is repeated each time."""
    batch = 200 // 4
    process = begin(relay, directory, "--all", "--rate", "200")
    for least, argv in ((200, ["--resume", "1", "--rate", "200"]), (500, None)):
        wait_position(empty_database, least)
        kill(empty_database, process)
        done = refused(relay, "--all")
        assert f"was stopped behind id {position(empty_database)}; go on with it by --resume 1" in done
        if argv:
            process = begin(relay, directory, *argv, name="again")
    done = replay(relay, "--resume", "1", "--rate", "0")
    assert done["finished"] and done["position"] == 1000 and done["replay"] == 1
    found = records()
    assert repeats_of(found) <= 2 * batch
    check(first_of_each(found), rows, 1)
    assert "replay 1 is finished" in refused(relay, "--resume", "1")
    assert replay(relay, "--all", "--dry-run")["events"] == 1000  # and a new one may begin
    said = [row[0] for row in empty_database.rows(
        "SELECT detail FROM outbox_relay.operator_actions WHERE action = 'replay' ORDER BY number")]
    assert said[0] == 'replay 1 begun: 1000 events, {"all":true}' and said[1].startswith("replay 1 resumed behind id ")
    assert said[-1].startswith("replay 1 finished: ")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(relay, rows, records, empty_database, directory, signum):
    """^C settles what is in flight: nothing is repeated. It says how to go on, and so does one that begins anew."""
    process = begin(relay, directory, "--all", "--rate", "200")
    wait_position(empty_database, 200)
    process.send(signum)
    stopped = finish(process, 1)
    assert not stopped["finished"] and stopped["position"] == stopped["published"] < 1000
    assert f"outbox-relay replay -c {relay.config} --resume 1" in process.log()
    assert "--anew" in refused(relay, "--all")
    done = replay(relay, "--resume", "1", "--rate", "0")
    assert (done["published"], done["finished"]) == (1000, True)
    check(records(), rows, 1)


def test_a_new_one_in_place_of_one_that_was_stopped(relay, rows, records, empty_database, directory):
    """--anew begins with the first row again. Only one session works on a replay, and on the same rows."""
    process = begin(relay, directory, "--all", "--rate", "50")
    wait_position(empty_database, 100)
    assert "replay 1 of the same rows is at work" in refused(relay, "--all")
    assert "replay 1 of the same rows is at work" in refused(relay, "--all", "--anew")
    assert "replay 1 is at work in another session" in refused(relay, "--resume", "1")
    assert replay(relay, "--to-id", "10", "--rate", "0")["replay"] == 2  # of others
    process.send(signal.SIGINT)
    finish(process, 1)
    records()
    done = replay(relay, "--all", "--anew", "--rate", "0")
    assert (done["replay"], done["published"]) == (3, 1000)
    check(records(), rows, 3)


def test_a_time_ago_is_another_one_each_time(relay, empty_database, directory):
    """What is left of "2h" of last week is not in the way of today's; a point in time is the same in other words."""
    def stop(number, *argv):
        process = begin(relay, directory, *argv, "--rate", "50", name=f"replay{number}")
        wait_position(empty_database, 20, number)
        process.send(signal.SIGINT)
        finish(process, 1)
    stop(1, "--since", "2h")
    assert replay(relay, "--since", "2h", "--rate", "0")["replay"] == 2
    stop(3, "--until", "2100-01-01 00:00+00")
    assert "replay 3 of the same rows was stopped" in refused(relay, "--until", "2100-01-01T01:00+01")
    stop(4, "--all")  # when it ends was not asked for
    assert "replay 4 of the same rows was stopped" in refused(relay, "--all")
    empty_database.execute("INSERT INTO outbox_relay.replays (outbox, selection, until, first_id, last_id, events, position)"
                           " VALUES ('outbox_events', '7', now(), 1, 1000, 1000, 0)")
    assert replay(relay, "--until", "2100-01-02 00:00+00", "--rate", "0")["published"] == 1000


def test_kafka_stops_meanwhile(relay, rows, records, empty_database, directory, kafka):
    """For a while, with events in flight: it goes on by itself, and nothing is missing."""
    process = begin(relay, directory, "--all", "--rate", "100")
    wait_position(empty_database, 200)
    kafka.stop()
    process.wait_log(re.compile("no Kafka broker answers"), 60)
    assert process.alive
    kafka.start()
    done = finish(process, 0, 90)
    assert done["finished"] and done["position"] == 1000
    check(first_of_each(records()), rows, done["replay"])


@pytest.mark.parametrize("lost", [False, True])
def test_kafka_is_silent(relay, rows, records, empty_database, directory, kafka, new_relay, lost):
    """With a batch in flight: the position stays before it. Kafka gets it in the end, or never, and nobody is left who
    knows of it: nothing is missing, and a batch is repeated at most."""
    quick = new_relay(outbox={**MARK, "stall_timeout": "1s"})
    batch = 200 // 4
    process = begin(quick, directory, "--all", "--rate", "200")
    wait_position(empty_database, 200)
    kafka.pause()
    process.wait_log(re.compile("Kafka has acknowledged nothing"), 30)
    at = position(empty_database)
    if lost:
        kill(empty_database, process)
        kafka.kill()
        kafka.start()
        done = replay(quick, "--resume", "1", "--rate", "0")
    else:
        kafka.resume()
        done = finish(process, 0)
    assert at <= 1000 - batch and done["finished"]
    found = records()
    assert repeats_of(found) <= (batch if lost else 0)
    check(first_of_each(found), rows, 1)


def test_the_database_ends_the_session(relay, rows, records, empty_database, directory):
    """It opens another one, and repeats nothing: it knows what it has published."""
    process = begin(relay, directory, "--all", "--rate", "400")
    for least in (100, 400, 700):
        wait_position(empty_database, least)
        empty_database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                               " WHERE application_name = 'outbox-relay replay' AND datname = current_database()")
    done = finish(process, 0)
    assert (done["published"], done["finished"]) == (1000, True)
    check(records(), rows, done["replay"])
    gone = re.findall("the session with the database is gone: (.*); reconnecting", process.log())
    assert gone and all(re.match("FATAL|SSL|server closed|terminating", why) for why in gone), process.log()


def test_pace(relay, records, empty_database, directory):
    """No more than --rate, over the whole and at any moment: a batch is a quarter of a second's."""
    done = replay(relay, "--to-id", "300", "--rate", "200")
    took = empty_database.value("SELECT extract(epoch FROM finished_at - started_at)::float8 FROM outbox_relay.replays")
    assert done["published"] == 300 and took >= (300 - 50) / 200
    process = begin(relay, directory, "--all", "--rate", "40")
    wait_position(empty_database, 10, number=2)
    at = position(empty_database, 2)
    ran = empty_database.value("SELECT extract(epoch FROM clock_timestamp() - started_at)::float8"
                               " FROM outbox_relay.replays WHERE number = 2")
    assert at <= 10 + 40 * ran
    process.send(signal.SIGINT)
    finish(process, 1)


def test_beside_a_live_relay(relay, rows, records, empty_database, directory):
    """New events go out meanwhile, once, without the header; the replay leaves them out. verify counts replays."""
    process = begin(relay, directory, "--all", "--rate", "100")
    wait_position(empty_database, 100)
    insert(empty_database, 300, key="new")
    empty_database.wait(MARKED)
    assert position(empty_database) < 1000
    done = finish(process, 0)
    assert done["published"] == 1000
    found = records()
    check([record for record in found if number_of(record)], rows, done["replay"])
    fresh = [record for record in found if number_of(record) is None]
    assert len(fresh) == 300 and all(record.key.startswith(b"new-") for record in fresh)
    verified = relay.command("verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    told = json.loads(verified.stdout)
    assert (told["replays"], told["repeated_count"], told["missing_count"]) == (1000, 0, 0)


def test_while_the_outbox_is_paused(relay, rows, records, empty_database):
    """New events wait, so that none comes between; the replay goes on."""
    assert relay.command("pause").returncode == 0
    insert(empty_database, 50, key="new")
    done = replay(relay, "--all", "--rate", "0")
    assert done["published"] == 1000
    check(records(), rows, done["replay"])
    assert relay.command("resume").returncode == 0
    empty_database.wait(MARKED)


def test_what_was_not_published(relay, rows, records, empty_database):
    """Rows that wait, and events that lie in dead_letters though their rows are marked, are left out."""
    assert relay.stop() == 0
    insert(empty_database, 20)
    empty_database.execute("INSERT INTO outbox_relay.dead_letters (outbox, id, event_id) SELECT 'outbox_events', id,"
                           " event_id FROM outbox_events WHERE id IN (3, 500)")
    done = replay(relay, "--all", "--rate", "0")
    assert done["events"] == 998
    check(records(), [row for row in rows if row[0] not in (3, 500)], done["replay"])


@pytest.fixture
def rejecting(relay, records, empty_database):
    """rejecting(event_id): the relay has moved aside an event with this event id whose headers are none; the event's id."""
    empty_database.execute("ALTER TABLE outbox_events ALTER event_id DROP DEFAULT, ALTER event_id TYPE text")
    assert relay.stop() == 0
    relay.start()

    def reject(event_id):
        id_ = empty_database.value("INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload, headers)"
                                   " VALUES (%s, 'thing', 'k-7', 'Happened', '\"old\"', '[]') RETURNING id", event_id)
        empty_database.wait(f"SELECT count(*) > 0 FROM outbox_relay.dead_letters WHERE id = {id_}")
        return id_
    return reject


def test_an_event_that_was_edited(relay, records, rejecting, empty_database):
    """Its row stays, and has what was never published: no replay publishes that, and verify knows of the other one."""
    id_ = rejecting("edited")
    assert replay(relay, "--from-id", str(id_), code=1)["events"] == 0
    for argv in (["edit", "--headers", "null", "--id", str(id_)], ["retry", "--all"]):
        done = relay.command("dlq", *argv)
        assert done.returncode == 0, done.stderr + done.stdout
    assert [record.event_id for record in records()] == ["edited"]
    assert replay(relay, "--from-id", str(id_), code=1)["events"] == 0
    assert replay(relay, "--event-id", "edited", code=1)["events"] == 0
    assert records() == [] and empty_database.value("SELECT count(*) FROM outbox_events") == 1001
    done = relay.command("verify", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["unknown"] == 0, done.stdout


def test_a_long_event_id(relay, records, rejecting, empty_database):
    """Of a letter the first 600 characters are kept in place: replay and verify leave its row out, before and after a discard."""
    id_ = rejecting("e" * 700)
    for argv in (["verify"], ["dlq", "discard", "--event-id", "e" * 700], ["verify"]):
        assert replay(relay, "--from-id", str(id_), code=1)["events"] == 0
        done = relay.command(*argv)
        assert done.returncode == 0, done.stderr + done.stdout
    assert records() == []


def test_a_rejected_event(relay, rows, records, empty_database, new_relay, prefix):
    """It is named, counted and left out; the others of its batch and its key arrive once, in order. Status 1."""
    strict = new_relay(outbox=MARK, route={"topic": prefix + "${event_type}"})
    empty_database.execute("UPDATE outbox_events SET event_type = CASE WHEN id IN (7, 300) THEN 'a b' ELSE 'thing' END")
    done = strict.command("replay", "--json", "--all", "--rate", "0")
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["finished"], done.stderr
    assert (told["published"], told["rejected"], told["position"]) == (998, 2, 1000)
    assert "event 7 is rejected (topic)" in done.stderr and "the replay leaves it out" in done.stderr
    assert empty_database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0
    check(records(), [row for row in rows if row[0] not in (7, 300)], told["replay"])


def test_rows_that_are_purged_meanwhile(relay, rows, records, empty_database, directory):
    """They are not published, and the count says so."""
    process = begin(relay, directory, "--all", "--rate", "150")
    wait_position(empty_database, 100)
    empty_database.execute("DELETE FROM outbox_events WHERE id > 700")
    done = finish(process, 0)
    assert done["finished"] and done["events"] == 1000 and done["published"] == 700
    check(records(), rows[:700], done["replay"])


def test_partitions(empty_database, migrate, new_relay, topic, reader):
    """In order of the ids over all of them."""
    topic()
    migrate("--partitions", "3", outbox=MARK)
    relay = new_relay(outbox=MARK).start()
    insert(empty_database, 300)
    empty_database.wait(MARKED)
    assert relay.stop() == 0
    consumer = reader()
    consumer.take(300)
    rows = empty_database.rows("SELECT id, event_id::text, aggregate_id FROM outbox_events ORDER BY id")
    done = replay(relay, "--from-id", "11", "--rate", "400")
    check(consumer.rest(), rows[10:], done["replay"])


@pytest.mark.parametrize("payload", ["bytea", "text"])
def test_values_are_the_same(empty_database, migrate, new_relay, topic, reader, payload):
    """Byte for byte, with tombstones, headers and large ones."""
    topic()
    migrate(outbox=MARK)
    empty_database.execute(f"ALTER TABLE outbox_events ALTER payload TYPE {payload} USING NULL")
    relay = new_relay(outbox={**MARK, "batch_bytes": "100KiB"}).start()
    empty_database.execute(
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers) SELECT 'thing', 'k', 'e',"
        f" CASE WHEN n % 5 > 0 THEN repeat('x' || n, n * 400)::{payload} END, '{{\"a\": \"1\"}}'"
        " FROM generate_series(1, 40) n")
    empty_database.wait(MARKED)
    assert relay.stop() == 0
    consumer = reader()
    first = consumer.take(40)
    done = replay(relay, "--all", "--rate", "0")
    again = consumer.rest()
    assert [(r.key, r.value) for r in again] == [(r.key, r.value) for r in first]
    assert [sorted(r.headers) for r in again] == \
        [sorted(r.headers + [("outbox-relay-replay", str(done["replay"]).encode())]) for r in first]


def test_operators_and_others(relay, rows, records, empty_database, new_relay):
    """outbox_operator may replay and may not change rows; a writer is told whom to connect as."""
    for name, group in (("alice", "outbox_operator"), ("bob", "outbox_writer")):
        empty_database.execute(f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN; GRANT {group} TO {name}")
    alice, bob = (new_relay(outbox=MARK, database={"dsn": empty_database.dsn(name)}) for name in ("alice", "bob"))
    check(records(), [], 0)
    done = replay(alice, "--to-id", "5", "--rate", "0")
    check(records(), rows[:5], done["replay"])
    assert empty_database.rows("SELECT DISTINCT r.role, a.role FROM outbox_relay.replays r, outbox_relay.operator_actions a"
                               " WHERE a.action = 'replay'") == [("alice", "alice")]
    last = relay.status()["operator_actions"][0]
    assert last["action"] == "replay" and last["role"] == "alice" and last["detail"].startswith("replay 1 finished")
    assert "connect as a member of the role outbox_operator or outbox_relay" in refused(bob, "--all")


def test_delete_mode(database, new_relay):
    """It says what can be done instead."""
    words = refused(new_relay(), "--all")
    assert 'outbox.settle is "delete"' in words and "offsets" in words and "verify" in words
    assert "fix outbox.settle, or run outbox-relay migrate" in refused(new_relay(outbox=MARK), "--all")


@pytest.mark.parametrize("argv, words", [
    ([], "no rows are selected"), (["--rate", "5"], "no rows are selected"),
    (["--all", "--to-id", "5"], "--all is every published row"), (["--from-id", "x"], '--from-id "x" is no whole number'),
    (["--rate", "-1", "--all"], '--rate "-1" is no whole number'), (["--resume", "0"], "from 1 to 2147483647"),
    (["--resume", "1", "--all"], "only --rate"), (["--resume", "1", "--dry-run"], "only --rate"),
    (["--all", "--to-topic", ".."], "no legal name"), (["--all", "more"], "unexpected argument")])
def test_wrong_usage(new_relay, argv, words):
    assert words in refused(new_relay(outbox=MARK), *argv, code=2)


@pytest.mark.parametrize("argv, words", [
    (["--since", "yesterdy"], '"yesterdy" is no point in time'), (["--until", "infinity"], "is no point in time"), (["--event-id", "abc"], "invalid input syntax for type uuid"),
    (["--resume", "4711"], "has no replay 4711")])
def test_what_cannot_be(empty_database, migrate, new_relay, argv, words):
    migrate(outbox=MARK)
    assert words in refused(new_relay(outbox=MARK), *argv)


POSITION = {"settle": "position"}
SETTLED = "SELECT depth = 0 FROM outbox_relay.count_waiting('outbox_events', 1)"


@pytest.fixture
def staying(empty_database, migrate, new_relay, topic, reader):
    """A relay by positions that has published 1,000 events on 100 keys, in two halves, and is at work; rows and records as
    the fixtures of these names."""
    topic()
    topic("again")
    migrate(outbox=POSITION)
    relay = new_relay(outbox=POSITION).start()
    for _ in range(2):
        insert(empty_database, 500)
        empty_database.wait(SETTLED)
    consumer = reader()
    consumer.take(1000)
    return relay, empty_database.rows("SELECT id, event_id::text, aggregate_id FROM outbox_events ORDER BY id"), consumer.rest


def test_a_history_by_positions(staying, empty_database, reader, prefix):
    """The same selections; times are those of created_at. Rows stay as they are; what waits is left out."""
    relay, rows, records = staying
    empty_database.execute("UPDATE outbox_events SET created_at = created_at + interval '1 s' WHERE id > 500")
    second = empty_database.value("SELECT min(created_at)::text FROM outbox_events WHERE id > 500")
    before = empty_database.rows("SELECT xmin::text, id FROM outbox_events ORDER BY id")
    for argv, choose in SELECTIONS:
        argv = [{"SECOND": second, "ID3": rows[2][1], "ID700": rows[699][1]}.get(word, word) for word in argv]
        wanted = choose(rows)
        code = 0 if wanted else 1
        assert replay(relay, *argv, "--dry-run", code=code)["events"] == len(wanted), argv
        done = replay(relay, *argv, "--rate", "0", code=code)
        assert not wanted or (done["published"], done["finished"]) == (len(wanted), True)
        check(records(), wanted, done.get("replay"))
    replay(relay, "--to-id", "200", "--to-topic", prefix + "again")
    assert len(reader("again").rest()) == 200 and records() == []
    assert empty_database.rows("SELECT xmin::text, id FROM outbox_events ORDER BY id") == before
    assert relay.stop() == 0
    insert(empty_database, 20)
    assert replay(relay, "--all", "--dry-run")["events"] == 1000
    done = relay.command("replay", "--all", "--dry-run")
    assert f"first      id 1, created " in done.stdout, done.stdout


def test_positions_go_on_meanwhile(staying, empty_database, directory):
    """A replay is of what was published when it began, and is resumed; what was settled ahead is published though that is
    not noted any more."""
    relay, rows, records = staying
    assert relay.stop() == 0
    empty_database.execute("WITH t AS (INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) SELECT 'thing',"
                           " 'ahead', 'Happened', '{}' FROM generate_series(1, 10) RETURNING id, event_id) INSERT INTO"
                           " outbox_relay.settled_ahead SELECT 'outbox_events', id, event_id::text FROM t")
    ahead = empty_database.rows("SELECT id, event_id::text, aggregate_id FROM outbox_events WHERE id > 1000 ORDER BY id")
    process = begin(relay, directory, "--all", "--rate", "80")
    wait_position(empty_database, 100)
    relay.start()
    insert(empty_database, 300, key="new")
    empty_database.wait(SETTLED)
    empty_database.wait("SELECT count(*) = 0 FROM outbox_relay.settled_ahead")
    assert position(empty_database) < 1000
    done = finish(process, 0)
    assert done["published"] == 1010
    found = records()
    check([record for record in found if number_of(record)], rows + ahead, done["replay"])
    assert len([record for record in found if number_of(record) is None]) == 300
    process = begin(relay, directory, "--all", "--rate", "200", name="second")
    wait_position(empty_database, 200, number=2)
    kill(empty_database, process)
    done = replay(relay, "--resume", "2", "--rate", "0")
    assert (done["finished"], done["position"]) == (True, 1310)
    check(first_of_each(records()), empty_database.rows("SELECT id, event_id::text, aggregate_id FROM outbox_events"
                                                        " ORDER BY id"), 2)


def test_withdrawn_rows_stay_in_the_outbox(staying, empty_database):
    """Edited, discarded or taken out: the row has what was never published, and no replay publishes it; verify does not miss
    it. The note goes with the row."""
    relay, rows, records = staying
    bad = [empty_database.value("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers) VALUES"
                                " ('thing', %s, 'Happened', '\"old\"', '[]') RETURNING id", key) for key in ("k-7", "k-8")]
    empty_database.wait("SELECT count(*) = 2 FROM outbox_relay.dead_letters")
    assert replay(relay, "--from-id", str(bad[0]), code=1)["events"] == 0
    for argv in (["edit", "--headers", "null", "--id", str(bad[0])], ["retry", "--all"], ["discard", "--id", str(bad[1])]):
        done = relay.command("dlq", *argv)
        assert done.returncode == 0 or argv[0] == "retry", done.stderr + done.stdout
    empty_database.wait("SELECT count(*) = 0 FROM outbox_relay.dead_letters")
    assert [record.header("type") for record in records()] == ["Happened"]
    assert relay.stop() == 0
    out = empty_database.value("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('thing', 'k-9', 'Out')"
                               " RETURNING id")
    assert empty_database.value("SELECT outbox_relay.withdraw('outbox_events', %s)", out) == 1
    assert empty_database.value("SELECT outbox_relay.withdraw('outbox_events', %s)", out) == 0
    assert empty_database.value("SELECT outbox_relay.withdraw('outbox_events', 1)") == 0  # it is published
    assert empty_database.value(SETTLED)
    relay.start()
    insert(empty_database, 1)
    empty_database.wait(SETTLED)
    assert len(records()) == 1
    assert replay(relay, "--from-id", "1001", "--rate", "0")["events"] == 1
    assert {row[0] for row in empty_database.rows("SELECT id FROM outbox_relay.withdrawn")} == {*bad, out}
    done = relay.command("verify", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["missing_count"] == 0
    empty_database.execute("DELETE FROM outbox_events WHERE id IN (%s, %s)", bad[1], out)
    empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, headers) VALUES ('thing', 'k', 'H',"
                           " '[]')")
    empty_database.wait("SELECT count(*) = 1 FROM outbox_relay.dead_letters")
    assert relay.command("dlq", "discard", "--key", "k").returncode == 0
    last = empty_database.value("SELECT max(id) FROM outbox_events")
    empty_database.wait(f"SELECT array_agg(id ORDER BY id) = ARRAY[{bad[0]}, {last}]::bigint[] FROM outbox_relay.withdrawn")
