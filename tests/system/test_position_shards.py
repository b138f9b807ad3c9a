# SPDX-License-Identifier: ISC
"""settle = "position" with several relays: each shard has a position, and they come together when shards change."""
import pytest

from harness.checker import problems
from harness.fleet import wait_spread_for_good
from harness.positions import POSITION, wait_settled
from harness.waiting import holds, until
from harness.writers import Writers, arrivals, insert
from test_range_partitions import by_id, by_second, hash_first, range_first

SMALL = dict(POSITION, claim_rows=20, batch_rows=40)
LAYOUT = "SELECT position_layout FROM outbox_relay.outboxes"
SHAPES = {"plain": ([], (), {}), "shards": ([], (), {"shards": 4}), "hash": ([], ("--partitions", "4"), {}),
          "by id": (by_id(300, 30), (), {}), "by id, in shards": (by_id(300, 30), (), {"shards": 4}),
          "by time": (by_second(60), (), {"shards": 2}), "hash, then id": (hash_first(300, 30), (), {}),
          "id, then hash": (range_first(300, 30), (), {"shards": 2})}


@pytest.fixture
def made(migrate, start_relays, empty_database):
    """made(shape, 2): the outbox, migrated, and so many relays; or only more relays."""
    done = []

    def start(shape, count, **outbox):
        statements, options, own = SHAPES[shape]
        if not done:
            for statement in statements:
                empty_database.execute(statement)
            done.append(migrate(*options, outbox={**SMALL, **own}))
        return start_relays(count, **{**SMALL, **own, **outbox})
    return start


@pytest.fixture
def all_once(empty_database, reader):
    """all_once(writers, kills=0): everything committed has arrived, in order. The records."""
    def check(writers, kills=0):
        wait_settled(empty_database)
        records = reader().rest()
        assert problems(writers.truth(), arrivals(records), kills=kills) == []
        return records
    return check


@pytest.mark.parametrize("relays", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_order(made, empty_database, all_once, shape, relays):
    """Under load; one relay is killed and started again, and all sessions are ended: another one, if there is one,
    waits 200 ms for the owner of a shard, and may repeat what that one has published."""
    started = made(shape, relays)
    with Writers(empty_database, threads=6, keys=30) as writers:
        writers.wait_committed(300)
        started[0].kill()
        writers.wait_committed(150)
        started[0].start(wait=False)
        until(lambda: started[0].get("/readyz")[0] == 200, 20, "it to be back, if only to stand by")
        writers.wait_committed(100)
        empty_database.end_relay_sessions()
        writers.wait_committed(200)
    all_once(writers, kills=1 if relays == 1 else 2)


@pytest.mark.parametrize("shape", ["shards", "hash"])
def test_hand_over_under_load(made, empty_database, all_once, shape):
    """Relays come and go one after the other: nothing twice."""
    relays = made(shape, 2)
    wait_spread_for_good(relays, 2, 2)
    with Writers(empty_database, threads=6, keys=30) as writers:
        for relay in relays * 2:
            writers.wait_committed(100)
            assert relay.stop() == 0
            writers.wait_committed(50)
            relay.start(wait=False)
            wait_spread_for_good(relays, 2, 2)
        writers.wait_committed(100)
    all_once(writers)


@pytest.mark.parametrize("shape", ["plain", "by id"])
def test_another_number_of_shards(made, empty_database, all_once, shape):
    """1, 4, 3, 1, under load, with one relay or two of each number."""
    relays = made(shape, 1)
    with Writers(empty_database, threads=6, keys=30) as writers:
        for shards in (4, 3, 1):
            writers.wait_committed(200)
            after = made(shape, 2, shards=shards)
            writers.wait_committed(50)
            for relay in relays:
                assert relay.stop() == 0
            relays = after
            until(lambda: empty_database.value(LAYOUT) == shards, 30, f"positions of {shards} shards")
            writers.wait_committed(100)
    all_once(writers)


def test_the_relay_that_aligns_is_killed(made, empty_database, all_once):
    """Again and again, while the shards of a backlog are brought to one position."""
    first, = made("shards", 1)
    with Writers(empty_database, threads=6, keys=30) as writers:
        writers.wait_committed(200)
        first.kill()
        writers.wait_committed(400)
        kills = 1
        relay, = made("shards", 1, shards=3)
        while empty_database.value(LAYOUT) != 3 and kills < 8:
            writers.wait_committed(20)
            relay.kill()
            kills += 1
            relay.start(wait=False)
        until(lambda: empty_database.value(LAYOUT) == 3, 30, "positions of 3 shards")
        writers.wait_committed(100)
    all_once(writers, kills=kills)


@pytest.mark.parametrize("shape", ["plain", "shards", "hash"])
def test_pause(made, empty_database, reader, all_once, shape):
    """Nothing is published between the end of pause and resume."""
    relays = made(shape, 1)
    relays[0].wait_ready()
    made(shape, 1)
    with Writers(empty_database, pause=0.002) as writers:
        writers.wait_committed(200)
        for _ in range(3):
            assert relays[0].command("pause").returncode == 0
            consumer = reader()
            consumer.rest()
            writers.wait_committed(50)
            holds(lambda: consumer.rest() == [], 0.5, "nothing arrives")
            assert relays[0].command("resume").returncode == 0
            writers.wait_committed(100)
    all_once(writers)


def test_two_outboxes(empty_database, migrate, new_relay, reader, topic):
    """In one database: each has positions of its own, and another way to settle if it likes."""
    topic("thing"), topic("other")
    migrate(outbox=POSITION)
    migrate(outbox={"table": "second", **POSITION})
    new_relay(outbox=POSITION).start()
    second = new_relay(outbox={"table": "second", **POSITION}).start()
    insert(empty_database, 100)
    empty_database.execute("INSERT INTO second (aggregate_type, aggregate_id, event_type, payload)"
                           " SELECT 'other', n::text, 'Happened', '{}' FROM generate_series(1, 50) n")
    assert len(reader().take(100)) == 100 and len(reader("other").take(50)) == 50
    wait_settled(empty_database)
    wait_settled(empty_database, "second")
    assert second.stop() == 0
    migrate(outbox={"table": "second"})
    assert empty_database.value("SELECT count(*) FROM second") == 0
    assert empty_database.value("SELECT count(*) FROM outbox_events") == 100


def test_positions_that_cannot_be_compared(made, empty_database, start_relays):
    """Each shows a transaction that the other does not, as of two relays of which one has gone: a transaction is not open
    in a snapshot that it takes itself. They come to one position though nothing is inserted, so that shards can change."""
    relay, = made("shards", 1)
    insert(empty_database, 40)
    wait_settled(empty_database)
    assert relay.stop() == 0
    empty_database.execute("SELECT pg_current_xact_id()")
    empty_database.execute(
        "INSERT INTO outbox_relay.positions (outbox, layout, shard, finished) SELECT p.outbox, 4, p.shard, format('%s:%s:%s',"
        " x - 9, x, x - 9 + p.shard)::pg_snapshot FROM (SELECT DISTINCT outbox, shard FROM outbox_relay.positions) AS p,"
        " (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS x) AS now")
    relay, = start_relays(1, **dict(SMALL, shards=3))
    empty_database.wait(f"SELECT ({LAYOUT}) = 3")
    insert(empty_database, 40)
    wait_settled(empty_database)
