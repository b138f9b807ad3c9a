# SPDX-License-Identifier: ISC
"""A hostile role has created objects with the names of PostgreSQL's own, where everybody may (CVE-2018-1058):
nothing of the product calls them, with whatever rights it runs."""
import subprocess

import pytest

from harness import planted
from harness.writers import insert


@pytest.fixture(params=["usual path", "hostile path"])
def hostile(request, empty_database):
    """A database with planted objects in public and in the schema that "$user" is for the owner; or in public
    alone, which the database's search_path has before pg_catalog."""
    usual = request.param == "usual path"
    planted.plant(empty_database, *(["public", "owner"] if usual else ["public"]))
    if not usual:
        empty_database.execute(f"ALTER DATABASE {empty_database.name} SET search_path = public, pg_catalog")
    yield empty_database
    empty_database.execute(f"ALTER DATABASE {empty_database.name} RESET search_path")
    planted.uproot(empty_database)


def run_psql(database, script, *options):
    """As `Database.psql` does, in one transaction or (without "-1") in many."""
    return subprocess.run(["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", *options, database.dsn()],
                          input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def assert_nothing_called(database):
    assert planted.called(database, "outbox-relay", "psql") == set()


def test_plants_are_live(hostile):
    """They can be called, and it shows: otherwise the tests below show nothing."""
    done = run_psql(hostile, "SELECT format('%s', 'pg_class'::regclass)")
    assert done.returncode == 0, done.stdout
    assert ("format(text, regclass)", "owner") in planted.called(hostile, "psql")


@pytest.mark.parametrize("options, settle", [([], "delete"), (["--partitions", "2"], "mark")],
                         ids=["plain", "partitions"])
def test_the_product_calls_nothing_planted(hostile, migrate, new_relay, reader, topic, options, settle):
    """migrate, check, run with a dead letter, status, pause and resume."""
    topic()
    outbox = {"on_reject": "dead-letter", "settle": settle}
    migrate(*options, outbox=outbox)
    migrate(*options, outbox=outbox)
    relay = new_relay(outbox=outbox)
    assert relay.command("check").returncode == 0
    relay.start()
    insert(hostile, 100)
    insert(hostile, 1, aggregate_type="no topic!")
    assert len(reader().take(100)) == 100
    hostile.wait("SELECT count(*) = 1 FROM outbox_relay.dead_letters")
    assert relay.status()["dead_letters"] == 1
    for command in ("pause", "resume"):
        assert relay.command(command).returncode == 0
    assert relay.stop() == 0
    assert_nothing_called(hostile)


@pytest.mark.parametrize("options, mode", [([], []), (["--partitions", "2"], ["-1"])],
                         ids=["many transactions", "one transaction"])
def test_printed_sql_calls_nothing_planted(hostile, new_relay, options, mode):
    """It can be run again and undone, and leaves the session that runs it as it was."""
    relay = new_relay()
    settings = ("SELECT name, setting FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.<>) 'lock_timeout'"
                " AND name OPERATOR(pg_catalog.!~) '^plpgsql' ORDER BY 1;")
    for more in ([], [], ["--uninstall"]):
        script = relay.command("migrate", "--print", *(more or options)).stdout
        done = run_psql(hostile, f"{settings}\n\\echo from here\n{script}\n\\echo to here\n{settings}", *mode)
        assert done.returncode == 0, done.stdout
        before, after = done.stdout.split("from here\n")[0], done.stdout.split("to here\n")[1]
        assert after == before
        if not more:
            assert relay.command("check").returncode == 0
    assert hostile.value("SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'outbox_relay'") == 0
    assert_nothing_called(hostile)


def test_adoption_calls_nothing_planted(hostile, new_relay):
    """By hand and from its script."""
    for table in ("own_events", "other_events"):
        hostile.execute(f"""CREATE TABLE public.{table} (key pg_catalog.uuid PRIMARY KEY, type pg_catalog.text NOT NULL,
            aggregate_type pg_catalog.text NOT NULL, aggregate_id pg_catalog.text NOT NULL,
            payload pg_catalog.jsonb, created_at pg_catalog.timestamptz NOT NULL)""")
    relay = new_relay()
    done = relay.command("migrate", "--adopt", "--table", "own_events", "--dsn", hostile.dsn())
    assert done.returncode == 0, done.stderr
    script = relay.command("migrate", "--adopt", "--print", "--table", "other_events", "--dsn", hostile.dsn()).stdout
    done = run_psql(hostile, script, "-1")
    assert done.returncode == 0, done.stdout
    assert_nothing_called(hostile)
