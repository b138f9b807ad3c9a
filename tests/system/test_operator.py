# SPDX-License-Identifier: ISC
"""What the role of operators may do, and what it may not; who else may not do it, and what they are told."""
import json

import psycopg2
import pytest

from harness.waiting import until
from harness.writers import insert

LETTER = ("INSERT INTO outbox_relay.dead_letters (outbox, id, event_id, aggregate_type, aggregate_id, event_type, payload,"
          " created_at)"
          " VALUES (%s, 1, 'b4f3d1f2-6c1b-4f43-93c5-4b8a0a0b0c01', 'thing', 'k', 'Late', '{\"a\": 1}', now())")
REQUEST = ("INSERT INTO outbox_relay.letter_requests (outbox, letter, action)"
           " SELECT %s::regclass, number, 'retry' FROM outbox_relay.dead_letters")


@pytest.fixture
def login(database):
    """login("alice", "outbox_operator"): a role that may log in and is a member of that one; its name."""
    def make(name, *groups):
        database.execute(f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN")
        for group in groups:
            database.execute(f"GRANT {group} TO {name}")
        return name
    return make


@pytest.fixture
def shop(empty_database, new_relay, number):
    """shop("billing"): a service with an outbox and roles of its own; the relay and the names of relay and table."""
    made = []

    def make(name):
        role, table = f"{name}_{number}", f"{name}_outbox"
        relay = new_relay(outbox={"table": table}, database={"dsn": empty_database.dsn(f"{role}_operator")})
        done = relay.command("migrate", "--dsn", empty_database.dsn(), "--role", role)
        assert done.returncode == 0, done.stderr
        empty_database.execute(f"ALTER ROLE {role}_operator LOGIN")
        made.append(role)
        return relay, role, table
    yield make
    for role in made:
        for name in (role, role + "_writer", role + "_operator"):
            empty_database.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


@pytest.mark.parametrize("settle", ["delete", "mark", "position"])
@pytest.mark.parametrize("options", [[], ["--partitions", "2"]])
def test_an_operator_operates(empty_database, migrate, new_relay, settle, options):
    """status, pause and resume, and the relays obey; with no right but the group's."""
    migrate(*options, outbox={"settle": settle})
    empty_database.execute("DROP ROLE IF EXISTS alice; CREATE ROLE alice LOGIN; GRANT outbox_operator TO alice")
    insert(empty_database, 3)
    empty_database.execute(LETTER, "outbox_events")
    relay = new_relay(outbox={"settle": settle})
    alice = new_relay(outbox={"settle": settle}, database={"dsn": empty_database.dsn("alice")})
    status = alice.status()
    assert (status["depth"], status["dead_letters"], status["paused"]) == (3, 1, False)
    assert status["oldest_age_seconds"] >= 0
    relay.start()
    until(lambda: alice.status()["depth"] == 0, 20, "the events to go")
    there, = alice.status()["relays"]
    assert (there["pid"], len(there["shards"])) == (status_of(relay)["pid"], 2 if options else 1)
    assert alice.command("pause").returncode == 0 and status_of(relay)["shards"] == []
    assert ", paused" in alice.command("status").stdout
    assert alice.command("resume").returncode == 0
    until(lambda: status_of(relay)["shards"], 20, "the relay to go on")


def status_of(relay):
    """What `status` of the relay's own role says of the one relay there is."""
    one, = relay.status()["relays"]
    return one


def test_what_an_operator_sees_of_sessions(database, relay, new_relay, login):
    """Who it is and what it owns; address and start only with pg_read_all_stats, which not every provider gives."""
    alice = new_relay(database={"dsn": database.dsn(login("alice", "outbox_operator"))})
    there, = alice.status()["relays"]
    assert there["application"].startswith("outbox-relay ") and there["shards"] == [0]
    assert there["client"] is there["since"] is None
    shown = alice.command("status").stdout
    assert f"{there['application']}, session {there['pid']}" in shown and "at local" not in shown
    database.execute("GRANT pg_read_all_stats TO alice")
    assert alice.status()["relays"] == relay.status()["relays"]


@pytest.mark.parametrize("sql", [
    "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('a', 'b', 'c')", "DELETE FROM outbox_events",
    "UPDATE outbox_events SET payload = NULL", "SELECT id FROM outbox_events FOR UPDATE",
    "TRUNCATE outbox_events", "ALTER TABLE outbox_events ADD more int", "DROP TABLE outbox_events",
    "UPDATE outbox_relay.outboxes SET relay = 'alice'::regrole", "DELETE FROM outbox_relay.outboxes",
    "UPDATE outbox_relay.dead_letters SET error = ''", "DELETE FROM outbox_relay.dead_letters",
    "DELETE FROM outbox_relay.letter_requests", "DELETE FROM outbox_relay.replays",
    "UPDATE outbox_relay.replays SET role = 'bob'", "UPDATE outbox_relay.replays SET last_id = 0",
    "INSERT INTO outbox_relay.letter_requests (outbox, letter, action, role) VALUES ('outbox_events', 1, 'retry', 'bob')",
    "SELECT outbox_relay.note_requests()", "CREATE TABLE outbox_relay.mine ()",
    "SELECT setval('outbox_relay.\"bell_public.outbox_events\"', 1)", "SELECT setval('outbox_events_id_seq', 1)"])
def test_what_an_operator_may_not(database, login, sql):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        database.execute(sql, user=login("alice", "outbox_operator"))


@pytest.mark.parametrize("command", ["status", "pause", "resume"])
@pytest.mark.parametrize("group", ["outbox_writer", "pg_read_all_stats"])
def test_others_are_told(database, login, new_relay, command, group):
    """A writer, and one who has no right here: what to connect as."""
    bob = new_relay(database={"dsn": database.dsn(login("bob", group))})
    done = bob.command(command)
    assert (done.returncode, done.stdout) == (1, "") and "SQLSTATE 42501" in done.stderr
    assert "connect as a member of the role outbox_operator or outbox_relay" in done.stderr
    assert database.value("SELECT NOT paused FROM outbox_relay.outboxes")


def test_operators_of_two_services(empty_database, shop):
    """Each its own outbox: its events, dead letters and pause."""
    ours, role, table = shop("shop")
    theirs, other, their_table = shop("billing")
    for name in (table, their_table):
        empty_database.execute(LETTER, name)
    for relay in (ours, theirs):
        assert relay.status()["dead_letters"] == 1
        assert relay.command("pause", "--no-wait").returncode == 0
        assert relay.command("resume").returncode == 0
    operator = f"{role}_operator"
    assert empty_database.rows("SELECT outbox::oid::regclass::text FROM outbox_relay.dead_letters",
                               user=operator) == [(table,)]
    for sql in (f"SELECT id FROM {their_table}", REQUEST.replace("%s", f"'{their_table}'"),
                f"INSERT INTO {their_table} (aggregate_type, aggregate_id, event_type) VALUES ('a', 'b', 'c')"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            empty_database.execute(sql, user=operator)
    # Nor in the name of their own outbox: not of letters of others, and not of those that are to come.
    foreign, = empty_database.rows("SELECT number FROM outbox_relay.dead_letters WHERE outbox = %s::regclass", their_table)[0]
    for number in (foreign, foreign + 1):
        for action in ("retry", "discard", "edit"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                empty_database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action) VALUES (%s, %s, %s)",
                                       table, number, action, user=operator)
    # The owner may, by mistake: it tells nothing, and is in nobody's way.
    empty_database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action) VALUES (%s, %s, 'discard')",
                           table, foreign)
    assert ours.status()["operator_actions"][0]["detail"] == f"letter {foreign}"
    done = theirs.command("dlq", "discard", "--all", "--no-wait", "--json")
    assert json.loads(done.stdout)["letters"][0]["outcome"] == "requested", done.stdout + done.stderr
    assert [r["action"] for r in json.loads(theirs.command("dlq", "list", "--json").stdout)[0]["requests"]] == ["discard"]
    empty_database.execute("DELETE FROM outbox_relay.letter_requests")
    empty_database.execute(REQUEST, table, user=operator)
    assert empty_database.rows("SELECT outbox::oid::regclass::text, role FROM outbox_relay.letter_requests") == [(table, operator)]
    assert ours.status()["operator_actions"][0]["action"] == "retry"
    assert theirs.status()["operator_actions"][0]["action"] == "discard"
    theirs.write_config(database={"dsn": empty_database.dsn(operator)})
    for command in ("pause", "resume"):
        done = theirs.command(command)
        assert done.returncode == 1
        assert (f"role {operator} may not {command} table {their_table}; connect as a member of role"
                f" {other}_operator or {other}" in done.stderr)
    assert theirs.command("status").returncode == 1
    assert not empty_database.value("SELECT bool_or(paused) FROM outbox_relay.outboxes")


def test_an_outbox_gets_other_operators(empty_database, shop, migrate, number):
    """With the relay's role; the former ones lose their rights on it."""
    _, role, table = shop("shop")
    migrate("--table", table, "--role", "outbox_relay")
    assert empty_database.value("SELECT has_table_privilege('outbox_operator', %s, 'SELECT')", table)
    assert not empty_database.value("SELECT has_table_privilege(%s, %s, 'SELECT')", f"{role}_operator", table)
    assert empty_database.value("SELECT operator = 'outbox_operator'::regrole FROM outbox_relay.outboxes")


def test_an_older_installation_gets_it(database, migrate, new_relay, login):
    """One of schema version 5: its relays go on, and the next migration adds the role, rights and policies."""
    database.execute("""
        DROP TABLE outbox_relay.operator_actions, outbox_relay.letter_requests, outbox_relay.replays, outbox_relay.positions,
            outbox_relay.settled_ahead, outbox_relay.withdrawn, outbox_relay.producers, outbox_relay.producer_shards;
        DROP FUNCTION outbox_relay.note_pause CASCADE; DROP FUNCTION outbox_relay.note_requests;
        DROP FUNCTION outbox_relay.record_action;
        ALTER POLICY own ON outbox_relay.outboxes USING (pg_catalog.pg_has_role(relay, 'USAGE'));
        ALTER POLICY own ON outbox_relay.dead_letters USING (outbox IN (
            SELECT o.outbox FROM outbox_relay.outboxes o WHERE pg_catalog.pg_has_role(o.relay, 'USAGE')));
        ALTER TABLE outbox_relay.outboxes DROP COLUMN operator;
        DELETE FROM outbox_relay.schema_version WHERE version > 5;
        DROP OWNED BY outbox_operator""")
    done = new_relay().command("check")
    assert done.returncode == 1 and "schema version is 5, this relay needs" in done.stdout
    alice = new_relay(database={"dsn": database.dsn(login("alice", "outbox_operator"))})
    assert alice.command("status").returncode == 1
    assert "applied  0006_operator.sql" in migrate().stderr
    assert alice.status()["depth"] == 0 and alice.command("pause").returncode == 0
    assert new_relay().command("check").returncode == 0


def test_the_printed_script_makes_it(empty_database, migrate, new_relay):
    assert empty_database.psql(migrate("--print").stdout).returncode == 0
    empty_database.execute("DROP ROLE IF EXISTS alice; CREATE ROLE alice LOGIN; GRANT outbox_operator TO alice")
    alice = new_relay(database={"dsn": empty_database.dsn("alice")})
    assert json.loads(alice.command("pause", "--json").stdout)["paused"] is True


def test_a_service_that_leaves(empty_database, shop):
    """After uninstall its roles can be dropped, though other services stay; and those go on working."""
    leaving, role, table = shop("shop")
    staying, _, _ = shop("billing")
    script = leaving.command("migrate", "--print", "--uninstall").stdout
    done = empty_database.psql(script)
    assert done.returncode == 0, done.stdout
    empty_database.execute(f"DROP ROLE {role}, {role}_writer, {role}_operator")
    assert empty_database.value("SELECT to_regclass(%s) IS NOT NULL", table)
    for command in ("status", "pause", "resume"):
        assert staying.command(command).returncode == 0
    for kind in ("", "_writer", "_operator"):  # for the end of the test
        empty_database.execute(f"CREATE ROLE {role}{kind}")


def test_uninstall_takes_the_rights(database, migrate):
    migrate("--table", "second")
    assert database.psql(migrate("--print", "--uninstall", "--table", "second").stdout).returncode == 0
    for role, right in (("outbox_operator", "SELECT"), ("outbox_writer", "INSERT")):
        assert not database.value("SELECT has_table_privilege(%s, 'second', %s)", role, right)
        assert database.value("SELECT has_table_privilege(%s, 'outbox_events', %s)", role, right)
