# SPDX-License-Identifier: ISC
"""Rows that the database does not let go: each is named and holds its key, all other keys flow."""
import json
import re

import pytest

from harness.fleet import wait_spread, wait_spread_for_good
from harness.waiting import until

FLOW = {"on_reject": "dead-letter"}
LOOKING = ("SELECT count(*) FROM pg_stat_activity WHERE usename = 'outbox_relay' AND datname = current_database()"
           " AND state = 'active'")
MARK = {"on_reject": "dead-letter", "settle": "mark"}

TRIGGERS = """
CREATE FUNCTION legal_hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF OLD.payload->>'hold' = TG_ARGV[0] AND TG_ARGV[1] = 'raise' THEN
        RAISE EXCEPTION 'on legal hold: %', TG_ARGV[0];
    ELSIF OLD.payload->>'hold' = TG_ARGV[0] AND TG_ARGV[1] = 'state' THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'on legal hold: ' || TG_ARGV[0];
    ELSIF OLD.payload->>'hold' = TG_ARGV[0] AND TG_ARGV[1] = 'null' THEN
        RETURN NULL;
    ELSIF OLD.payload->>'hold' = TG_ARGV[0] AND TG_ARGV[1] = 'put back' AND TG_OP = 'DELETE' THEN
        INSERT INTO outbox_events SELECT OLD.*;
    ELSIF OLD.payload->>'hold' = TG_ARGV[0] AND TG_ARGV[1] = 'put back' THEN
        IF NEW.published_at IS NOT NULL THEN
            UPDATE outbox_events SET published_at = NULL WHERE id = OLD.id;
        END IF;
    ELSIF OLD.payload->>'hold' = TG_ARGV[0] OR TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
"""
TRIGGER = "CREATE TRIGGER {0} {1} ON outbox_events FOR EACH ROW EXECUTE FUNCTION legal_hold('{0}', '{2}');"
CONSTRAINT = ("CREATE CONSTRAINT TRIGGER {0} {1} ON outbox_events DEFERRABLE INITIALLY DEFERRED"
              " FOR EACH ROW EXECUTE FUNCTION legal_hold('{0}', '{2}');")
REFERENCE = ("CREATE TABLE {0} (event bigint REFERENCES outbox_events (id) {1});"
             "INSERT INTO {0} SELECT id FROM outbox_events WHERE payload->>'hold' = '{0}';")
RAISES = TRIGGER.format("raises", "BEFORE DELETE", "raise")
AT_COMMIT = CONSTRAINT.format("at_commit", "AFTER DELETE", "raise")
FREE = "DROP FUNCTION legal_hold CASCADE; DROP TABLE IF EXISTS refers, refers_late"
STAYS = "a trigger or a rule of the table keeps it"

# How rows are kept, and what is said of each kind.
KEPT = {
    "delete": (FLOW, TRIGGERS + RAISES + AT_COMMIT
               + TRIGGER.format("is_not_ready", "BEFORE DELETE", "state")
               + TRIGGER.format("raises_after", "AFTER DELETE", "raise")
               + TRIGGER.format("returns_null", "BEFORE DELETE", "null")
               + TRIGGER.format("is_put_back", "AFTER DELETE", "put back")
               + REFERENCE.format("refers", "")
               + REFERENCE.format("refers_late", "DEFERRABLE INITIALLY DEFERRED"),
               {"raises": "on legal hold: raises", "at_commit": "on legal hold: at_commit",
                "is_not_ready": "on legal hold: is_not_ready",
                "raises_after": "on legal hold: raises_after", "returns_null": STAYS, "is_put_back": STAYS,
                "refers": 'foreign key constraint "refers_event_fkey"',
                "refers_late": 'foreign key constraint "refers_late_event_fkey"'}),
    "mark": (MARK, TRIGGERS + TRIGGER.format("raises", "BEFORE UPDATE", "raise")
             + TRIGGER.format("returns_null", "BEFORE UPDATE", "null")
             + TRIGGER.format("returns_old", "BEFORE UPDATE", "old")
             + TRIGGER.format("is_put_back", "AFTER UPDATE", "put back"),
             {"raises": "on legal hold: raises", "returns_null": STAYS, "returns_old": STAYS,
              "is_put_back": STAYS}),
}


def fill(database, count=502, held=None, keys=100):
    """count events, the n-th of key k<n % keys>; those numbered in held are kept as it says."""
    database.execute(
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
        " SELECT 'thing', 'k' || n %% %s, 'Happened', jsonb_build_object('n', n, 'hold', %s::jsonb->>(n::text))"
        " FROM generate_series(1, %s) n", keys, json.dumps(held or {}), count)


def waiting_behind(held, count=502, keys=100):
    """The numbers that may not arrive yet."""
    return {n for n in range(1, count + 1) for h in held if n >= h and n % keys == h % keys}


def numbers(records):
    return [r.json["n"] for r in records]


def id_of(database, kind):
    return database.value("SELECT id FROM outbox_events WHERE payload->>'hold' = %s ORDER BY id LIMIT 1", kind)


def says(relay, pattern):
    """Whether readyz is 503 and has these words."""
    code, text = relay.get("/readyz")
    return code == 503 and re.search(pattern, text)


def assert_in_order(arrived, keys=100):
    last = {}
    for n in arrived:
        assert n > last.get(n % keys, 0), f"{n} after {last[n % keys]}"
        last[n % keys] = n


@pytest.mark.parametrize("settle, shards", [("delete", 1), ("delete", 4), ("mark", 1)])
def test_rows_are_kept(empty_database, migrate, new_relay, reader, topic, settle, shards):
    """Each row is named in the log with the reason, one of them in status and readyz; their keys wait, also
    after a restart; once the causes are gone the rest arrives in order, and nothing twice."""
    database = empty_database
    outbox, causes, kinds = KEPT[settle]
    outbox = dict(outbox, shards=shards)
    held = {50 + 31 * n: kind for n, kind in enumerate(kinds)}
    late = waiting_behind(held)
    topic()
    migrate(outbox=outbox)
    fill(database, held=held)
    database.execute(causes)
    relay = new_relay(outbox=outbox).start()
    ids = {kind: id_of(database, kind) for kind in kinds}
    consumer = reader()
    assert set(numbers(consumer.take(502 - len(late)))) == set(range(1, 503)) - late
    for kind, words in kinds.items():
        relay.wait_log(rf"event {ids[kind]} \(event_id .*\) cannot be .*{words}")
    until(lambda: says(relay, rf"event {min(ids.values())} "), 20, "readyz 503, with the first of them")
    until(lambda: relay.metric("parked_keys") == len(kinds), 20, "the held keys")
    until(lambda: relay.metric("depth") == len(late), 20, "the depth")
    told = json.loads(relay.get("/status")[1])
    assert told["parked_keys"] == told["held_keys"] == relay.metric("held_keys") == len(kinds)
    assert told["parked_events"] == relay.metric("parked_keys_by_reason") == 0
    assert "on legal hold: raises" in json.loads(relay.get("/status")[1])["refusal"]
    assert "session" not in relay.log()
    assert relay.stop() == 0
    relay.start()
    for kind in kinds:
        relay.wait_log(rf"event {ids[kind]} \(event_id .*\) cannot be ")
    assert consumer.rest() == []
    database.execute(FREE)
    relay.wait_log(rf"event {ids['raises']} .* its key goes on")
    assert sorted(numbers(consumer.take(len(late)))) == sorted(late)
    assert consumer.rest() == []
    until(lambda: relay.get("/readyz")[0] == 200, 10, "readyz 200")


@pytest.mark.parametrize("shards", (1, 4))
def test_many_rows_are_kept(empty_database, migrate, new_relay, reader, topic, shards):
    """Ten rows of ten keys among 3,000, two of one key: the others arrive in order, once. Half of them raise, half
    are put back."""
    database = empty_database
    held = {n: "raises" if n % 2 else "is_put_back" for n in (7, 8, 9, 10, 507, 1000, 1500, 2011, 2999, 3000)}
    outbox = dict(FLOW, shards=shards)
    topic()
    migrate(outbox=outbox)
    fill(database, 3000, held)
    database.execute(TRIGGERS + RAISES + TRIGGER.format("is_put_back", "AFTER DELETE", "put back"))
    late = waiting_behind(held, 3000)
    relay = new_relay(outbox=outbox).start()
    consumer = reader()
    arrived = numbers(consumer.take(3000 - len(late)))
    assert set(arrived) == set(range(1, 3001)) - late
    until(lambda: relay.metric("parked_keys") == len({h % 100 for h in held}), 20, "the held keys")
    database.execute(FREE)
    database.wait_empty()
    arrived += numbers(consumer.take(len(late)))
    assert consumer.rest() == []
    assert_in_order(arrived)
    assert len(arrived) == 3000


def test_a_shard_is_handed_over_with_its_rows(empty_database, migrate, new_relay, reader, topic):
    """A relay holds no rows of a shard that another one has by now, which finds them out for itself."""
    database = empty_database
    outbox = dict(FLOW, shards=2)
    topic()
    migrate(outbox=outbox)
    fill(database, 200, {n: "raises" for n in range(1, 11)})
    database.execute(TRIGGERS + RAISES)
    first, second = new_relay(outbox=outbox).start(), new_relay(outbox=outbox)
    first.wait_log(rf"event {id_of(database, 'raises') + 9} .* its key waits")
    second.start()
    first.wait_log(r"event \d+ \(event_id .*\) is another relay's to remove")
    until(lambda: first.metric("parked_keys") + second.metric("parked_keys") == 10
          and 0 < second.metric("parked_keys") < 10, 20, "each relay's held keys")
    database.execute(FREE)
    database.wait_empty()
    assert_in_order(numbers(reader().take(200)))


@pytest.mark.parametrize("state", ("55000", "53400"))
def test_whatever_error_code_a_trigger_chooses(empty_database, migrate, new_relay, reader, topic, state):
    """Codes that PostgreSQL itself uses for other things than a row."""
    database = empty_database
    topic()
    migrate(outbox=FLOW)
    fill(database, 50, {7: "raises"}, keys=10)
    database.execute((TRIGGERS + RAISES).replace("hold: %', TG_ARGV[0];",
                                                 f"hold: %', TG_ARGV[0] USING ERRCODE = '{state}';"))
    relay = new_relay(outbox=FLOW).start()
    consumer = reader()
    assert set(numbers(consumer.take(45))) == set(range(1, 51)) - waiting_behind({7}, 50, 10)
    relay.wait_log(rf"event {id_of(database, 'raises')} .*SQLSTATE {state}: on legal hold")


def test_without_order_only_the_row_waits(empty_database, migrate, new_relay, reader, topic):
    database = empty_database
    outbox = dict(FLOW, ordering="none")
    topic()
    migrate(outbox=outbox)
    fill(database, held={250: "raises"})
    database.execute(TRIGGERS + RAISES)
    new_relay(outbox=outbox).start()
    consumer = reader()
    assert set(numbers(consumer.take(501))) == set(range(1, 503)) - {250}
    database.execute(FREE)
    assert numbers(consumer.take(1)) == [250]
    assert consumer.rest() == []


def test_halt_waits_and_goes_on(empty_database, migrate, new_relay, reader, topic):
    """With on_reject = "halt" nothing is published until the row can go; the process lives."""
    database = empty_database
    topic()
    migrate()
    fill(database, held={1: "raises"})
    database.execute(TRIGGERS + RAISES)
    relay = new_relay(outbox={"on_reject": "halt"}).start()
    bad = id_of(database, "raises")
    relay.wait_log(rf"event {bad} \(event_id .*on legal hold")
    until(lambda: says(relay, "nothing is published"), 20, "readyz to say that it halts")
    consumer = reader()
    assert consumer.rest() == []
    assert relay.process.alive
    database.execute(FREE)
    assert_in_order(numbers(consumer.take(502)))
    database.wait_empty()


# The claim may have it, and its move to the dead letters may not.
KEEP_FROM_LETTERS = """
    CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
    BEGIN
        IF OLD.headers = '[]' AND current_query() LIKE '%given reason%' THEN {1}; END IF;
        IF TG_OP = 'UPDATE' THEN RETURN NEW; END IF;
        RETURN OLD;
    END $$;
    CREATE TRIGGER keep BEFORE {0} ON outbox_events FOR EACH ROW EXECUTE FUNCTION keep()"""


def test_a_row_that_is_rejected_and_kept(empty_database, migrate, new_relay, reader, topic):
    """It cannot be moved to the dead letters either: its key waits."""
    database = empty_database
    topic()
    migrate(outbox=FLOW)
    fill(database, 20, {5: "letter"})
    database.execute("UPDATE outbox_events SET headers = '[]' WHERE payload->>'hold' IS NOT NULL")
    relay = new_relay(outbox=FLOW)
    database.execute(KEEP_FROM_LETTERS.format("DELETE", "RAISE EXCEPTION 'on legal hold'"))
    relay.start()
    bad = id_of(database, "letter")
    consumer = reader()
    assert set(numbers(consumer.take(19))) == set(range(1, 21)) - {5}
    relay.wait_log(rf"event {bad} \(event_id .*on legal hold")
    database.execute("DROP FUNCTION keep CASCADE")
    database.wait_empty()
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 1
    assert consumer.rest() == []


def test_a_rejected_row_that_stays_is_noticed(empty_database, migrate, new_relay, reader, topic):
    """A trigger keeps it from the dead letters without an error: its key waits, and it is tried every few seconds."""
    database = empty_database
    topic()
    migrate(outbox=MARK)
    fill(database, 20, {5: "letter"}, keys=10)
    database.execute("UPDATE outbox_events SET headers = '[]' WHERE payload->>'hold' IS NOT NULL")
    database.execute(KEEP_FROM_LETTERS.format("UPDATE", "RETURN NULL"))
    relay = new_relay(outbox=MARK).start()
    relay.wait_log(rf"event {id_of(database, 'letter')} \(event_id .*a trigger or rule of the table keeps it")
    consumer = reader()
    assert set(numbers(consumer.take(19))) == set(range(1, 21)) - {5}
    assert consumer.rest() == []
    assert relay.log().count("is rejected") <= 4
    database.execute("DROP FUNCTION keep CASCADE")
    until(lambda: database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 1, 30, "the dead letter")


def test_a_published_row_that_is_kept_is_not_published_again(
        empty_database, migrate, new_relay, reader, topic):
    """Kafka has it, the COMMIT is refused: it is remembered, and removed once that is possible."""
    database = empty_database
    topic()
    migrate(outbox=FLOW)
    fill(database, 50, {7: "at_commit"}, keys=10)
    relay = new_relay(outbox=FLOW).start()
    consumer = reader()
    assert len(consumer.take(50)) == 50
    database.wait_empty()
    # A constraint that the relay's session does not know of yet.
    database.execute(TRIGGERS + AT_COMMIT)
    fill(database, 50, {7: "at_commit"}, keys=10)
    assert len(consumer.take(50)) == 50
    relay.wait_log(r"COMMIT is refused: .*on legal hold")
    bad = id_of(database, "at_commit")
    relay.wait_log(rf"event {bad} .* though it is published: .*on legal hold")
    fill(database, 10, keys=10)
    assert set(numbers(consumer.take(9))) == set(range(1, 11)) - {7}
    assert consumer.rest() == []
    database.execute(FREE)
    assert numbers(consumer.take(1)) == [7]
    database.wait_empty()
    assert consumer.rest() == []


def test_the_partitions_of_others_are_settled_after_a_refusal(
        empty_database, migrate, start_relays, reader):
    """Two relays own two partitions each. A COMMIT is refused; of what was published only the guilty rows wait."""
    database = empty_database
    migrate("--partitions", "4", outbox=FLOW)
    relays = start_relays(2, **FLOW)
    wait_spread_for_good(relays, 2, 2)
    database.end_relay_sessions()  # the next ones have never had the others' partitions
    for relay in relays:
        relay.wait_log("reconnecting")
    wait_spread(relays, 2, 2)
    consumer = reader()
    # A constraint that the relays' sessions do not know of yet, on each partition.
    leaves = database.rows("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent ="
                           " 'outbox_events'::regclass")
    database.execute(TRIGGERS + "".join(AT_COMMIT.replace("outbox_events", leaf) for leaf, in leaves))
    # A relay that looks at its partitions while the rows are committed finds those of the second one only, and knows
    # better when it comes to the first. So none looks meanwhile.
    for relay in relays:
        relay.process.pause()
    until(lambda: database.value(LOOKING) == 0, 10, "what the relays have asked to be answered")
    fill(database, 50, {n: "at_commit" for n in range(1, 21)}, keys=50)
    for relay in relays:
        relay.process.resume()
    assert len(consumer.take(50)) == 50
    until(lambda: database.value("SELECT count(*) FROM outbox_events") == 20, 20, "the others to be removed")
    until(lambda: sum(relay.metric("parked_keys") for relay in relays) == 20, 20, "the held keys")
    database.execute(FREE)
    database.wait_empty()
    assert consumer.rest() == []
    assert [relay.log().count("session with the database is gone") for relay in relays] == [1, 1]


SET_UP = {
    "rule": "CREATE RULE keep AS ON DELETE TO outbox_events DO INSTEAD NOTHING",
    "statement_trigger": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
        BEGIN RAISE EXCEPTION 'nothing is deleted here'; END $$;
        CREATE TRIGGER refuse BEFORE DELETE ON outbox_events FOR EACH STATEMENT EXECUTE FUNCTION refuse()""",
}
SET_UP_WORDS = {"rule": "rule keep|DELETE RETURNING", "statement_trigger": "nothing is deleted here"}


@pytest.mark.parametrize("kind", SET_UP)
def test_what_is_every_rows_fault_ends_run_at_its_start(database, new_relay, topic, kind):
    topic()
    fill(database, 5)
    database.execute(SET_UP[kind])
    relay = new_relay().start(wait=False)
    assert relay.wait_exit() == 1
    assert relay.log_contains(SET_UP_WORDS[kind])
    assert database.value("SELECT count(*) FROM outbox_events") == 5


@pytest.mark.parametrize("kind", SET_UP)
def test_what_is_every_rows_fault_later_holds_with_its_reason(database, new_relay, reader, topic, kind):
    topic()
    relay = new_relay().start()
    consumer = reader()
    fill(database, 5)
    consumer.take(5)
    database.execute(SET_UP[kind])
    fill(database, 5)
    relay.wait_log(f"no event can be claimed: .*({SET_UP_WORDS[kind]})")
    until(lambda: says(relay, SET_UP_WORDS[kind]), 20, "readyz to say so")
    assert not relay.log_contains("session with the database is gone")
    database.execute("DROP RULE IF EXISTS keep ON outbox_events; DROP TRIGGER IF EXISTS refuse ON outbox_events")
    assert len(consumer.take(5)) == 5
    until(lambda: relay.get("/readyz")[0] == 200, 10, "readyz 200")
    assert consumer.rest() == []


def test_a_right_that_is_revoked_later(database, new_relay, reader, topic):
    """The relay says what the server says, and does not take its own session for a stranger's."""
    topic()
    relay = new_relay().start()
    fill(database, 5)
    consumer = reader()
    consumer.take(5)
    database.execute("REVOKE DELETE ON outbox_events FROM outbox_relay;"
                     "SELECT pg_notify('outbox_relay', 'outbox_events'::regclass::oid || ' group')")
    fill(database, 5)
    relay.wait_log("no event can be claimed: SQLSTATE 42501")
    database.execute("GRANT DELETE ON outbox_events TO outbox_relay")
    consumer.take(5)
    assert not relay.log_contains("is no relay")
