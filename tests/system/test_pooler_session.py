# SPDX-License-Identifier: ISC
"""database.pooler = "session": a PgBouncer in between that leaves the relay a session of its own, and one that does not."""
import contextlib
import signal
import socket
import threading

import psycopg2
import pytest

from harness.fleet import locked, sessions, wait_spread, wait_standby
from harness.pgbouncer import PgBouncer
from harness.slowlink import SlowLink
from harness.waiting import limit, until
from harness.writers import Writers, insert

SHARED = "gives it no session of its own"
SWITCH = "set pool_mode = session"
OWN = "a pooler in between gives each client a session of its own"
ASLEEP = ("SELECT pg_sequence_last_value(bell) IS NOT NULL AND NOT EXISTS (SELECT FROM pg_stat_activity"
          " WHERE usename = 'outbox_relay' AND xact_start IS NOT NULL) FROM outbox_relay.outboxes")
SMALL = "default_pool_size = 2"
LATE = "the session behind the connection is another one now"


@pytest.fixture
def pooled(postgres, directory, database, settings):
    """pooled(mode, more, options): a PgBouncer; the relays of this test connect through it."""
    made = []

    def start(mode="session", more="", options=""):
        made.append(PgBouncer(directory, postgres, mode, more, options).start())
        settings["database"] = {"dsn": made[-1].dsn(database.name), "pooler": "session"}
        return made[-1]
    yield start
    for bouncer in made:
        bouncer.process.end(signal.SIGINT, timeout=20)
        bouncer.process.forget()


@contextlib.contextmanager
def competing(bouncer, database, count=3):
    """Other clients of the pool, of the same role, each with a transaction open."""
    clients = [psycopg2.connect(bouncer.dsn(database.name)) for _ in range(count)]
    for client in clients:
        client.cursor().execute("SELECT pg_backend_pid()")
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def test_events_flow_and_every_command_works(pooled, database, new_relay, topic, reader):
    """The database's mode counts, whatever that of others is."""
    topic()
    pooled("transaction", options="pool_mode=session pool_size=4")
    relay = new_relay().start()
    insert(database, 10)
    reader().take(10)
    done = relay.command("check")
    assert done.returncode == 0 and OWN in done.stdout, done.stdout
    for command in ("pause", "resume", "status", "migrate"):
        done = relay.command(command)
        assert done.returncode == (1 if command == "migrate" else 0), done.stderr
    assert "connection pooler" not in done.stderr  # migrate: the role is not the owner
    insert(database, 1)
    database.wait_empty()
    assert relay.stop() == 0


def test_settings_are_the_relays_own_and_go_with_it(pooled, database, new_relay, topic):
    """What role and database set does not count; and the next client of the backend has none of it."""
    topic()
    bouncer = pooled()
    database.execute(f"ALTER ROLE outbox_relay IN DATABASE \"{database.name}\" SET timezone = 'Asia/Kolkata'")
    database.execute("""
        CREATE TABLE seen (name text, value text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
            INSERT INTO public.seen SELECT name, setting FROM pg_catalog.pg_settings
             WHERE name IN ('TimeZone', 'DateStyle', 'search_path'); RETURN NULL; END $$;
        CREATE TRIGGER see AFTER DELETE ON outbox_events FOR EACH STATEMENT EXECUTE FUNCTION see()""")
    relay = new_relay().start()
    insert(database, 1)
    database.wait_empty()
    assert set(database.rows("SELECT DISTINCT name, value FROM seen")) == {
        ("TimeZone", "UTC"), ("DateStyle", "ISO, MDY"), ("search_path", "pg_catalog,pg_temp")}
    until(lambda: len(sessions(database)) == 1, 20, "the probe's backend to be gone")
    backend, = sessions(database)
    assert relay.stop() == 0
    until(lambda: any(database.name in row and "idle" in row for row in bouncer.admin("SHOW SERVERS")), 20,
          "the pooler to have reset the session")
    with competing(bouncer, database, 1) as (client,):
        cursor = client.cursor()
        cursor.execute("SELECT pg_backend_pid(), current_setting('timezone'), current_setting('search_path'),"
                       " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
                       " (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_prepared_statements)")
        assert cursor.fetchone() == (backend, "Asia/Kolkata", '"$user", public', 0, 0, 0)


def test_relays_share_and_take_over(pooled, database, start_relays, in_order):
    """Under load one of two relays is killed and comes back, the pooler is told what operators tell it, the database
    restarts, and the pooler itself. By default it tries a database that was away again after 15 s only: by then the
    relays' own tries are so far apart that one might take what the other has published."""
    bouncer = pooled(more="server_login_retry = 1")
    relays = start_relays(2, shards=4)
    wait_spread(relays, 2, 2)
    with Writers(database, 2, pause=0.002) as writers:
        writers.wait_committed(100)
        relays[0].kill()
        wait_spread(relays[1:], 4)
        relays[0].start(wait=False)
        wait_spread(relays, 2, 2)
        until(lambda: len(sessions(database)) == 2, 20, "the backends of the killed one and of its probe to be gone")
        before = sessions(database)
        for command in ("RELOAD", "RECONNECT"):
            bouncer.admin(command)
        writers.wait_committed(100)
        assert sessions(database) == before
        database.server.restart()
        wait_spread(relays, 2, 2, timeout=40)
        bouncer.process.end(signal.SIGTERM, timeout=20)
        bouncer.start()
        wait_spread(relays, 2, 2, timeout=40)
        writers.wait_committed(100)
    in_order(writers, kills=1)


def test_a_backend_that_another_relay_has_now_is_not_ended(pooled, database, new_relay, topic):
    """A relay loses its connection to the pooler, which gives its backend, the only one, to another relay."""
    topic()
    bouncer = pooled(more="default_pool_size = 1")
    with contextlib.closing(SlowLink(bouncer.port, 1e9)) as link, socket.create_server(("127.0.0.1", 0)) as nobody:
        first, second = new_relay(), new_relay()
        first.write_config(database={"dsn": f"{bouncer.dsn(database.name)} port={link.port}"})
        first.write_config(outbox={"poll_interval": "1m", "sweep_interval": "1m"})
        first.start()
        backend, = locked(database, 1)
        database.wait(ASLEEP)  # a pooler closes a backend that it loses in a transaction
        link.redirect(nobody.getsockname()[1])
        until(lambda: not locked(database, 1), 20, "the pooler to reset the session")
        second.start()
        assert locked(database, 1) == {backend: {0}}
        bouncer.set_mode("session", SMALL)
        link.redirect(bouncer.port)
        wait_standby(first, "another relay owns the shard")
        assert locked(database, 1) == {backend: {0}} and not second.log_contains("no session with the database")


def test_a_paused_pooler_is_waited_for(pooled, database, new_relay, topic):
    """PAUSE leaves the session that is there, and lets nobody else in until RESUME."""
    topic()
    bouncer = pooled()
    first, second = new_relay().start(), new_relay()
    with contextlib.closing(psycopg2.connect(bouncer.dsn("pgbouncer", "owner"))) as console:
        console.autocommit = True
        pausing = threading.Thread(target=lambda: console.cursor().execute(f'PAUSE "{database.name}"'), daemon=True)
        pausing.start()
        until(lambda: bouncer.paused(database.name), 20, "the pooler to pause")
        insert(database, 3)
        database.wait_empty()
        second.start(wait=False)
        assert first.stop() == 0
        pausing.join(limit(20))
        insert(database, 3)
        bouncer.admin(f'RESUME "{database.name}"')
        second.wait_ready()
        database.wait_empty()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("clients", [0, 3], ids=["alone", "competing"])
def test_a_shared_session_is_refused(pooled, database, new_relay, mode, clients):
    """At its start, by `run` and every command; and the backends keep nothing that matters to other clients."""
    bouncer = pooled(mode)
    relay = new_relay()
    with competing(bouncer, database, clients if mode == "transaction" else 0):
        done = relay.command("check")
        assert done.returncode == 1 and SHARED in done.stdout and SWITCH in done.stdout
        for command in ("status", "pause", "migrate"):
            done = relay.command(command)
            assert done.returncode == 1 and SHARED in done.stderr and SWITCH in done.stderr, done.stderr
        done = relay.command("run", timeout=20)
        assert done.returncode == 1 and SHARED in done.stderr and SWITCH in done.stderr, done.stderr
    with contextlib.closing(psycopg2.connect(bouncer.dsn(database.name))) as client, client.cursor() as cursor:
        client.autocommit = True
        cursor.execute("SELECT current_setting('search_path'), (SELECT count(*) FROM pg_locks"
                       " WHERE locktype = 'advisory' AND database ="
                       " (SELECT oid FROM pg_database WHERE datname = current_database()))")
        assert cursor.fetchone() == ('"$user", public', 0)


def test_a_pooler_that_takes_its_backends_in_turn_is_refused(pooled, database, new_relay):
    """The last one used is then the last one given: no probe gets it while there are others."""
    bouncer = pooled("transaction", more="server_round_robin = 1")
    with competing(bouncer, database, 2) as clients:
        for client in clients:
            client.commit()
    relay = new_relay()
    for command in ("check", "run"):
        done = relay.command(command, timeout=20)
        assert done.returncode == 1 and SHARED in done.stdout + done.stderr, done.stdout + done.stderr


def test_a_session_that_is_taken_away_is_noticed(pooled, database, start_relays, in_order):
    """Under load the pooler is set to transaction mode, while other clients take the backends: the relays publish
    nothing by another backend, say so, and go on once the mode is right again. There is no backend but theirs, so
    that each has all that the relay has prepared; and none for the probe."""
    bouncer = pooled(more=SMALL)
    relays = start_relays(2, shards=2)
    wait_spread(relays, 1, 1)
    with Writers(database, 2, pause=0.002) as writers:
        writers.wait_committed(50)
        bouncer.set_mode("transaction", SMALL)
        stop = threading.Event()
        threads = [threading.Thread(target=compete, args=(bouncer, database, stop), daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        for relay in relays:
            relay.wait_log(LATE)
        writers.wait_committed(50)
        for relay in relays:
            until(lambda relay=relay: SHARED in relay.get("/readyz")[1], 20, "readyz to say so")
        stop.set()
        for thread in threads:
            thread.join(limit(20))
        bouncer.process.end(signal.SIGTERM, timeout=20)
        bouncer.write_config("session", SMALL)
        bouncer.start()
        wait_spread(relays, 1, 1, timeout=40)
        writers.wait_committed(50)
    in_order(writers)


def compete(bouncer, database, stop):
    """Short transactions, one after the other."""
    while not stop.is_set():
        with (contextlib.suppress(psycopg2.Error),  # some clients do not outlive the change of the mode
              contextlib.closing(psycopg2.connect(bouncer.dsn(database.name))) as client):
            while not stop.is_set():
                with client, client.cursor() as cursor:
                    cursor.execute("SELECT pg_sleep(0.01)")
