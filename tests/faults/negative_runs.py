# SPDX-License-Identifier: ISC
"""Short runs on one Postgres and one Kafka, each with the fault that makes some error of the relay visible."""
import itertools
import os
import random
import shutil
import tempfile
from types import SimpleNamespace
from typing import Callable, NamedTuple

from harness import process
from harness.kafka import Kafka
from harness.postgres import Database, Postgres
from harness.relay import Relay, merge
from harness.waiting import TimedOut

from faults import faults_parked, plants
from faults.catalog import EXACTLY_ONCE
from faults.collector import Collector
from faults.history import REJECT, REPLAY, Fault, Mark, Recorder, now, read, this_run
from faults.kafkawire import KafkaWire, end_txn_error
from faults.load import Load, Mix
from faults.patience import Patience, until
from faults.pgwire import PgWire
from faults.proxy import Proxy
from faults.sampler import Sampler
from faults.stage import PRODUCERS
from faults.try_load import PARTITIONS, snapshot
from faults.watched import Watched

EMPTY_AFTER = 8  # s without load and faults
IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM outbox_events)"
SETTINGS = {"poll_interval": "200ms", "sweep_interval": "1s", "stall_timeout": "1s"}


class Servers:
    """What the runs share. All clients of Kafka come through its proxy."""

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="outbox-relay-negative-")
        os.chmod(self.directory, 0o755)
        self.numbers = itertools.count(1)
        try:
            self.postgres = Postgres(os.path.join(self.directory, "postgres")).create().start()
            self.proxy = Proxy(None, KafkaWire, name="proxy of kafka")
            self.kafka = Kafka(os.path.join(self.directory, "kafka"),
                               advertised_listeners=f"PLAINTEXT://127.0.0.1:{self.proxy.port}")
            self.proxy.target = ("127.0.0.1", self.kafka.port)
            self.kafka.create().start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for started in process.everyone:
            started.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Scenario(NamedTuple):
    """act(trial) does the fault under load and mends it. settings: of the relays, beside the usual. patience: until the
    outbox is empty."""
    act: Callable
    relays: int = 1
    rate: float = 300
    threads: int = 4
    mix: dict = {}
    settings: dict = {}
    patience: float = EMPTY_AFTER


class Trial:
    """One run of a scenario, with relays that make an error, or none."""

    def __init__(self, servers, scenario, error):
        self.scenario, self.error, self.proxy = scenario, error, servers.proxy
        self.name = f"run{next(servers.numbers)}"
        self.directory = os.path.join(servers.directory, self.name)
        os.makedirs(self.directory)
        self.mix = Mix(topic=self.name + ".{}", **{"keys": 30, "largest": 2000, **scenario.mix})
        self.database = Database(servers.postgres, self.name).create()
        self.kafka = servers.kafka
        self.topics = {topic: PARTITIONS for topic in self.mix.topics()}
        for topic in self.topics:
            self.kafka.create_topic(topic, PARTITIONS)
        self.ledger = self.name + ".ledger" if "delivery" in scenario.settings.get("kafka", {}) else None
        if self.ledger:
            self.kafka.create_topic(self.ledger, PRODUCERS, cleanup_policy="compact")
        self.proxies = {}  # of each relay, to Postgres
        self.relays = [self._relay(f"relay{n + 1}") for n in range(scenario.relays)]
        done = self.relays[0].command("migrate", "--dsn", self.database.dsn())
        assert done.returncode == 0, done.stderr

    def _relay(self, name):
        """Its name is also what its producers are called."""
        proxy = self.proxies[name] = Proxy(("127.0.0.1", self.database.server.port), PgWire, name=f"{name} to postgres")
        settings = merge({
            "database": {"dsn": self.database.dsn("outbox_relay").replace(f"port={proxy.target[1]}", f"port={proxy.port}")},
            "outbox": SETTINGS,
            "kafka": {"bootstrap_servers": self.kafka.bootstrap, "properties": [f"client.id={name}"]},
            "route": {"topic": self.name + ".${aggregate_type}"}, "http": {"listen": "127.0.0.1:0"}}, self.scenario.settings)
        if self.ledger:
            settings["kafka"]["ledger_topic"] = self.ledger
        relay = Relay(self.directory, settings, name)
        plants.plant(relay, self.error)
        return relay

    def run(self):
        """The history."""
        path = os.path.join(self.directory, "history")
        about = this_run(self.topics, seed=1, drain_limit=self.scenario.patience, memory_limit=64,
                         once=bool(self.ledger))
        with Recorder(path) as self.recorder:
            self.recorder.add(about)
            # The first becomes the owner, if there is one.
            self.watched = [Watched(relay, self.recorder, about.wall_offset).start(wait=relay is self.relay)
                            for relay in self.relays]
            isolation = {"isolation.level": "read_committed"} if self.ledger else {}
            self.collector = Collector(self.kafka.bootstrap, self.topics, self.recorder, **isolation).start()
            self.load = Load(lambda: self.database.server.connect(self.name, autocommit=False), self.mix,
                             rate=self.scenario.rate, threads=self.scenario.threads)
            self.load.create_tables()
            with Sampler(self.recorder, lambda: [pair for w in self.watched for pair in w.alive()]):
                self.load.start()
                self.scenario.act(self)
                self._end()
        return read(path)

    def _end(self):
        self.recorder.add(snapshot(self.database, self.collector))
        self.load.stop()
        patience = Patience()
        try:
            until(lambda: self.database.value(IS_EMPTY), self.scenario.patience, "an empty outbox", every=0.05, slow=1)
            self.recorder.add(Mark("drained", now(), late=patience.late()))
        except TimedOut:
            pass  # the checker judges it
        for watched in self.watched:
            watched.scrape()
            watched.relay.kill()
            watched.ended("killed")
        self.recorder.add(snapshot(self.database, self.collector, final=True))
        self.collector.finish()
        self.recorder.add(*self.load.facts())
        for proxy in self.proxies.values():
            proxy.close()

    # For the scenarios.

    @property
    def relay(self):
        return self.relays[0]

    def more(self, events=300):
        assert self.load.wait_events(events, 60), "the load does not go on"


# The scenarios.


def steady(trial):
    """Nothing happens."""
    trial.more(1000)


def slow_writers(trial):
    """Ids are drawn long before they are committed."""
    trial.more(500)


def late_owner(trial):
    """The owner's requests are held until it has given its transaction up, and come late. No other relay may have taken
    its events meanwhile: their rows are free, the shard is not."""
    trial.more(100)
    with trial.proxy.hold(at="Produce", where={"client_id": "relay1"}) as held:
        held.wait()
        trial.relay.wait_log("Kafka has acknowledged nothing")
        trial.more(300)
    trial.more(100)


def locked_rows(trial):
    """Somebody locks rows that wait, while more of their keys come."""
    trial.more(100)
    trial.relay.process.pause()
    trial.more(150)
    with trial.database.session(autocommit=False) as cursor:
        cursor.execute("SELECT FROM outbox_events ORDER BY id LIMIT 20 FOR UPDATE SKIP LOCKED")
        trial.relay.process.resume()
        trial.more(200)
    trial.more(100)


def silence_and_kill(trial):
    """Kafka is silent until the relay gives its transaction up. Then the relay is killed, and what it had sent never
    arrives."""
    trial.more()
    with trial.proxy.drop(at="Produce", times=None, where={"client_id": "relay1"}) as dropped:
        dropped.wait()
        trial.relay.wait_log("Kafka has acknowledged nothing")
        at = trial.watched[0].kill()
    trial.watched[0].start()
    trial.recorder.add(Fault("kill -9 of the relay", at, now(), [REPLAY]))
    trial.more()


def session_lost(trial):
    """The session ends while acknowledgements are on their way: they are remembered, so nothing is excused."""
    for _ in range(3):
        trial.more(100)
        with trial.proxy.hold(at="Produce", when="after", where={"client_id": "relay1"}) as held:
            held.wait()
            at, said = now(), len(trial.relay.log())
            trial.database.end_relay_sessions()
            trial.relay.wait_log("the session with the database is gone", after=said)
        trial.recorder.add(Fault("session ended", at, now()))
    trial.more(100)


def answers_lost(trial):
    """Kafka has written what was sent, and the connection breaks before it says so."""
    for _ in range(3):
        trial.more(100)
        at = now()
        with trial.proxy.cut(at="Produce", when="after", where={"client_id": "relay1"}) as cut:
            cut.wait()
        trial.recorder.add(Fault("answer to Produce lost", at, now()))
    trial.more(100)


def parked_key(trial):
    """An event of several of a key in one transaction is rejected; while it is parked more of its key come. Then it is
    fixed and sent again."""
    stage = SimpleNamespace(load=trial.load, mix=trial.mix, database=trial.database, execute=trial.database.execute,
                            connect=lambda: trial.database.server.connect(trial.name, autocommit=False))
    trial.more(100)
    at = now()
    event_id, headers = faults_parked.spoil(stage, random.Random(1))
    faults_parked.wait_parked(stage, event_id)
    trial.more(300)
    faults_parked.ask(stage, "edit", event_id, headers)
    faults_parked.ask(stage, "retry", event_id)
    faults_parked.wait_gone(stage)
    trial.recorder.add(Fault("a key is parked", at, now(), [REJECT]))
    trial.more(100)


# Of relays that deliver exactly once.


def aborted(trial):
    """Kafka is silent until the relay gives its transaction up, and takes what it was sent after all."""
    for _ in range(2):
        trial.more(100)
        said = len(trial.relay.log())
        with trial.proxy.hold(at="Produce", nth=3, where={"client_id": "relay1"}) as held:
            held.wait()
            trial.relay.wait_log("Kafka has acknowledged nothing", after=said)
    trial.more(300)


def commit_lost(trial):
    """All events of a transaction are acknowledged, the request to commit it is lost, and the session ends."""
    for _ in range(3):
        trial.more(100)
        with trial.proxy.drop(at="EndTxn commit", where={"client_id": "relay1"}) as dropped:
            dropped.wait()
            said = len(trial.relay.log())
            trial.database.end_relay_sessions()
            trial.relay.wait_log("the session with the database is gone", after=said)
    trial.more(200)


def commit_repeated(trial):
    """The answer to EndTxn is lost, the client sends it again, and what it sent first comes once more, late: when the
    events of another transaction are written, and the record that says so in the ledger is not."""
    for _ in range(3):
        trial.more(50)
        with trial.proxy.repeat(at="EndTxn commit", where={"client_id": "relay1"}) as copy:
            with trial.proxy.cut(at=lambda message, kept=copy: message in kept.messages, when="after") as cut:
                cut.wait()
            trial.more(50)
            with trial.proxy.hold(at=EndOfBatch(trial.ledger)) as held:
                held.wait()
                _comes_late(trial, copy)
    trial.more(200)


def _comes_late(trial, copy):
    """Until the transaction has ended, if the brokers take it."""
    before = trial.collector.end_of(trial.ledger, 0)
    if 0 in [end_txn_error(message, frame) for message, frame in copy.again()]:
        until(lambda: trial.collector.end_of(trial.ledger, 0) > before, 20, "the end of the transaction", every=0.02)


class EndOfBatch:
    """For a rule: the record in the ledger that says what a batch was. It follows upon events."""

    def __init__(self, ledger):
        self.ledger, self.events = ledger, False

    def __call__(self, message):
        if message.names[0] != "Produce":
            return False
        is_ledger = message.facts.get("topic") == self.ledger
        ends, self.events = is_ledger and self.events, not is_ledger
        return ends


def killed_in_doubt(trial):
    """A relay is killed between Kafka's commit and the database's, and the others share its shards."""
    def have_all():
        return sum(relay.metric("shard_owned") for relay in trial.relays[1:]) == SHARDS
    for _ in range(2):
        trial.more(100)
        _start_with_failpoint(trial, "kafka-commit-answered", "kill")
        trial.relay.wait_exit()
        trial.watched[0].ended("killed")
        until(have_all, 30, "the others to take over", every=0.05)
        trial.more(100)
        trial.watched[0].start(wait=False)
    trial.more(100)


def locked_in_doubt(trial):
    """Likewise, while somebody has locked rows that lie before what is in doubt."""
    trial.more(100)
    trial.watched[0].stop()
    trial.more(100)
    with trial.database.session(autocommit=False) as cursor:
        cursor.execute("SELECT FROM outbox_events ORDER BY id LIMIT 20 FOR UPDATE SKIP LOCKED")
        _start_with_failpoint(trial, "kafka-commit-answered", "kill")
        trial.relay.wait_exit()
        trial.watched[0].ended("killed")
    trial.watched[0].start()
    trial.more(200)


def beginning_goes(trial):
    """Of the ledger, as compaction has it: the last batch stays, and the relay that starts needs no more."""
    until(lambda: trial.collector.end_of(trial.ledger, 0) > 5 * LEDGER_OF_BATCH, 60, "some batches", every=0.1)
    assert trial.watched[0].stop() == 0
    trial.kafka.configure_topic(trial.ledger, cleanup_policy="compact,delete")  # else nobody may delete
    keep = trial.collector.end_of(trial.ledger, 0) - LEDGER_OF_BATCH

    def is_deleted():
        try:
            trial.kafka.delete_records(trial.ledger, PRODUCERS, {0: keep})
        except AssertionError:
            return False  # the log itself hears of its policy after all who ask for it
        return True
    until(is_deleted, 20, "the broker to delete", every=0.1)
    trial.kafka.configure_topic(trial.ledger, cleanup_policy="compact")
    trial.watched[0].start(wait=False)
    trial.more(100)


def commits_before_the_fence(trial):
    """A relay that has lost its session without knowing commits, just before the one that has taken over is given the
    producer's id."""
    for watched in trial.watched:
        watched.stop()
    trial.more(250)  # so that a claim is all that its batch takes, and topics are known by then
    _start_with_failpoint(trial, "claimed", "stop", 4)
    trial.relay.wait_log("failpoint claimed is reached")
    with trial.proxies["relay1"].hold(direction="both"), \
            trial.proxy.hold(at="InitProducerId", where={"client_id": "relay2"}) as held:
        with trial.database.session() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'outbox_relay'"
                           " AND datname = current_database()")
        trial.watched[1].start(wait=False)
        held.wait()
        since = trial.proxy.mark()
        trial.relay.process.resume()
        trial.proxy.wait_for("EndTxn commit", answered=True, since=since, where={"client_id": "relay1"})
        trial.watched[0].kill()
    trial.watched[0].start(wait=False)
    trial.more(200)


def _start_with_failpoint(trial, failpoint, action, nth=1):
    """The first relay begins anew and comes to it some time."""
    if trial.relay.process.alive:
        trial.watched[0].stop()
    plants.fail_at(trial.relay, failpoint, action, nth)
    trial.watched[0].start(wait=False)
    plants.fail_at(trial.relay, None, None)


SHARDS = 12
LEDGER_OF_BATCH = 3  # BEGIN, END, the transaction's marker
ONCE = {**EXACTLY_ONCE, "outbox": {"claim_rows": 200, "batch_rows": 200}}
SHARED = {**EXACTLY_ONCE, "outbox": {**ONCE["outbox"], "shards": SHARDS}}
TRUSTING = {**EXACTLY_ONCE, "outbox": {"claim_rows": 50, "batch_rows": 50, "session_timeout": "60s", "stall_timeout": "20s"}}
SLOW = 100  # events a second: on a busy machine a transaction takes long, and all are to be published in the end


SCENARIOS = {
    "steady load": Scenario(steady),
    "writers that take long": Scenario(slow_writers, threads=8, mix={"keys": 12, "delay": 0.6, "longest_delay": 0.7}),
    "large events": Scenario(steady, rate=600, mix={"large": 0.3, "largest": 300_000}),
    "two relays, one late": Scenario(late_owner, relays=2),
    "rows locked by others": Scenario(locked_rows),
    "Kafka silent, relay killed": Scenario(silence_and_kill),
    "a key is parked": Scenario(parked_key),
    "session lost": Scenario(session_lost),
    "answers of Kafka lost": Scenario(answers_lost),
    "once: a transaction is aborted": Scenario(aborted, rate=SLOW, settings=ONCE, patience=25),
    "once: a commit is lost": Scenario(commit_lost, rate=SLOW, settings=ONCE, patience=25),
    "once: a commit comes late": Scenario(commit_repeated, rate=SLOW, settings=ONCE, patience=25),
    "once: killed in doubt": Scenario(killed_in_doubt, rate=SLOW, relays=3, settings=SHARED, patience=25),
    "once: rows locked, killed": Scenario(locked_in_doubt, rate=SLOW, settings=ONCE, patience=25),
    "once: the ledger's beginning goes": Scenario(beginning_goes, rate=SLOW, settings=ONCE, patience=25),
    "once: fenced after a commit": Scenario(commits_before_the_fence, rate=50, relays=2, settings=TRUSTING, patience=25),
}
