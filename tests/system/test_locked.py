# SPDX-License-Identifier: ISC
"""A lock that another session holds, or a server that does not answer: each command ends soon and says who."""
import re
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest

from harness.waiting import until


@contextmanager
def locked(database, *tables, mode="ACCESS EXCLUSIVE"):
    """The pid of a session of the application "report" that holds locks."""
    with database.session(autocommit=False) as cursor:
        cursor.execute("SET application_name = 'report'; SELECT pg_backend_pid()")
        pid, = cursor.fetchone()
        for table in tables:
            cursor.execute(f"LOCK TABLE {table} IN {mode} MODE")
        yield pid


def within(relay, seconds, *argv):
    """The command's end, after so many seconds at most."""
    begun = time.monotonic()
    done = relay.command(*argv)
    assert time.monotonic() - begun < seconds, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("command, tables", [
    ("check", ["outbox_events"]), ("check", ["outbox_events", "outbox_relay.outboxes", "outbox_relay.dead_letters"]),
    ("status", ["outbox_events"]), ("pause", ["outbox_relay.outboxes"])])
def test_who_holds_the_lock(database, new_relay, topic, command, tables):
    """Its pid and application_name, and what it is about. Since when, only a role knows that sees all sessions."""
    topic()
    with locked(database, *tables) as pid:
        done = within(new_relay(), 15, command)
        said = done.stdout + done.stderr
        assert done.returncode == 1 and f"process {pid} (application_name 'report', role owner) holds a lock" in said
        assert f"holds a lock on {tables[0]}" in said.replace("public.", "")
        assert "pg_read_all_stats shows since when" in said


def test_since_when(database, new_relay, topic):
    topic()
    with locked(database, "outbox_events") as pid:
        done = within(new_relay(database={"dsn": database.dsn()}), 15, "check")
        assert "table outbox_events was not checked" in done.stdout
        assert f"process {pid}" in done.stdout and "in a transaction since 2" in done.stdout
        assert "end the transaction that holds the lock" in done.stdout


def test_migrate_lets_writers_pass(database, new_relay, directory):
    """It waits for a writer's lock: another writer waits behind it for 2 seconds at most, not until the end."""
    log = f"{directory}/migrate.log"

    def said():
        with open(log) as file:
            return file.read()

    database.execute("DROP TRIGGER outbox_relay_bell ON outbox_events")
    relay = new_relay()
    with database.session(autocommit=False) as writer, database.session() as other:
        writer.execute("SET application_name = 'writer'; INSERT INTO outbox_events (aggregate_type, aggregate_id,"
                       " event_type) VALUES ('thing', 'k', 'E')")
        other.execute("SET statement_timeout = '6s'")
        with open(log, "w") as file:
            migrating = subprocess.Popen(
                [relay.process.argv[0], "migrate", "-c", relay.config, "--dsn", database.dsn()],
                stdout=subprocess.DEVNULL, stderr=file)
        database.wait("SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'outbox_events'::regclass AND NOT granted)")
        other.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('thing', 'o', 'E')")
        # It finds the holder while it waits, and on a slow machine not in its first wait.
        words = "application_name 'writer'.* holds a lock on public.outbox_events"
        until(lambda: re.search(words, said()), 20, "migrate to say who it is")
        assert migrating.poll() is None
        writer.connection.commit()
    assert migrating.wait(30) == 0, said()


@pytest.mark.parametrize("command", ["check", "status", "resume"])
def test_a_server_that_never_answers(database, new_relay, command):
    """It takes the connection and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        relay = new_relay(database={"dsn": f"host=127.0.0.1 port={mute.getsockname()[1]} dbname=x connect_timeout=3"})
        done = within(relay, 15, command)
        assert done.returncode == 1 and "cannot connect to the database" in done.stdout + done.stderr
