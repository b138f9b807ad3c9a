# SPDX-License-Identifier: ISC
"""The relay's schema is its own: it is never taken over, and nothing is dropped that migrate has not made."""
import pytest

from harness.relay import run_relay
from harness.writers import insert

LETTER = ("INSERT INTO outbox_relay.dead_letters (outbox, id, event_id) VALUES ('outbox_events', 1, 'e')")


@pytest.fixture
def uninstall(empty_database, migrate):
    """uninstall(*options): runs the printed script as psql would."""
    return lambda *options: empty_database.psql(migrate("--print", "--uninstall", *options).stdout)


def relations(database):
    """What is in the relay's schema and is no index."""
    return {name for name, in database.rows("SELECT relname FROM pg_class WHERE relkind <> 'i'"
                                            " AND relnamespace = 'outbox_relay'::regnamespace")}


@pytest.mark.parametrize("sql, words", [
    ("CREATE TABLE outbox_relay.accounts ()", "table outbox_relay.accounts"),
    ("CREATE TABLE outbox_relay.dead_letters (id bigint)", "table outbox_relay.dead_letters"),
    ("CREATE VIEW outbox_relay.outboxes AS SELECT 1 AS outbox", "view outbox_relay.outboxes"),
    ("CREATE FUNCTION outbox_relay.ring(int) RETURNS int LANGUAGE sql AS 'SELECT $1'", "function outbox_relay.ring"),
    ("CREATE SEQUENCE outbox_relay.numbers", "sequence outbox_relay.numbers"),
    ("CREATE TYPE outbox_relay.mood AS ENUM ('fine')", "type outbox_relay.mood")])
def test_a_schema_of_this_name_is_not_taken_over(empty_database, new_relay, uninstall, migrate, sql, words):
    """By migrate, nor by the script; uninstall drops nothing of it."""
    empty_database.execute("CREATE SCHEMA outbox_relay;" + sql)
    before = relations(empty_database)
    done = new_relay().command("migrate", "--dsn", empty_database.dsn())
    assert done.returncode == 1 and f"schema outbox_relay holds {words}, which outbox-relay has not" in done.stderr
    done = empty_database.psql(migrate("--print").stdout)
    assert done.returncode != 0 and words in done.stdout
    done = uninstall()
    assert done.returncode != 0 and "nothing is dropped" in done.stdout
    assert relations(empty_database) == before


def test_an_empty_schema_may_be_there(empty_database, migrate):
    empty_database.execute("CREATE SCHEMA outbox_relay")
    migrate()


@pytest.mark.parametrize("command", ["run", "check", "status", "migrate"])
def test_no_outbox_in_the_relays_schema(new_relay, command):
    done = new_relay(outbox={"table": '"outbox_relay".events'}).command(command)
    assert done.returncode == 2 and "schema outbox_relay is the relay's own and holds no outbox" in done.stderr


def test_no_option_names_the_relays_schema():
    done = run_relay("migrate", "--print", "--table", "outbox_relay.events")
    assert done.returncode == 2 and done.stdout == ""
    assert "schema outbox_relay is the relay's own and holds no outbox" in done.stderr


def test_uninstall_keeps_what_others_put_there(database, uninstall):
    """A table beside the relay's own, with a foreign key between them."""
    database.execute("CREATE TABLE outbox_relay.notes (n int REFERENCES outbox_relay.schema_version)")
    done = uninstall()
    assert done.returncode != 0 and "cannot drop table outbox_relay.schema_version" in done.stdout
    assert "dead_letters" in relations(database)
    database.execute("DROP TABLE outbox_relay.notes; CREATE TABLE outbox_relay.notes AS SELECT 1 AS n")
    done = uninstall()
    assert done.returncode == 0 and "schema outbox_relay stays" in done.stdout
    assert relations(database) == {"notes"}


def test_uninstall_of_one_outbox_of_two(database, migrate, uninstall, new_relay, reader):
    """The other one goes on; the last one takes everything with it."""
    migrate("--table", "second")
    assert uninstall("--table", "second").returncode == 0
    assert database.value("SELECT NOT has_table_privilege('outbox_relay', 'second', 'SELECT')")
    assert len([name for name in relations(database) if name.startswith("bell_")]) == 1
    relay = new_relay().start()
    insert(database, 1)
    reader().take(1)
    assert relay.command("check").returncode == 0
    relay.process.end()
    assert uninstall().returncode == 0
    assert database.value("SELECT to_regnamespace('outbox_relay') IS NULL")
    assert database.value("SELECT count(*) FROM pg_trigger WHERE tgname = 'outbox_relay_bell'") == 0
    migrate()


def test_uninstall_keeps_dead_letters(database, migrate, uninstall):
    """Of this outbox, and of one that is no more."""
    database.execute(LETTER)
    done = uninstall()
    assert done.returncode != 0 and "holds events of table public.outbox_events; keep a copy" in done.stdout
    migrate("--table", "second")
    database.execute("DROP TABLE outbox_events")
    done = uninstall("--table", "second")
    assert done.returncode != 0 and "tables that were dropped; keep a copy" in done.stdout
    database.execute("TRUNCATE outbox_relay.dead_letters")
    done = uninstall("--table", "second")
    assert done.returncode == 0, done.stdout
    assert database.value("SELECT to_regnamespace('outbox_relay') IS NULL")


def test_the_bell_of_a_dropped_table_goes(database, migrate):
    database.execute("DROP TABLE outbox_events")
    migrate("--table", "second")
    assert len([name for name in relations(database) if name.startswith("bell_")]) == 1
