# SPDX-License-Identifier: ISC
"""One event of each kind that Kafka never accepts, among 10,000 good ones on 100 keys, under each policy."""
import json
import os

import pytest

from harness.positions import wait_nothing_waits, waiting
from harness.strangers import ERROR, Stranger, batches, refused_produce
from harness.waiting import until

ERROR.setdefault("POLICY_VIOLATION", 44)
POLICY, RECORD = b"breaks the policy", b"is no record"  # what the broker refuses, by its payload
KINDS = ["too_large", "unreadable", "topic", "key", "headers", "invalid_record", "policy_violation"]
KEYS, GOOD = 100, 10_000
# Event n is of key n % 100. Of each kind one, on a key of its own, far enough apart that they fail for different reasons.
FIRST_BAD, APART = 2000, 501
BAD = [FIRST_BAD + APART * i for i in range(len(KINDS))]
BAD_KEYS = {f"k{n % KEYS}" for n in BAD}
ROWS = f"""
INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers, region)
SELECT CASE WHEN kind = 'topic' THEN 'no topic!' ELSE 'thing' END, 'k' || n %% {KEYS}, n::text,
       CASE kind WHEN 'too_large' THEN to_jsonb(repeat('x', 2000000))
                 WHEN 'unreadable' THEN ('[' || repeat('1e131071,', 8999) || '1]')::jsonb
                 WHEN 'invalid_record' THEN to_jsonb('{RECORD.decode()}'::text)
                 WHEN 'policy_violation' THEN to_jsonb('{POLICY.decode()}'::text) ELSE jsonb_build_object('n', n) END,
       CASE WHEN kind = 'headers' THEN '[]'::jsonb END, CASE WHEN kind IS DISTINCT FROM 'key' THEN 'eu' END
FROM (SELECT n, CASE WHEN (n - {FIRST_BAD}) %% {APART} = 0
                     THEN (%s::text[])[(n - {FIRST_BAD}) / {APART} + 1] END AS kind
      FROM generate_series(1, {GOOD} + {len(KINDS)}) AS n) AS numbered ORDER BY numbered.n"""
MENDED = """
UPDATE outbox_events SET aggregate_type = 'thing', payload = '{"mended": true}', headers = NULL, region = 'eu' WHERE id = %s"""
HELD = ("SELECT reason, count(*) FILTER (WHERE held_for IS NULL), count(*) FILTER (WHERE held_for = 'key'),"
        " count(DISTINCT aggregate_id) FILTER (WHERE held_for = 'key')"
        " FROM outbox_relay.dead_letters GROUP BY reason ORDER BY reason NULLS LAST")


@pytest.fixture
def policed(kafka):
    """A broker with a policy for records. Like Kafka it refuses the whole batch that one is in."""
    def judge(request):
        if request.name != "Produce":
            return None
        records = [records for _, partitions in batches(request) for _, records in partitions]
        for marker, error in ((POLICY, "POLICY_VIOLATION"), (RECORD, "INVALID_RECORD")):
            if any(marker in batch for batch in records):
                return refused_produce(request, ERROR[error])
        return None
    broker = Stranger(("127.0.0.1", kafka.port), answers=judge)
    yield broker
    broker.close()


@pytest.fixture
def told():
    """told(line): a line of the table that this comes to."""
    path = os.environ.get("KINDS_TRANSCRIPT")

    def tell(*words):
        line = " ".join(map(str, words))
        print(line)
        if path:
            with open(path, "a") as out:
                print(line, file=out)
    return tell


@pytest.fixture(params=["delete", "position"])
def made(request, database, migrate, new_relay, reader, topic, policed):
    """made(policy): a relay at work on all of them, and a reader."""
    topic()
    migrate(outbox={"settle": request.param})
    database.execute("ALTER TABLE outbox_events ADD COLUMN region text")
    database.execute(ROWS, KINDS)

    def make(policy):
        relay = new_relay(outbox={"on_reject": policy, "claim_rows": 1000, "settle": request.param}, route={"key": "${region}-${aggregate_id}"},
                          kafka={"bootstrap_servers": policed.bootstrap, "properties": ["compression.codec=none"]})
        return relay.start(wait=False), reader()
    return make


def numbers(records):
    """{key: its events, in the order of their first arrivals}"""
    found, seen = {}, set()
    for record in records:
        if record.event_id not in seen:
            seen.add(record.event_id)
            found.setdefault(record.key.decode().split("-")[1], []).append(int(record.header("type")))
    return found


def tell_held(database, told):
    told("  reason            dead letters  parked  keys")
    for reason, dead, parked, keys in database.rows(HELD):
        told(f"  {reason or '(behind another)':17} {dead:12} {parked:7} {keys:5}")


def ask(database, relay, told, *words):
    done = relay.command("dlq", *words)
    told("  $ outbox-relay dlq", *words)
    for line in (done.stdout + done.stderr).splitlines()[:12]:
        told("   ", line[:150])
    assert done.returncode == 0, done.stdout + done.stderr


def whole(n_of_key):
    return [n for n in range(1, GOOD + len(KINDS) + 1) if f"k{n % KEYS}" == n_of_key]


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_park(database, made, told, killed):
    """Seven keys wait, each from its bad event on. Six are discarded, one is retried once mended: order holds."""
    told(f"park{', with kill -9 of the relay' if killed else ''}: {GOOD} good events on {KEYS} keys, one of each of {len(KINDS)} kinds")
    relay, consumer = made("park")
    if killed:
        until(lambda: relay.metric("rejected_total") >= 3, 60, "some to be rejected")
        relay.kill()
        relay.start(wait=False)
    wait_nothing_waits(database, 120)
    # A bad event without a key keeps nothing waiting: its key is not to be told.
    parked = BAD_KEYS - {f"k{BAD[KINDS.index('key')] % KEYS}"}
    expected = {f"k{k}": [n for n in whole(f"k{k}") if n not in BAD and (f"k{k}" not in parked or n < BAD[k])]
                for k in range(KEYS)}
    records = consumer.rest()
    assert numbers(records) == expected
    count = len({record.event_id for record in records})
    told(f"  arrived {count} events, {len(records) - count} repeats; of each key in order; parked keys {len(parked)}")
    tell_held(database, told)
    assert {(reason, dead + parked) for reason, dead, parked, _ in database.rows(HELD) if reason} == {(kind, 1) for kind in KINDS}
    for kind in ("too_large", "unreadable", "invalid_record", "policy_violation", "topic", "key"):
        ask(database, relay, told, "discard", "--reason", kind)
    database.execute("UPDATE outbox_relay.dead_letters SET headers = NULL WHERE reason = 'headers'")
    ask(database, relay, told, "retry", "--reason", "headers")
    until(lambda: database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0, 60, "no letters")
    again = numbers(records + consumer.rest())
    mended = BAD[KINDS.index("headers")]
    assert again == {f"k{k}": [n for n in whole(f"k{k}") if n not in BAD or n == mended] for k in range(KEYS)}
    told(f"  then arrived {sum(map(len, again.values()))} events, of each key in order, the mended one in its place")


def test_dead_letter(database, made, told):
    """Seven gaps, and nothing waits."""
    told(f"dead-letter: {GOOD} good events on {KEYS} keys, one of each of {len(KINDS)} kinds")
    relay, consumer = made("dead-letter")
    wait_nothing_waits(database, 120)
    records = consumer.rest()
    assert numbers(records) == {f"k{k}": [n for n in whole(f"k{k}") if n not in BAD] for k in range(KEYS)}
    told(f"  arrived {len({record.event_id for record in records})} events, of each key in order, each gap a dead letter")
    tell_held(database, told)
    assert {row[:2] for row in database.rows(HELD)} == {(kind, 1) for kind in KINDS}
    ask(database, relay, told, "list")


def test_halt(database, made, told):
    """Each stops all others, until its row is mended. Then all are there, in order."""
    told(f"halt: {GOOD} good events on {KEYS} keys, one of each of {len(KINDS)} kinds")
    relay, consumer = made("halt")
    halts = []

    def halted():
        at = json.loads(relay.get("/status")[1])["halted_at"]
        return at and at["id"] not in halts and at["id"]
    for _ in KINDS:
        halts.append(until(halted, 60, f"the relay to halt after {halts}"))
        told(f"  halted at event {halts[-1]}, {waiting(database)} wait")
        database.execute(MENDED, halts[-1])
    wait_nothing_waits(database, 120)
    assert sorted(halts) == list(BAD)
    records = consumer.rest()
    assert numbers(records) == {f"k{k}": whole(f"k{k}") for k in range(KEYS)}
    told(f"  arrived {len({record.event_id for record in records})} events, of each key in order, the mended ones in their places")
