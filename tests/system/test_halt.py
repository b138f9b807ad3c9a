# SPDX-License-Identifier: ISC
"""on_reject = "halt": the relay stays, publishes nothing, says how to go on, and goes on by itself."""
import json
import re
import signal
import subprocess

import pytest

from harness.fleet import wait_spread_for_good
from harness.ports import free_port
from harness.positions import POSITION, wait_nothing_waits
from harness.waiting import until
from harness.writers import insert

HALT = {"on_reject": "halt"}
BAD = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
       " VALUES ('thing', 'bad', 'Bad', '{}', '[]') RETURNING id")


def halted_at(relay, timeout=20):
    """What the relay says of the event, once it has halted."""
    def ask():
        return json.loads(relay.get("/status")[1])["halted_at"]
    return until(ask, timeout, "the relay to halt")


def halts(relays):
    """The events at which relays have halted."""
    said = [json.loads(relay.get("/status")[1])["halted_at"] for relay in relays]
    return [halt["id"] for halt in said if halt]


def wait_going(relay, timeout=20):
    until(lambda: relay.metric("halted") == 0, timeout, "the relay to go on")


def paste(database, statement):
    """As an operator does it."""
    done = subprocess.run(["psql", "-X", "-v", "ON_ERROR_STOP=1", database.dsn()], input=statement + "\n",
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def removed(database, statement):
    """How many events it has taken out: by DELETE, or by a function where rows stay."""
    said = paste(database, statement)
    return int(re.fullmatch(r"DELETE (\d+)|\s*withdraw\s+-+\s+(\d+)\s+\(1 row\)", said).expand(r"\1\2") or 0)


def types_of(records):
    return [record.header("type") for record in records]


@pytest.fixture(params=["delete", "position"])
def halted(request, database, migrate, new_relay, reader, topic):
    """A relay that has published 20 events and halted at the one after; ten of its key and others wait."""
    topic()
    if request.param == "position":
        migrate(outbox=POSITION)
    insert(database, 20)
    bad = database.value(BAD)
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " SELECT 'thing', CASE WHEN n % 2 = 0 THEN 'bad' ELSE 'k' || n END, 'After', '{}'"
                     " FROM generate_series(1, 20) n")
    relay = new_relay(outbox=dict(HALT, settle=request.param), http={"listen": f"127.0.0.1:{free_port()}"}).start(wait=False)
    halt = halted_at(relay)
    assert halt["id"] == bad
    consumer = reader()
    assert len(consumer.take(20)) == 20
    yield relay, halt, consumer
    assert relay.process.alive


def goes_on(database, relay, consumer, expected, beside=""):
    """beside: what /readyz says of a ready relay."""
    wait_going(relay)
    assert types_of(sorted(consumer.take(len(expected)), key=lambda r: r.header("type"))) == sorted(expected)
    wait_nothing_waits(database)
    assert consumer.rest() == []
    assert relay.get("/readyz") == (200, "ready\n" + beside)


def test_it_says_so(database, halted):
    """Everywhere an operator looks: table, key, event id, what is wrong, what to do."""
    relay, halt, consumer = halted
    event_id = database.value("SELECT event_id FROM outbox_events WHERE id = %s", halt["id"])
    assert halt["event_id"] == event_id
    assert (halt["table"], halt["key"]) == ("outbox_events", "bad")
    code, words = relay.get("/readyz")
    assert code == 503 and words.startswith("halted, nothing is published: ")
    logged = relay.wait_log(r"nothing is published: .*").group()

    def ask():
        said = relay.command("status").stdout
        return halt["remove"] in said and said
    told = until(ask, 20, "status to have it from the relay, for whose answer it waits no longer than 2 s")
    for text in (words, logged, told):
        for part in (f"event {halt['id']} (event_id {event_id}, key bad) of table outbox_events", "(headers)",
                     halt["remove"], halt["change"]):
            assert part in text
    assert relay.get("/healthz")[0] == 200
    status = json.loads(relay.get("/status")[1])
    assert (status["state"], status["halted"]) == ("halted", True)
    assert relay.metric("halted") == 1
    assert relay.metric("rejected_total") == 1
    until(lambda: database.open_transactions() == [], 10, "no transaction")


def test_the_row_is_removed(database, halted):
    relay, halt, consumer = halted
    assert removed(database, halt["remove"]) == 1
    goes_on(database, relay, consumer, ["After"] * 20)
    assert json.loads(relay.get("/status")[1])["halted_at"] is None


def test_the_row_is_changed(database, halted):
    """It goes out before what waits behind it."""
    relay, halt, consumer = halted
    assert paste(database, halt["change"]) == "UPDATE 1"
    wait_going(relay)
    records = consumer.take(21)
    assert [r.header("type") for r in records if r.key == b"bad"] == ["Bad"] + ["After"] * 10
    wait_nothing_waits(database)
    assert relay.metric("rejected_total") == 1


def test_the_row_is_given_to_another_key(database, halted):
    """It takes its place there: what waits of that key before it goes first."""
    relay, halt, consumer = halted
    if relay.settings["outbox"]["settle"] == "delete":
        database.execute("UPDATE outbox_events SET id = -1 WHERE aggregate_id = 'k5'")
    database.execute("UPDATE outbox_events SET headers = NULL, aggregate_id = 'k5' WHERE id = %s", halt["id"])
    wait_going(relay)
    own = types_of(r for r in consumer.take(21) if r.key == b"k5")
    assert own == (["After", "Bad"] if relay.settings["outbox"]["settle"] == "delete" else ["Bad", "After"])
    wait_nothing_waits(database)
    assert consumer.rest() == []


def test_a_change_that_does_not_help(database, halted):
    """It is named anew and counted once, and nothing goes out."""
    relay, halt, consumer = halted
    database.execute("UPDATE outbox_events SET headers = NULL, aggregate_type = 'no topic!' WHERE id = %s",
                     halt["id"])
    relay.wait_log(r"nothing is published: .*is rejected \(topic\)")
    assert consumer.rest() == []
    assert "(topic)" in relay.get("/readyz")[1]
    assert relay.metric("rejected_total") == 1
    assert removed(database, halted_at(relay)["remove"]) == 1
    goes_on(database, relay, consumer, ["After"] * 20)


def test_a_lock_on_the_row_changes_nothing(database, halted):
    """An operator looks at it for a while: nothing else goes out in its place."""
    relay, halt, consumer = halted
    with database.session(autocommit=False) as operator:
        operator.execute("UPDATE outbox_events SET headers = NULL WHERE id = %s", [halt["id"]])
        before = relay.metric("retries_total")
        until(lambda: json.loads(relay.get("/status")[1])["uptime_seconds"] > 4, 20, "a look or more")
        assert consumer.rest() == []
        assert relay.metric("retries_total") == before
        operator.connection.commit()
    goes_on(database, relay, consumer, ["After"] * 20 + ["Bad"])


def test_dead_letters_by_a_reload(database, halted):
    relay, halt, consumer = halted
    relay.write_config(outbox={"on_reject": "dead-letter"})
    relay.process.send(signal.SIGHUP)
    relay.wait_log("reload: outbox.on_reject has changed")
    relay.wait_metric("dead_letters", 1)
    goes_on(database, relay, consumer, ["After"] * 20,
            "dead_letters: rejected events in the dead letters: 1 (headers 1); `outbox-relay dlq list` names them\n")
    assert database.rows("SELECT event_type, reason FROM outbox_relay.dead_letters") == [("Bad", "headers")]
    assert relay.metric("rejected_total") == 1


def test_halt_by_a_reload(database, new_relay, topic):
    topic()
    relay = new_relay(outbox={"on_reject": "dead-letter"}).start()
    relay.write_config(outbox=HALT)
    relay.process.send(signal.SIGHUP)
    relay.wait_log("reload: outbox.on_reject has changed")
    bad = database.value(BAD)
    assert halted_at(relay)["id"] == bad
    assert relay.stop() == 0


def test_its_lines_have_fields(database, new_relay, topic):
    """Also the shard, which the relay has to compute."""
    topic()
    bad = database.value(BAD)
    shard = database.value("SELECT (hashtextextended('bad' || chr(31) COLLATE \"C\", 0) & 9223372036854775807) % 4")
    relay = new_relay(log={"format": "json"}, outbox=dict(HALT, shards=4)).start(wait=False)
    halt = halted_at(relay)
    line = next(line for line in map(json.loads, relay.log().splitlines()) if line.get("code") == "halted")
    assert (line["id"], line["event_id"], line["reason"]) == (bad, halt["event_id"], "headers")
    assert line["shard"] == shard


def test_stop_and_start(database, halted):
    """Status 0; the next start meets the event and halts again."""
    relay, halt, consumer = halted
    assert relay.stop() == 0
    relay.start(wait=False)
    assert halted_at(relay) == halt
    assert consumer.rest() == []
    paste(database, halt["remove"])
    goes_on(database, relay, consumer, ["After"] * 20)


def test_a_lost_session(database, halted):
    """It is halted still, and knows the row again."""
    relay, halt, consumer = halted
    database.end_relay_sessions()
    relay.wait_log("the session with the database is gone")
    until(lambda: relay.metric("connected") == 2, 20, "a session")
    assert halted_at(relay) == halt
    assert consumer.rest() == []
    assert relay.metric("rejected_total") == 1
    paste(database, halt["remove"])
    goes_on(database, relay, consumer, ["After"] * 20)


def test_paused_meanwhile(database, halted):
    """Paused it is not halted, for it owns nothing. What was fixed until then goes out in its order."""
    relay, halt, consumer = halted
    assert relay.command("pause").returncode == 0
    until(lambda: (relay.metric("paused"), relay.metric("halted")) == (1, 0), 20, "the relay to pause")
    paste(database, halt["change"])
    assert consumer.rest() == []
    assert relay.command("resume").returncode == 0
    records = consumer.take(21)
    assert types_of(r for r in records if r.key == b"bad") == ["Bad"] + ["After"] * 10
    wait_nothing_waits(database)
    assert relay.metric("halted") == 0


def test_two_events_at_once(database, new_relay, topic, reader):
    """The second is named once the first is out of the way."""
    topic()
    bad = [database.value(BAD) for _ in range(2)]
    insert(database, 5)
    relay = new_relay(outbox=HALT).start(wait=False)
    for row in bad:
        until(lambda row=row: (halted_at(relay) or {}).get("id") == row, 20, f"the halt at {row}")
        assert relay.metric("halted") == 1
        paste(database, halted_at(relay)["change"])
    wait_going(relay)
    assert len(reader().take(7)) == 7
    database.wait_empty()


def test_the_table_is_emptied(database, halted):
    """Ids begin again: what is inserted then is published."""
    relay, halt, consumer = halted
    database.execute("TRUNCATE outbox_events RESTART IDENTITY")
    wait_going(relay)
    insert(database, 5)
    assert len(consumer.take(5)) == 5
    wait_nothing_waits(database)


def test_its_partition_is_detached(empty_database, migrate, new_relay, reader, topic):
    """That is noticed by the look at the group: nothing is claimed meanwhile."""
    database = empty_database
    topic()
    migrate("--partitions", "4")
    bad, partition = database.rows(BAD + ", tableoid::regclass::text")[0]
    relay = new_relay(outbox=HALT).start(wait=False)
    assert halted_at(relay)["id"] == bad
    insert(database, 20)
    database.execute(f"ALTER TABLE outbox_events DETACH PARTITION {partition}")
    wait_going(relay)
    left = 20 + 1 - database.value(f"SELECT count(*) FROM {partition}")
    assert len(reader().take(left)) == left
    database.wait_empty()


def test_another_relay_waits(database, halted, new_relay):
    """A halted relay keeps its shard. When it dies another one has it, and halts too."""
    relay, halt, consumer = halted
    other = new_relay(outbox=relay.settings["outbox"]).start(wait=False)
    other.wait_log("standby: ")
    assert other.metric("halted") == 0
    relay.kill()
    assert halted_at(other) == halt
    assert consumer.rest() == []
    relay.start(wait=False)
    paste(database, halt["remove"])
    goes_on(database, other, consumer, ["After"] * 20)


def test_shards_are_handed_over(database, new_relay, topic, reader):
    """Whoever has the event's shard halts, the other goes on, be the event here or there."""
    topic()
    bad = [database.value(BAD.replace("'bad'", f"'bad{n}'")) for n in range(8)]
    relays = [new_relay(outbox=dict(HALT, shards=4)).start(wait=False)]
    halted_at(relays[0])
    insert(database, 40)
    relays.append(new_relay(outbox=dict(HALT, shards=4)).start(wait=False))
    wait_spread_for_good(relays, 2, 2)
    database.execute("DELETE FROM outbox_events WHERE id = ANY(%s) AND aggregate_id <> 'bad0'", bad)
    until(lambda: halts(relays) == [bad[0]], 20, "one to halt, at the event that is left")
    halted, = [relay for relay in relays if relay.metric("halted") == 1]
    assert halted_at(halted)["id"] == bad[0]
    other, = [relay for relay in relays if relay is not halted]
    until(lambda: other.metric("published_total") > 0, 20, "the other to go on")
    paste(database, halted_at(halted)["remove"])
    wait_going(halted)
    consumer = reader()
    assert len(consumer.take(40)) == 40
    database.wait_empty()
    assert consumer.rest() == []


def test_mark_mode(empty_database, migrate, new_relay, reader, topic):
    """The statement deletes the row: marked it would count as published."""
    topic()
    mark = dict(HALT, settle="mark")
    migrate(outbox=mark)
    bad = empty_database.value(BAD)
    insert(empty_database, 5)
    relay = new_relay(outbox=mark).start(wait=False)
    halt = halted_at(relay)
    assert halt["id"] == bad
    assert paste(empty_database, halt["remove"]) == "DELETE 1"
    wait_going(relay)
    consumer = reader()
    assert len(consumer.take(5)) == 5
    empty_database.wait("SELECT NOT EXISTS (SELECT FROM outbox_events WHERE published_at IS NULL)")
    assert consumer.rest() == []


def test_without_order(empty_database, migrate, start_relays, reader):
    """Relays that compete all come to the event, and halt."""
    database = empty_database
    migrate(outbox={"ordering": "none"})
    relays = start_relays(2, ordering="none", **HALT)
    bad = database.value(BAD)
    for relay in relays:
        assert halted_at(relay)["id"] == bad
    insert(database, 5)
    consumer = reader()
    assert consumer.rest() == []
    paste(database, halted_at(relays[0])["change"])
    assert sorted(types_of(consumer.take(6)))[0] == "Bad"
    database.wait_empty()
    for relay in relays:
        wait_going(relay)
    assert consumer.rest() == []


def test_the_topic_takes_more(database, new_relay, reader, kafka, topic):
    """The cause is not in the row: it alone is tried from time to time. Nothing else goes out before."""
    name = topic(max_message_bytes=20_000)
    relay = new_relay(outbox=HALT).start()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', 'k', 'Large', to_jsonb(repeat('x', 25000)))")
    halted_at(relay)
    insert(database, 5)
    kafka.configure_topic(name, max_message_bytes=40_000)
    wait_going(relay, timeout=60)
    consumer = reader()
    assert "Large" in types_of(consumer.take(6))
    database.wait_empty()
    assert consumer.rest() == []
    assert relay.metric("rejected_total") == 1


@pytest.mark.parametrize("event_id, value", [("uuid", "0bad0bad-0bad-4bad-8bad-0bad0bad0bad"),
                                             ("bigint", "-7"), ("text", "it's \\ \"odd\"")])
def test_odd_names(empty_database, migrate, new_relay, topic, event_id, value):
    """The statements work as they stand."""
    database = empty_database
    topic()
    database.execute('CREATE SCHEMA "Odd ""Shop"""')
    database.execute(f'CREATE TABLE "Odd ""Shop"""."it\'s; out" ("The Id" bigint GENERATED ALWAYS AS IDENTITY'
                     f' PRIMARY KEY, "event ""id" {event_id} NOT NULL, aggregate_type text NOT NULL,'
                     ' aggregate_id text NOT NULL, event_type text NOT NULL, "PayLoad" jsonb, "select" jsonb,'
                     ' created_at timestamptz NOT NULL DEFAULT clock_timestamp())')
    outbox = {"on_reject": "halt", "table": '"Odd ""Shop"""."it\'s; out"',
              "columns": {"id": "The Id", "event_id": 'event "id', "payload": "PayLoad", "headers": "select"}}
    migrate(outbox=outbox)
    for _ in range(2):
        database.execute('INSERT INTO "Odd ""Shop"""."it\'s; out" ("event ""id", aggregate_type, aggregate_id,'
                         ' event_type, "PayLoad", "select") VALUES (%s, \'thing\', \'k\', \'Bad\', \'{}\', \'[]\')',
                         value)
    relay = new_relay(outbox=outbox, route={"headers": ["type=${event_type}"]}).start(wait=False)
    first = halted_at(relay)
    assert first["event_id"] == value
    assert paste(database, first["change"]) == "UPDATE 1"
    until(lambda: (halted_at(relay) or first)["id"] != first["id"], 20, "the second")
    assert paste(database, halted_at(relay)["remove"]) == "DELETE 1"
    wait_going(relay)
    assert database.value('SELECT count(*) FROM "Odd ""Shop"""."it\'s; out"') == 0


def test_a_row_that_stays(empty_database, migrate, new_relay, reader, topic):
    """With positions the statement notes the row, and leaves it in the outbox."""
    topic()
    stay = dict(HALT, settle="position")
    migrate(outbox=stay)
    bad = empty_database.value(BAD)
    insert(empty_database, 5)
    relay = new_relay(outbox=stay).start(wait=False)
    halt = halted_at(relay)
    assert halt["id"] == bad and halt["remove"].startswith(f"SELECT outbox_relay.withdraw('\"public\".\"outbox_events\"', {bad}, '")
    assert empty_database.value(halt["remove"]) == 1
    wait_going(relay)
    consumer = reader()
    assert len(consumer.take(5)) == 5
    wait_nothing_waits(empty_database)
    assert consumer.rest() == [] and empty_database.value("SELECT count(*) FROM outbox_events") == 6


def test_a_row_that_stays_is_changed(empty_database, migrate, new_relay, reader, topic):
    topic()
    stay = dict(HALT, settle="position")
    migrate(outbox=stay)
    empty_database.execute(BAD)
    insert(empty_database, 5)
    relay = new_relay(outbox=stay).start(wait=False)
    halt = halted_at(relay)
    assert paste(empty_database, halt["change"]) == "UPDATE 1"
    wait_going(relay)
    assert len(reader().take(6)) == 6
