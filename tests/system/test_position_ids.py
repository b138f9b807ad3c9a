# SPDX-License-Identifier: ISC
"""settle = "position", and all that can set ids, xids and rows wrong: no event is lost, and none comes twice unawares."""
import io
import json

import psycopg2
import pytest

from harness.fleet import wait_spread_for_good
from harness.positions import HALF, POSITION, unsettled, wait_settled
from harness.waiting import until
from harness.writers import insert

SMALL = dict(POSITION, claim_rows=5, batch_rows=10)
WAYS = {
    "truncate": "TRUNCATE outbox_events",
    "truncate, restart": "TRUNCATE outbox_events RESTART IDENTITY",
    "setval back": "SELECT setval('outbox_events_id_seq', 1, false)",
    "setval forward": "SELECT setval('outbox_events_id_seq', 1000000000000)",
    "negative": "ALTER SEQUENCE outbox_events_id_seq MINVALUE -9223372036854775808 RESTART WITH -9223372036854775808",
    "delete": "DELETE FROM outbox_events WHERE id % 3 = 0",
    "vacuum full": "VACUUM FULL outbox_events",
}
NEW = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
       " SELECT 'thing', 'new-' || n % 3, n::text, '{}' FROM generate_series(1, 60) n")
# A claim takes so long that a relay is stopped before it has published all, however late it is told to.
SLOW = """CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END';
    CREATE TRIGGER slow BEFORE INSERT ON outbox_relay.positions FOR EACH STATEMENT EXECUTE FUNCTION slow()"""
# Ids may come again while their rows are there.
NO_KEY = "ALTER TABLE outbox_events DROP CONSTRAINT outbox_events_pkey; CREATE INDEX ON outbox_events (id)"


def write(database, *rows, columns="id"):
    """Events of key k with what is given of each, numbered in their type."""
    with database.session() as cursor:
        for number, row in enumerate(rows):
            cursor.execute(f"INSERT INTO outbox_events ({columns}, aggregate_type, aggregate_id, event_type, payload)"
                           f" OVERRIDING SYSTEM VALUE VALUES ({row}, 'thing', 'k', '{number}', '{{}}')")


def types(records):
    return [int(r.header("type")) for r in records]


@pytest.fixture
def half(empty_database, migrate, new_relay, topic, reader):
    """half(count=2000, **outbox): of so many events some have arrived, and a target is half reached; no relay runs.
    (consumer, how many have come)"""
    def make(count=2000, statements="", options=(), relays=1, **outbox):
        topic()
        migrate(*options, outbox={**SMALL, **outbox})
        empty_database.execute(SLOW)
        if statements:
            empty_database.execute(statements)
        started = [new_relay(outbox={**SMALL, **outbox}) for _ in range(relays)]
        if relays > 1:
            for relay in started:
                relay.start(wait=False)
            wait_spread_for_good(started, *[1] * relays)
        insert(empty_database, count)
        if relays == 1:
            started[0].start()
        until(lambda: started[0].metric("published_total") >= 50, 20, "some events")
        assert [relay.stop() for relay in started] == [0] * relays
        empty_database.execute("DROP FUNCTION slow() CASCADE")
        assert 0 < unsettled(empty_database) < count and empty_database.value(HALF) > 0
        consumer = reader()
        come = consumer.rest()
        assert len(come) == count - unsettled(empty_database)
        return consumer, come
    return make


@pytest.mark.parametrize("way", WAYS)
def test_ids_that_jump(empty_database, migrate, new_relay, topic, reader, way):
    """Between events, with a relay at work."""
    topic()
    migrate(outbox=POSITION)
    empty_database.execute(NO_KEY)
    new_relay(outbox=POSITION).start()
    consumer = reader()
    insert(empty_database, 300)
    consumer.take(300)
    wait_settled(empty_database)
    empty_database.execute(WAYS[way])
    empty_database.execute(NEW)
    records = consumer.take(60)
    for key in (b"new-0", b"new-1", b"new-2"):
        own = types(r for r in records if r.key == key)
        assert own == sorted(own) and len(own) == 20
    wait_settled(empty_database)
    assert consumer.rest() == []


@pytest.mark.parametrize("way", WAYS)
def test_ids_that_jump_while_a_target_is_half_reached(empty_database, half, new_relay, way):
    """What was not published and is still there arrives, what comes new, too, and nothing twice."""
    consumer, come = half(statements=NO_KEY)
    empty_database.execute(WAYS[way])
    empty_database.execute(NEW)
    left = {event_id for event_id, in empty_database.rows("SELECT event_id::text FROM outbox_events")}
    new_relay(outbox=SMALL).start()
    wait_settled(empty_database)
    records = consumer.rest()
    known = {r.event_id for r in come}
    assert sorted(r.event_id for r in records) == sorted(left - known)


@pytest.mark.parametrize("role", ["owner", "app"])
def test_ids_and_transactions_of_ones_own(empty_database, migrate, new_relay, topic, reader, role):
    """Whatever a writer says of x: it is the transaction that inserts. Ids below the last ones are taken as they come."""
    database = empty_database
    topic()
    migrate(outbox=POSITION)
    if role == "app":
        database.execute(f"DROP ROLE IF EXISTS app_{database.name}; CREATE ROLE app_{database.name} LOGIN IN ROLE outbox_writer")
        role = f"app_{database.name}"
    new_relay(outbox=POSITION).start()
    consumer = reader()
    insert(database, 10, user=role)
    consumer.take(10)
    rows = ["5000, 3", "4000, 9223372036854775807", "-7, 18446744073709551615", "3000, 1"]
    with database.session(role) as cursor:
        for number, row in enumerate(rows):
            cursor.execute("INSERT INTO outbox_events (id, x, aggregate_type, aggregate_id, event_type, payload) OVERRIDING"
                           f" SYSTEM VALUE VALUES ({row.replace(', ', ', ' + chr(39))}', 'thing', 'k', '{number}', '{{}}')")
            assert types(consumer.take(1)) == [number]
        cursor.copy_expert("COPY outbox_events (id, x, aggregate_type, aggregate_id, event_type, payload) FROM STDIN",
                           io.StringIO("".join(f"{9000 - n}\t{n + 1}\tthing\tk\t{n}\t{{}}\n" for n in range(10, 20))))
    assert types(consumer.take(10)) == list(range(19, 9, -1))  # in the order of ids
    wait_settled(database)
    assert consumer.rest() == []
    assert database.value("SELECT count(*) FROM outbox_events WHERE x IN ('1', '3') OR x > pg_current_xact_id()") == 0
    if role != "owner":
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("published", [False, True])
def test_x_stays_what_it_is(empty_database, migrate, new_relay, topic, reader, published):
    """Neither an UPDATE nor a session that plays a replica changes which transaction a row is of."""
    database = empty_database
    topic()
    migrate(outbox=POSITION)
    relay = new_relay(outbox=POSITION)
    consumer = reader()
    if published:
        relay.start()
    insert(database, 5)
    if published:
        consumer.take(5)
        wait_settled(database)
    before = database.rows("SELECT id, x FROM outbox_events ORDER BY id")
    database.execute("UPDATE outbox_events SET x = CASE id WHEN 1 THEN '3'::xid8 ELSE pg_current_xact_id() END")
    with database.session() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE outbox_events SET x = '3'")
        cursor.execute("INSERT INTO outbox_events (x, aggregate_type, aggregate_id, event_type, payload)"
                       " VALUES ('3', 'thing', 'k', '1', '{}')")
    assert database.rows("SELECT id, x FROM outbox_events WHERE id <= 5 ORDER BY id") == before
    if not published:
        relay.start()
    assert "1" in [r.header("type") for r in consumer.take(1 if published else 6)]
    wait_settled(database)
    assert consumer.rest() == []


def test_an_application_changes_rows(empty_database, half, new_relay):
    """Rows that wait go out as they are then, or not at all; those that are published stay published."""
    consumer, come = half()
    known = {r.event_id for r in come}
    empty_database.execute("UPDATE outbox_events SET payload = '{\"changed\": true}'")
    empty_database.execute("DELETE FROM outbox_events WHERE id % 2 = 0")
    left = {event_id for event_id, in empty_database.rows("SELECT event_id::text FROM outbox_events")}
    new_relay(outbox=SMALL).start()
    wait_settled(empty_database)
    records = consumer.rest()
    assert sorted(r.event_id for r in records) == sorted(left - known)
    assert all(r.json == {"changed": True} for r in records)
    empty_database.execute("UPDATE outbox_events SET payload = '{}'; DELETE FROM outbox_events WHERE id % 5 = 0")
    insert(empty_database, 1, key="last")
    assert [r.key for r in consumer.take(1)] == [b"last-1"]
    assert consumer.rest() == []


PLACES = {
    "id": ((), {}, "id = id + 5000"),
    "id, backwards": ((), {}, "id = id - 5000"),
    "key of shards": ((), {"shards": 4}, "aggregate_id = 'other'"),
    "key of partitions": (("--partitions", "4"), {}, "aggregate_id = 'other'"),
    "time of partitions": (("--partition-by", "created_at:1h"), {}, "created_at = created_at + interval '3 hours'"),
}


@pytest.mark.parametrize("what", PLACES)
def test_what_places_an_event_is_not_changed(empty_database, half, new_relay, what):
    """Behind the position it would be lost, and before it published again: the UPDATE is refused, with words. All else of
    the row may be changed."""
    options, outbox, change_to = PLACES[what]
    consumer, _ = half(400, options=options, **outbox)
    with pytest.raises(psycopg2.Error, match="where a position tells what is published"):
        empty_database.execute(f"UPDATE outbox_events SET {change_to} WHERE id % 7 = 0")
    empty_database.execute("UPDATE outbox_events SET payload = '{}', id = id, aggregate_id = aggregate_id")
    new_relay(outbox={**SMALL, **outbox}).start()
    wait_settled(empty_database)
    consumer.rest()
    assert empty_database.value("SELECT count(*) FROM outbox_events") == 400


COLUMNS = """id bigint GENERATED BY DEFAULT AS IDENTITY, event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    aggregate_type text NOT NULL, aggregate_id text NOT NULL, event_type text NOT NULL, payload jsonb, headers jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()"""


@pytest.mark.parametrize("outbox", [{"claim_rows": 1, "batch_rows": 2}, {"claim_rows": 3}, {"batch_bytes": "64KiB"}, {}],
                         ids=["one row", "three rows", "few bytes", "all at once"])
def test_rows_with_equal_ids(empty_database, migrate, new_relay, reader, topic, outbox):
    """A table by time does not forbid them. The position cannot lie between them, so they are taken together."""
    database, outbox = empty_database, {**POSITION, **outbox}
    topic()
    database.execute(f"CREATE TABLE outbox_events ({COLUMNS}, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);"
                     "CREATE TABLE early PARTITION OF outbox_events FOR VALUES FROM (MINVALUE) TO ('2020-01-01');"
                     "CREATE TABLE late PARTITION OF outbox_events FOR VALUES FROM ('2020-01-01') TO (MAXVALUE)")
    migrate(outbox=outbox)
    add = ("INSERT INTO outbox_events (id, created_at, aggregate_type, aggregate_id, event_type, payload) SELECT n / 7,"
           " timestamptz '2019-12-31 23:59:59.8+00' + n * interval '1 ms', 'thing', 'k' || n, n::text, to_jsonb(repeat('x', 5000))"
           " FROM generate_series(%s::int, %s) n")
    database.execute(add, 1, 300)
    relay = new_relay(outbox=outbox).start()
    consumer = reader()
    assert sorted(types(consumer.take(300))) == list(range(1, 301))
    database.execute(add, 301, 400)
    database.execute(add.replace("n / 7", "7"), 401, 450)
    assert sorted(types(consumer.take(150))) == list(range(301, 451))
    wait_settled(database)
    assert consumer.rest() == []
    assert json.loads(relay.get("/status")[1])["ready"]


@pytest.mark.parametrize("changed", [{"shards": 4}, {"shards": 3}, {}], ids=["1 to 4", "2 to 3", "key"])
def test_another_layout_while_a_target_is_half_reached(empty_database, half, new_relay, changed):
    """The new shards go on where the old ones were, once these are all at one position."""
    before = {"shards": 2} if changed == {"shards": 3} else {} if changed else {"shards": 3}
    consumer, come = half(relays=before.get("shards", 1), **before)  # each at a position of its own
    route = {} if changed else {"key": "${event_type}-${aggregate_id}"}
    outbox = {**SMALL, **(changed or before)}
    relays = [new_relay(outbox=outbox, route=route).start(wait=False) for _ in range(2)]
    wait_settled(empty_database)
    insert(empty_database, 500, key="after")
    wait_settled(empty_database)
    records = consumer.rest()
    ids = [r.event_id for r in come + records]
    assert len(ids) == len(set(ids)) == 2500
    layout = empty_database.value("SELECT position_layout FROM outbox_relay.outboxes")
    assert layout == outbox.get("shards", 1)
    assert relays[0].metric("published_total") + relays[1].metric("published_total") == len(records)
