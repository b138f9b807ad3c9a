# SPDX-License-Identifier: ISC
"""Services that share a database share no rights; what the two roles of each may do."""
import psycopg2
import pytest

from harness.relay import run_relay
from harness.writers import insert

RETURNING = ["INSERT INTO {table} ({columns}) VALUES ('thing', 'k', 'E') RETURNING {id}",
             "INSERT INTO {table} ({columns}) VALUES ('thing', 'k', 'E') RETURNING {id}, {event_id}",
             "INSERT INTO {table} ({columns}) VALUES ('thing', 'k', 'E') ON CONFLICT ({id}) DO NOTHING",
             "INSERT INTO {table} ({columns}) VALUES ('thing', 'k', 'E') ON CONFLICT ({event_id}) DO NOTHING"]
STANDARD = {"id": "id", "event_id": "event_id", "columns": "aggregate_type, aggregate_id, event_type"}


def inserts_as_writer(database, table, names, statements):
    for statement in statements:
        database.execute("SET ROLE outbox_writer; " + statement.format(table=table, **names))
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        database.execute(f"SET ROLE outbox_writer; SELECT aggregate_id FROM {table}"
                         if names is STANDARD else f"SET ROLE outbox_writer; SELECT aggregateid FROM {table}")


def test_a_writer_may_ask_for_ids(database):
    """As ORMs do; and reads no events."""
    database.execute("CREATE UNIQUE INDEX ON outbox_events (event_id)")
    inserts_as_writer(database, "outbox_events", STANDARD, RETURNING)


def test_a_writer_may_ask_for_ids_in_partitions(empty_database, migrate):
    migrate("--partitions", "2")
    inserts_as_writer(empty_database, "outbox_events", STANDARD, RETURNING[:2])


def test_a_writer_may_ask_for_ids_of_an_adopted_table(empty_database, new_relay):
    empty_database.execute("CREATE TABLE box (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregatetype text,"
                           " aggregateid text, type text, payload jsonb)")
    done = new_relay(outbox={"table": "box"}).command("migrate", "--adopt", "--dsn", empty_database.dsn())
    assert done.returncode == 0, done.stderr
    inserts_as_writer(empty_database, "box", {"id": "relay_id", "event_id": "id",
                                              "columns": "aggregatetype, aggregateid, type"}, RETURNING)


@pytest.fixture
def roles(postgres, empty_database, number):
    """Names of roles for this test only: roles("shop") is one that may log in, owner of a schema of its name."""
    made = []

    def make(name, create=True):
        role = f"{name}_{number}"
        made.append(role)
        if create:
            empty_database.execute(f"CREATE ROLE {role} LOGIN; CREATE SCHEMA {role} AUTHORIZATION {role}")
        return role
    yield make
    for role in made:
        for name in (role, role + "_writer", role + "_operator"):
            if empty_database.value("SELECT to_regrole(%s) IS NOT NULL", name):
                empty_database.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


def test_two_services_share_no_rights(empty_database, new_relay, roles, reader):
    """An administrator migrates for each, with a role of its own. Their relays work, and neither role may read,
    settle or pause what is the other's."""
    relays = {}
    for service in ("shop", "billing"):
        owner, role = roles(service), roles(service + "_relay", create=False)
        table = f"{owner}.outbox"
        relay = relays[role] = new_relay(outbox={"table": table}, database={"dsn": empty_database.dsn(role)})
        done = relay.command("migrate", "--dsn", empty_database.dsn(), "--role", role)
        assert done.returncode == 0, done.stderr
        empty_database.execute(f"ALTER TABLE {table} OWNER TO {owner}")
        again = relay.command("migrate", "--dsn", empty_database.dsn())
        assert again.returncode == 0, again.stderr
        assert empty_database.psql(relay.command("migrate", "--print").stdout).returncode == 0
        relay.start()
        empty_database.execute(f"SET ROLE {role}_writer; INSERT INTO {table} (aggregate_type, aggregate_id, event_type)"
                               f" VALUES ('thing', '{service}', 'E') RETURNING id")
        empty_database.execute("INSERT INTO outbox_relay.dead_letters (outbox, id, event_id) VALUES (%s, 1, 'e')",
                               table)
    assert {record.key for record in reader().take(2)} == {b"shop", b"billing"}
    for role, relay in relays.items():
        other, = set(relays) - {role}
        theirs = relays[other].settings["outbox"]["table"]
        assert empty_database.rows("SELECT outbox::oid::regclass::text FROM outbox_relay.dead_letters",
                                   user=role) == [(relay.settings["outbox"]["table"],)]
        for sql in (f"SELECT id FROM {theirs}", f"DELETE FROM {theirs}"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                empty_database.execute(sql, user=role)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            empty_database.execute("INSERT INTO outbox_relay.dead_letters (outbox, id, event_id)"
                                   " SELECT outbox, 2, 'e' FROM outbox_relay.outboxes WHERE relay <> %s::regrole",
                                   role, user=role)
        empty_database.execute("UPDATE outbox_relay.outboxes SET paused = true WHERE relay <> %s::regrole", role,
                               user=role)
        assert not empty_database.value("SELECT bool_or(paused) FROM outbox_relay.outboxes")
        for command in ("pause", "resume", "status", "check"):
            done = relay.command(command)
            assert done.returncode == 0, done.stdout + done.stderr


def test_another_role_takes_over(database, migrate, roles, new_relay):
    """The former loses its rights on the outbox."""
    role = roles("late", create=False)
    migrate("--role", role)
    assert database.value("SELECT has_table_privilege(%s, 'outbox_events', 'SELECT')", role)
    assert not database.value("SELECT has_table_privilege('outbox_relay', 'outbox_events', 'SELECT')")
    assert not database.value("SELECT has_table_privilege('outbox_writer', 'outbox_events', 'INSERT')")
    assert new_relay(database={"dsn": database.dsn(role)}).command("check").returncode == 0


def test_the_second_owner_is_told(empty_database, new_relay, roles):
    """It has no rights in the schema that the first one made: who has, and what to do."""
    shop, billing = roles("shop"), roles("billing")
    empty_database.execute(f'GRANT CREATE ON DATABASE "{empty_database.name}" TO {shop}, {billing};'
                           f" ALTER ROLE {shop} CREATEROLE; ALTER ROLE {billing} CREATEROLE")
    done = new_relay().command("migrate", "--dsn", empty_database.dsn(shop), "--table", f"{shop}.outbox")
    assert done.returncode == 0, done.stderr
    done = new_relay().command("migrate", "--dsn", empty_database.dsn(billing), "--table", f"{billing}.outbox")
    assert done.returncode == 1
    assert f"schema outbox_relay belongs to role {shop}, and role {billing} is no member of it" in done.stderr
    assert "--role" in done.stderr and "give with --dsn" not in done.stderr


@pytest.mark.parametrize("role", ["", "r" * 57, "outbox"])
def test_no_name_of_a_role(role):
    done = run_relay("migrate", "--print", "--table", "t", "--role", role)
    assert done.returncode == 2 and "--role" in done.stderr and done.stdout == ""
