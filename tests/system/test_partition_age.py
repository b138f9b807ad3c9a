# SPDX-License-Identifier: ISC
"""Where published rows stay, a partition by id goes once its rows are older than outbox.retention: as the column of
outbox.columns.created_at says, whatever it is called, or the time of the mark. One of which nothing tells that stays."""
import pytest

from harness.positions import POSITION, wait_settled
from harness.writers import insert
from test_range_partitions import BY_ID, FAR, LOCKED, by_id, parts

HOUR = 3_600_000
DROP = "SELECT dropped, waits, untold FROM outbox_relay.drop_partition('outbox_events', %s, 'id', %s, %s)"
DROP_BEFORE = "SELECT dropped, waits FROM outbox_relay.drop_partition('outbox_events', %s, %s)"
OLD = "UPDATE outbox_events SET {0} = {0} - interval '2 hours' WHERE id < {1}"
STAYS = "partition public.part_0 stays, though its events are all published"
USUAL = "created_at timestamptz NOT NULL DEFAULT clock_timestamp()"
RENAMED = "occurred_at timestamptz NOT NULL DEFAULT clock_timestamp()"
NUMBER = "created_at bigint NOT NULL DEFAULT 0"


def drop(database, created):
    """What the function says of rows younger than an hour, called by the relay's role: (dropped, waits, untold)."""
    (answer,) = database.rows(DROP, created, FAR, HOUR, user="outbox_relay")
    return answer


@pytest.fixture
def by_hundred(empty_database, migrate):
    """by_hundred(RENAMED, key=False, settle="mark"): a table of one's own with these columns beside the usual ones, in
    partitions of a hundred ids that the relay keeps, with or without a primary key."""
    def make(times, key=True, **outbox):
        assert USUAL in BY_ID and ", PRIMARY KEY (id)" in BY_ID
        for statement in by_id(100, 2):
            statement = statement.replace(USUAL, times)
            empty_database.execute(statement if key else statement.replace(", PRIMARY KEY (id)", ""))
        if not key:
            empty_database.execute("CREATE INDEX ON outbox_events (id)")
        migrate("--partition-by", "id:100", outbox={**POSITION, **outbox})
        return empty_database
    return make


@pytest.fixture
def published(by_hundred):
    """The same with 400 events, of which the positions, or this statement, say that they are published."""
    def make(times, mark="SELECT outbox_relay.set_position('outbox_events', 'end')", **options):
        database = by_hundred(times, **options)
        insert(database, 400)
        database.execute(mark)
        return database
    return make


@pytest.mark.parametrize("columns, created, key", [
    (USUAL, "created_at", True), (USUAL, "created_at", False), (RENAMED, "occurred_at", True),
    (f"{RENAMED}, {NUMBER}", "occurred_at", True)],
    ids=["usual", "without a primary key", "renamed", "renamed beside a number"])
def test_positions(published, columns, created, key):
    """A number that happens to be called created_at is not compared with a time."""
    database = published(columns, key=key, columns={"created_at": created})
    assert drop(database, created) == (None, None, None)
    database.execute(OLD.format(created, 100))
    assert drop(database, created) == ("public.part_0", None, None)
    assert drop(database, created) == (None, None, None)
    database.execute(OLD.format(created, 300))
    assert drop(database, created) == ("public.part_1", None, None)


@pytest.mark.parametrize("mark, columns, aged", [
    ("published_at = now()", RENAMED, "published_at"), ("done = true", f"{RENAMED}, done boolean", "occurred_at")],
    ids=["time", "flag"])
def test_marks(published, mark, columns, aged):
    """Without a primary key. A time tells when a row was published; beside a flag it is when the row was created."""
    database = published(columns, f"UPDATE outbox_events SET {mark}", key=False, settle="mark",
                         columns={"created_at": "occurred_at", "published_at": mark.split()[0]})
    assert drop(database, "occurred_at") == (None, None, None)
    database.execute(OLD.format(aged, 100))
    assert drop(database, "occurred_at") == ("public.part_0", None, None)
    assert drop(database, "occurred_at") == (None, None, None)


@pytest.mark.parametrize("columns", [RENAMED, NUMBER], ids=["renamed", "number"])
def test_no_column_is_named(published, columns):
    """What holds rows stays; an empty partition has nothing to lose."""
    database = published(columns, columns={"created_at": ""})
    assert drop(database, "") == (None, None, "public.part_0")
    assert drop(database, None) == (None, None, "public.part_0")
    database.execute("DELETE FROM outbox_events WHERE id < 100")
    assert drop(database, "") == ("public.part_0", None, None)
    assert drop(database, "") == (None, None, "public.part_1")


def test_a_column_that_is_empty(published):
    """As long as none of the rows tells; then those that do."""
    database = published("created_at timestamptz")
    assert drop(database, "created_at") == (None, None, "public.part_0")
    database.execute("UPDATE outbox_events SET created_at = now() - interval '2 hours' WHERE id = 70")
    assert drop(database, "created_at") == ("public.part_0", None, None)


@pytest.mark.parametrize("ahead", ["2099-01-01", "infinity"])
def test_a_time_in_the_future(published, ahead):
    """It does not say how old the row is; the others do. A time of another zone, or of a clock that differs, is one."""
    database = published(USUAL)
    database.execute(OLD.format("created_at", 300))
    database.execute("UPDATE outbox_events SET created_at = now() + interval '14 hours' WHERE id = 99")
    assert drop(database, "created_at") == (None, None, None)
    database.execute("UPDATE outbox_events SET created_at = %s WHERE id = 99", ahead)
    assert drop(database, "created_at") == ("public.part_0", None, None)
    database.execute("UPDATE outbox_events SET created_at = %s WHERE id < 200", ahead)
    assert drop(database, "created_at") == (None, None, "public.part_1")
    database.execute("UPDATE outbox_events SET created_at = now() WHERE id = 150")
    assert drop(database, "created_at") == (None, None, None)


def test_marked_in_the_future(published):
    """While the clock was ahead. The others tell, or nothing does."""
    database = published(USUAL, "UPDATE outbox_events SET published_at = '2099-01-01'", settle="mark")
    assert drop(database, "created_at") == (None, None, "public.part_0")
    database.execute("UPDATE outbox_events SET published_at = now() WHERE id = 7")
    assert drop(database, "created_at") == (None, None, None)
    database.execute("UPDATE outbox_events SET published_at = now() - interval '2 hours' WHERE id = 7")
    assert drop(database, "created_at") == ("public.part_0", None, None)


@pytest.mark.parametrize("columns, key, goes", [(USUAL, True, True), (USUAL, False, True), (RENAMED, True, False),
                                                (NUMBER, True, False)],
                         ids=["usual", "without a primary key", "renamed", "number"])
def test_a_relay_of_the_version_before(published, columns, key, goes):
    """It names no column. None is compared with a time that is none, and nothing goes too early."""
    database = published(columns, key=key, columns={"created_at": columns.split()[0] if columns != NUMBER else ""})

    def drop_before():
        (answer,) = database.rows(DROP_BEFORE, FAR, HOUR, user="outbox_relay")
        return answer
    assert drop_before() == (None, None)
    if columns != NUMBER:
        database.execute(OLD.format(columns.split()[0], 300))
    assert drop_before() == ("public.part_0" if goes else None, None)
    called = database.rows(f"CALL outbox_relay.drop_partitions('outbox_events', {FAR}, {HOUR})", user="outbox_relay")
    assert called == [("public.part_1\npublic.outbox_events_200" if goes else None, None)]


def test_the_relay_names_the_column(by_hundred, new_relay, topic, reader):
    """It drops what is old, and leaves the rest."""
    topic()
    outbox = dict(POSITION, retention="1h", columns={"created_at": "occurred_at"})
    database = by_hundred(RENAMED, key=False, **outbox)
    relay = new_relay(outbox=outbox).start()
    insert(database, 400)
    reader().take(400)
    wait_settled(database)
    database.execute(OLD.format("occurred_at", 200))
    relay.wait_log("dropped partition public.part_1", timeout=LOCKED)
    assert parts(database)[0] == "outbox_events_200"
    assert database.value("SELECT count(*) FROM outbox_events") == 201


def test_the_relay_says_what_stays(by_hundred, new_relay, topic, reader):
    """And drops it once it holds no rows."""
    topic()
    outbox = dict(POSITION, retention="1s", columns={"created_at": ""})
    database = by_hundred(NUMBER, **outbox)
    relay = new_relay(outbox=outbox).start()
    insert(database, 400)
    reader().take(400)
    wait_settled(database)
    relay.wait_log(STAYS, timeout=LOCKED)
    assert database.value("SELECT count(*) FROM outbox_events") == 400
    database.execute("DELETE FROM outbox_events WHERE id < 100")
    relay.wait_log("dropped partition public.part_0", timeout=LOCKED)
    assert parts(database)[0] == "part_1"


@pytest.mark.parametrize("by, outbox, warns", [
    ("id:100", {"columns": {"created_at": ""}}, True), ("id:100", {}, False),
    ("id:100", {"columns": {"created_at": ""}, "settle": "mark"}, False),
    ("id:100", {"columns": {"created_at": ""}, "settle": "delete"}, False),
    ("created_at:1d", {"columns": {"created_at": ""}}, False)],
    ids=["no column", "column", "mark", "delete", "by time"])
def test_check(migrate, new_relay, by, outbox, warns):
    """It warns where nothing tells how old the rows of partitions are."""
    outbox = {**POSITION, **outbox}
    migrate("--partition-by", by, outbox={"settle": outbox["settle"]})
    done = new_relay(outbox=outbox).command("check")
    assert done.returncode == 0, done.stdout
    assert ("and drops none with rows" in done.stdout) == warns, done.stdout
