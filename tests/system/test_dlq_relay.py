# SPDX-License-Identifier: ISC
"""dlq with real relays and Kafka: what it says is what happens, under each policy, and order holds whatever arrives meanwhile."""
import json
import threading

import pytest

from harness.waiting import until
from harness.writers import insert

SQL = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
       " SELECT 'thing', %s, n::text, jsonb_build_object('n', n), CASE WHEN n = ANY (%s) THEN '[]'::jsonb END"
       " FROM generate_series(%s::int, %s) n")


def write(database, first, last, *bad, key="k"):
    """Events of a key, numbered in their type; those in bad have headers that Kafka can never take."""
    database.execute(SQL, key, list(bad), first, last)


def types_of(records, key="k"):
    return [int(record.header("type")) for record in records if record.key == key.encode()]


@pytest.fixture
def run(database, new_relay, topic, reader):
    """run("park"): a relay with this policy; dlq(...) by its configuration, as JSON; a consumer; the database."""
    topic()

    def start(policy, **outbox):
        relay = new_relay(outbox={"on_reject": policy, **outbox}).start()

        def dlq(*argv, status=0):
            done = relay.command("dlq", *argv, "--json")
            assert done.returncode == status, done.stdout + done.stderr
            return json.loads(done.stdout)
        return dlq, reader(), relay
    return start


def outcomes(out):
    return [(letter["outcome"], letter["waiting_behind"]) for letter in out["letters"]]


def ids_of(database, *types):
    return [database.value("SELECT id FROM outbox_relay.dead_letters WHERE event_type = %s", str(n)) for n in types]


@pytest.mark.parametrize("outbox", [{}, {"shards": 3}])
def test_a_parked_key(database, run, outbox):
    """Rejected again, edited, retried: the first one goes, and then those behind it, in order."""
    write(database, 0, 9, 0)
    insert(database, 20, key="other")
    dlq, consumer, _ = run("park", **outbox)
    assert len(consumer.take(20)) == 20
    until(lambda: len(dlq("list")) == 10, 20, "the key to be parked")
    found = dlq("list")
    assert [letter["reason"] for letter in found] == ["headers"] + [None] * 9
    assert {letter["key"] for letter in found} == {"k"} and found[0]["following"] == 9 and found[0]["attempts"] == 1
    assert found[0]["topic"].endswith(".thing") and {letter["waiting_behind"] for letter in found[1:]} == {found[0]["id"]}
    assert dlq("show", "--id", found[0]["id"], "--payload")[0]["payload"] == '{"n": 0}'

    again = dlq("retry", "--id", found[5]["id"], status=1)
    assert outcomes(again) == [("rejected", None)] + [("waiting", found[0]["id"])] * 9
    assert dlq("list", "--reason", "headers")[0]["attempts"] == 2
    assert consumer.rest() == []
    dlq("edit", "--id", found[0]["id"], "--headers", '{"trace": "7"}')
    assert outcomes(dlq("retry", "--key", "k")) == [("published", None)] * 10
    records = consumer.take(10)
    assert types_of(records) == list(range(10)) and records[0].header("trace") == "7"
    assert dlq("list") == [] and consumer.rest() == []


def test_events_arrive_during_a_retry(database, run):
    """They stay behind all that waited."""
    write(database, 0, 200, 0)
    dlq, consumer, _ = run("park")
    until(lambda: len(dlq("list")) == 201, 20, "the key to be parked")
    stop, last = threading.Event(), [200]

    def go_on():
        while not stop.wait(0.005):
            write(database, last[0] + 1, last[0] + 3)
            last[0] += 3
    writer = threading.Thread(target=go_on)
    writer.start()
    dlq("edit", "--reason", "headers", "--headers", "null")
    out = dlq("retry", "--all")
    stop.set()
    writer.join()
    assert set(outcomes(out)) == {("published", None)} and out["requested"] == 1
    records = consumer.take(last[0] + 1)
    assert types_of(records) == list(range(last[0] + 1)) and consumer.rest() == []
    until(lambda: dlq("list") == [], 20, "the key to be free")


def test_another_one_behind_is_rejected(database, run):
    """The retry ends there, and says so."""
    write(database, 0, 5, 0, 3)
    dlq, consumer, _ = run("park")
    until(lambda: len(dlq("list")) == 6, 20, "the key to be parked")
    first, third = ids_of(database, 0, 3)
    dlq("edit", "--id", first, "--headers", "null")
    out = dlq("retry", "--key", "k", status=1)
    assert outcomes(out) == [("published", None)] * 3 + [("rejected", None)] + [("waiting", third)] * 2
    assert types_of(consumer.take(3)) == [0, 1, 2] and consumer.rest() == []
    assert dlq("discard", "--id", third)["counts"]["discarded"] == 1
    assert types_of(consumer.take(2)) == [4, 5]


def test_discards(database, run):
    """One that only waits; the first; all of a key."""
    write(database, 0, 5, 0)
    write(database, 0, 5, 0, key="gone")
    dlq, consumer, _ = run("park")
    until(lambda: len(dlq("list")) == 12, 20, "both keys to be parked")
    assert len(dlq("discard", "--key", "gone")["letters"]) == 6
    dlq("discard", "--id", *ids_of(database, 2))
    assert consumer.rest() == []
    dlq("discard", "--id", *ids_of(database, 0))
    records = consumer.take(4)
    assert types_of(records) == [1, 3, 4, 5] and types_of(records, "gone") == []
    until(lambda: dlq("list") == [] and consumer.rest() == [], 20, "the key to be free")


def test_dead_letters(database, run):
    """Nothing waits for them; each is published where it is, alone."""
    write(database, 0, 5, 0, 3)
    dlq, consumer, _ = run("dead-letter")
    assert types_of(consumer.take(4)) == [1, 2, 4, 5]
    until(lambda: len(dlq("list")) == 2, 20, "the dead letters")
    assert {(letter["parked"], letter["waiting_behind"], letter["following"]) for letter in dlq("list")} == {(False, None, None)}
    first, third = ids_of(database, 0, 3)
    assert outcomes(dlq("retry", "--all", status=1)) == [("rejected", None)] * 2
    dlq("edit", "--id", third, "--headers", "{}")
    assert outcomes(dlq("retry", "--id", first, "--id", third, status=1)) == [("rejected", None), ("published", None)]
    assert types_of(consumer.take(1)) == [3]
    assert dlq("discard", "--key", "k")["counts"]["discarded"] == 1 and consumer.rest() == []


def test_a_dead_letter_stays_one_under_another_policy(database, run, new_relay):
    """Nothing waits behind it, and the log does not say so."""
    write(database, 0, 1, 0)
    dlq, consumer, relay = run("dead-letter")
    assert types_of(consumer.take(1)) == [1]
    until(lambda: len(dlq("list")) == 1, 20, "the dead letter")
    assert relay.stop() == 0
    relay = new_relay(outbox={"on_reject": "park"}).start()
    assert "rejected again" in relay.command("dlq", "retry", "--all").stdout
    relay.wait_log(r"event 1 is rejected \(headers\): .*it stays in outbox_relay.dead_letters")
    assert not relay.log_contains("its key is parked")
    write(database, 2, 2)
    assert types_of(consumer.take(1)) == [2]


@pytest.mark.parametrize("policy", ["park", "dead-letter"])
def test_a_dry_run_changes_nothing(database, run, policy):
    write(database, 0, 3, 0)
    dlq, consumer, _ = run(policy)
    until(lambda: len(dlq("list")) == (4 if policy == "park" else 1), 20, "the letters")
    before = database.rows("SELECT * FROM outbox_relay.dead_letters ORDER BY number")
    for argv in (["retry", "--all"], ["discard", "--all"], ["edit", "--reason", "headers", "--headers", "{}"]):
        assert dlq(*argv, "--dry-run")["dry_run"] is True
    assert database.rows("SELECT * FROM outbox_relay.dead_letters ORDER BY number") == before
    assert database.value("SELECT count(*) FROM outbox_relay.letter_requests") == 0
    assert len(consumer.rest()) == (0 if policy == "park" else 3)


def test_no_relay(database, run):
    """What was asked for is carried out by the one that starts."""
    write(database, 0, 3, 0)
    dlq, consumer, relay = run("park")
    until(lambda: len(dlq("list")) == 4, 20, "the key to be parked")
    relay.stop()
    assert dlq("edit", "--reason", "headers", "--headers", "null", status=1)["obstacle"] == "no_relay"
    out = dlq("retry", "--key", "k", status=1)
    assert out["obstacle"] == "no_relay" and outcomes(out)[0] == ("pending", None)
    relay.start()
    assert types_of(consumer.take(4)) == [0, 1, 2, 3]
    until(lambda: dlq("list") == [], 20, "the key to be free")


def test_an_operator(database, run, new_relay):
    """With no right but the group's, by a configuration of three lines."""
    write(database, 0, 3, 0)
    dlq, consumer, _ = run("park")
    until(lambda: len(dlq("list")) == 4, 20, "the key to be parked")
    database.execute("DROP ROLE IF EXISTS alice; CREATE ROLE alice LOGIN; GRANT outbox_operator TO alice")
    alice = new_relay(database={"dsn": database.dsn("alice")}, route=None)
    for argv, status in ((["retry", "--all"], 1), (["edit", "--reason", "headers", "--headers", "null", "--force"], 0),
                         (["retry", "--all"], 0)):
        done = alice.command("dlq", *argv)
        assert done.returncode == status, done.stdout + done.stderr
    assert types_of(consumer.take(4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("action", ["retry", "discard"])
def test_a_letter_that_another_relay_is_at(database, run, action):
    """Relays that compete pass over it, and come back to it; a session plays the other one."""
    write(database, 0, 1, 0, 1)
    dlq, consumer, _ = run("dead-letter", ordering="none")
    until(lambda: len(dlq("list")) == 2, 20, "the dead letters")
    locked, free = ids_of(database, 0, 1)
    for letter in (locked, free):
        dlq("edit", "--id", letter, "--headers", "null")
    with database.session(autocommit=False) as other:
        other.execute("SELECT FROM outbox_relay.dead_letters WHERE id = %s FOR UPDATE", [locked])
        dlq(action, "--id", locked, "--no-wait")
        assert outcomes(dlq("retry", "--id", free)) == [("published", None)]
        assert types_of(consumer.take(1)) == [1] and [letter["id"] for letter in dlq("list")] == [locked]
        other.connection.commit()
    until(lambda: dlq("list") == [], 20, "the relay to come back to it")
    assert types_of(consumer.rest()) == ([0] if action == "retry" else [])
