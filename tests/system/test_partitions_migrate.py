# SPDX-License-Identifier: ISC
"""An outbox partitioned by hash of the key: how it is made, recognised, or refused."""
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.relay import run_relay
from harness.writers import insert

COLUMNS = ("SELECT column_name, data_type, column_default, is_nullable, is_identity, identity_generation"
           " FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position")
LEAVES = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass ORDER BY inhrelid"
SETTINGS = {"autovacuum_vacuum_scale_factor", "autovacuum_vacuum_threshold", "vacuum_truncate"}


def leaves(database, table="outbox_events"):
    return [leaf for leaf, in database.rows(LEAVES, table)]


def shape(database):
    """What the relay needs of parent and leaves, as text to compare."""
    return database.rows(
        "SELECT relname, relkind::text, relacl::text, reloptions::text,"
        " (SELECT string_agg(pg_get_indexdef(indexrelid), ' ' ORDER BY indexrelid::regclass::text)"
        "  FROM pg_index WHERE indrelid = c.oid),"
        " (SELECT string_agg(pg_get_triggerdef(t.oid), ' ') FROM pg_trigger t WHERE tgrelid = c.oid)"
        " FROM pg_class c WHERE relname LIKE 'outbox%%' ORDER BY 1")


@pytest.fixture
def refused(settings, empty_database, new_relay):
    """refused(*options): migrates as the owner, in vain; what it said. Nothing has changed."""
    def run(*options, status=1):
        done = new_relay().command("migrate", "--dsn", empty_database.dsn(), *options)
        assert done.returncode == status and done.stdout == "", done.stderr
        assert empty_database.value("SELECT to_regnamespace('outbox_relay') IS NULL")
        return done.stderr
    return run


def test_a_new_table_in_partitions(empty_database, migrate):
    """The same table as the plain one, but for where its rows are; each leaf has what the relay needs of it."""
    done = migrate("--partitions", "4")
    assert "outbox_events is ready, settle = delete, 4 partitions" in done.stderr
    migrate("--table", "plain")
    assert empty_database.rows(COLUMNS, "outbox_events") == empty_database.rows(COLUMNS, "plain")
    assert leaves(empty_database) == [f"outbox_events_p{i}" for i in range(4)]
    assert empty_database.value("SELECT pg_get_partkeydef('outbox_events'::regclass)") == "HASH (aggregate_id)"
    assert empty_database.value("SELECT seqcache FROM pg_sequence WHERE seqrelid = "
                                "pg_get_serial_sequence('outbox_events', 'id')::regclass") == 1
    for leaf in leaves(empty_database):
        assert empty_database.value("SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute"
                                    f" WHERE attrelid = '{leaf}_pkey'::regclass") == "id,aggregate_id"
        options = empty_database.value("SELECT reloptions FROM pg_class WHERE oid = %s::regclass", leaf)
        assert SETTINGS <= {option.split("=")[0] for option in options}
    for table in leaves(empty_database) + ["outbox_events"]:
        assert empty_database.value("SELECT has_table_privilege('outbox_relay', %s, 'SELECT, DELETE')"
                                    " AND has_any_column_privilege('outbox_relay', %s, 'UPDATE')", table, table)
    empty_database.execute("SET ROLE outbox_writer; INSERT INTO outbox_events (aggregate_type, aggregate_id,"
                           " event_type) SELECT 'thing', 'k' || n, 'E' FROM generate_series(1, 100) n")
    assert all(empty_database.value(f"SELECT count(*) FROM {leaf}") for leaf in leaves(empty_database))


@pytest.mark.parametrize("settle", ["delete", "mark"])
def test_partitions_may_be_migrated_again(empty_database, migrate, settle):
    """With their number or without it: nothing changes."""
    migrate("--partitions", "3", outbox={"settle": settle})
    first = shape(empty_database)
    migrate("--partitions", "3", outbox={"settle": settle})
    done = migrate(outbox={"settle": settle})
    assert "3 partitions" in done.stderr and shape(empty_database) == first


def test_a_deadlock_is_tried_again(empty_database, migrate):
    """A transaction that has locked a partition goes on to the table, and migrate has come the other way."""
    migrate("--partitions", "2")
    with empty_database.session(autocommit=False) as writer, ThreadPoolExecutor(1) as pool:
        writer.execute("SET LOCAL deadlock_timeout = '1h'")
        writer.execute("LOCK TABLE ONLY outbox_events_p1 IN ROW EXCLUSIVE MODE")
        migrated = pool.submit(migrate, outbox={"settle": "mark"})
        empty_database.wait("SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'outbox_events_p1'::regclass"
                            " AND NOT granted)")
        writer.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('t', 'k', 'e')")
        writer.connection.commit()
        assert migrated.result(60).returncode == 0


def test_the_printed_script_makes_the_same(empty_database, migrate):
    script = migrate("--print", "--partitions", "2").stdout
    for _ in range(2):
        done = empty_database.psql(script)
        assert done.returncode == 0, done.stdout
    printed = shape(empty_database)
    migrate("--partitions", "2")
    assert shape(empty_database) == printed
    done = empty_database.psql(migrate("--print", "--partitions", "3").stdout)
    assert done.returncode != 0 and "has 2 partitions, not 3" in done.stdout


def test_mark_mode_marks_in_the_leaves(empty_database, migrate):
    """published_at is the parent's, and each leaf has an index on what waits."""
    migrate("--partitions", "2", outbox={"settle": "mark"})
    for leaf in leaves(empty_database):
        assert empty_database.value("SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass AND indisvalid"
                                    " AND pg_get_expr(indpred, indrelid) = '(published_at IS NULL)'", leaf) == 1
        assert empty_database.value("SELECT has_column_privilege('outbox_relay', %s, 'published_at', 'UPDATE')",
                                    leaf)


def test_a_partitioned_table_of_ones_own(empty_database, migrate):
    """Made by the application, with names of its own, and a leaf more since."""
    empty_database.execute(
        "CREATE SCHEMA billing; CREATE TABLE billing.box (seq bigint GENERATED ALWAYS AS IDENTITY, event_id uuid"
        " NOT NULL, aggregate_type text, tenant text, aggregate_id text, event_type text, payload text)"
        " PARTITION BY HASH (tenant, aggregate_id);"
        "CREATE TABLE billing.one PARTITION OF billing.box FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE billing.two PARTITION OF billing.box FOR VALUES WITH (MODULUS 4, REMAINDER 1)")
    changes = {"outbox": {"table": "billing.box", "columns": {"id": "seq", "headers": "", "created_at": ""}}}
    migrate(**changes)
    empty_database.execute(
        "CREATE TABLE public.three PARTITION OF billing.box FOR VALUES WITH (MODULUS 4, REMAINDER 3)")
    assert not empty_database.value("SELECT has_table_privilege('outbox_relay', 'three', 'SELECT')")
    assert "3 partitions" in migrate(**changes).stderr
    for leaf in leaves(empty_database, "billing.box"):
        assert empty_database.value("SELECT has_table_privilege('outbox_relay', %s, 'SELECT, DELETE')", leaf)
        assert empty_database.value("SELECT reloptions IS NOT NULL FROM pg_class WHERE oid = %s::regclass", leaf)


def test_the_bell_of_partitions(empty_database, migrate):
    """One trigger, on the table as a whole: an insert by it rings, whatever the leaf."""
    migrate("--partitions", "2")
    bell = empty_database.value("SELECT bell::text FROM outbox_relay.outboxes")
    empty_database.execute(f"SELECT setval('{bell}', 1, true)")
    with empty_database.session() as listener:
        listener.execute("LISTEN outbox_relay")
        insert(empty_database, 1)
        listener.execute("SELECT 'outbox_events'::regclass::oid::text")
        assert [n.payload for n in listener.connection.notifies] == [listener.fetchone()[0]]


@pytest.mark.parametrize("number", ["1", "257", "0", "-2", "two", "", "4x", "00004", "+4"])
def test_no_number_of_partitions(number):
    done = run_relay("migrate", "--table", "t", "--print", f"--partitions={number}")
    assert done.returncode == 2 and done.stdout == ""
    assert f'--partitions "{number}" is no number from 2 to 256' in done.stderr


@pytest.mark.parametrize("option", ["--adopt", "--uninstall"])
def test_partitions_go_with_a_new_table(option):
    done = run_relay("migrate", "--table", "t", "--print", "--partitions", "4", option)
    assert done.returncode == 2 and done.stdout == "" and option in done.stderr


def test_a_table_that_exists_keeps_its_partitions(empty_database, migrate, refused):
    """Plain, or with another number: refused, with what to do."""
    empty_database.execute("CREATE TABLE outbox_events (id bigint PRIMARY KEY)")
    said = refused("--partitions", "4")
    assert "outbox_events exists and has no partitions" in said
    assert "--table" in said
    empty_database.execute("DROP TABLE outbox_events; CREATE TABLE outbox_events (id bigint, k text)"
                           " PARTITION BY HASH (k); CREATE TABLE leaf PARTITION OF outbox_events"
                           " FOR VALUES WITH (MODULUS 2, REMAINDER 0)")
    assert "outbox_events exists and has 1 partitions, not 4" in refused("--partitions", "4")


def test_a_name_too_long_for_partitions(empty_database, refused):
    """Cut to 63 bytes two leaves would have one name."""
    assert "too long for partitions" in refused("--partitions", "100", "--table", "o" * 60)
    done = run_relay("migrate", "--dsn", empty_database.dsn(), "--partitions", "10", "--table", "o" * 60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("sql, words", [
    ("CREATE TABLE outbox_events (id bigint, k text) PARTITION BY RANGE (id)", "has no partition"),
    ("CREATE TABLE outbox_events (id bigint, k text) PARTITION BY HASH (lower(k))", "by an expression"),
    ("CREATE TABLE outbox_events (id bigint, k text) PARTITION BY HASH (k)", "has no partition"),
    ("CREATE TABLE outbox_events (id bigint, k text) PARTITION BY HASH (k); CREATE TABLE a PARTITION OF"
     " outbox_events FOR VALUES WITH (MODULUS 2, REMAINDER 0) PARTITION BY HASH (id)", "has no partition"),
    ("CREATE TABLE outbox_events (id bigint, k text) PARTITION BY HASH (k); CREATE EXTENSION file_fdw; CREATE SERVER"
     " s FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE a PARTITION OF outbox_events FOR VALUES WITH"
     " (MODULUS 2, REMAINDER 0) SERVER s OPTIONS (filename '/dev/null')", "foreign table"),
    ("CREATE TABLE outbox_events (id bigint); CREATE TABLE a () INHERITS (outbox_events)", "inherit from it"),
    ("CREATE VIEW outbox_events AS SELECT 1::bigint AS id", "is no table")])
def test_what_can_be_no_outbox(empty_database, new_relay, refused, sql, words):
    """Refused by migrate and by run, and found by check, in the same words."""
    empty_database.execute(sql)
    said = refused()
    assert re.search(f"outbox_events {words}|outbox_events .*{words}", said) and "whose rows lie in plain tables" in said
    relay = new_relay()
    assert words in relay.command("check").stdout
    assert relay.start(wait=False).wait_exit() == 1
    assert relay.log_contains(f'outbox_events" .*{words}.*; name a plain table')


def test_adopt_takes_partitions(empty_database, migrate):
    """By hash of the key, without a number: all get a column, which stays with its sequence."""
    empty_database.execute("CREATE TABLE outbox_events (event_id uuid, aggregate_id text, payload text) PARTITION BY HASH"
                           " (aggregate_id); CREATE TABLE a PARTITION OF outbox_events FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
                           "INSERT INTO outbox_events VALUES (gen_random_uuid(), 'k', '1')")
    done = migrate("--adopt", outbox={"columns": {"aggregate_type": "", "event_type": "", "headers": "", "created_at": ""}},
                   route={"topic": "t"})
    assert "1 partitions" in done.stderr and 'id = "id"' in done.stdout
    assert empty_database.rows("SELECT id FROM outbox_events") == [(1,)]


def test_uninstall_leaves_the_partitions(empty_database, migrate):
    migrate("--partitions", "2")
    insert(empty_database, 5)
    done = empty_database.psql(migrate("--print", "--uninstall").stdout)
    assert done.returncode == 0, done.stdout
    assert empty_database.value("SELECT count(*) FROM outbox_events") == 5
    assert not empty_database.value("SELECT has_table_privilege('outbox_relay', 'outbox_events_p0', 'SELECT')")
    insert(empty_database, 1)
