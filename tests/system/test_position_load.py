# SPDX-License-Identifier: ISC
"""settle = "position" beside what is hard for it: ids that were rolled back, a large transaction, one that stays open, many
writers. All arrives, once and in order, and a claim costs no more because of history."""
import os

import pytest

from harness.checker import problems
from harness.positions import POSITION, wait_settled
from harness.postgres import Database, Postgres
from harness.waiting import until
from harness.writers import Writers, arrivals, insert

# What the relay's claims have read, by the server's own count.
CLAIMS = ("SELECT sum(calls), sum(rows), sum(shared_blks_hit + shared_blks_read) FROM pg_stat_statements"
          " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
          " AND query LIKE 'WITH newest AS MATERIALIZED%'")


@pytest.fixture
def at_work(empty_database, migrate, new_relay, topic):
    """at_work(**outbox): a relay on an empty outbox."""
    def make(**outbox):
        topic()
        migrate(outbox={**POSITION, **outbox})
        return new_relay(outbox={**POSITION, **outbox}).start()
    return make


def blocks_a_claim(database, work):
    """The blocks that each claim reads while this is done."""
    before = database.rows(CLAIMS)[0]
    work()
    after = database.rows(CLAIMS)[0]
    calls = (after[0] or 0) - (before[0] or 0)
    assert calls > 0
    return ((after[2] or 0) - (before[2] or 0)) / calls


def trickle(database, consumer, count=60):
    """Events one after the other, each of them waited for."""
    for n in range(count):
        insert(database, 1, key=f"trickle{n}")
        consumer.take(1)


def usual_blocks(database, consumer):
    """The blocks that each claim reads beside a trickle, when nothing is hard."""
    insert(database, 100)
    consumer.take(100)
    database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    return blocks_a_claim(database, lambda: trickle(database, consumer))


def wait_claims(database, count):
    begun = database.rows(CLAIMS)[0][0]
    until(lambda: database.rows(CLAIMS)[0][0] >= begun + count, 30, f"{count} claims")


def test_ids_that_were_rolled_back(at_work, empty_database, reader):
    """100,000 of them, in one transaction and one by one: they leave no gap that is waited for or looked into."""
    at_work()
    consumer = reader()
    before = usual_blocks(empty_database, consumer)
    with empty_database.session(autocommit=False) as cursor:
        for _ in range(10):
            cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                           " SELECT 'thing', 'gone', 'Gone', '{}' FROM generate_series(1, 10000)")
            cursor.connection.rollback()
    empty_database.execute("SELECT nextval('outbox_events_id_seq') FROM generate_series(1, 100000)")
    after = blocks_a_claim(empty_database, lambda: trickle(empty_database, consumer))
    assert after < before + 50, (before, after)
    wait_settled(empty_database)
    assert consumer.rest() == []


def test_a_large_transaction_beside_a_stream(at_work, empty_database, reader):
    """A million rows are inserted, stay open while others flow, and are committed: the stream is not held up, and all of
    them arrive, in order."""
    relay = at_work()
    consumer = reader()
    insert(empty_database, 50)
    consumer.take(50)
    with empty_database.session(autocommit=False) as cursor:
        cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) SELECT 'thing',"
                       " 'large-' || n % 100, 'Made', to_jsonb(n) FROM generate_series(1, 1000000) n")
        with Writers(empty_database, threads=3, keys=20, pause=0.005) as writers:
            writers.wait_committed(300)
            seen = consumer.take(300, timeout=60)  # while it is open
            cursor.connection.commit()
            writers.wait_committed(200)
    wait_settled(empty_database, timeout=400)
    records = seen + consumer.rest(timeout=300)
    large = [r for r in records if r.key.startswith(b"large-")]
    assert len(large) == len({r.event_id for r in large}) == 1_000_000
    assert [r.json for r in large if r.key == b"large-7"] == list(range(7, 1_000_001, 100))
    assert problems(writers.truth(), arrivals(r for r in records if r.key.startswith(b"key-"))) == []
    assert relay.peak_memory() < 200


def test_a_large_transaction_that_stays_open(at_work, empty_database, reader):
    """No claim reads its rows as long as it is open, neither beside a stream nor where it was begun after the last
    position."""
    at_work(poll_interval="20ms")
    consumer = reader()
    before = usual_blocks(empty_database, consumer)
    with empty_database.session(autocommit=False) as cursor:
        cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) SELECT 'thing',"
                       " 'large-' || n % 100, 'Made', to_jsonb(n) FROM generate_series(1, 100000) n")
        empty_database.execute("SELECT pg_current_xact_id()")  # so that a snapshot tells that it is open
        alone = blocks_a_claim(empty_database, lambda: wait_claims(empty_database, 20))
        beside = blocks_a_claim(empty_database, lambda: trickle(empty_database, consumer))
        cursor.connection.rollback()
    assert alone < before + 50 and beside < before + 50, (before, alone, beside)


def test_a_writer_that_stays_open(at_work, empty_database, reader):
    """It has inserted and does nothing: the others' events go on arriving, each claim reads as few blocks at the end as at
    the beginning, and its own comes with its commit."""
    at_work()
    consumer = reader()
    empty_database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    with empty_database.session(autocommit=False) as idle:
        idle.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', 'idle', 'Late', '{}')")
        insert(empty_database, 100)
        consumer.take(100)
        before = blocks_a_claim(empty_database, lambda: trickle(empty_database, consumer))
        for _ in range(20):
            insert(empty_database, 3000)
        consumer.take(60000, timeout=180)
        wait_settled(empty_database)
        after = blocks_a_claim(empty_database, lambda: trickle(empty_database, consumer))
        assert after < 2 * before + 50, (before, after)
        idle.connection.commit()
    assert [r.key for r in consumer.take(1)] == [b"idle"]
    wait_settled(empty_database)
    assert consumer.rest() == []


BACKLOG = 30_000
# The position has come to the last ten of them.
NEARLY_DONE = """UPDATE outbox_relay.positions SET target = pg_current_snapshot(), walks = true,
                         reached = (SELECT max(id) - 10 FROM outbox_events)"""


def test_what_a_walk_has_passed_is_not_counted_again(at_work, empty_database):
    """Neither by the gauges nor by the depth guard and others who ask what waits. The first that waits halts the relay."""
    relay = at_work(on_reject="halt")
    assert relay.stop() == 0
    insert(empty_database, BACKLOG - 10)
    empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                           " VALUES ('thing', 'k', 'large', to_jsonb(repeat('x', 3000000)))")
    insert(empty_database, 9)
    empty_database.execute(NEARLY_DONE)
    empty_database.execute("ANALYZE outbox_events")
    scans = "SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes WHERE relname = 'outbox_events'"
    reads = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'outbox_events_x_id_idx'"
    before = empty_database.value(reads), empty_database.value(scans)
    with empty_database.session() as session:  # the server's counts come at its end
        session.execute("SELECT depth, first, last FROM outbox_relay.count_waiting('outbox_events', 50000)")
        assert session.fetchall() == [(10, BACKLOG - 9, BACKLOG)]
    until(lambda: empty_database.value(scans) > before[1], 10, "the statistics to tell")
    assert empty_database.value(reads) - before[0] < 1000
    before = empty_database.value(reads), empty_database.value(scans)
    relay.start(wait=False)
    until(lambda: relay.metric("halted") == 1 and relay.metric("depth") == 10, 20, "the gauge")
    relay.stop()
    until(lambda: empty_database.value(scans) > before[1], 10, "the statistics to tell")
    assert empty_database.value(reads) - before[0] < 1000


def test_rows_that_are_no_events_are_passed(at_work, empty_database, reader):
    """Also on a server where nothing else happens."""
    at_work(where="event_type <> 'No'")
    consumer = reader()
    before = usual_blocks(empty_database, consumer)
    empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)"
                           " SELECT 'thing', 'k', 'No' FROM generate_series(1, 20000)")
    wait_claims(empty_database, 3)
    after = blocks_a_claim(empty_database, lambda: wait_claims(empty_database, 3))
    assert after < before + 50, (before, after)
    trickle(empty_database, consumer, 1)


def test_rows_that_a_policy_hides_are_not_passed(at_work, empty_database, reader):
    relay = at_work()
    trickle(empty_database, consumer := reader(), 1)
    empty_database.execute("ALTER TABLE outbox_events ENABLE ROW LEVEL SECURITY")
    insert(empty_database, 5)
    relay.wait_log("row-level security may hide rows of public.outbox_events")
    assert consumer.rest() == []
    empty_database.execute("CREATE POLICY a_part ON outbox_events FOR SELECT USING (id > 3)")
    assert consumer.rest() == []
    empty_database.execute("DROP POLICY a_part ON outbox_events; CREATE POLICY all_of_them ON outbox_events FOR SELECT USING (true)")
    assert len(consumer.take(5)) == 5


def test_positions_that_vacuum_cannot_remove(at_work, empty_database, reader):
    """Each claim leaves one behind. Beside an old snapshot they stay, and no claim looks at them."""
    relay = at_work()
    consumer = reader()
    read = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'positions_pkey'"
    with empty_database.session(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM outbox_events")
        trickle(empty_database, consumer, 300)
        assert relay.stop() == 0  # the server's counts come at the end of a session
        before = empty_database.value(read)
        relay.start()
        trickle(empty_database, consumer, 100)
        assert relay.stop() == 0
        assert empty_database.value(read) - before < 10_000
        old.connection.rollback()


def test_claims_do_not_walk_history(at_work, empty_database, reader):
    """What is claimed of a stream is found by x, whatever lies in the table."""
    at_work()
    consumer = reader()
    empty_database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    insert(empty_database, 10)
    consumer.take(10)
    before = blocks_a_claim(empty_database, lambda: trickle(empty_database, consumer))
    insert(empty_database, 150_000)
    consumer.take(150_000, timeout=180)
    wait_settled(empty_database)
    after = blocks_a_claim(empty_database, lambda: trickle(empty_database, consumer))
    assert after < 2 * before + 50, (before, after)


@pytest.fixture
def roomy(world, number):
    """A database on a server that takes many sessions."""
    server = Postgres(os.path.join(world, f"roomy{number}"), "roomy").create()
    with open(os.path.join(server.data, "postgresql.auto.conf"), "a") as conf:
        conf.write("\nmax_connections = 300\n")
    yield Database(server.start(), f"roomy{number}").create()
    server.remove()


def test_200_writers(roomy, new_relay, topic, reader):
    """All at once, each in transactions of its own."""
    topic()
    outbox = dict(POSITION, shards=2)
    relay = new_relay(outbox=outbox, database={"dsn": roomy.dsn("outbox_relay")})
    assert relay.command("migrate", "--dsn", roomy.dsn()).returncode == 0
    relay.start()
    with Writers(roomy, threads=200, keys=300, pause=0.2) as writers:
        writers.wait_committed(4000, timeout=300)
    wait_settled(roomy)
    assert problems(writers.truth(), arrivals(reader().rest())) == []


def test_prepared_transactions(at_work, empty_database, reader):
    """Committed by another session, minutes after the last event of its own."""
    at_work()
    consumer = reader()
    with empty_database.session(autocommit=False) as cursor:
        cursor.execute("DROP TRIGGER outbox_relay_bell ON outbox_events")  # a transaction that has notified is not prepared
        cursor.connection.commit()
        cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                       " VALUES ('thing', 'prepared', 'Late', '{}'); PREPARE TRANSACTION 'late'")
        cursor.connection.commit()
    for n in range(5):
        insert(empty_database, 10, key=f"other{n}")
        consumer.take(10)
    empty_database.execute("COMMIT PREPARED 'late'")
    assert [r.key for r in consumer.take(1)] == [b"prepared"]
    wait_settled(empty_database)
    assert consumer.rest() == []
