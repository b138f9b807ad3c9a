# SPDX-License-Identifier: ISC
"""outbox_relay.depth_guard: inserts fail or warn while too many events wait, and for no other reason."""
import re
import time

import psycopg2
import pytest

from harness.waiting import until
from harness.writers import insert

INSERT = "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('thing', 'k', 'Event')"
MANY = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)"
        " SELECT 'thing', 'k' || n % 9, 'Event' FROM generate_series(1, {}) n")
FULL = psycopg2.errors.ConfigurationLimitExceeded
KINDS = pytest.mark.parametrize("settle, options", [("delete", []), ("mark", []), ("position", []),
                                                     ("delete", ["--partitions", "3"])],
                                ids=["delete", "mark", "position", "partitions"])


def guard(database, *args, table="outbox_events"):
    database.execute(f"SELECT outbox_relay.set_depth_guard('{table}', {', '.join(map(str, args))})")


@pytest.fixture
def writer(empty_database):
    """A session that may do what outbox_writer may, and no more."""
    with empty_database.session() as cursor:
        def execute(sql):
            """The server's words beside the result."""
            cursor.connection.notices.clear()
            cursor.execute(sql)
            return "".join(cursor.connection.notices)

        def enter():
            cursor.execute("SET ROLE outbox_writer")
            return execute
        yield enter


@KINDS
def test_inserts_fail_beyond_the_limit(empty_database, migrate, new_relay, writer, settle, options):
    """The eleventh of ten, row by row and within one statement; whoever inserts needs no more rights. Published events
    make room, with nothing of the relay's in between."""
    migrate(*options, outbox={"settle": settle})
    guard(empty_database, 10)
    write = writer()
    for _ in range(10):
        write(INSERT)
    for statement in (INSERT, MANY.format(50)):
        with pytest.raises(FULL) as refused:
            write(statement)
        assert refused.value.pgcode == "53400"
        assert "table public.outbox_events takes no more events: 1" in str(refused.value) and "allows 10" in str(refused.value)
        assert "outbox-relay status" in refused.value.diag.message_hint
    new_relay(outbox={"settle": settle}).start()
    until(lambda: attempt(write), 20, "room")
    with pytest.raises(FULL):
        for _ in range(50):
            write(MANY.format(11))


def attempt(write):
    try:
        write(INSERT)
        return True
    except FULL:
        return False


@KINDS
def test_ids_without_an_event_do_not_count(empty_database, migrate, writer, settle, options):
    """A guard that went by ids alone would refuse."""
    migrate(*options, outbox={"settle": settle})
    guard(empty_database, 10)
    write = writer()
    for _ in range(3):
        write(INSERT)
    write("BEGIN; " + MANY.format(5) + "; ROLLBACK")
    empty_database.execute("SELECT setval(pg_get_serial_sequence('outbox_events', 'id'), 5000)")
    for _ in range(7):
        write(INSERT)
    with pytest.raises(FULL):
        write(INSERT)


def test_published_events_that_stay_do_not_count(empty_database, migrate, writer):
    migrate(outbox={"settle": "mark"})
    guard(empty_database, 10)
    write = writer()
    for _ in range(4):
        write(MANY.format(8))
        empty_database.execute("UPDATE outbox_events SET published_at = now()")
    write(MANY.format(10))
    with pytest.raises(FULL):
        write(INSERT)


def test_an_early_event_that_stays_refuses_nothing(database, writer):
    """Such as one that cannot be removed: a guard that went by the lowest id that waits would refuse."""
    guard(database, 10)
    write = writer()
    write(INSERT)
    for _ in range(100):
        write(MANY.format(5))
        database.execute("DELETE FROM outbox_events WHERE id > 1")


def test_inserts_warn(database, writer):
    """Once a second, since each warning is in the server's log too; the events are written."""
    guard(database, 5, "'warn'")
    write = writer()
    for _ in range(5):
        assert write(INSERT) == ""
    begun = time.monotonic()
    words = write(INSERT)
    assert "WARNING:  5 events of table public.outbox_events wait to be published, and its depth guard allows 5" in words
    assert write(MANY.format(100)) == "" or time.monotonic() >= begun + 1
    assert database.value("SELECT count(*) FROM outbox_events") == 106
    again = until(lambda: re.search(r"WARNING:  (\d+) events", write(INSERT)), 20, "the next warning")
    assert int(again.group(1)) > 100


def test_a_guard_is_changed_and_taken_away(database, writer, new_relay):
    """As often as one likes; status and check show it."""
    relay = new_relay()
    assert relay.status()["depth_guard"] is None and "depth guard" not in relay.command("status").stdout
    write = writer()
    guard(database, 5)
    guard(database, 3, "'error'")
    write(MANY.format(3))
    with pytest.raises(FULL):
        write(INSERT)
    assert relay.status()["depth_guard"] == {"limit": 3, "action": "error", "enabled": True,
                                             "trigger": "outbox_relay_depth_guard"}
    assert "depth guard    error beyond 3\n" in relay.command("status").stdout
    assert "inserts into outbox_events fail while 3 events wait" in relay.command("check").stdout
    database.execute("ALTER TABLE outbox_events DISABLE TRIGGER outbox_relay_depth_guard")
    assert "error beyond 3, disabled" in relay.command("status").stdout
    assert "which guards the depth of outbox_events, is disabled" in relay.command("check").stdout
    guard(database, "NULL")
    guard(database, "NULL")
    assert relay.status()["depth_guard"] is None
    write(MANY.format(100))


def test_an_application_asks_before(database, writer):
    """It gets the depth, or the error; also in a transaction that may not write."""
    write = writer()
    insert(database, 7)
    assert database.value("SELECT outbox_relay.depth_guard(8)") == 7
    write("SELECT outbox_relay.depth_guard(8)")
    for call in ("7", "7, 'error', 'outbox_events'"):
        with pytest.raises(FULL):
            write(f"SELECT outbox_relay.depth_guard({call})")
    until(lambda: "WARNING:  7 events of table" in write("SELECT outbox_relay.depth_guard(7, 'warn')"), 5, "a warning")
    write("BEGIN READ ONLY; SELECT outbox_relay.depth_guard(7, 'warn'); COMMIT")


@pytest.mark.parametrize("when", ["BEFORE INSERT ON outbox_events FOR EACH STATEMENT",
                                  "AFTER INSERT ON outbox_events FOR EACH STATEMENT"])
def test_a_trigger_made_by_hand(database, writer, when):
    database.execute(f"CREATE TRIGGER guard {when} EXECUTE FUNCTION outbox_relay.depth_guard(4)")
    write = writer()
    with pytest.raises(FULL):
        for _ in range(6):
            write(INSERT)
    assert database.value("SELECT count(*) FROM outbox_events") in (3, 4)


@pytest.mark.parametrize("harm, words", [
    ("DELETE FROM outbox_relay.depths", ""),
    ("UPDATE outbox_relay.depths SET id = 'no_such_column'", "cannot count and lets everything pass"),
    ("UPDATE outbox_relay.depths SET ids = 4711", "cannot count and lets everything pass"),
    ("DROP TRIGGER outbox_relay_depth_guard ON outbox_events; CREATE TRIGGER g BEFORE INSERT ON outbox_events"
     " FOR EACH ROW EXECUTE FUNCTION outbox_relay.depth_guard('lots')", 'trigger g takes a limit, not "lots"'),
    ("DROP TRIGGER outbox_relay_depth_guard ON outbox_events; CREATE TRIGGER g BEFORE INSERT ON outbox_events"
     " FOR EACH ROW EXECUTE FUNCTION outbox_relay.depth_guard(1, 'panic')", 'not 1, "panic"'),
    ("SELECT setval(base, 9000000000000000000) FROM outbox_relay.depths", "")])
def test_nothing_else_makes_an_insert_fail(database, writer, harm, words):
    """What it needs is missing or wrong."""
    insert(database, 3)
    guard(database, 1)
    database.execute(harm)
    assert words in writer()(INSERT)
    assert database.value("SELECT count(*) FROM outbox_events") == 4


def test_a_lock_on_what_it_counts_holds_up_no_insert(database, writer):
    """Other than on the outbox itself: a migration, an operator."""
    guard(database, 100)
    with database.session(autocommit=False) as other:
        other.execute("UPDATE outbox_relay.outboxes SET paused = paused; UPDATE outbox_relay.depths SET id = id")
        write = writer()
        write("SET lock_timeout = '5s'")
        write(MANY.format(50))


def test_an_old_snapshot_teaches_nothing_wrong(database, writer):
    """A transaction that sees the outbox as it was an hour ago finds room, but not for the others."""
    guard(database, 5)
    write = writer()
    with database.session(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox_events; SELECT pg_sleep(1.2)")
        write(MANY.format(5))
        old.execute(INSERT)
        with pytest.raises(FULL):
            write(INSERT)


def test_which_outbox_is_meant(database, migrate, writer):
    """With two, the caller names one; the trigger knows."""
    migrate("--table", "others")
    insert(database, 3)
    write = writer()
    assert "does not know which outbox is meant" in write("SELECT outbox_relay.depth_guard(1)")
    with pytest.raises(FULL):
        write("SELECT outbox_relay.depth_guard(1, outbox => 'outbox_events')")
    write("SELECT outbox_relay.depth_guard(1, outbox => 'others')")
    guard(database, 1, table="others")
    with pytest.raises(FULL):
        write(MANY.format(2).replace("outbox_events", "others"))
    write(INSERT)


def test_of_a_table_of_others(database, migrate):
    """A writer of one service learns no depth of another's, and need not name its own."""
    migrate("--table", "others", "--role", "other")
    insert(database, 3)
    database.execute("CREATE ROLE shopkeeper LOGIN IN ROLE outbox_writer; CREATE ROLE neighbour LOGIN IN ROLE other_writer")
    try:
        with pytest.raises(FULL):
            database.execute("SELECT outbox_relay.depth_guard(1)", user="shopkeeper")
        with database.session(user="neighbour") as cursor:
            for call in ("1", "1, outbox => 'outbox_events'", "1, 'error', 'pg_class'"):
                cursor.execute(f"SELECT outbox_relay.depth_guard({call})")
                assert cursor.fetchone()[0] in (0, None)
            assert "depth_guard knows no outbox outbox_events" in "".join(cursor.connection.notices).replace("public.", "")
    finally:
        database.execute("DROP ROLE shopkeeper, neighbour; DROP TABLE others; DROP OWNED BY other, other_writer,"
                         " other_operator; DROP ROLE other, other_writer, other_operator")


def test_events_that_a_policy_hides(database, writer):
    """They cannot be counted, so everything passes, with a warning: a count of the others would be too low."""
    database.execute("CREATE ROLE keeper; GRANT CREATE ON SCHEMA public TO keeper; ALTER TABLE outbox_events OWNER TO keeper;"
                     "GRANT ALL ON SCHEMA outbox_relay TO keeper; GRANT ALL ON ALL TABLES IN SCHEMA outbox_relay TO keeper;"
                     "GRANT ALL ON ALL SEQUENCES IN SCHEMA outbox_relay TO keeper;"
                     "GRANT ALL ON ALL ROUTINES IN SCHEMA outbox_relay TO keeper;"
                     "ALTER FUNCTION outbox_relay.depth_guard() OWNER TO keeper;"
                     "ALTER TABLE outbox_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
                     "CREATE POLICY add ON outbox_events FOR INSERT WITH CHECK (true)")
    try:
        guard(database, 2)
        write = writer()
        assert "row-level security" in write(MANY.format(5))
    finally:
        database.execute("REASSIGN OWNED BY keeper TO CURRENT_USER; DROP OWNED BY keeper; DROP ROLE keeper")


@pytest.mark.parametrize("args, words", [
    ("'outbox_events', 0", "takes a limit above 0"), ("'outbox_events', 5, 'panic'", 'not 5, "panic"'),
    ("'pg_class', 5", "run outbox-relay migrate for it"), ("'box', 5", "gets its ids from no sequence")])
def test_guards_that_cannot_be(database, migrate, args, words):
    database.execute("CREATE TABLE box (id bigint PRIMARY KEY, event_id uuid, aggregate_type text, aggregate_id text,"
                     " event_type text, payload jsonb, headers jsonb, created_at timestamptz)")
    migrate("--table", "box")
    with pytest.raises(psycopg2.Error, match=words):
        database.execute(f"SELECT outbox_relay.set_depth_guard({args})")


@pytest.mark.parametrize("call", ["set_depth_guard('outbox_events', NULL)", "count_depth('outbox_events', 1, 'error', 0)",
                                  "judge_depth('outbox_events', 1, 'error', 0)"])
def test_a_writer_guards_nothing(database, writer, call):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        writer()("SELECT outbox_relay." + call)


def test_the_guard_goes_with_the_relay(database, migrate):
    guard(database, 5)
    assert database.psql(migrate("--print", "--uninstall").stdout).returncode == 0
    insert(database, 10)
    assert database.value("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'outbox_events'::regclass") == 0
    assert database.value("SELECT to_regnamespace('outbox_relay') IS NULL")


def test_a_table_that_was_dropped_leaves_nothing(database, migrate):
    guard(database, 5)
    database.execute("DROP TABLE outbox_events")
    migrate()
    assert database.value("SELECT count(*) FROM pg_class WHERE relkind = 'S' AND relname ~ '^depth_'") == 5
