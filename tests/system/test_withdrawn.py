# SPDX-License-Identifier: ISC
"""Where rows stay, those of events that were edited, discarded or taken out: no relay, replay or new position publishes them,
and verify does not miss them, whatever holds such a row, and in whatever mode the table is by then."""
import json
from contextlib import contextmanager

import pytest

from harness.positions import wait_nothing_waits, wait_settled
from harness.waiting import until
from harness.writers import insert

BAD = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
       " VALUES ('thing', %s, 'Bad', '\"old\"', '[]') RETURNING id")
WITHDRAW = ("WITH t AS (INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('thing', 'out', 'Out')"
            " RETURNING id) SELECT id FROM t")
NOTED = "SELECT array_agg(id ORDER BY id) FROM outbox_relay.withdrawn"


@pytest.fixture
def rejected(empty_database, migrate, new_relay, topic, reader):
    """rejected("mark"): a relay that has published 10 events and parked three, each with a key of its own; a consumer of
    what comes; their ids."""
    def begin(settle):
        topic()
        migrate(outbox={"settle": settle})
        relay = new_relay(outbox={"settle": settle}).start()
        insert(empty_database, 10)
        consumer = reader()
        consumer.take(10)
        ids = [empty_database.value(BAD, key) for key in ("edited", "discarded", "parked")]
        empty_database.wait("SELECT count(*) = 3 FROM outbox_relay.dead_letters")
        wait_nothing_waits(empty_database)
        return relay, consumer, ids
    return begin


def dlq(relay, *argv):
    done = relay.command("dlq", *map(str, argv))
    assert done.returncode == 0, done.stdout + done.stderr


def change(relay, consumer, edited, discarded):
    """Both are carried out, and the edited event comes as it is now."""
    dlq(relay, "edit", "--headers", "null", "--id", edited)
    dlq(relay, "discard", "--id", discarded)
    dlq(relay, "retry", "--id", edited)
    assert [record.key for record in consumer.take(1)] == [b"edited"]


def take_out(database):
    """An event is written and, while no relay runs, taken out."""
    id_ = database.value(WITHDRAW)
    assert database.value("SELECT outbox_relay.withdraw('outbox_events', %s)", id_) == 1


def check_history(database, relay, consumer, count):
    """A replay of all publishes these and nothing else, and verify finds each event where it must be."""
    wait_nothing_waits(database)
    done = relay.command("replay", "--json", "--all", "--rate", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["published"], told["finished"]) == (count, True)
    assert {record.header("type") for record in consumer.take(count)} == {"Happened"} and consumer.rest() == []
    found = json.loads(relay.command("verify", "--json").stdout)
    assert (found["good"], found["missing_count"], found["unknown"]) == (True, 0, 0), found


# ---- what holds a row ----

@contextmanager
def locked(database, ids):
    with database.session(autocommit=False) as cursor:
        cursor.execute("SELECT FROM outbox_events WHERE id = ANY (%s) FOR UPDATE", (ids,))
        yield


@contextmanager
def referred_to(database, ids):
    database.execute("CREATE TABLE refers (event bigint REFERENCES outbox_events (id))")
    database.execute("INSERT INTO refers SELECT unnest(%s)", ids)
    yield


@contextmanager
def kept(database, _):
    database.execute("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    database.execute("CREATE TRIGGER keep BEFORE DELETE ON outbox_events FOR EACH ROW EXECUTE FUNCTION keep()")
    yield


@pytest.mark.parametrize("held", [locked, referred_to, kept])
def test_what_holds_the_row_is_in_nobodys_way(rejected, empty_database, held):
    """The relay carries out what is asked for, and goes on."""
    relay, consumer, (edited, discarded, _) = rejected("mark")
    with held(empty_database, [edited, discarded]):
        change(relay, consumer, edited, discarded)
        insert(empty_database, 5, key="meanwhile")
        consumer.take(5)
    assert not relay.log_contains("the database refuses")
    assert empty_database.value("SELECT count(*) FROM outbox_events") == 10 + 3 + 5
    check_history(empty_database, relay, consumer, 10 + 5)


def test_the_row_goes_with_the_retention(rejected, empty_database):
    """As any other that was published so long ago; and then its note."""
    relay, _, (edited, discarded, parked) = rejected("mark")
    dlq(relay, "discard", "--id", discarded)
    dlq(relay, "edit", "--headers", "null", "--id", edited)
    assert empty_database.value(NOTED) == [edited, discarded]
    empty_database.execute("UPDATE outbox_events SET published_at = '2020-01-01' WHERE id = %s", discarded)
    empty_database.wait(f"SELECT count(*) = 0 FROM outbox_events WHERE id = {discarded}", timeout=60)
    dlq(relay, "discard", "--id", parked)
    empty_database.wait(f"SELECT ({NOTED}) = ARRAY[{edited}, {parked}]::bigint[]")


def test_an_event_that_halts_is_given_up(empty_database, migrate, new_relay, topic, reader):
    """By the statement that the relay offers: in mark mode, too, it does not count as published then."""
    topic()
    migrate(outbox={"settle": "mark"})
    insert(empty_database, 10)
    empty_database.value(BAD, "bad")
    insert(empty_database, 5, key="behind")
    relay = new_relay(outbox={"settle": "mark", "on_reject": "halt"}).start(wait=False)
    halt = until(lambda: json.loads(relay.get("/status")[1])["halted_at"], 30, "the relay to halt")
    empty_database.execute(halt["remove"])
    consumer = reader()
    consumer.take(15)
    check_history(empty_database, relay, consumer, 15)


# ---- another mode, another position ----

def test_after_a_migration_to_marks(rejected, empty_database, migrate, new_relay):
    """And back."""
    relay, consumer, (edited, discarded, _) = rejected("position")
    change(relay, consumer, edited, discarded)
    assert relay.stop() == 0
    take_out(empty_database)
    for settle in ("mark", "position"):
        migrate(outbox={"settle": settle})
        relay = new_relay(outbox={"settle": settle}).start()
        check_history(empty_database, relay, consumer, 10)
        assert relay.stop() == 0


@pytest.mark.parametrize("way, count", [(("'start'",), 10), (("'from'", "6"), 5)], ids=["start", "from"])
def test_a_position_that_is_set_anew(rejected, empty_database, way, count):
    """What is published again is what was published as it is. A note of another event with these ids does not count."""
    relay, consumer, (edited, discarded, parked) = rejected("position")
    change(relay, consumer, edited, discarded)
    assert relay.stop() == 0
    take_out(empty_database)
    empty_database.execute("INSERT INTO outbox_relay.withdrawn (outbox, id, event_id, created_at) SELECT 'outbox_events', id,"
                           " event_id::text, created_at - interval '1 s' FROM outbox_events WHERE id = 10")
    empty_database.execute(f"SELECT outbox_relay.set_position('outbox_events', {', '.join(way)})")
    relay.start()
    assert {record.header("type") for record in consumer.take(count)} == {"Happened"}
    wait_settled(empty_database)
    assert consumer.rest() == []
    assert empty_database.rows("SELECT id FROM outbox_relay.dead_letters") == [(parked,)]
    dlq(relay, "edit", "--headers", "null", "--id", parked)
    dlq(relay, "retry", "--id", parked)
    assert [record.key for record in consumer.take(1)] == [b"parked"] and consumer.rest() == []
