# SPDX-License-Identifier: ISC
"""migrate by an owner who is no superuser, as on a managed PostgreSQL: with CREATEROLE, and without."""
import re

import pytest

from harness.writers import insert


@pytest.fixture
def owner(empty_database, number):
    """owner("CREATEROLE"): a role that owns the database and has this attribute, and a name for --role."""
    name, made = f"owner_{number}", []

    def make(attribute=""):
        empty_database.execute(f'CREATE ROLE {name} LOGIN {attribute}; ALTER DATABASE "{empty_database.name}" OWNER TO'
                               f" {name}; GRANT ALL ON SCHEMA public TO {name}")
        made.append(name)
        return name, f"managed_{number}"
    yield make
    empty_database.execute(f'ALTER DATABASE "{empty_database.name}" OWNER TO owner')
    for role in [f"managed_{number}{kind}" for kind in ("", "_writer", "_operator")] + [f"app_{number}", name]:
        if empty_database.value("SELECT to_regrole(%s) IS NOT NULL", role):
            empty_database.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def works(database, new_relay, reader, name, role, number):
    """The owner hands out the roles by itself, and events arrive."""
    database.execute(f"CREATE ROLE app_{number} LOGIN", user="owner")
    database.execute(f"GRANT {role}_writer TO app_{number}", user=name)
    relay = new_relay(database={"dsn": database.dsn(role)}).start()
    insert(database, 2, user=f"app_{number}")
    assert len(reader().take(2)) == 2
    checked = relay.command("check")
    assert checked.returncode == 0, checked.stdout


def test_with_createrole(empty_database, new_relay, owner, reader, number):
    """Since PostgreSQL 16 it may administer the roles that it makes, and is no member of them. The migration works,
    and works again with what is there."""
    name, role = owner("CREATEROLE")
    relay = new_relay()
    for options in (["--role", role], []):
        done = relay.command("migrate", "--dsn", empty_database.dsn(name), *options)
        assert done.returncode == 0, done.stderr
    empty_database.execute(f"ALTER ROLE {role} PASSWORD 'secret'; ALTER ROLE {role}_operator LOGIN", user=name)
    works(empty_database, new_relay, reader, name, role, number)
    operator = new_relay(database={"dsn": empty_database.dsn(f"{role}_operator")})
    for command in ("status", "pause", "resume"):
        assert operator.command(command).returncode == 0


def test_uninstall_and_drop_the_roles(empty_database, new_relay, owner):
    """By the same owner: nothing of the roles is left that would keep them."""
    name, role = owner("CREATEROLE")
    relay = new_relay()
    assert relay.command("migrate", "--dsn", empty_database.dsn(name), "--role", role).returncode == 0
    script = relay.command("migrate", "--print", "--uninstall").stdout
    done = empty_database.psql(f"SET ROLE {name};" + script)
    assert done.returncode == 0, done.stdout
    empty_database.execute(f"DROP ROLE {role}, {role}_writer, {role}_operator", user=name)
    assert empty_database.value("SELECT tableowner = %s FROM pg_tables WHERE tablename = 'outbox_events'", name)


@pytest.mark.parametrize("by_psql", [False, True])
@pytest.mark.parametrize("owns_database", [False, True])
def test_without_createrole(empty_database, new_relay, owner, reader, number, by_psql, owns_database):
    """The message has all that an administrator must run, and nothing that is there already."""
    name, role = owner()
    relay = new_relay()

    def migrate():
        if not by_psql:
            done = relay.command("migrate", "--dsn", empty_database.dsn(name), "--role", role)
            return done.returncode, done.stderr
        script = relay.command("migrate", "--print", "--role", role).stdout
        done = empty_database.psql(f"SET ROLE {name};" + script)
        return done.returncode, done.stdout
    needed = [f"CREATE ROLE {role} LOGIN", f"CREATE ROLE {role}_writer NOLOGIN", f"CREATE ROLE {role}_operator NOLOGIN"]
    if not owns_database:
        empty_database.execute(f'ALTER DATABASE "{empty_database.name}" OWNER TO owner')
        needed.insert(0, f"GRANT CREATE ON DATABASE {empty_database.name} TO {name}")
    while needed:
        status, said = migrate()
        assert status != 0 and f"role {name} may not make what is missing" in said
        assert re.search(r"administrator run: ([^\n(]*[^\n( ])", said).group(1) == "; ".join(needed)
        empty_database.execute(needed.pop(0))
    status, said = migrate()
    assert status == 0, said
    empty_database.execute(f"GRANT {role}_writer TO {name} WITH ADMIN OPTION")
    works(empty_database, new_relay, reader, name, role, number)


def test_an_upgrade_without_createrole(empty_database, new_relay, owner, number):
    """Two of the roles are there since an older version: the statement for the third."""
    name, role = owner()
    empty_database.execute(f"CREATE ROLE {role} LOGIN; CREATE ROLE {role}_writer")
    done = new_relay().command("migrate", "--dsn", empty_database.dsn(name), "--role", role)
    assert done.returncode == 1
    assert f"have an administrator run: CREATE ROLE {role}_operator NOLOGIN (" in done.stderr
    assert empty_database.value("SELECT to_regnamespace('outbox_relay') IS NULL")


def test_an_administrator_who_is_no_superuser(empty_database, new_relay, reader, number):
    """As the page on several services has it: one role with CREATEROLE, a member of each owner, migrates for all."""
    admin, shop = f"admin_{number}", f"shop_{number}"
    empty_database.execute(f'CREATE ROLE {admin} LOGIN CREATEROLE; GRANT CREATE ON DATABASE "{empty_database.name}" TO {admin}')
    relay = new_relay(outbox={"table": f"{shop}.outbox"}, database={"dsn": empty_database.dsn(f"{shop}_relay")})
    try:
        for sql in (f"CREATE ROLE {shop} LOGIN", f"GRANT {shop} TO {admin}", f"CREATE SCHEMA {shop} AUTHORIZATION {shop}"):
            empty_database.execute(sql, user=admin)
        for _ in range(2):
            done = relay.command("migrate", "--dsn", empty_database.dsn(admin), "--role", f"{shop}_relay")
            assert done.returncode == 0, done.stderr
            empty_database.execute(f"ALTER TABLE {shop}.outbox OWNER TO {shop}", user=admin)
        relay.start()
        empty_database.execute(f"INSERT INTO {shop}.outbox (aggregate_type, aggregate_id, event_type)"
                               " VALUES ('thing', 'k', 'E')", user=shop)
        assert len(reader().take(1)) == 1
    finally:
        relay.process.end()
        for role in (f"{shop}_relay", f"{shop}_relay_writer", f"{shop}_relay_operator", shop, admin):
            empty_database.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_to_look_at_an_adoption_needs_no_rights(empty_database, new_relay, owner):
    """--adopt --print changes nothing: who may read the table may have the script."""
    name, _ = owner()
    empty_database.execute("CREATE TABLE box (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregatetype text,"
                           f" aggregateid text, type text, payload jsonb); GRANT SELECT ON box TO {name}")
    done = new_relay(outbox={"table": "box"}).command("migrate", "--adopt", "--print", "--dsn", empty_database.dsn(name))
    assert done.returncode == 0 and "ADD COLUMN" in done.stdout, done.stderr
