# SPDX-License-Identifier: ISC
"""settle = "position": published rows go once they are older than outbox.retention, row by row or by partitions; what waits
does not. The journal of positions stays short."""
import pytest

from harness.checker import problems
from harness.positions import POSITION, unsettled, wait_settled
from harness.waiting import until
from harness.writers import Writers, arrivals, insert
from test_range_partitions import FAR, LOCKED, drop

JOURNAL = "SELECT count(*) FROM outbox_relay.positions"
WALK = 50000  # rows that one statement walks past, as purge_settled has it
OLD = "UPDATE outbox_events SET created_at = created_at - interval '2 hours' WHERE id <= %s"


@pytest.fixture
def history(empty_database, migrate, new_relay, topic, reader):
    """history(count, *options, **outbox): so many events were published; no relay runs."""
    def make(count, *options, **outbox):
        topic()
        outbox = {**POSITION, **outbox}
        migrate(*options, outbox=outbox)
        relay = new_relay(outbox=outbox).start()
        for _ in range(count // 100):
            insert(empty_database, 100)
        reader().take(count)
        wait_settled(empty_database)
        assert relay.stop() == 0
        return relay
    return make


@pytest.mark.parametrize("options, outbox", [((), {}), ((), {"shards": 4}), (("--partitions", "3"), {})],
                         ids=["plain", "shards", "hash"])
def test_old_rows_go(empty_database, history, options, outbox):
    """In small batches; those that wait, and younger ones, stay, however old what waits is."""
    database = empty_database
    relay = history(2000, *options, retention="1h", **outbox)
    database.execute(OLD, 1500)
    # What waits is old, too.
    insert(database, 10, key="waits")
    database.execute("UPDATE outbox_events SET created_at = '2020-01-01' WHERE aggregate_id LIKE 'waits%'")
    purge = ("SELECT deleted FROM outbox_relay.purge_settled('outbox_events', %s::regclass, 'created_at', 3600000, 1000, 0,"
             " -1)")
    leaves = database.rows("SELECT relid::regclass::text FROM pg_partition_tree('outbox_events') WHERE level = 1"
                           " UNION ALL SELECT 'outbox_events' WHERE NOT EXISTS (SELECT FROM pg_partition_tree('outbox_events') WHERE level = 1)")
    gone = 0
    while more := sum(database.value(purge, leaf, user="outbox_relay") for leaf, in leaves):
        assert more <= 1000 * len(leaves)
        gone += more
    assert gone == 1500 and unsettled(database) == 10
    assert database.value("SELECT count(*) FROM outbox_events WHERE aggregate_id LIKE 'waits%'") == 10
    relay.start()
    database.wait("SELECT count(*) = 500 FROM outbox_events", timeout=60)  # what waited is published, and is old


def test_housekeeping_purges(empty_database, history):
    relay = history(3000, retention="1h")
    empty_database.execute(OLD, 2500)
    relay.start()
    empty_database.wait("SELECT count(*) = 500 FROM outbox_events", timeout=60)
    assert empty_database.value("SELECT min(id) FROM outbox_events") == 2501


@pytest.mark.parametrize("where, created, kind", [
    ("kind = 'kafka'", "now() - interval '2 hours'", "mail"), ("", "'infinity'", "kafka"), ("", "'2099-01-01'", "kafka"),
    ("", "NULL", "kafka")], ids=["no events", "infinite", "ahead", "no time"])
def test_rows_that_stay_hold_up_none_behind_them(database, migrate, new_relay, where, created, kind):
    """More of them than one step deletes, and than one statement walks past, are below all others."""
    outbox = dict(POSITION, retention="1h", where=where)
    database.execute("ALTER TABLE outbox_events ADD COLUMN kind text, ALTER COLUMN created_at DROP NOT NULL")
    migrate(outbox=outbox)
    stays, old = ("stays", kind, created), ("old", "kafka", "now() - interval '2 hours'")
    for count, (name, what, at) in ((WALK + 5100, stays), (5100, old), (10, stays), (100, old),
                                    (10, ("young", "kafka", "now()"))):
        database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, kind, created_at)"
                         f" SELECT %s, 'k', 'E', '{{}}', %s, {at} FROM generate_series(1, %s)", name, what, count)
    database.execute("SELECT outbox_relay.set_position('outbox_events', 'end')")
    first = database.value("SELECT min(id) FROM outbox_events")
    step = ("SELECT deleted, upto FROM outbox_relay.purge_settled('outbox_events', 'outbox_events', 'created_at', 3600000,"
            " 5000, 0, %s)")
    assert database.rows(step, first - 1, user="outbox_relay") == [(None, first + WALK - 1)]
    assert database.rows(step, first + WALK - 1, user="outbox_relay") == [(5000, first + WALK + 10099)]
    new_relay(outbox=outbox).start()
    database.wait("SELECT NOT EXISTS (SELECT FROM outbox_events WHERE aggregate_type = 'old')", timeout=60)
    assert database.value("SELECT count(*) FROM outbox_events") == WALK + 5120


def test_only_rows_that_stay(database, migrate):
    """Fewer than one statement walks past: there is nothing to look at, and none is walked past without a look at it."""
    outbox = dict(POSITION, where="kind = 'kafka'")
    database.execute("ALTER TABLE outbox_events ADD COLUMN kind text")
    migrate(outbox=outbox)
    insert(database, 100)
    step = ("SELECT deleted, upto FROM outbox_relay.purge_settled('outbox_events', 'outbox_events', 'created_at', 1, 10, 0,"
            " -1)")
    assert database.rows(step, user="outbox_relay") == [(0, None)]


def test_a_row_that_is_locked_stays_for_later(empty_database, history):
    history(1000, retention="1h")
    empty_database.execute(OLD, 1000)
    purge = ("SELECT deleted FROM outbox_relay.purge_settled('outbox_events', 'outbox_events', 'created_at', 3600000, 10000,"
             " 0, -1)")
    with empty_database.session(autocommit=False) as cursor:
        cursor.execute("SELECT FROM outbox_events WHERE id = 7 FOR UPDATE")
        assert empty_database.value(purge, user="outbox_relay") == 999
    assert empty_database.value(purge, user="outbox_relay") == 1


@pytest.mark.parametrize("outbox", [{}, {"shards": 3}], ids=["plain", "shards"])
def test_partitions_are_dropped_once_settled(empty_database, history, new_relay, outbox):
    """Wholly, in every shard, and older than retention; and the claims go on without them."""
    database = empty_database
    relay = history(400, "--partition-by", "id:100", retention="1h", **outbox)
    assert drop(database, behind=FAR, kept=3_600_000) == (None, None)  # all are young
    database.execute(OLD, 400)
    shard = database.value("SELECT min(shard) FROM outbox_relay.last_positions('outbox_events')")
    database.execute("INSERT INTO outbox_relay.positions (outbox, layout, shard, finished) SELECT 'outbox_events',"
                     " position_layout, %s, '10:10:' FROM outbox_relay.outboxes", shard)
    assert drop(database, behind=FAR, kept=3_600_000) == (None, None)  # not settled in every shard
    database.execute("DELETE FROM outbox_relay.positions WHERE number = (SELECT max(number) FROM outbox_relay.positions)")
    for name in ("outbox_events_first", "outbox_events_100", "outbox_events_200"):
        assert drop(database, behind=FAR, kept=3_600_000) == (f"public.{name}", None)
    assert drop(database, behind=FAR, kept=3_600_000) == (None, None)  # 300 is not over by its own length
    relay.start()
    insert(database, 50)
    wait_settled(database)


def test_partitions_go_by_themselves(empty_database, migrate, new_relay, topic, reader):
    """A relay at work makes and drops them, under load, and loses nothing."""
    topic()
    outbox = dict(POSITION, retention="1s", partitions_ahead=30, claim_rows=50)
    migrate("--partition-by", "id:100", outbox=outbox)
    relay = new_relay(outbox=outbox).start()
    empty_database.wait("SELECT outbox_relay.partitions_ahead('outbox_events') = 30", timeout=60)
    with Writers(empty_database, threads=4, keys=30, pause=0.005) as writers:
        writers.wait_committed(1200, timeout=180)
    wait_settled(empty_database)
    assert problems(writers.truth(), arrivals(reader().rest())) == []
    empty_database.wait("SELECT to_regclass('outbox_events_first') IS NULL", timeout=LOCKED)
    relay.wait_log("dropped partition public.outbox_events_first")


def test_a_row_that_waits_is_not_looked_for_in_the_whole_partition(empty_database, history):
    """With the lock on the outbox held, only what was inserted lately is looked at: writers wait meanwhile."""
    history(300, "--partition-by", "id:100")
    rows = empty_database.value("SELECT outbox_relay.rows_to_keep('outbox_events', 'outbox_events_first')")
    with empty_database.session() as cursor:
        cursor.execute("SET enable_seqscan = off")  # as drop_partition has it: once analyzed, the table is small
        cursor.execute(f"EXPLAIN SELECT FROM {rows}")
        plan = "\n".join(line for line, in cursor.fetchall())
    assert "Index Cond: (x >=" in plan and "Index Cond: (x = ANY" in plan and "Seq Scan" not in plan, plan


def test_the_journal_stays_short(empty_database, migrate, new_relay, topic, reader):
    """Each batch adds to it, and takes the one before away. Whoever reads the last ones under an old snapshot does not
    walk what vacuum cannot remove."""
    topic()
    outbox = dict(POSITION, claim_rows=5, batch_rows=10, shards=4)
    migrate(outbox=outbox)
    new_relay(outbox=outbox).start()
    with empty_database.session(autocommit=False) as held:
        held.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        held.execute("SELECT 1 FROM outbox_events")
        insert(empty_database, 3000)
        wait_settled(empty_database)
        written = empty_database.value("SELECT max(number) FROM outbox_relay.positions")
        assert written > 300
        assert empty_database.value(JOURNAL) == 4
        with empty_database.session() as cursor:
            for _ in range(2):  # the first call reads the catalog, too
                cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT outbox_relay.last_positions('outbox_events')")
                plan, = cursor.fetchone()[0]
        assert 0 < plan["Plan"]["Shared Hit Blocks"] < 30, plan
        insert(empty_database, 100)
        wait_settled(empty_database)
    assert len(reader().take(3100)) == 3100


def test_notes_whose_rows_are_gone_are_forgotten(empty_database, migrate, new_relay, topic, reader):
    """Noted ahead of the position, and then deleted by the application: the note would slow down all claims for ever."""
    topic()
    migrate(outbox=POSITION)
    insert(empty_database, 10)
    empty_database.execute("INSERT INTO outbox_relay.settled_ahead SELECT 'outbox_events', id, event_id FROM outbox_events"
                           " WHERE id IN (3, 5, 7)")
    empty_database.execute("DELETE FROM outbox_events WHERE id IN (3, 5)")
    new_relay(outbox=POSITION).start()
    assert len(reader().take(7)) == 7
    wait_settled(empty_database)
