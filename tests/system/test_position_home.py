# SPDX-License-Identifier: ISC
"""settle = "position", and a database or a table that is another one than before, or is settled in another way: positions
that mean nothing are not gone by."""
import os
import subprocess

import psycopg2
import pytest

from harness.checker import problems
from harness.positions import POSITION, wait_nothing_waits, wait_settled
from harness.postgres import OWNER, Database, Postgres, run
from harness.writers import Writers, arrivals, insert

pytestmark = pytest.mark.xdist_group("position_home")
LOGICAL = "\nwal_level = logical\nmax_replication_slots = 20\nmax_wal_senders = 20\nmax_worker_processes = 20\n"
ROLES = ("DO $$ BEGIN CREATE ROLE outbox_relay LOGIN; CREATE ROLE outbox_writer; CREATE ROLE outbox_operator;"
         " EXCEPTION WHEN duplicate_object THEN NULL; END $$")
OTHER = "are of another server, database or table"


@pytest.fixture(scope="module")
def other_server(world):
    server = Postgres(os.path.join(world, "postgres-position"), "other").create()
    with open(os.path.join(server.data, "postgresql.auto.conf"), "a") as conf:
        conf.write(LOGICAL)
    yield server.start()
    server.remove()


@pytest.fixture
def new_side(other_server, number):
    """An empty database on the other server."""
    other_server.start()
    database = Database(other_server, f"new{number}").create()
    database.execute(ROLES)
    yield database
    database.drop()


def dump(old, new, *options):
    dumped = subprocess.run(["pg_dump", *options, "-d", old.dsn()], capture_output=True, text=True)
    if "server version mismatch" in dumped.stderr:
        pytest.skip("the server is newer than the pg_dump there is")
    assert dumped.returncode == 0, dumped.stderr
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", new.dsn()], input=dumped.stdout, text=True,
                   check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def published(empty_database, migrate, new_relay, topic, reader):
    """published(*options, **outbox): 100 events have arrived, and 20 wait; no relay runs. Their reader."""
    def make(*options, **outbox):
        topic()
        migrate(*options, outbox={**POSITION, **outbox})
        relay = new_relay(outbox={**POSITION, **outbox}).start()
        insert(empty_database, 100)
        consumer = reader()
        consumer.take(100)
        wait_settled(empty_database)
        assert relay.stop() == 0
        insert(empty_database, 20, key="waits")
        return consumer
    return make


def set_position(database, *arguments):
    database.execute(f"SELECT outbox_relay.set_position('outbox_events', {', '.join(['%s'] * len(arguments))})", *arguments)


def is_refused(relay, *words):
    """It ends, and says why."""
    assert relay.start(wait=False).wait_exit() == 1
    for word in words:
        assert word in relay.log(), (word, relay.log())


@pytest.mark.parametrize("options", [(), ("--partitions", "3"), ("--partition-by", "id:50")], ids=["plain", "hash", "id"])
@pytest.mark.parametrize("way, come", [(("end",), 0), (("start",), 120), (("from", 91), 30)], ids=["end", "start", "from"])
def test_a_dump(empty_database, published, new_side, new_relay, options, way, come):
    """Restored on another server its transactions are others: the relay refuses, and names the ways out. Each does what it
    says, whatever waited."""
    consumer = published(*options)
    dump(empty_database, new_side)
    there = new_relay(outbox=POSITION, database={"dsn": new_side.dsn("outbox_relay")})
    is_refused(there, OTHER, "SELECT outbox_relay.set_position(", "outbox_events\"', 'end')", "'start', 'keep' or 'from'")
    assert consumer.rest() == []
    set_position(new_side, *way)
    there.start()
    insert(new_side, 10, key="new")
    records = consumer.take(come + 10)
    wait_settled(new_side)
    assert consumer.rest() == []
    assert sum(r.key.startswith(b"new") for r in records) == 10
    assert ("position", " ".join(map(str, way))) in new_side.rows("SELECT action, detail FROM outbox_relay.operator_actions")


def test_positions_that_this_server_cannot_have(empty_database, published, new_side, new_relay):
    """'keep' is for the same transactions: where they are not begun yet it is refused, and so is anything while a relay
    is connected, and what is no way."""
    published()
    empty_database.execute("DO $$ BEGIN FOR n IN 1..20000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
    relay = new_relay(outbox=POSITION).start()
    wait_settled(empty_database)
    with pytest.raises(psycopg2.Error, match="a relay of table .*outbox_events is connected"):
        set_position(empty_database, "start")
    insert(empty_database, 3)
    wait_settled(empty_database)
    assert relay.stop() == 0
    dump(empty_database, new_side)
    with pytest.raises(psycopg2.Error, match="that this server has not begun yet"):
        set_position(new_side, "keep")
    for way in (("behind",), ("from",), ("end", 5)):
        with pytest.raises(psycopg2.Error, match="the position is 'end', 'start', 'keep', or 'from' with an id"):
            set_position(new_side, *way)


def test_an_upgrade_in_place(empty_database, published, new_relay):
    """pg_upgrade keeps transactions under another system identifier: 'keep' goes on with what waits."""
    consumer = published()
    empty_database.execute("UPDATE outbox_relay.outboxes SET position_home = '7/' || position_home")
    relay = new_relay(outbox=POSITION)
    is_refused(relay, OTHER)
    set_position(empty_database, "keep")
    relay.start()
    assert {r.key[:5] for r in consumer.take(20)} == {b"waits"}
    wait_settled(empty_database)
    assert consumer.rest() == []


def test_the_table_is_dropped_and_restored(empty_database, migrate, published, new_relay, directory):
    """It is another table, with transactions of this server all the same: nothing is published until it is said where to
    go on."""
    consumer = published()
    dumped = subprocess.run(["pg_dump", "-t", "outbox_events", "-d", empty_database.dsn()], capture_output=True, text=True)
    if "server version mismatch" in dumped.stderr:
        pytest.skip("the server is newer than the pg_dump there is")
    empty_database.execute("DROP TABLE outbox_events")
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", empty_database.dsn()], input=dumped.stdout,
                   text=True, check=True, stdout=subprocess.DEVNULL)
    relay = new_relay(outbox=POSITION)
    is_refused(relay, "is not known to schema outbox_relay")
    migrate(outbox=POSITION)
    is_refused(relay, OTHER)
    set_position(empty_database, "from", 101)
    relay.start()
    assert {r.key[:5] for r in consumer.take(20)} == {b"waits"}
    insert(empty_database, 5, key="new")
    consumer.take(5)
    wait_settled(empty_database)
    assert consumer.rest() == []


def test_a_column_x_of_ones_own(empty_database, migrate, new_relay):
    """Of whatever type: migrate refuses, and so do run and check should it become one later."""
    relay = new_relay(outbox=POSITION)
    migrate()
    for kind in ("text", "xid8"):
        empty_database.execute(f"ALTER TABLE outbox_events ADD x {kind}")
        done = relay.command("migrate", "--dsn", empty_database.dsn())
        assert done.returncode == 1 and f"has a column x ({kind})" in done.stderr
        empty_database.execute("ALTER TABLE outbox_events DROP x")
    migrate(outbox=POSITION)
    empty_database.execute("ALTER TABLE outbox_events DROP x CASCADE; ALTER TABLE outbox_events ADD x text")
    is_refused(relay, "column x")


def test_no_order(empty_database, new_relay):
    """It has no shards whose position could be kept."""
    relay = new_relay(outbox=dict(POSITION, ordering="none"))
    for command in (("check",), ("migrate", "--dsn", empty_database.dsn())):
        done = relay.command(*command)
        said = done.stdout + done.stderr
        assert done.returncode != 0 and 'outbox.settle = "position"' in said and "outbox.ordering" in said, said


# ---- another server with the same data ----

@pytest.fixture
def pair(empty_database, world, number):
    """A standby of the database's server, not yet started."""
    made = []

    def make():
        made.append(empty_database.server.clone(os.path.join(world, f"standby{number}")))
        return made[-1]
    yield make
    for standby in made:
        standby.remove()
    empty_database.server.start()


def promoted_dsn(primary, standby, name):
    return {"dsn": f"host=127.0.0.1,127.0.0.1 port={primary.port},{standby.port} dbname={name} user=outbox_relay"
                   " target_session_attrs=read-write"}


def test_failover(empty_database, migrate, new_relay, reader, topic, pair):
    """The standby has all: what was published there is published, and the relay follows by itself."""
    topic()
    migrate(outbox=POSITION)
    primary, standby = empty_database.server, pair().start()
    promoted = Database(standby, empty_database.name)
    new_relay(outbox=POSITION, database=promoted_dsn(primary, standby, empty_database.name)).start()
    with Writers(empty_database) as writers:
        writers.wait_committed(300)
    wait_settled(empty_database)
    truth, lsn = writers.truth(), empty_database.value("SELECT pg_current_wal_lsn()")
    promoted.wait(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")
    primary.stop("immediate")
    standby.promote()
    insert(promoted, 100, key="after")
    wait_settled(promoted)
    records = reader().rest()
    assert problems(truth, arrivals(r for r in records if r.key.startswith(b"key-"))) == []
    assert len([r for r in records if r.key.startswith(b"after-")]) == 100


def test_a_failover_that_loses_commits(empty_database, migrate, new_relay, reader, topic, pair):
    """The standby knows neither the last events nor that earlier ones were published last: of what it has nothing is lost,
    and at most the last of it comes again. New events have the ids and transactions of those that are gone."""
    topic()
    migrate(outbox=POSITION)
    primary, standby = empty_database.server, pair().start()
    promoted = Database(standby, empty_database.name)
    relay = new_relay(outbox=POSITION, database=promoted_dsn(primary, standby, empty_database.name)).start()
    consumer = reader()
    insert(empty_database, 200, key="known")
    consumer.take(200)
    wait_settled(empty_database)
    assert relay.stop() == 0
    insert(empty_database, 50, key="again")
    lsn = empty_database.value("SELECT pg_current_wal_lsn()")
    promoted.wait(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")
    standby.stop()
    relay.start()
    consumer.take(50)
    insert(empty_database, 100, key="gone")
    consumer.take(100)
    wait_settled(empty_database)
    primary.stop("immediate")
    standby.start()
    standby.promote()
    insert(promoted, 150, key="new")
    wait_settled(promoted)
    records = consumer.rest()
    counts = {name: sum(r.key.startswith(name) for r in records) for name in (b"known", b"again", b"gone", b"new")}
    assert counts == {b"known": 0, b"again": 50, b"gone": 0, b"new": 150}


def test_a_volume_snapshot(empty_database, published, new_relay, reader, kafka, prefix, world, number):
    """A copy of the data directory: each of the two publishes what waited, once, and what is written there."""
    consumer = published()
    server = empty_database.server
    copied = Postgres(os.path.join(world, f"copy{number}"), "copy")
    server.stop()
    run(["cp", "-a", server.data, copied.data])
    copied._configure()
    server.start()
    try:
        new_relay(outbox=POSITION).start()
        assert {r.key[:5] for r in consumer.take(20)} == {b"waits"}
        wait_settled(empty_database)
        copy = Database(copied.start(), empty_database.name)
        kafka.create_topic(prefix + "copy.thing", 4)
        new_relay(outbox=POSITION, database={"dsn": copy.dsn("outbox_relay")},
                  route={"topic": prefix + "copy.${aggregate_type}"}).start()
        insert(copy, 10, key="new")
        there = reader("copy.thing")
        assert sorted({r.key[:3] for r in there.take(30)}) == [b"new", b"wai"]
        wait_settled(copy)
        assert there.rest() == [] and consumer.rest() == []
    finally:
        copied.remove()


def test_logical_replication(new_side, other_server, number, new_relay, reader, topic):
    """What a subscription brings is inserted here, first copy and stream: x of the publisher does not count."""
    topic()
    source = Database(other_server, f"source{number}").create()
    try:
        relay = new_relay(outbox=POSITION, database={"dsn": new_side.dsn("outbox_relay")})
        there = new_relay(outbox=POSITION, database={"dsn": source.dsn("outbox_relay")})
        for each, database in ((relay, new_side), (there, source)):
            assert each.command("migrate", "--dsn", database.dsn()).returncode == 0
        insert(source, 50, key="before")
        relay.start()
        consumer = reader()
        new_side.execute("SELECT setval('outbox_events_id_seq', 1000000)")
        insert(new_side, 5, key="own")  # its position is behind all transactions of the source then
        consumer.take(5)
        wait_settled(new_side)
        slot = f"outbox{number}"
        source.execute("CREATE PUBLICATION outbox FOR TABLE outbox_events")
        source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
        new_side.execute(f"CREATE SUBSCRIPTION outbox CONNECTION '{source.dsn(OWNER)}' PUBLICATION outbox"
                         f" WITH (create_slot = false, slot_name = {slot})")
        assert {r.key[:6] for r in consumer.take(50)} == {b"before"}
        new_side.wait("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")
        for n in range(5):
            insert(source, 20, key=f"after{n}")
        assert {r.key[:5] for r in consumer.take(100)} == {b"after"}
        wait_settled(new_side)
        assert consumer.rest() == []
        assert new_side.value("SELECT count(DISTINCT x) > 5 FROM outbox_events")
    finally:
        new_side.execute("DROP SUBSCRIPTION IF EXISTS outbox")
        source.drop()


# ---- another way of settling ----

@pytest.mark.parametrize("migrated", ["delete", "mark", "position"])
@pytest.mark.parametrize("configured", ["delete", "mark", "position"])
def test_another_way_than_the_table_was_migrated_for(empty_database, migrate, new_relay, topic, reader, migrated, configured):
    if migrated == configured:
        pytest.skip("it is no other")
    topic()
    migrate(outbox={"settle": migrated})
    insert(empty_database, 10)
    relay = new_relay(outbox={"settle": configured})
    assert relay.start(wait=False).wait_exit() == 1
    assert f'was migrated for outbox.settle = "{migrated}", the configuration says "{configured}"' in relay.log(), relay.log()
    assert reader().rest() == [] and empty_database.value("SELECT count(*) FROM outbox_events") == 10


@pytest.mark.parametrize("before, after", [("delete", "position"), ("mark", "position"), ("position", "delete"),
                                           ("position", "mark")])
def test_a_relay_of_the_way_before(empty_database, migrate, new_relay, topic, reader, before, after):
    """It is at work when the table is migrated: from then on it publishes nothing, and says why."""
    topic()
    migrate(outbox={"settle": before})
    relay = new_relay(outbox={"settle": before}).start()
    consumer = reader()
    insert(empty_database, 10)
    consumer.take(10)
    wait_nothing_waits(empty_database)
    migrate(outbox={"settle": after})
    insert(empty_database, 10)
    relay.wait_log(f'was migrated for outbox.settle = "{after}", the configuration says "{before}"', timeout=30)
    assert consumer.rest() == []
    assert relay.stop() == 0
    new_relay(outbox={"settle": after}).start()
    consumer.take(10)
    assert consumer.rest() == []


def test_a_partition_without_a_position(empty_database, migrate, published, new_relay, reader):
    """One that was attached later: nobody knows what of it is published, and the relay says so."""
    consumer = published("--partitions", "2")
    empty_database.execute("ALTER TABLE outbox_events DETACH PARTITION outbox_events_p1;"
                           "CREATE TABLE another PARTITION OF outbox_events FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
    migrate(outbox=POSITION)
    relay = new_relay(outbox=POSITION)
    is_refused(relay, "a partition of table", "has no position", "set_position")
    set_position(empty_database, "end")
    relay.start()
    insert(empty_database, 40, key="new")
    assert {r.key[:3] for r in consumer.take(40)} == {b"new"}
    wait_settled(empty_database)
    assert consumer.rest() == []
