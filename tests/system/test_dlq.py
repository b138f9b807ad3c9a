# SPDX-License-Identifier: ISC
"""dlq: what it shows, what it asks for, and what it says of the answer. A session plays the relay; test_dlq_relay.py has real ones."""
import json
import os
import re
import subprocess
import threading
import time

import pytest

from harness.relay import ROOT, run_relay
from harness.waiting import limit, until

LETTER = """
INSERT INTO outbox_relay.dead_letters (outbox, id, event_id, aggregate_type, aggregate_id, event_type, payload, payload_type,
                                       headers, created_at, error, reason, attempts, dead_at, held_for, key, key_hash, topic)
VALUES ('outbox_events', %(id)s, %(event_id)s, 'thing', %(key)s, 'Happened', %(payload)s, %(payload_type)s, %(headers)s, now(),
        %(error)s, %(reason)s, %(attempts)s, now() - %(age)s::interval, %(held_for)s, %(key)s,
        CASE WHEN %(held_for)s = 'key' THEN hashtext(%(key)s) END, %(topic)s)"""
GOOD, BAD = b'{"n": 1}', b'{"bad": true}'


def add(database, id_, key="a", held_for=None, **values):
    """A letter; reason None: it waits behind the first of its key."""
    values = {"id": id_, "event_id": f"e-{id_}", "key": key, "held_for": held_for, "payload": GOOD, "payload_type": "jsonb",
              "headers": None, "reason": "headers", "topic": "events.thing", "age": "1 minute", **values}
    values.setdefault("error", values["reason"] and f"no good: {values['reason']}")
    values.setdefault("attempts", 1 if values["reason"] else 0)
    with database.session() as cursor:
        cursor.execute(LETTER, values)


@pytest.fixture
def letters(database):
    """A parked key of three events, one of one event, two dead letters."""
    add(database, 1, "poison", "key", payload=BAD)
    add(database, 2, "poison", "key", reason=None)
    add(database, 3, "other", reason="too_large", topic="events.large", age="3 hours")
    add(database, 4, "poison", "key", reason=None)
    add(database, 5, "lone", "key", reason="key", age="2 days")
    add(database, 6, None, reason="topic", topic=None)
    return database


class Acting(threading.Thread):
    """The part of a relay that carries requests out, as letters.c does; what has "bad" in it is rejected."""

    def __init__(self, database):
        super().__init__(daemon=True)
        self.database, self.stopping, self.failure, self.published = database, threading.Event(), None, []
        self.pause = 0.02

    def run(self):
        try:
            with self.database.session() as cursor:
                while not self.stopping.wait(self.pause):
                    self.act(cursor)
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure

    def act(self, cursor):
        cursor.execute("UPDATE outbox_relay.dead_letters d SET payload = r.payload, headers = r.headers"
                       " FROM outbox_relay.letter_requests r WHERE r.letter = d.number AND r.action = 'edit';"
                       "DELETE FROM outbox_relay.letter_requests WHERE action = 'edit';"
                       "DELETE FROM outbox_relay.dead_letters d USING outbox_relay.letter_requests r"
                       " WHERE r.letter = d.number AND r.action = 'discard';"
                       "DELETE FROM outbox_relay.letter_requests r WHERE NOT EXISTS"
                       " (SELECT FROM outbox_relay.dead_letters d WHERE d.number = r.letter)")
        cursor.execute("SELECT d.number, d.id, position('bad'::bytea IN coalesce(d.payload, '')) > 0 FROM outbox_relay.dead_letters d"
                       " WHERE NOT EXISTS (SELECT FROM outbox_relay.dead_letters h WHERE h.key_hash = d.key_hash"
                       " AND h.held_for = 'key' AND d.held_for = 'key' AND h.number < d.number)"
                       " AND (d.reason IS NULL AND d.held_for = 'key' OR EXISTS (SELECT FROM outbox_relay.letter_requests r"
                       " WHERE r.letter = d.number AND r.action = 'retry')) ORDER BY d.number LIMIT 1")
        for number, id_, bad in cursor.fetchall():
            if bad:
                cursor.execute("BEGIN; UPDATE outbox_relay.dead_letters SET attempts = attempts + 1, reason = 'broker',"
                               " error = 'refused' WHERE number = %s; DELETE FROM outbox_relay.letter_requests"
                               " WHERE letter = %s AND action = 'retry'; COMMIT", (number, number))
            else:
                cursor.execute("BEGIN; DELETE FROM outbox_relay.dead_letters WHERE number = %s;"
                               " DELETE FROM outbox_relay.letter_requests WHERE letter = %s; COMMIT", (number, number))
                self.published.append(id_)


@pytest.fixture
def acting(letters, play):
    """A relay with the one shard that there is, in so far as dlq can see."""
    play(1, 0)
    thread = Acting(letters)
    thread.start()
    yield thread
    thread.stopping.set()
    thread.join(limit(20))
    assert thread.failure is None


@pytest.fixture
def dlq(new_relay):
    """dlq("list", "--all"): the finished command; json=True: what it printed."""
    relay = new_relay()

    def run(*argv, json_=False, status=0):
        done = relay.command("dlq", *argv, *(["--json"] if json_ else []))
        assert done.returncode == status, done.stdout + done.stderr
        return json.loads(done.stdout) if json_ else done
    run.relay = relay
    return run


def ids(found):
    return [letter["id"] for letter in found]


def requests(database):
    return database.rows("SELECT d.id, r.action FROM outbox_relay.letter_requests r"
                         " JOIN outbox_relay.dead_letters d ON d.number = r.letter ORDER BY r.number")


def left(database):
    return [id_ for id_, in database.rows("SELECT id FROM outbox_relay.dead_letters ORDER BY number")]


# What there is.

def test_nothing(database, dlq):
    done = dlq("list")
    assert done.stdout == "" and "no event of outbox_events is parked or a dead letter" in done.stderr
    assert dlq("list", json_=True) == []
    assert dlq("list", "--id", "7", json_=True) == []
    for action in ("show", "retry", "discard"):
        assert "no parked event or dead letter of outbox_events matches --all" in dlq(action, "--all", status=1).stderr
    for argv in (["retry", "--all"], ["discard", "--all"], ["edit", "--id", "7", "--headers", "{}"]):
        out = dlq(*argv, json_=True, status=1)
        assert (out["action"], out["requested"], out["obstacle"], out["letters"]) == (argv[0], 0, None, [])


FILTERS = [
    ([], [1, 2, 3, 4, 5, 6]), (["--all"], [1, 2, 3, 4, 5, 6]), (["--id", "3"], [3]), (["--id", "3", "--id", "6"], [3, 6]),
    (["--event-id", "e-5"], [5]), (["--key", "poison"], [1, 2, 4]), (["--key", "poison", "--key", "lone"], [1, 2, 4, 5]),
    (["--topic", "events.large"], [3]), (["--reason", "headers"], [1]), (["--reason", "key", "--reason", "topic"], [5, 6]),
    (["--older-than", "1h"], [3, 5]), (["--older-than", "1d", "--key", "lone"], [5]), (["--key", "poison", "--reason", "headers"], [1]),
    (["--older-than", "106751991167d"], []),
    (["--key", "lone", "--reason", "headers"], []), (["--key", "po%"], []), (["--key", "' OR true --"], [])]


@pytest.mark.parametrize("options, found", FILTERS)
def test_filters(letters, dlq, options, found):
    assert ids(dlq("list", *options, json_=True)) == found


def test_list(letters, dlq):
    """A line for each; and for a program stable names."""
    lines = dlq("list").stdout.splitlines()
    assert lines[0].split() == ["ID", "EVENT_ID", "KEY", "TOPIC", "REASON", "ATTEMPTS", "SINCE", "STATE", "ERROR"]
    assert re.match(r"1 +e-1 +poison +events.thing +headers +1 +20\S+Z +parked, 2 behind it +no good: headers$", lines[1])
    assert re.match(r"2 +e-2 +poison +events.thing +- +0 +20\S+Z +behind 1 +-$", lines[2])
    assert re.match(r"6 +e-6 +- +- +topic +1 +20\S+Z +dead letter +no good: topic$", lines[6])
    first, second, third = dlq("list", "--id", "1", "--id", "2", "--id", "3", json_=True)
    assert set(first) == {"number", "id", "event_id", "key", "topic", "reason", "error", "attempts", "parked", "held_for",
                          "waiting_behind", "following", "dead_at", "attempted_at", "copy_owed_since", "requests"}
    assert (first["parked"], first["waiting_behind"], first["following"], first["held_for"]) == (True, None, 2, "key")
    assert (second["parked"], second["waiting_behind"], second["following"], second["reason"]) == (True, 1, None, None)
    assert (third["parked"], third["reason"], third["attempts"], third["held_for"]) == (False, "too_large", 1, None)


def test_what_waits_for_its_topic(letters, dlq, acting):
    """It is backlog: nothing that is said of all means it, and it is not retried."""
    add(letters, 7, "late", "topic", reason=None, topic="events.missing", age="1 year")
    assert 7 not in ids(dlq("list", json_=True)) and dlq("list", "--older-than", "30d", json_=True) == []
    assert 7 not in ids(dlq("discard", "--all", "--dry-run", json_=True)["letters"])
    for options in (["--id", "7"], ["--event-id", "e-7"], ["--key", "late"], ["--topic", "events.missing"]):
        assert re.search("waits for its topic", dlq("list", *options).stdout)
    assert "still waiting for its topic" in dlq("retry", "--id", "7", status=1).stdout and requests(letters) == []
    assert dlq("discard", "--topic", "events.missing").returncode == 0 and 7 not in left(letters)


def test_limit(letters, dlq):
    done = dlq("list", "--limit", "2")
    assert len(done.stdout.splitlines()) == 3 and "2 of 6 events; --limit 6 shows all" in done.stderr
    for id_ in range(7, 107):
        add(letters, id_, f"key-{id_}")
    done = dlq("list")
    assert len(done.stdout.splitlines()) == 101 and "100 of 106 events" in done.stderr
    assert len(dlq("list", json_=True)) == 106 and len(dlq("list", "--limit", "7", json_=True)) == 7


def test_what_was_asked_for_is_shown(letters, dlq):
    dlq("retry", "--id", "5", "--no-wait")
    letter, = dlq("list", "--id", "5", json_=True)
    request, = letter["requests"]
    assert (request["action"], request["role"]) == ("retry", "outbox_relay") and request["requested_at"].startswith("20")
    assert "parked, retry requested" in dlq("list", "--id", "5").stdout


def test_show(letters, dlq):
    """All but what the event holds; that only on request."""
    add(letters, 7, "x", headers='{"trace": "s3cret"}', payload=b'{"card": "s3cret"}')
    letters.execute("UPDATE outbox_relay.dead_letters SET extra = '{\"tenant\": \"s3cret\"}' WHERE id = 7")
    for action in ("list", "show"):
        for json_ in ([], ["--json"]):
            assert "s3cret" not in dlq(action, "--id", "7", *json_).stdout
    shown = dlq("show", "--id", "7").stdout
    assert re.search(r"^event_id +e-7$", shown, re.M) and re.search(r"^payload bytes +18$", shown, re.M)
    letter, = dlq("show", "--id", "7", "--payload", json_=True)
    assert (letter["payload"], letter["payload_encoding"], letter["payload_type"]) == ('{"card": "s3cret"}', "utf-8", "jsonb")
    assert letter["headers"] == '{"trace": "s3cret"}' and letter["extra"] == {"tenant": "s3cret"}
    assert (letter["aggregate_type"], letter["event_type"], letter["payload_bytes"]) == ("thing", "Happened", 18)
    assert dlq("show", "--id", "7", "--payload").stdout.count("s3cret") == 3
    assert dlq("show", "--key", "poison").stdout.count("\n\n") == 2


def test_no_byte_does_harm(letters, dlq):
    """Controls, wrong UTF-8 and what hides: escaped in words; in JSON as JSON has them, or in hex."""
    add(letters, 7, "k\x1b[2J\n\u202ex", payload=b"\xff\x00\x1b[31m", payload_type="bytea", error="bad \x07 \x9b")
    add(letters, 8, "t", payload="ä\x1b[31m\n".encode(), payload_type="text", headers='{"a": "\x7f"}')
    for argv in (["list"], ["show", "--all", "--payload"], ["retry", "--all", "--dry-run"], ["list", "--key", "\x1b[2J"]):
        done = dlq(*argv)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.stdout + done.stderr), argv
    assert "k\\x1b[2J\\n\\u{202e}x" in dlq("list").stdout
    shown = dlq("show", "--id", "7", "--id", "8", "--payload").stdout
    assert "payload (hex)    ff001b5b33316d" in shown and "payload          ä\\x1b[31m\\n" in shown
    seven, eight = dlq("show", "--id", "7", "--id", "8", "--payload", json_=True)
    assert (seven["payload"], seven["payload_encoding"]) == ("ff001b5b33316d", "hex") and seven["key"].startswith("k\x1b")
    assert (eight["payload"], eight["payload_encoding"]) == ("ä\x1b[31m\n", "utf-8")


def test_a_tombstone_and_a_giant(letters, dlq):
    add(letters, 7, payload=None)
    add(letters, 8, payload=b"x" * ((64 << 20) + 1), payload_type="text")
    tombstone, giant = dlq("show", "--id", "7", "--id", "8", "--payload", json_=True)
    assert (tombstone["payload"], tombstone["payload_bytes"]) == (None, None)
    assert (giant["payload"], giant["payload_bytes"]) == (None, (64 << 20) + 1)
    shown = dlq("show", "--id", "7", "--id", "8", "--payload").stdout
    assert "none (a tombstone" in shown and "too large to be shown" in shown


# What is asked for.

@pytest.mark.parametrize("options, asked", [
    (["--all"], [1, 3, 5, 6]), (["--id", "4"], [1]), (["--id", "3"], [3]), (["--key", "poison"], [1]), (["--reason", "key"], [5]),
    (["--older-than", "1h"], [3, 5]), (["--topic", "events.thing"], [1, 5]), (["--event-id", "e-2", "--event-id", "e-6"], [1, 6])])
def test_retry_asks_for_the_first_of_a_key(letters, dlq, options, asked):
    """The others follow; a dry run says the same and changes nothing."""
    dry = dlq("retry", *options, "--dry-run", json_=True)
    assert requests(letters) == [] and letters.value("SELECT count(*) FROM outbox_relay.operator_actions") == 0
    real = dlq("retry", *options, "--no-wait", json_=True)
    assert [letter["id"] for letter in dry["letters"] if letter["outcome"] == "requested"] == asked
    assert requests(letters) == [(id_, "retry") for id_ in asked]
    assert (dry["dry_run"], real["dry_run"], real["requested"]) == (True, False, len(asked))
    assert dry["letters"] == real["letters"] and real["counts"]["follows"] == (2 if 1 in asked else 0)


def test_a_dry_run_in_words(letters, dlq):
    done = dlq("retry", "--key", "poison", "--dry-run")
    assert done.stdout.splitlines() == ["event 1 (event_id e-1, key poison): retry", "event 2 (event_id e-2, key poison): to follow",
                                        "event 4 (event_id e-4, key poison): to follow"]
    assert "nothing was changed; it would be: 1 requested, 2 to follow" in done.stderr
    assert dlq("discard", "--id", "2", "--dry-run").stdout == "event 2 (event_id e-2, key poison): discard\n"
    assert requests(letters) == []


def test_discard_asks_for_what_matches(letters, dlq):
    dlq("discard", "--id", "2", "--reason", "headers", "--no-wait", status=1)
    dlq("discard", "--id", "2", "--id", "4", "--no-wait")
    assert requests(letters) == [(2, "discard"), (4, "discard")]
    told = letters.rows("SELECT action, role, detail, events FROM outbox_relay.operator_actions")
    assert told == [("discard", "outbox_relay", "2 events", ["event 2, event_id e-2", "event 4, event_id e-4"])]


def test_twice_is_once(letters, dlq):
    for _ in range(2):
        dlq("retry", "--id", "5", "--no-wait")
    assert requests(letters) == [(5, "retry")]


# What becomes of it.

def test_retry(letters, dlq, acting):
    done = dlq("retry", "--id", "3")
    assert done.stdout == "event 3 (event_id e-3, key other): published\n" and done.stderr == "1 published\n"
    out = dlq("retry", "--key", "poison", json_=True, status=1)
    assert [(letter["id"], letter["outcome"], letter["waiting_behind"]) for letter in out["letters"]] == [
        (1, "rejected", None), (2, "waiting", 1), (4, "waiting", 1)]
    assert (out["letters"][0]["reason"], out["letters"][0]["error"], out["obstacle"]) == ("broker", "refused", None)
    done = dlq("retry", "--id", "2", status=1)
    assert done.stdout.splitlines() == ["event 1 (event_id e-1, key poison): rejected again (broker): refused",
                                        "event 2 (event_id e-2, key poison): still waiting behind event 1",
                                        "event 4 (event_id e-4, key poison): still waiting behind event 1"]
    assert "1 rejected again, 2 still waiting" in done.stderr and "outbox-relay dlq edit" in done.stderr
    assert left(letters) == [1, 2, 4, 5, 6] and acting.published == [3]


def test_those_behind_are_waited_for(letters, dlq, acting):
    """Up to one that is rejected in its turn, however long it takes."""
    acting.pause = 0.3
    letters.execute("UPDATE outbox_relay.dead_letters SET payload = %s WHERE id = 1", GOOD)
    letters.execute("UPDATE outbox_relay.dead_letters SET payload = %s WHERE id = 4", BAD)
    out = dlq("retry", "--id", "1", json_=True, status=1)
    assert [letter["outcome"] for letter in out["letters"]] == ["published", "published", "rejected"]
    assert acting.published == [1, 2] and left(letters) == [3, 4, 5, 6]


def test_discard(letters, dlq, acting):
    """Of the first of a key: those behind it go on."""
    assert dlq("discard", "--id", "2", "--id", "3").stdout.endswith("event 3 (event_id e-3, key other): discarded\n")
    assert left(letters) == [1, 4, 5, 6]
    assert dlq("discard", "--id", "1", json_=True)["counts"]["discarded"] == 1
    until(lambda: acting.published == [4], 20, "the one behind it to go")
    assert dlq("discard", "--all").returncode == 0 and left(letters) == []


def test_many(letters, dlq, acting):
    """Only those are named that are to be seen to."""
    letters.execute("INSERT INTO outbox_relay.dead_letters (outbox, id, event_id, payload, reason, error)"
                    " SELECT 'outbox_events', n, 'm' || n, CASE WHEN n % 20 = 0 THEN '\\x626164'::bytea END, 'policy_violation', 'e'"
                    " FROM generate_series(1001, 1040) n")
    done = dlq("retry", "--reason", "policy_violation", status=1)
    assert [line.split(" ")[1] for line in done.stdout.splitlines()] == ["1020", "1040"]
    assert "38 published, 2 rejected again" in done.stderr


def test_no_relay(letters, dlq):
    """It says so immediately; what was asked for stays, and is carried out by one that comes."""
    begun = time.monotonic()
    done = dlq("retry", "--id", "3", "--id", "4", status=1)
    assert time.monotonic() - begun < 25  # and not after the 30 s of --timeout
    assert "event 3 (event_id e-3, key other): not carried out yet" in done.stdout
    assert "event 4 (event_id e-4, key poison): still waiting behind event 1" in done.stdout
    assert "no relay runs for outbox_events; what was requested is carried out when one runs" in done.stderr
    assert dlq("discard", "--id", "6", json_=True, status=1)["obstacle"] == "no_relay"
    assert requests(letters) == [(1, "retry"), (3, "retry"), (6, "discard")]
    thread = Acting(letters)
    thread.start()
    until(lambda: left(letters) == [1, 2, 4, 5], 20, "it to be carried out")
    thread.stopping.set()
    thread.join()


def test_paused(letters, dlq, play):
    play(1)
    letters.execute("UPDATE outbox_relay.outboxes SET paused = true")
    done = dlq("retry", "--id", "3", status=1)
    assert "outbox_events is paused; what was requested is carried out after `outbox-relay resume`" in done.stderr


def test_timeout(letters, dlq, play):
    play(1, 0)
    done = dlq("retry", "--id", "3", "--timeout", "200ms", status=1)
    assert "not all was carried out within 200ms; what was requested stays" in done.stderr
    assert dlq("discard", "--id", "5", "--timeout", "0", json_=True, status=1)["obstacle"] == "timeout"


@pytest.mark.parametrize("others, fates", [(["1"], {1: "gone", 2: "published", 4: "published"}),
                                           (["1", "3"], {1: "gone", 2: "published", 4: "published"}),
                                           (["2", "4"], {1: "published", 2: "gone", 4: "gone"})])
def test_another_operator_discards_what_is_retried(letters, dlq, play, others, fates):
    """A letter that is gone is not said to be published then; the others are."""
    play(1, 0)
    argv = [dlq.relay.process.argv[0], "dlq", "-c", dlq.relay.config, "retry", "--id", "1", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        until(lambda: requests(letters) == [(1, "retry")], 20, "the request")
        letters.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action) SELECT outbox, number, 'discard'"
                        f" FROM outbox_relay.dead_letters WHERE id IN ({', '.join(others)});"
                        " DELETE FROM outbox_relay.dead_letters WHERE id IN (1, 2, 3, 4); DELETE FROM outbox_relay.letter_requests")
        out, words = child.communicate(timeout=limit(20))
    assert child.returncode == 1 and "gone: published, or discarded by another operator" in words, words
    assert {letter["id"]: letter["outcome"] for letter in json.loads(out)["letters"]} == fates
    letters.execute("INSERT INTO outbox_relay.dead_letters (outbox, id, event_id, reason) VALUES ('outbox_events', 9, 'e', 'key');"
                    "INSERT INTO outbox_relay.letter_requests (outbox, letter, action) SELECT outbox, number, 'discard'"
                    " FROM outbox_relay.dead_letters WHERE id = 9")
    with subprocess.Popen([*argv[:5], "--id", "9", "--json"], stdout=subprocess.PIPE, text=True) as child:
        until(lambda: (9, "retry") in requests(letters), 20, "the request")
        letters.execute("DELETE FROM outbox_relay.dead_letters WHERE id = 9; DELETE FROM outbox_relay.letter_requests")
        assert json.loads(child.communicate(timeout=limit(20))[0])["letters"][0]["outcome"] == "gone" and child.returncode == 1


def test_another_operator_discards_one_without_an_event_id(letters, dlq, play):
    """Nor is that said to be published; another letter that goes meanwhile is."""
    play(1, 0)
    add(letters, 7, event_id=None)
    argv = [dlq.relay.process.argv[0], "dlq", "-c", dlq.relay.config, "retry", "--id", "7", "--id", "3", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        until(lambda: requests(letters) == [(3, "retry"), (7, "retry")], 20, "the requests")
        letters.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action) SELECT outbox, number, 'discard'"
                        " FROM outbox_relay.dead_letters WHERE id = 7;"
                        " DELETE FROM outbox_relay.dead_letters WHERE id IN (3, 7); DELETE FROM outbox_relay.letter_requests")
        out = child.communicate(timeout=limit(20))[0]
    assert {letter["id"]: letter["outcome"] for letter in json.loads(out)["letters"]} == {3: "published", 7: "gone"}
    assert child.returncode == 1


def test_what_older_relays_took_for_parked(letters, migrate):
    """A letter without a key, which no retry could reach. Those of keys stay parked."""
    add(letters, 7, None, "key", reason="broker")
    migrate()
    assert letters.rows("SELECT id FROM outbox_relay.dead_letters WHERE held_for IS NULL ORDER BY id") == [(3,), (6,), (7,)]


def test_progress_on_a_terminal(letters, dlq, play):
    """And there only."""
    play(1, 0)
    argv = ["script", "-qec", " ".join([*dlq.relay.process.argv[:1], "dlq", "-c", dlq.relay.config, "retry", "--all",
                                        "--timeout", "700ms"]), "/dev/null"]
    shown = subprocess.run(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, timeout=limit(30)).stdout
    assert re.search(r"0 of 6 events, 0/s", shown)


# Another payload.

@pytest.fixture
def file(directory):
    """file(bytes): its path."""
    def write(content):
        with open(f"{directory}/payload", "wb") as out:
            out.write(content)
        return out.name
    return write


def edited(database, id_):
    return database.rows("SELECT convert_from(payload, 'UTF8'), headers FROM outbox_relay.dead_letters WHERE id = %s", id_)[0]


def test_edit(letters, dlq, acting, file):
    """What is not given stays as it is. A payload is what PostgreSQL would print of it."""
    done = dlq("edit", "--id", "1", "--payload-file", file(b'{"b":2,\n "a": 1}\n'))
    assert done.stdout == "event 1 (event_id e-1, key poison): edited\n" and "dlq retry" in done.stderr
    assert edited(letters, 1) == ('{"a": 1, "b": 2}', None)
    dlq("edit", "--id", "1", "--headers", '{"trace": "7"}')
    assert edited(letters, 1) == ('{"a": 1, "b": 2}', '{"trace": "7"}')
    dlq("edit", "--id", "1", "--headers", "null", "--payload-file", file(b"[]"))
    assert edited(letters, 1) == ("[]", None)
    assert dlq("retry", "--key", "poison", json_=True)["counts"]["published"] == 3
    until(lambda: acting.published == [1, 2, 4], 20, "the thread to note the last one")


@pytest.mark.parametrize("type_, content, words", [
    ("jsonb", b'{"a": }', r"the column of the payload is jsonb, and this is none: line 1, column 7"),
    ("jsonb", b'"\xff"', "the column of the payload is jsonb"), ("jsonb", b'"\\u0000"', "the column of the payload is jsonb"),
    ("json", b"", "the column of the payload is json, and this is none"),
    ("text", b"\xff", "the column of the payload is text, and this is no text"),
    ("character varying", b"a\0b", "the column of the payload is character varying")])
def test_a_payload_that_does_not_fit(letters, dlq, file, type_, content, words):
    add(letters, 7, payload_type=type_)
    done = dlq("edit", "--id", "7", "--payload-file", file(content), status=1)
    assert re.search(words, done.stderr), done.stderr
    assert dlq("edit", "--id", "7", "--dry-run", "--payload-file", file(content), status=1)
    assert requests(letters) == []


@pytest.mark.parametrize("type_, content, stored", [
    ("bytea", b"\xff\0\n", b"\xff\0\n"), ("text", "ä\n".encode(), "ä\n".encode()), ("json", b'{"b":1,  "a":2}\n', b'{"b":1,  "a":2}'),
    ("jsonb", b" 1.10 ", b"1.10"), ("bytea", b"", b"")])
def test_what_is_put_in_place(letters, dlq, acting, file, type_, content, stored):
    add(letters, 7, payload_type=type_)
    dlq("edit", "--id", "7", "--payload-file", file(content))
    assert bytes(letters.value("SELECT payload FROM outbox_relay.dead_letters WHERE id = 7")) == stored


def test_a_payload_from_standard_input(letters, dlq, acting):
    argv = [dlq.relay.process.argv[0], "dlq", "-c", dlq.relay.config, "edit", "--id", "5", "--payload-file", "-"]
    assert subprocess.run(argv, input=b'{"piped": 1}', timeout=limit(60), stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert edited(letters, 5) == ('{"piped": 1}', None)


@pytest.mark.parametrize("headers, words", [("[]", "must be an object"), ('{"a": {}}', 'member "a" is nested'), ("{", "is no JSON"),
                                            ('"x"', "must be an object")])
def test_headers_that_are_none(letters, dlq, headers, words):
    assert words in dlq("edit", "--id", "1", "--headers", headers, status=2).stderr
    assert requests(letters) == []


def test_what_was_tried_is_edited_by_force_only(letters, dlq, acting, file):
    """Kafka may have it: one event id, two payloads."""
    letters.execute("UPDATE outbox_relay.dead_letters SET attempted_at = now() WHERE id = 5")
    done = dlq("edit", "--id", "5", "--payload-file", file(b"{}"), status=1)
    assert "one event id with two payloads" in done.stderr and "--force" in done.stderr and requests(letters) == []
    assert "one event id with two payloads" in dlq("edit", "--id", "5", "--payload-file", file(b"{}"), "--force").stderr
    assert edited(letters, 5) == ("{}", None)


def test_edit_takes_one(letters, dlq, file):
    assert "more than one event matches" in dlq("edit", "--key", "poison", "--payload-file", file(b"{}"), status=1).stderr
    dlq("edit", "--id", "99", "--payload-file", file(b"{}"), status=1)
    assert "opening /nowhere: No such file" in dlq("edit", "--id", "1", "--payload-file", "/nowhere", status=1).stderr
    dlq("edit", "--id", "1", "--headers", "{}", "--no-wait")
    assert "another edit of it has not been carried out yet" in dlq("edit", "--id", "1", "--headers", "{}", status=1).stderr


def test_what_did_not_fit_into_its_place_is_not_lost(letters, dlq, file):
    """A payload of more than 1 GB as text is in `extra`: another one must be given."""
    letters.execute("UPDATE outbox_relay.dead_letters SET payload = NULL, extra = '{\"payload\": [1]}' WHERE id = 3")
    assert "this payload is too large to be kept" in dlq("edit", "--id", "3", "--headers", "{}", status=1).stderr
    dlq("edit", "--id", "3", "--payload-file", file(b"{}"), "--no-wait")


PAGE = os.path.join(ROOT, "docs", "dead-letters.md")


def test_the_sql_that_the_page_has(letters, dlq, acting):
    """By an operator without the command, for any table."""
    letters.execute("DROP ROLE IF EXISTS alice; CREATE ROLE alice LOGIN; GRANT outbox_operator TO alice")
    with open(PAGE) as page:
        told, retry, edit = re.findall(r"```sql\n(.*?)```", page.read(), re.S)
    letters.execute(retry, user="alice")
    until(lambda: acting.published == [3], 20, "the retry")
    letters.execute(edit.replace("4711", "1"), user="alice")
    until(lambda: edited(letters, 1) == ('{"n": 1}', None), 20, "the edit")
    assert [action[1:] for action in letters.rows(told, user="alice")] == [
        ("alice", "edit", "event 1, event_id e-1", ["event 1, event_id e-1"]),
        ("alice", "retry", "event 3, event_id e-3", ["event 3, event_id e-3"])]


def test_the_way_of_a_payload_that_the_page_has(letters, dlq, acting, directory):
    """Shown into a file, and put back from it."""
    with open(PAGE) as page:
        show, edit = re.search(r"### Another payload\n\n((?:    .*\n)+)", page.read()).group(1).splitlines()
    script = f"set -e; {show}; sed -i s/bad/good/ payload; {edit}".replace("4711", "1")
    script = script.replace("outbox-relay", dlq.relay.process.argv[0]).replace("FILE", dlq.relay.config)
    subprocess.run(["bash", "-c", script], check=True, timeout=limit(60), stdout=subprocess.DEVNULL, cwd=directory)
    assert edited(letters, 1) == ('{"good": true}', None)


# Rights and usage.

def test_an_operator(letters, dlq, acting, new_relay, file):
    """With no right but the group's."""
    letters.execute("DROP ROLE IF EXISTS alice; CREATE ROLE alice LOGIN; GRANT outbox_operator TO alice")
    alice = new_relay(database={"dsn": letters.dsn("alice")})
    for argv in (["list"], ["show", "--all", "--payload"], ["edit", "--id", "1", "--payload-file", file(b"{}")],
                 ["retry", "--id", "1"], ["discard", "--all"]):
        done = alice.command("dlq", *argv)
        assert done.returncode == 0, done.stderr
    assert letters.rows("SELECT DISTINCT role FROM outbox_relay.operator_actions") == [("alice",)]
    assert [action["action"] for action in alice.status()["operator_actions"]] == ["discard", "retry", "edit"]


def test_others_are_told(letters, new_relay):
    letters.execute("DROP ROLE IF EXISTS bob; CREATE ROLE bob LOGIN; GRANT outbox_writer TO bob")
    done = new_relay(database={"dsn": letters.dsn("bob")}).command("dlq", "list")
    assert (done.returncode, done.stdout) == (1, "") and "connect as a member of the role outbox_operator" in done.stderr


def test_an_older_schema(letters, dlq):
    letters.execute("DROP TABLE outbox_relay.letter_requests")
    assert "run `outbox-relay migrate`" in dlq("list", status=1).stderr


def test_of_other_outboxes(letters, migrate, dlq, new_relay):
    """Nothing is seen."""
    migrate("--table", "second")
    second = new_relay(outbox={"table": "second"})
    assert json.loads(second.command("dlq", "list", "--json").stdout) == []
    assert second.command("dlq", "discard", "--all").returncode == 1


@pytest.mark.parametrize("argv", [
    [], ["look"], ["list", "more"], ["retry"], ["discard"], ["edit", "--headers", "{}"], ["show"], ["edit", "--id", "1"],
    ["list", "--force"], ["list", "--dry-run"], ["retry", "--all", "--limit", "1"], ["retry", "--all", "--payload"],
    ["list", "--id", "x"], ["list", "--id", ""], ["list", "--older-than", "1"], ["list", "--key", "\udcff"], ["list", "--limit", "0"],
    ["retry", "--all", "--timeout", "soon"]])
def test_wrong_usage(argv):
    done = run_relay("dlq", *argv)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr


def test_options_may_stand_anywhere(letters, dlq):
    for argv in (["list", "--id", "3", "-c", dlq.relay.config], ["--id", "3", "-c", dlq.relay.config, "list"]):
        assert "e-3" in run_relay("dlq", *argv).stdout


def test_help():
    for argv in (["--help"], ["retry", "--help"]):
        done = run_relay("dlq", *argv)
        assert done.returncode == 0 and "--older-than" in done.stdout
