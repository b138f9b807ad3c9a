# SPDX-License-Identifier: ISC
"""From settle = "delete" and "mark" to "position" and back, under load: nothing is lost, and nothing comes twice."""
import psycopg2
import pytest

from harness.checker import problems
from harness.positions import waiting, wait_nothing_waits
from harness.waiting import until
from harness.writers import Writers, arrivals, insert

SMALL = {"claim_rows": 20, "batch_rows": 40}
OPTIONS = {"plain": (), "hash": ("--partitions", "3"), "by id": ("--partition-by", "id:5000")}


@pytest.mark.parametrize("table", OPTIONS)
@pytest.mark.parametrize("before, after", [("delete", "position"), ("mark", "position"), ("position", "delete"),
                                           ("position", "mark")])
def test_under_load(empty_database, migrate, new_relay, topic, reader, table, before, after):
    """The old relays are at work when the table is migrated. They end, having published nothing more."""
    database = empty_database
    topic()
    migrate(*OPTIONS[table], outbox={"settle": before})
    old = [new_relay(outbox=dict(SMALL, settle=before)) for _ in range(2)]
    new = [new_relay(outbox=dict(SMALL, settle=after)) for _ in range(2)]
    for relay in old:
        relay.start(wait=False)
    with Writers(database, threads=4, keys=20, pause=0.002) as writers:
        writers.wait_committed(300)
        for relay in old:  # one that has never had a session ends with status 1
            until(lambda: relay.get("/readyz")[0] == 200, 30, "the old relays to be at work")
        migrate(outbox={"settle": after})
        for relay in new:
            relay.start(wait=False)
        writers.wait_committed(300)
        for relay in old:
            relay.wait_log(f'was migrated for outbox.settle = "{after}"', 60)
            assert relay.stop() == 0
        writers.wait_committed(100)
    wait_nothing_waits(database, 60)
    assert problems(writers.truth(), arrivals(reader().rest())) == []
    assert sum(relay.metric("published_total") for relay in new) > 0


@pytest.mark.parametrize("before, after", [("delete", "position"), ("mark", "position"), ("position", "delete"),
                                           ("position", "mark")])
def test_what_waits_and_what_is_history(empty_database, migrate, new_relay, topic, reader, before, after):
    """What is published stays that, and what waits is published; there and back."""
    database = empty_database
    topic()
    migrate(outbox={"settle": before})
    relay = new_relay(outbox={"settle": before}).start()
    consumer = reader()
    insert(database, 200, key="history")
    consumer.take(200)
    wait_nothing_waits(database)
    assert relay.stop() == 0
    insert(database, 100, key="waits")
    assert waiting(database) == 100
    for settle in (after, before, after):
        migrate(outbox={"settle": settle})
        assert waiting(database) == 100, settle
    new_relay(outbox={"settle": after}).start()
    assert {r.key[:5] for r in consumer.take(100)} == {b"waits"}
    wait_nothing_waits(database)
    assert consumer.rest() == []
    kept = database.value("SELECT count(*) FROM outbox_events")
    assert kept == {"delete": 0, "mark": 300 if before != "delete" else 100, "position": 300 if before == "mark" else 100}[after]


def test_a_backlog_half_published(empty_database, migrate, new_relay, topic, reader):
    """The position lies between two events of one transaction: the one is published, and the other waits."""
    database, outbox = empty_database, {"settle": "position", "claim_rows": 5, "batch_rows": 10, "shards": 3}
    topic()
    migrate(outbox=outbox)
    insert(database, 20_000)  # some seconds' worth: it is to be stopped before the end
    relay = new_relay(outbox=outbox).start()
    until(lambda: relay.metric("published_total") >= 60, 20, "some to be published")
    assert relay.stop() == 0
    consumer = reader()
    come = {r.event_id for r in consumer.rest()}
    assert waiting(database) == 20_000 - len(come) > 0
    migrate()
    left = {event_id for event_id, in database.rows("SELECT event_id::text FROM outbox_events")}
    assert len(left) == 20_000 - len(come) and not left & come
    new_relay().start()
    assert {r.event_id for r in consumer.take(len(left), timeout=120)} == left
    database.wait_empty()
    assert consumer.rest() == []


def test_rights(empty_database, migrate, new_relay):
    """The relay only reads rows, and gets its rights back."""
    migrate(outbox={"settle": "position"})
    for sql in ("DELETE FROM outbox_events", "UPDATE outbox_events SET id = id", "UPDATE outbox_events SET x = x",
                "SELECT outbox_relay.set_position('outbox_events', 'end')", "SELECT outbox_relay.leave_positions('outbox_events', 'x')"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            empty_database.execute(sql, user="outbox_relay")
    migrate()
    empty_database.execute("DELETE FROM outbox_events", user="outbox_relay")


def test_a_column_of_the_applications_own_says_nothing(empty_database, migrate, new_relay, topic, reader):
    """In delete mode all rows wait, whatever a column called published_at is for."""
    topic()
    migrate(outbox={"settle": "delete"})
    empty_database.execute("ALTER TABLE outbox_events ADD COLUMN published_at timestamptz DEFAULT now()")
    insert(empty_database, 10)
    migrate(outbox={"settle": "position"})
    assert waiting(empty_database) == 10
    new_relay(outbox={"settle": "position"}).start()
    assert len(reader().take(10)) == 10
