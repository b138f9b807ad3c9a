# SPDX-License-Identifier: ISC
"""on_reject = "park": a rejected event holds its key, and no other; operators have their way, and the order stays."""
import json
import signal
import threading

import pytest

from harness.positions import wait_nothing_waits, waiting
from harness.waiting import until
from harness.writers import insert

PARK = {"on_reject": "park"}
BAD_ID = "0bad0bad-0bad-4bad-8bad-0bad0bad0bad"
BAD = ("INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload, headers)"
       f" VALUES ('{BAD_ID}', 'thing', 'bad', '0', '{{\"n\": 0}}', '[]') RETURNING id")
MODES = {"plain": ([], {}), "mark": ([], {"settle": "mark"}), "shards": ([], {"shards": 3}),
         "partitions": (["--partitions", "3"], {}), "partitions, mark": (["--partitions", "3"], {"settle": "mark"}),
         "position": ([], {"settle": "position"}), "position, small": ([], {"settle": "position", "claim_rows": 3, "batch_rows": 6}),
         "position, shards": ([], {"settle": "position", "shards": 3}),
         "position, partitions": (["--partitions", "3"], {"settle": "position"}),
         "position, by id": (["--partition-by", "id:40"], {"settle": "position"})}


def follow(database, first, last, key="bad"):
    """Events of the key, numbered in their type."""
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) SELECT 'thing', %s,"
                     " n::text, jsonb_build_object('n', n) FROM generate_series(%s::int, %s) n", key, first, last)


def ask(database, action, where="reason IS NOT NULL", **values):
    """What `dlq` does."""
    columns = "".join(f", {name}" for name in values)
    database.execute(f"INSERT INTO outbox_relay.letter_requests (outbox, letter, action{columns})"
                     f" SELECT outbox, number, '{action}'{''.join(', %s' for _ in values)}"
                     f" FROM outbox_relay.dead_letters WHERE {where}", *values.values())


def letters(database):
    return database.rows("SELECT event_type, reason, held_for, attempts FROM outbox_relay.dead_letters ORDER BY number")


def wait_letters(database, count):
    until(lambda: len(letters(database)) == count, 20, f"{count} letters, not {letters(database)}")


def types_of(records):
    return [int(record.header("type")) for record in records]


@pytest.fixture(params=MODES)
def parked(request, empty_database, migrate, new_relay, reader, topic):
    """A relay that has parked key "bad" at event 0, with 1 to 20 behind it; all others have arrived."""
    options, outbox = MODES[request.param]
    migrate(*options, outbox=outbox)
    topic()
    insert(empty_database, 50)
    empty_database.execute(BAD)
    follow(empty_database, 1, 20)
    insert(empty_database, 50, key="after")
    relay = new_relay(outbox=dict(outbox, **PARK))
    relay.start()
    consumer = reader()
    assert b"bad" not in {r.key for r in consumer.take(100)}
    wait_nothing_waits(empty_database)
    yield relay, consumer


def test_a_key_is_held(empty_database, parked):
    """All later events of the key wait in their order, those that come meanwhile too; all others flow."""
    relay, consumer = parked
    assert letters(empty_database) == [("0", "headers", "key", 1)] + [(str(n), None, "key", 0) for n in range(1, 21)]
    follow(empty_database, 21, 30)
    insert(empty_database, 10, key="more")
    assert {r.key[:4] for r in consumer.take(10)} == {b"more"}
    wait_letters(empty_database, 31)
    wait_nothing_waits(empty_database)
    assert consumer.rest() == []
    assert relay.metric("rejected_total") == 1
    relay.wait_metric("parked_keys", 1)
    relay.wait_metric("parked_events", 31)
    told_by_all(relay)


def told_by_all(relay):
    """Metrics, /status, /readyz and `status` say the same of one key with 31 events; the relay is ready."""
    metrics = {name.removeprefix("outbox_relay_"): value for name, value in relay.metrics().items()}
    assert metrics['parked_keys_by_reason{reason="headers"}'] == metrics["parked_keys"] == 1
    assert metrics["parked_events"] == 31 and metrics["dead_letters"] == metrics["held_keys"] == 0
    assert {name: value for name, value in metrics.items() if "by_reason" in name and value} == {
        'parked_keys_by_reason{reason="headers"}': 1}
    assert 0 < metrics["parked_oldest_age_seconds"] < 600
    told = json.loads(relay.get("/status")[1])
    assert [problem["name"] for problem in told["problems"]] == ["parked_keys"] and told["ready"]
    text = told["problems"][0]["text"]
    assert text.startswith("keys that wait behind a rejected event: 1 (headers 1); their events: 31, the oldest is ")
    code, words = relay.get("/readyz")
    assert code == 200 and words.startswith("ready\nparked_keys: keys that wait behind a rejected event: 1 (headers 1)")
    for whole in (told, relay.status()):
        assert (whole["parked_keys"], whole["parked_events"], whole["dead_letters"], whole["deferred_events"]) == (1, 31, 0, 0)
        assert whole["parked_keys_by_reason"] == {"headers": 1} and whole["dead_letters_by_reason"] == {}
        assert 0 < whole["parked_oldest_age_seconds"] < 600
    printed = relay.command("status").stdout
    assert "\ndead letters   0\n" in printed
    assert "\nparked keys    1 (headers 1); events: 31, oldest: " in printed


def test_a_retry_keeps_the_order(empty_database, parked):
    """Rejected again, it stays; mended, it goes first and the others follow, whatever arrives meanwhile."""
    relay, consumer = parked
    ask(empty_database, "retry")
    until(lambda: letters(empty_database)[0] == ("0", "headers", "key", 2), 20, "the second attempt")
    assert empty_database.value("SELECT count(*) FROM outbox_relay.letter_requests") == 0
    assert consumer.rest() == []
    stop = threading.Event()
    last = [20]

    def go_on():
        while not stop.is_set() and last[0] < 300:  # no more ids than there are partitions for
            follow(empty_database, last[0] + 1, last[0] + 5)
            last[0] += 5
    writer = threading.Thread(target=go_on)
    writer.start()
    ask(empty_database, "edit", payload=b'{"n": "mended"}', headers=None)
    ask(empty_database, "retry")
    first = consumer.take(200)
    stop.set()
    writer.join()
    records = first + consumer.take(last[0] + 1 - 200, timeout=120)  # as many as the writer had the time for
    assert types_of(records) == list(range(last[0] + 1))
    assert json.loads(records[0].value) == {"n": "mended"} and json.loads(records[1].value) == {"n": 1}
    assert records[0].event_id == BAD_ID
    wait_letters(empty_database, 0)
    wait_nothing_waits(empty_database)
    assert consumer.rest() == []
    until(lambda: relay.metric("parked_keys") == relay.metric("parked_events") == 0, 20, "nothing to be parked")
    until(lambda: relay.metric("parked_oldest_age_seconds") == 0
          and json.loads(relay.get("/status")[1])["problems"] == [], 20, "no problem to be told")


def test_a_discard_lets_the_others_go(empty_database, parked):
    """In their order. What was not rejected can be discarded, too. Rows that stay are left to the retention."""
    _, consumer = parked
    rows = empty_database.value("SELECT count(*) FROM outbox_events")
    ask(empty_database, "discard", "event_type = '7'")
    wait_letters(empty_database, 20)
    assert consumer.rest() == []
    ask(empty_database, "discard")
    assert types_of(consumer.take(19)) == [n for n in range(1, 21) if n != 7]
    wait_letters(empty_database, 0)
    assert consumer.rest() == []
    assert empty_database.value("SELECT count(*) FROM outbox_events") == rows


MANY = ("INSERT INTO outbox_relay.dead_letters (outbox, id, event_id, aggregate_type, aggregate_id, event_type, payload, payload_type,"
        " created_at, key, key_hash, key_layout, topic, held_for, reason, error)"
        " SELECT outbox, 1000 + n, event_id, aggregate_type, aggregate_id, event_type, payload, payload_type, created_at, 'k' || n,"
        " key_hash + n * step,"
        " key_layout, topic, 'key', 'too_large', 'made up' FROM outbox_relay.dead_letters,"
        " (SELECT CASE WHEN key_hash < 0 THEN 1000 ELSE -1000 END AS step FROM outbox_relay.dead_letters LIMIT 1) AS way,"
        " generate_series(1, 10500) n")


@pytest.mark.parametrize("settle", ["delete", "position"])
@pytest.mark.parametrize("partitions", [[], ["--partitions", "2"]], ids=["plain", "partitions"])
def test_no_claim_goes_past_a_letter_that_it_did_not_expect(empty_database, migrate, new_relay, reader, topic,
                                                             partitions, settle):
    """The first letters are there at the same moment as the events behind them, while the relay claims as if there
    were none: nothing of their keys is published, and the others' events arrive."""
    migrate(*partitions, outbox={"settle": settle})
    topic()
    relay = new_relay(outbox=dict(PARK, settle=settle))
    relay.start()
    consumer = reader()
    with empty_database.session(autocommit=False) as cursor:
        for n in range(20):
            insert(empty_database, 1, key="good")
            assert [r.key for r in consumer.take(1)] == [b"good-1"]
            cursor.execute("INSERT INTO outbox_relay.dead_letters (outbox, id, event_id, held_for, key_hash, reason)"
                           " VALUES ('outbox_events', -%s, '', 'key', hashtextextended(%s || chr(31), 0), 'x');"
                           "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                           " VALUES ('thing', %s, '1', '{}')", (n + 1, f"late-{n}", f"late-{n}"))
            cursor.connection.commit()
            until(lambda: waiting(empty_database) == 0, 20, "the event to be behind its letter")
            cursor.execute("DELETE FROM outbox_relay.dead_letters WHERE key = %s RETURNING held_for", (f"late-{n}",))
            assert cursor.fetchall() == [("key",)]
            cursor.execute("DELETE FROM outbox_relay.dead_letters")
            cursor.connection.commit()


def test_many_parked_keys_are_counted_bit_by_bit(database, new_relay, reader, topic):
    """Exactly, though no count looks at more than 10,001 keys; and what is due among the last ones is found."""
    topic()
    relay = new_relay(outbox=PARK).start()
    database.execute(BAD)
    wait_letters(database, 1)
    database.execute(MANY)
    until(lambda: relay.metric("parked_keys") == 10501, 30, "all keys to be counted")
    assert relay.metric("parked_events") == 10501 and relay.metric("parked_keys_by_reason") == 10501
    assert "at least 10001 (" in relay.command("status").stdout
    database.execute("UPDATE outbox_relay.dead_letters SET reason = NULL, attempts = 0 WHERE key_hash ="
                     " (SELECT max(key_hash) FROM outbox_relay.dead_letters)")
    assert reader().take(1, timeout=30)[0].header("type") == "0"
    until(lambda: relay.metric("parked_keys") == 10500, 30, "one key less")


@pytest.mark.parametrize("settle", ["delete", "position"])
def test_policies_by_reloads(empty_database, migrate, new_relay, reader, topic, settle):
    """Each is for what is rejected from then on. What is parked stays so, and later events go behind it, whatever the
    policy is."""
    database = empty_database
    migrate(outbox={"settle": settle})
    topic()
    relay = new_relay(outbox=dict(PARK, settle=settle)).start()
    consumer = reader()

    def reload(policy):
        relay.write_config(outbox={"on_reject": policy})
        seen = len(relay.log())
        relay.process.send(signal.SIGHUP)
        relay.wait_log("reload: outbox.on_reject has changed", after=seen)

    def bad(key):
        return database.value("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
                              " VALUES ('thing', %s, '0', '{}', '[]') RETURNING id", key)
    bad("parked")
    follow(database, 1, 2, "parked")
    wait_letters(database, 3)
    reload("dead-letter")
    bad("dead")
    follow(database, 1, 1, "dead")
    follow(database, 3, 3, "parked")
    assert [r.key for r in consumer.take(1)] == [b"dead"]
    wait_letters(database, 5)
    reload("halt")
    halted = bad("halts")
    follow(database, 1, 1, "halts")
    relay.wait_metric("halted", 1)
    assert consumer.rest() == []
    reload("park")
    until(lambda: relay.metric("halted") == 0, 20, "the relay to go on")
    wait_letters(database, 7)
    follow(database, 4, 4, "parked")
    follow(database, 2, 2, "halts")
    wait_letters(database, 9)
    assert consumer.rest() == []
    where = "SELECT aggregate_id, event_type, held_for FROM outbox_relay.dead_letters ORDER BY aggregate_id, number"
    assert database.rows(where) == (
        [("dead", "0", None)] + [("halts", str(n), "key") for n in range(3)] + [("parked", str(n), "key") for n in range(5)])
    assert database.value("SELECT id FROM outbox_relay.dead_letters WHERE aggregate_id = 'halts' AND reason <> ''") == halted
    ask(database, "discard")
    records = consumer.take(6)
    assert types_of(r for r in records if r.key == b"parked") == [1, 2, 3, 4]
    assert types_of(r for r in records if r.key == b"halts") == [1, 2]
    wait_letters(database, 0)
    assert consumer.rest() == []


ANEW = "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers) VALUES ('thing', %s, %s, '{}', %s)"
OWN_IDS = "ALTER TABLE outbox_events ALTER event_id DROP NOT NULL, ALTER event_id DROP DEFAULT"


@pytest.mark.parametrize("settle", ["delete", "mark", "position"])
def test_ids_that_begin_anew(empty_database, migrate, new_relay, reader, topic, settle):
    """Other events with ids that parked ones have: each has a letter of its own, none is lost, the order stays. A discard
    takes no row but that of its own event."""
    topic()
    migrate(outbox={"settle": settle})
    empty_database.execute(OWN_IDS)
    new_relay(outbox={"settle": settle, **PARK}).start()
    consumer = reader()
    empty_database.execute(ANEW, "alice", "0", "[]")
    empty_database.execute(ANEW, "alice", "1", None)
    wait_letters(empty_database, 2)
    empty_database.execute("TRUNCATE outbox_events RESTART IDENTITY")
    empty_database.execute(ANEW, "bob", "10", "[]")
    empty_database.execute(ANEW, "alice", "2", None)
    empty_database.execute(ANEW, "carol", "20", None)
    assert types_of(consumer.take(1)) == [20]
    wait_letters(empty_database, 4)
    assert empty_database.rows("SELECT id, event_id, aggregate_id, event_type, reason FROM outbox_relay.dead_letters"
                               " ORDER BY number") == [
        (1, None, "alice", "0", "headers"), (2, None, "alice", "1", None), (1, None, "bob", "10", "headers"),
        (2, None, "alice", "2", None)]
    ask(empty_database, "discard", "aggregate_id = 'alice' AND event_type = '0'")
    assert types_of(consumer.take(2)) == [1, 2]
    wait_letters(empty_database, 1)
    assert letters(empty_database) == [("10", "headers", "key", 1)]
    if settle != "delete":
        assert empty_database.rows("SELECT id FROM outbox_events ORDER BY 1") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("settle", ["delete", "position"])
def test_rows_with_one_id(empty_database, migrate, new_relay, reader, topic, settle):
    """Partitions allow them. Each that is rejected has a letter and parks its key, none is taken for one that was published,
    and all others go on."""
    topic()
    empty_database.execute(
        "CREATE TABLE outbox_events (id bigint GENERATED BY DEFAULT AS IDENTITY, event_id uuid, aggregate_type text,"
        " aggregate_id text, event_type text, payload jsonb, headers jsonb, created_at timestamptz DEFAULT now(),"
        " PRIMARY KEY (id, aggregate_id)) PARTITION BY HASH (aggregate_id);"
        " CREATE TABLE leaf PARTITION OF outbox_events FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    migrate(outbox={"settle": settle})
    insert(empty_database, 5)
    same = ANEW.replace("(aggregate_type", "(id, aggregate_type").replace("('thing'", "(7, 'thing'")
    empty_database.execute(same + ", (7, 'thing', 'b', '2', '{}', '[]')", "a", "1", "[]")
    empty_database.execute(same.replace("(7", "(8") + ", (8, 'thing', 'd', '4', '{}', '[]')", "c", "3", None)
    relay = new_relay(outbox=dict(PARK, settle=settle)).start()
    assert {r.key for r in reader().take(6)} == {b"k-1", b"k-2", b"k-3", b"k-4", b"k-5", b"c"}
    until(lambda: waiting(empty_database) == 0, 20, "all rows to be out or letters")
    found = letters(empty_database)
    assert {("1", "headers", "key", 1), ("2", "headers", "key", 1), ("4", "headers", "key", 1)} <= set(found), found
    until(lambda: relay.metric("parked_keys") == len({key for key, *_ in found}), 20, "each of these keys to be parked")


def test_an_event_without_an_event_id(database, new_relay, reader, topic):
    """A retry publishes what the row would have: no header for what is NULL, in a jsonb column of the application too."""
    topic()
    database.execute(OWN_IDS + ", ADD j jsonb, ADD k jsonb")
    headers = ["id=${event_id}", "type=${event_type}", "j=${j}", "k=${k}"]
    new_relay(outbox=PARK, route={"headers": headers}).start()
    consumer = reader()
    database.execute(ANEW.replace("headers)", "headers, k)").replace("%s)", "%s, 'null')"), "row", "1", None)
    row, = consumer.take(1)
    database.execute(ANEW.replace("headers)", "headers, k)").replace("%s)", "%s, 'null')"), "letter", "1", "[]")
    wait_letters(database, 1)
    ask(database, "edit", payload=b"{}", headers=None)
    ask(database, "retry")
    letter, = consumer.take(1)
    assert letter.headers == row.headers and "id" not in dict(row.headers), (row.headers, letter.headers)
