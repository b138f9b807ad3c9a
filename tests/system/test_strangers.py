# SPDX-License-Identifier: ISC
"""Another role in the same database takes the relays' advisory locks and sends their notifications: it holds up
nothing but the shards whose locks it has, and that is told."""
import re
import threading
import time

import psycopg2
import pytest

from harness.fleet import locked, owned, wait_kafka, wait_spread, wait_spread_for_good, wait_standby
from harness.waiting import until
from harness.writers import insert

ABSTAIN, MEMBER, SHARD = 0x6d000000, 0x6e000000, 0x6f000000
OWN = "SELECT classid::int8, objid::int8 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
CALLS = ("SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements(false) WHERE userid = %s::regrole"
         " AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())")


class Stranger:
    """A session of a role that has no right at all."""

    def __init__(self, database):
        self.connection = database.server.connect(database.name, "stranger")
        self.cursor = self.connection.cursor()
        self.cursor.execute("SET application_name = 'report \"7\"'")
        self.pid = self.connection.info.backend_pid
        self.outbox = database.value("SELECT 'outbox_events'::regclass::oid::int8")

    def lock(self, *keys, shared=False):
        for key in keys:
            self.cursor.execute(f"SELECT pg_advisory_lock{'_shared' if shared else ''}(%s::int, %s)",
                                (self.outbox, key))


@pytest.fixture
def role(database):
    database.execute("DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")


@pytest.fixture
def stranger(database, role):
    one = Stranger(database)
    yield one
    one.connection.close()


def test_locks_that_disturb_nobody(database, stranger, fleet, reader):
    """As a member, an abstainer, one with another number of shards, one without order; exclusively and shared."""
    stranger.lock(MEMBER | 8, ABSTAIN | 8, MEMBER | 4, MEMBER, SHARD | 4 << 12, SHARD)
    other = Stranger(database)
    other.lock(MEMBER | 1 << 12 | 8, ABSTAIN | 1 << 12 | 8, SHARD | 1 << 12, shared=True)
    relays = fleet(2, shards=8)
    wait_spread_for_good(relays, 4, 4)
    insert(database, 100)
    assert len(reader().take(100)) == 100
    status = relays[0].status()
    assert {relay["pid"] for relay in status["relays"]} == set(locked(database, 8))
    assert {one["pid"]: one["role"] for one in status["strangers"]} == {
        stranger.pid: "stranger", other.connection.info.backend_pid: "stranger"}
    assert relays[0].command("pause").returncode == 0 and relays[0].command("resume").returncode == 0
    for relay in relays:
        until(lambda relay=relay: relay.get("/readyz")[0] == 200, 20, "readyz to be well after the pause")
        assert not relay.log_contains("is no relay")
    other.connection.close()


def test_keys_taken_from_under_the_relays(database, stranger, fleet, new_relay):
    """The stranger reads the keys of the relays' shared locks, and waits for them exclusively: others still join."""
    first, = fleet(1, shards=8)
    wait_spread_for_good([first], 8)
    database.wait("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid::int8 >> 24 = 110)")
    keys = [(a, b) for a, b in database.rows(OWN) if b >> 24 != 111]
    assert len(keys) == 2
    waiting = [Stranger(database) for _ in keys]

    def wait_for(one, class_, key):
        with pytest.raises(psycopg2.Error):  # until it is ended
            signed = class_ - (1 << 32) if class_ >= 1 << 31 else class_
            one.cursor.execute("SELECT pg_advisory_lock(%s, %s)", (signed, key))
    threads = [threading.Thread(target=wait_for, args=(one, *key)) for one, key in zip(waiting, keys)]
    for thread in threads:
        thread.start()
    database.wait("SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    second = new_relay(outbox={"shards": 8})
    second.start()
    wait_spread([first, second], 4, 4)
    for one in waiting:
        database.execute("SELECT pg_terminate_backend(%s)", one.connection.info.backend_pid)
    for thread in threads:
        thread.join()


def test_a_shard_that_cannot_be_had(database, stranger, new_relay, topic):
    """The others are served. Log, readyz, status and check say whose session has it; at its end all is well."""
    topic()
    stranger.lock(SHARD | 8 << 12 | 3)
    relay = new_relay(outbox={"shards": 8}).start()
    until(lambda: owned(relay) == set(range(8)) - {3}, 20, "all shards but one")
    words = (f'session {stranger.pid} (role stranger, application "report "7"") is no relay and holds the lock of'
             " 1 of 8 shards, whose events wait; end it")
    until(lambda: relay.get("/readyz") == (503, words + "\n"), 20, "readyz to say who")
    assert relay.log().count(words) == 1
    one, = relay.status()["strangers"]
    assert (one["pid"], one["role"], one["application"], one["shards"]) == (
        stranger.pid, "stranger", 'report "7"', [3])
    assert re.search(rf"no relay +report \"7\", session {stranger.pid} \(role stranger\): .*of 1 shards",
                     relay.command("status").stdout)
    checked = relay.command("check")
    assert f"session {stranger.pid}" in checked.stdout and "pg_terminate_backend" in checked.stdout
    assert relay.command("pause").returncode == 0 and relay.command("resume").returncode == 0
    stranger.connection.close()
    wait_spread([relay], 8)
    until(lambda: relay.get("/readyz")[0] == 200, 20, "readyz to be well again")


def test_the_only_shard_cannot_be_had(database, stranger, new_relay):
    """The relay waits, and is not ready."""
    stranger.lock(SHARD | 1 << 12)
    relay = new_relay()
    relay.start(wait=False)
    until(lambda: relay.log_contains("http listens"), 20, "it to listen")
    until(lambda: relay.get("/readyz")[0] == 503 and f"session {stranger.pid}" in relay.get("/readyz")[1], 20,
          "readyz to say who")
    relay.wait_log(f"standby: session {stranger.pid}")
    stranger.connection.close()
    wait_spread([relay], 1)


def test_a_prepared_transaction_has_the_lock(database, role, new_relay):
    with database.session("stranger", autocommit=False) as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock('{database.value('''SELECT 'outbox_events'::regclass::oid''')}',"
                       f" {SHARD | 1 << 12})")
        cursor.execute(f"PREPARE TRANSACTION '{database.name}'")
    try:
        relay = new_relay()
        relay.start(wait=False)
        relay.wait_log(r"standby: a prepared transaction \(pg_prepared_xacts\) is no relay")
    finally:
        database.execute(f"ROLLBACK PREPARED '{database.name}'")
    wait_spread([relay], 1)


@pytest.fixture
def flood(database, role):
    """flood(words): notifies without end, as fast as the server goes."""
    ended, threads = threading.Event(), []

    def notify(payload):
        with database.session("stranger") as cursor:
            while not ended.is_set():
                cursor.execute("SELECT pg_notify('outbox_relay', %s)", (payload,))

    def begin(words):
        payload = f"{database.value('''SELECT 'outbox_events'::regclass::oid''')}{words}"
        threads.append(threading.Thread(target=notify, args=(payload,)))
        threads[-1].start()
    yield begin
    ended.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("words", ["", " rest", " group", " free 8 {0,1,2,3,4,5,6,7}"])
def test_a_flood_of_notifications(database, fleet, flood, reader, words, count):
    """Thousands a second lead each relay to 1,200 statements a second at most, and events arrive as ever."""
    database.execute("CREATE EXTENSION pg_stat_statements")
    wait_spread(fleet(count, shards=8), *[8 // count] * count)
    flood(words)

    def calls(role):
        return database.value(CALLS, role)
    until(lambda: calls("stranger") > 0, 20, "the flood")
    began, before = time.monotonic(), (calls("outbox_relay"), calls("stranger"))
    until(lambda: calls("stranger") > before[1] + 2000, 60, "2000 notifications")
    asked, seconds = calls("outbox_relay") - before[0], time.monotonic() - began
    insert(database, 100)
    assert len(reader().take(100)) == 100
    print(f"{words!r}: {asked} statements in {seconds} s")
    # At most one notification in 8 ms is passed on, and each leads to some polls.
    assert asked < 1200 * count * seconds


def test_a_hand_over_is_believed_of_relays_only(database, fleet, flood):
    """A stranger says all the time that the shard was handed over. Its owner is killed, and the other relay leaves
    it the 200 ms in which it might be back."""
    owner, = fleet(1, shards=1)
    wait_spread_for_good([owner], 1)
    other, = fleet(1, shards=1)  # begins now, so that it never saw the shard without an owner
    wait_kafka([other])
    wait_standby(other, "another relay owns the shard")
    flood(" free 1 {0}")
    old = set(locked(database, 1))
    killed = time.monotonic()
    owner.kill()
    until(lambda: set(locked(database, 1)) - old, 20, "the other to take it", every=0.002)
    assert time.monotonic() - killed > 0.2
    wait_spread([other], 1)


@pytest.mark.parametrize("sql", [
    "SELECT FROM outbox_events", "DELETE FROM outbox_events", "BEGIN; LOCK TABLE outbox_events IN SHARE MODE",
    "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('a', 'b', 'c')",
    "SELECT FROM outbox_relay.dead_letters", "UPDATE outbox_relay.outboxes SET paused = true",
    "CREATE TABLE outbox_relay.mine ()", "DROP TABLE outbox_events",
    "SELECT setval('outbox_relay.\"bell_public.outbox_events\"', 1, true)",
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'outbox_relay'",
    "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE usename = 'outbox_relay'"])
def test_what_a_stranger_may_not(database, stranger, relay, sql):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        stranger.cursor.execute(sql)


@pytest.mark.parametrize("user, sql", [
    ("outbox_writer", "SELECT payload FROM outbox_events"), ("outbox_writer", "SELECT id FROM outbox_events FOR UPDATE"),
    ("outbox_writer", "UPDATE outbox_events SET payload = '{}'"), ("outbox_writer", "DELETE FROM outbox_events"),
    ("outbox_writer", "TRUNCATE outbox_events"), ("outbox_writer", "SELECT FROM outbox_relay.dead_letters"),
    ("outbox_writer", "UPDATE outbox_relay.outboxes SET paused = true"),
    ("outbox_relay", "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('a', 'b', 'c')"),
    ("outbox_relay", "TRUNCATE outbox_events"), ("outbox_relay", "DROP TABLE outbox_events"),
    ("outbox_relay", "ALTER TABLE outbox_events ADD more int"), ("outbox_relay", "CREATE TABLE outbox_relay.mine ()")])
def test_what_a_role_may_not(database, user, sql):
    with database.session() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.execute(f"SET ROLE {user}")
        cursor.execute(sql)


def test_what_a_stranger_sees(database, stranger, relay, reader):
    """Whose session it is and where events are, never their contents: neither in statements nor notifications."""
    database.execute("CREATE EXTENSION pg_stat_statements")
    stranger.cursor.execute("LISTEN outbox_relay")
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', 'k', 'Happened', '\"secret\"')")
    reader().take(1)
    relay.process.end()
    relay.start()
    seen = []
    for sql in ("SELECT a::text FROM pg_stat_activity AS a WHERE usename = 'outbox_relay'",
                "SELECT s::text FROM pg_stat_statements AS s WHERE userid = 'outbox_relay'::regrole",
                "SELECT l::text FROM pg_locks AS l"):
        stranger.cursor.execute(sql)
        seen += [row for row, in stranger.cursor.fetchall()]
    stranger.connection.poll()
    heard = [notify.payload for notify in stranger.connection.notifies]
    assert seen and heard and not any("secret" in text for text in seen + heard)
    assert not any(re.search("SELECT|DELETE", text) for text in seen)
    assert all(re.fullmatch(rf"{stranger.outbox}( group| rest| free \d+ {{[\d,]*}})?", text) for text in heard)


def test_a_relay_that_takes_its_role_on(database, settings, new_relay, topic):
    """It logs in as a role that has no right itself and may become one that has: it is a relay like others."""
    topic()
    database.execute("DROP ROLE IF EXISTS relay_login; CREATE ROLE relay_login LOGIN NOINHERIT IN ROLE outbox_relay")
    dsn = database.dsn("relay_login") + " options='-c role=outbox_relay'"
    relays = [new_relay(outbox={"shards": 8}), new_relay(outbox={"shards": 8}, database={"dsn": dsn})]
    for relay in relays:
        relay.start()
    wait_spread(relays, 4, 4)
    assert len(relays[0].status()["relays"]) == 2 and relays[0].status()["strangers"] == []


def test_a_lock_on_the_dead_letters(database, relay, reader):
    """The services of a database share their table, and PostgreSQL has no right to keep who may DELETE from locking it:
    events wait, and status names the process."""
    operator = database.server.connect(database.name, "owner")
    operator.cursor().execute("SET ROLE outbox_relay; BEGIN; LOCK TABLE outbox_relay.dead_letters")
    # With the next count of dead letters, at most 5 s from now, after 5 s of lock_timeout.
    relay.wait_log("canceling statement due to lock timeout", timeout=60)
    insert(database, 1)
    said = relay.command("status").stderr
    assert f"process {operator.info.backend_pid} " in said and "holds a lock on outbox_relay.dead_letters" in said
    assert database.value("SELECT count(*) FROM outbox_events") == 1
    operator.cursor().execute("ROLLBACK")
    assert len(reader().take(1)) == 1
    operator.close()


def test_a_relay_that_has_lost_a_right_is_no_stranger(database, new_relay, topic):
    """Nobody is told to end its session: the right is what is missing."""
    topic()
    relay = new_relay().start()
    pid, = locked(database, 1)
    database.execute("REVOKE DELETE ON outbox_events FROM outbox_relay")
    insert(database, 1)
    relay.wait_log("the database refuses to let events be claimed")
    status = relay.status()
    assert [one["pid"] for one in status["relays"]] == [pid] and status["strangers"] == []
    said = relay.command("check").stdout
    assert "lacks rights on outbox_events: DELETE" in said and "is no relay" not in said
