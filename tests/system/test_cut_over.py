# SPDX-License-Identifier: ISC
"""A team's move by the commands of docs/cut-over.md, under load: from a real Debezium Server, and from a poller of its
own, to the relay, back, and over again. What was committed arrives once, each key in its order, in the same bytes."""
import json
import os
import re
import subprocess
import threading
import time

import pytest
from confluent_kafka import Producer

from harness import librdkafka
from harness.block import block
from harness.checker import Arrival, Event, problems
from harness.consumer import Reader
from harness.debezium import settings as settings_of
from harness.debezium_server import DebeziumServer, options
from harness.postgres import Postgres
from harness.process import Process
from harness.relay import BINARY, ROOT
from harness.waiting import limit, until
from harness.writers import Writers

# One Java at a time, and one PostgreSQL that has what logical decoding needs in its log.
pytestmark = pytest.mark.xdist_group("cut_over")

with open(os.path.join(ROOT, "docs", "cut-over.md")) as page:
    PAGE = {line.strip() for line in page}
SLOT = "shop_outbox"
OWNER = "host=db1 dbname=shop user=shop_owner"
CONNECTOR = "host=db1 dbname=shop user=debezium"
MORE = 150  # transactions before the next step


class Runbook:
    """Runs lines of the page in a shell, with the test's own names for what is another one everywhere."""

    def __init__(self, directory, **names):
        self.directory, self.names = directory, names

    def line(self, text):
        assert text in PAGE, f"docs/cut-over.md has no line: {text}"
        text = re.sub("|".join(map(re.escape, self.names)), lambda found: self.names[found.group()], text)
        return re.sub("^outbox-relay ", lambda _: f"{BINARY} ", text)

    def __call__(self, text, code=0):
        """What the command printed."""
        done = subprocess.run(["bash", "-c", self.line(text)], cwd=self.directory, capture_output=True, text=True, timeout=limit(120),
                              stdin=subprocess.DEVNULL, env={**os.environ, **librdkafka.environment(librdkafka.DEFAULT)})
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


class Arrived:
    """What is in a topic so far."""

    def __init__(self, bootstrap, topic):
        self.reader, self.records, self.ids = Reader(bootstrap, topic), [], set()

    def _take(self, records):
        self.records += records
        self.ids |= set(map(event_id, records))
        return self.ids

    def rest(self):
        """The ids of all that is there now."""
        return self._take(self.reader.rest())

    def wait_for(self, events, timeout=60):
        wanted = {event.event_id for event in events}
        until(lambda: wanted <= self._take(self.reader.poll(0.02)), timeout, f"{len(wanted)} events to arrive")


def event_id(record):
    """Debezium Server writes headers as JSON."""
    return record.event_id.strip('"')


class Team:
    """An application that inserts into table outbox all the time; what of it arrives, and what waits."""

    def __init__(self, database, arrived, run, columns, waits):
        """columns: those of the event's id, its aggregate's type and id, its type, and its payload."""
        self.database, self.arrived, self.run = database, arrived, run
        self.writers = Writers(database, threads=4, keys=20, pause=0.01, table="outbox", columns=columns)
        self.waiting = f"SELECT {columns.split(',')[0]}::text FROM outbox WHERE {waits}"

    def goes_on(self):
        """Events that are committed from now on arrive: whoever is to publish does."""
        self.writers.wait_committed(MORE)
        self.arrived.wait_for(self.writers.truth())

    def writes(self):
        """While nobody publishes."""
        self.writers.wait_committed(MORE // 3)

    def published_and_waiting(self):
        """The ids of those that arrived, and of those that still wait by the table. None is in neither."""
        committed = {event.event_id for event in self.writers.truth()}
        waiting = {name for name, in self.database.rows(self.waiting)}
        published = self.arrived.rest()
        assert committed <= published | waiting
        return published, waiting

    def is_whole(self, expected):
        """At the end: all of it, once, in order, as expected(event) says: key, value and headers."""
        self.writers.stop()
        truth = {event.event_id: event for event in self.writers.truth()}
        self.arrived.wait_for(truth.values())
        self.database.wait(f"SELECT NOT EXISTS ({self.waiting})")
        self.arrived.rest()
        records = self.arrived.records
        assert problems(truth.values(), [Arrival(r.partition, r.offset, Event(event_id(r), r.key.decode(), r.json["number"]))
                                         for r in records]) == []
        for record in records:
            assert (record.key, record.value, record.headers) == expected(truth[event_id(record)])


@pytest.fixture(scope="module")
def logical(world):
    server = Postgres(os.path.join(world, "logical"), "logical").create()
    with open(os.path.join(server.data, "postgresql.auto.conf"), "a") as conf:
        conf.write("wal_level = logical\n")
    yield server
    server.remove()


@pytest.fixture
def postgres(logical):
    return logical.start()


@pytest.fixture
def live(topic, kafka, prefix):
    """The topic, with one for its shadow."""
    kafka.create_topic(f"shadow-{prefix}{prefix}thing", 4)
    return topic()


@pytest.fixture
def arrived(kafka, live):
    made = Arrived(kafka.bootstrap, live)
    yield made
    made.reader.close()


@pytest.fixture
def shadowed(kafka, prefix, live):
    made = Arrived(kafka.bootstrap, f"shadow-{prefix}{live}")
    yield made
    made.reader.close()


@pytest.fixture
def run(directory, empty_database, prefix):
    return Runbook(directory, **{OWNER: empty_database.dsn(), CONNECTOR: empty_database.dsn("debezium"),
                                 "shadow.": f"shadow-{prefix}"})


@pytest.fixture
def team(empty_database, arrived, run):
    """team(columns, waits): a team whose application is at work. waits: the rows that are not published."""
    made = []

    def begin(columns, waits):
        made.append(Team(empty_database, arrived, run, columns, waits))
        made[-1].writers.__enter__()
        return made[-1]
    yield begin
    for one in made:
        one.writers.stop()


# ---- from Debezium ----

TABLE = ("CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, aggregateid varchar(255) NOT NULL,"
         " type varchar(255) NOT NULL, payload jsonb);"
         "DO $$ BEGIN CREATE ROLE debezium LOGIN REPLICATION; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
         "GRANT SELECT ON outbox TO debezium")
COLUMNS = "id, aggregatetype, aggregateid, type, payload"
FORMAT = {
    "format_key": "simplestring", "format_value": "json", "format_value_schemas.enable": "false",
    "format_header_schemas.enable": "false", "transforms_outbox_table.expand.json.payload": "true",
    "transforms_outbox_table.fields.additional.placement": "type:header:eventType",
}
OVERRIDES = "debezium.source.snapshot.select.statement.overrides"
# With Debezium's own default, a publication of all tables, it sees what the relay writes to its schema, too.
SETTLES = {
    "delete": ("FOR ALL TABLES", "true", "SELECT * FROM public.outbox ORDER BY relay_id"),
    "mark": ("FOR TABLE outbox", "published_at IS NULL",
             "SELECT * FROM public.outbox WHERE published_at IS NULL ORDER BY relay_id"),
}


def as_debezium_writes(event):
    return (event.key.encode(), json.dumps({"number": event.number}, separators=(",", ":")).encode(),
            [("id", f'"{event.event_id}"'.encode()), ("eventType", b'"Counted"')])


@pytest.fixture
def debezium(empty_database, kafka, prefix, directory):
    """Not yet started; its table is there."""
    empty_database.execute(TABLE)
    made = DebeziumServer(empty_database, directory, options(
        empty_database, kafka, SLOT, "debezium", **FORMAT,
        transforms_outbox_route_topic_replacement=prefix + "${routedByValue}"))
    yield made
    made.kill()
    made.process.forget()


def imported(run, debezium, new_relay, settle):
    """A relay with the configuration that import-debezium makes, at its path in the page."""
    os.symlink(debezium.config, os.path.join(run.directory, "application.properties"))
    run("outbox-relay import-debezium application.properties > outbox-relay.conf")
    with open(os.path.join(run.directory, "outbox-relay.conf")) as file:
        made = settings_of(file.read())
    made["outbox"]["settle"] = settle
    if settle == "mark":
        run(f'psql "{OWNER}" -c "ALTER TABLE outbox ADD published_at timestamptz"')
    relay = new_relay(**made)
    run.names["outbox-relay.conf"] = relay.config
    return relay


def compare(team, shadowed):
    """A shadow beside the connector, and no difference in what both have published since it began."""
    run = team.run
    argv = run.line("outbox-relay shadow -c outbox-relay.conf --prefix shadow. --from now &").removesuffix(" &").split()
    shadow = Process("shadow", argv, os.path.join(run.directory, "shadow.log"),
                     env=librdkafka.environment(librdkafka.DEFAULT)).start()
    try:
        shadow.wait_log(re.compile("the shadow begins"))
        run.names |= both_publish(team, shadowed)
        found = run("outbox-relay compare -c outbox-relay.conf --prefix shadow. --since 1h --until 2m")
        assert int(re.search(r"compared +(\d+) events", found).group(1)) > 0
        assert shadow.alive and shadow.end() and shadow.wait() == 0
    finally:
        shadow.forget()


def both_publish(team, shadowed):
    """The words of the page for since when and until when, as times: between them events are committed and arrive."""
    before = set(team.writers.truth())
    team.goes_on()  # the connector may have been behind where the shadow began
    since = next_second()
    team.goes_on()
    last = next_second()
    truth = team.writers.truth()
    team.arrived.wait_for(truth)
    shadowed.wait_for(set(truth) - before)
    return {"1h": moment(since), "2m": moment(last)}


def next_second():
    """The next whole one, once it has begun."""
    begins = int(time.time()) + 1
    until(lambda: time.time() >= begins, 10, "the next second")
    return begins


def moment(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def leave_debezium(team, debezium):
    """It is stopped, what it published is settled, and nothing else; then its slot goes."""
    run = team.run
    debezium.stop()
    said = run(f'psql "{CONNECTOR}" -c "SELECT active, confirmed_flush_lsn FROM pg_replication_slots'
               f' WHERE slot_name = \'{SLOT}\'"')
    assert re.search(r"\n f +\| [0-9A-F]+/[0-9A-F]+\n", said), said
    team.writes()
    run(f"outbox-relay reconcile -c outbox-relay.conf --slot {SLOT} --dry-run")
    published, waiting = team.published_and_waiting()
    assert published & waiting
    run(f"outbox-relay reconcile -c outbox-relay.conf --slot {SLOT}")
    published, waiting = team.published_and_waiting()
    assert waiting and not published & waiting
    run(f'psql "{CONNECTOR}" -c "SELECT pg_drop_replication_slot(\'{SLOT}\')"')
    run(f'psql "{OWNER}" -c "DROP PUBLICATION {SLOT}"')


def back_to_debezium(team, relay, debezium, snapshot):
    """It begins with the rows that wait."""
    run = team.run
    run("outbox-relay pause -c outbox-relay.conf")
    team.database.execute("VACUUM outbox")  # later rows lie where the first ones did
    team.writes()
    published, waiting = team.published_and_waiting()
    assert waiting and not published & waiting
    os.remove(debezium.offsets)
    begin = {"debezium.source.snapshot.mode": "initial", OVERRIDES: "public.outbox", f"{OVERRIDES}.public.outbox": snapshot}
    for name, value in begin.items():
        run.line(f"{name} = {value}")
    debezium.configure(begin)
    run(f'psql "{OWNER}" -c "CREATE PUBLICATION {SLOT} FOR TABLE outbox"')
    debezium.start()
    assert relay.stop() == 0


@pytest.mark.parametrize("settle", SETTLES)
def test_from_debezium_and_back(empty_database, debezium, team, run, shadowed, new_relay, settle):
    publication, waits, snapshot = SETTLES[settle]
    run.names["FOR TABLE outbox"] = publication
    empty_database.execute(f"CREATE PUBLICATION {SLOT} {publication}")
    debezium.start()
    moving = team(COLUMNS, waits)
    moving.goes_on()
    relay = imported(run, debezium, new_relay, settle)
    run(f'outbox-relay migrate --adopt -c outbox-relay.conf --dsn "{OWNER}"')
    run(f'psql "{OWNER}" -c "GRANT outbox_relay TO debezium"')
    run("outbox-relay check -c outbox-relay.conf")
    compare(moving, shadowed)
    leave_debezium(moving, debezium)
    relay.start()
    moving.goes_on()
    back_to_debezium(moving, relay, debezium, snapshot)
    moving.goes_on()
    leave_debezium(moving, debezium)
    run("outbox-relay resume -c outbox-relay.conf")
    relay.start()
    moving.goes_on()
    moving.is_whole(as_debezium_writes)
    assert relay.stop() == 0


# ---- from a poller ----

POLLED = ("CREATE TABLE outbox (id bigserial PRIMARY KEY, event_id uuid NOT NULL, aggregate_type text NOT NULL,"
          " aggregate_id text NOT NULL, event_type text NOT NULL, payload jsonb, processed boolean NOT NULL DEFAULT false)")


class Poller:
    """What many teams have written: it takes rows without the flag, publishes them, and then sets it."""

    def __init__(self, database, bootstrap, topic):
        self.database, self.topic = database, topic
        self.producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2", "enable.idempotence": True})
        self.stopping, self.dying, self.thread = threading.Event(), threading.Event(), None

    def start(self):
        self.stopping.clear()
        self.dying.clear()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self._wait()

    def die(self):
        """Once rows are published, and before their flags are set."""
        self.dying.set()
        self._wait()

    def _wait(self):
        if self.thread:
            self.thread.join(limit(60))
            assert not self.thread.is_alive()

    def _run(self):
        connection = self.database.server.connect(self.database.name, autocommit=False)
        try:
            while not self.stopping.is_set() and self._round(connection):
                self.stopping.wait(0.01)
        finally:
            connection.close()

    def _round(self, connection):
        """False: it is dead."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, event_id::text, aggregate_id, event_type, payload::text FROM outbox"
                           " WHERE NOT processed ORDER BY id LIMIT 50 FOR UPDATE SKIP LOCKED")
            rows = cursor.fetchall()
            for _, name, key, kind, payload in rows:
                self.producer.produce(self.topic, key=key, value=payload, headers=[("id", name), ("type", kind)])
            assert self.producer.flush(limit(30)) == 0
            if rows and self.dying.is_set():
                return False
            cursor.execute("UPDATE outbox SET processed = true WHERE id = ANY(%s)", ([row[0] for row in rows],))
            connection.commit()
        return True


@pytest.fixture
def poller(empty_database, kafka, live):
    empty_database.execute(POLLED)
    made = Poller(empty_database, kafka.bootstrap, live)
    made.start()
    yield made
    made.stop()


def as_the_poller_writes(event):
    return (event.key.encode(), json.dumps({"number": event.number}).encode(),
            [("id", event.event_id.encode()), ("type", b"Counted")])


def leave_poller(team, poller):
    """It ends at the worst moment; what it published without a flag gets it."""
    poller.die()
    team.writes()
    published, waiting = team.published_and_waiting()
    assert published & waiting
    team.run("outbox-relay reconcile -c outbox-relay.conf")
    published, waiting = team.published_and_waiting()
    assert waiting and not published & waiting


@pytest.fixture
def from_poller(poller, team, run, new_relay):
    """from_poller(): the team, and the relay that has taken over from its poller."""
    def move():
        moving = team("event_id, aggregate_type, aggregate_id, event_type, payload", "NOT processed")
        moving.goes_on()
        printed = run(f'outbox-relay migrate --adopt --table outbox --dsn "{OWNER}"')
        relay = new_relay(**block(printed))
        run.names["outbox-relay.conf"] = relay.config
        run("outbox-relay check -c outbox-relay.conf")
        leave_poller(moving, poller)
        relay.start()
        moving.goes_on()
        return moving, relay
    return move


def kill_unsettled(team, relay):
    """Between publishing events and settling them, which it most often is at any time; else again. What is sent may be
    on its way for a moment."""
    for _ in range(30):
        relay.kill()
        time.sleep(0.5)
        published, waiting = team.published_and_waiting()
        if published & waiting:
            return
        relay.start()
        team.goes_on()
    raise AssertionError("the relay was never killed between the two")


def leave_killed_relay(team, relay):
    """What it published and did not settle is settled, and nothing else."""
    kill_unsettled(team, relay)
    team.run("outbox-relay pause -c outbox-relay.conf")
    team.writes()
    team.run("outbox-relay reconcile -c outbox-relay.conf")
    published, waiting = team.published_and_waiting()
    assert waiting and not published & waiting


def test_after_a_relay_was_killed(from_poller, poller, run):
    """The poller, and the next relay, publish nothing again."""
    moving, relay = from_poller()
    leave_killed_relay(moving, relay)
    poller.start()
    moving.goes_on()
    leave_poller(moving, poller)
    run("outbox-relay resume -c outbox-relay.conf")
    relay.start()
    moving.goes_on()
    leave_killed_relay(moving, relay)
    run("outbox-relay resume -c outbox-relay.conf")
    relay.start()
    moving.goes_on()
    moving.is_whole(as_the_poller_writes)
    assert relay.stop() == 0


def test_from_a_poller_and_back(from_poller, poller, run):
    moving, relay = from_poller()
    run("outbox-relay pause -c outbox-relay.conf")
    poller.start()
    assert relay.stop() == 0
    moving.goes_on()
    leave_poller(moving, poller)
    run("outbox-relay resume -c outbox-relay.conf")
    relay.start()
    moving.goes_on()
    moving.is_whole(as_the_poller_writes)
    assert relay.stop() == 0
