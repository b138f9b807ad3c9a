# SPDX-License-Identifier: ISC
"""A broker refuses an event in the middle of a batch: what it keeps of the key's order, and of the others."""
import pytest

from harness.strangers import ERROR, Stranger, batches, refused_produce
from harness.waiting import until

ERROR.setdefault("POLICY_VIOLATION", 44)
MARKER = b"breaks the policy"
ROWS = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
        " SELECT 'thing', CASE WHEN n %% 2 = 0 THEN 'bad' ELSE 'k' || n END, n::text,"
        " CASE WHEN n = 20 THEN to_jsonb(%s::text) ELSE to_jsonb(n) END FROM generate_series(1, 40) n")
LETTERS = "SELECT event_type::int, reason, held_for FROM outbox_relay.dead_letters ORDER BY number"


def types_of(records, key=None):
    return [int(r.header("type")) for r in records if key in (None, r.key)]


@pytest.fixture
def policed(kafka):
    """A broker with a policy for records, which refuses the whole batch that one is in, as Kafka does."""
    def judge(request):
        if request.name != "Produce" or not broker.strict:
            return None
        bad = any(MARKER in records for _, partitions in batches(request) for _, records in partitions)
        return refused_produce(request, ERROR[broker.error]) if bad else None
    broker = Stranger(("127.0.0.1", kafka.port), answers=judge)
    broker.strict = True
    yield broker
    broker.close()


@pytest.mark.parametrize("error, reason", [("POLICY_VIOLATION", "policy_violation"), ("INVALID_RECORD", "invalid_record")])
@pytest.mark.parametrize("policy", ["park", "dead-letter"])
def test_a_policy_for_records(database, new_relay, reader, topic, policed, policy, error, reason):
    """All others arrive once and in order. With "park" what came before it of its key has arrived, what came behind
    it has not, though it was in the same batch; a retry brings all of them in order."""
    topic()
    policed.error = error
    database.execute(ROWS, MARKER.decode())
    new_relay(outbox={"on_reject": policy}, kafka={"bootstrap_servers": policed.bootstrap,
                                                   "properties": ["compression.codec=none", "linger.ms=50"]}).start()
    consumer = reader()
    before, behind = list(range(2, 20, 2)), list(range(22, 41, 2))
    arrived = consumer.take(29 if policy == "park" else 39, timeout=60)
    database.wait_empty()
    assert types_of(arrived, b"bad") == before + ([] if policy == "park" else behind)
    assert sorted(n for n in types_of(arrived) if n % 2) == list(range(1, 41, 2))
    assert database.rows(LETTERS) == [(20, reason, "key" if policy == "park" else None)] + [
        (n, None, "key") for n in behind if policy == "park"]
    policed.strict = False
    database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action)"
                     " SELECT outbox, number, 'retry' FROM outbox_relay.dead_letters WHERE reason IS NOT NULL")
    expected = [20] + (behind if policy == "park" else [])
    assert types_of(consumer.take(len(expected))) == expected
    until(lambda: database.rows(LETTERS) == [], 10, "no letters")
    assert consumer.rest() == []


def test_a_limit_that_was_lowered(database, new_relay, reader, topic, kafka):
    """The relay has read the old one: the broker refuses, and its key waits behind it."""
    name = topic()
    relay = new_relay(kafka={"properties": ["compression.codec=none", "linger.ms=50"]}).start()
    consumer = reader()
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', 'first', '0', '{}')")
    consumer.take(1)
    kafka.configure_topic(name, max_message_bytes=10_000)
    database.execute(ROWS, "x" * 50_000)
    arrived = consumer.take(29, timeout=60)
    assert types_of(arrived, b"bad") == list(range(2, 20, 2))
    database.wait_empty()
    assert database.rows(LETTERS) == [(20, "too_large", "key")] + [(n, None, "key") for n in range(22, 41, 2)]
    kafka.configure_topic(name, max_message_bytes=100_000)
    relay.wait_metric("parked_keys", 1)
    database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action)"
                     " SELECT outbox, number, 'retry' FROM outbox_relay.dead_letters WHERE reason IS NOT NULL")
    assert types_of(consumer.take(11, timeout=60)) == list(range(20, 41, 2))
    assert consumer.rest() == []
