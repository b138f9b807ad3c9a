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
from harness.relay import Relay
from harness.waiting import TimedOut

from faults import faults_parked, plants
from faults.collector import Collector
from faults.history import REJECT, REPLAY, Fault, Mark, Recorder, now, read, this_run
from faults.kafkawire import KafkaWire
from faults.load import Load, Mix
from faults.proxy import Proxy
from faults.sampler import Sampler
from faults.try_load import PARTITIONS, snapshot
from faults.watched import Watched

EMPTY_AFTER = 8  # s without load and faults
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
    """act(trial) does the fault under load and mends it."""
    act: Callable
    relays: int = 1
    rate: float = 300
    threads: int = 4
    mix: dict = {}


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
        self.relays = [self._relay(f"relay{n + 1}") for n in range(scenario.relays)]
        done = self.relays[0].command("migrate", "--dsn", self.database.dsn())
        assert done.returncode == 0, done.stderr

    def _relay(self, name):
        """Its name is also what its producers are called."""
        relay = Relay(self.directory, {
            "database": {"dsn": self.database.dsn("outbox_relay")}, "outbox": SETTINGS,
            "kafka": {"bootstrap_servers": self.kafka.bootstrap, "properties": [f"client.id={name}"]},
            "route": {"topic": self.name + ".${aggregate_type}"}, "http": {"listen": "127.0.0.1:0"}}, name)
        plants.plant(relay, self.error)
        return relay

    def run(self):
        """The history."""
        path = os.path.join(self.directory, "history")
        about = this_run(self.topics, seed=1, drain_limit=EMPTY_AFTER, memory_limit=64)
        with Recorder(path) as self.recorder:
            self.recorder.add(about)
            # The first becomes the owner, if there is one.
            self.watched = [Watched(relay, self.recorder, about.wall_offset).start(wait=relay is self.relay)
                            for relay in self.relays]
            self.collector = Collector(self.kafka.bootstrap, self.topics, self.recorder).start()
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
        try:
            self.database.wait_empty(timeout=EMPTY_AFTER)
            self.recorder.add(Mark("drained", now()))
        except TimedOut:
            pass  # the checker judges it
        for watched in self.watched:
            watched.scrape()
            watched.relay.kill()
            watched.ended("killed")
        self.recorder.add(snapshot(self.database, self.collector, final=True))
        self.collector.finish()
        self.recorder.add(*self.load.facts())

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
}
