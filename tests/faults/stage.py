# SPDX-License-Identifier: ISC
"""What one round is played on: a database and topics of its own on the rig's servers, relays, a load, and those
who write down what happens. Faults get the stage and do what they like with it."""
import os
import threading
from contextlib import contextmanager

from confluent_kafka import KafkaException

from harness.postgres import OWNER
from harness.relay import Relay

from faults import truth
from faults.collector import Collector
from faults.fleet import Fleet
from faults.history import DRAIN_RATE, LOSS, Fault, Mark, Recorder, Snapshot, now, this_run
from faults.load import AWAY, Load, Mix
from faults.patience import Patience, until
from faults.sampler import Sampler

PARTITIONS = 4
PRODUCERS = 16      # of the ledger: relays take the lowest slots
DRAIN_LIMIT = 30    # seconds
MEMORY_LIMIT = 96   # MiB


class Stage:
    """stage.cluster, .postgres, .kafka: the servers; .database: this round's on the primary of now; .fleet: the
    relays; .load: the writers."""

    away = AWAY  # what statements raise while the primary is going, gone or not a primary any more

    def __init__(self, cluster, name, seed, entries, relays=2, rate=300, changes=None, note=""):
        self.cluster, self.name, self.entries = cluster, name, entries
        self.postgres, self.kafka = cluster.postgres, cluster.kafka
        self.directory = os.path.join(cluster.directory, name)
        os.makedirs(self.directory)
        os.chmod(self.directory, 0o755)
        self.history = os.path.join(self.directory, "history.jsonl")
        mix, self.topic_settings = {}, {}
        for entry in entries:
            mix.update(entry.mix)
            self.topic_settings.update(entry.topics)
        self.mix = Mix(topic=name + ".{}", **mix)
        self.topics = {topic: PARTITIONS for topic in self.mix.topics()}
        limit = max(entry.limit or DRAIN_LIMIT for entry in entries) if entries else DRAIN_LIMIT
        self.settle = (changes or {}).get("outbox", {}).get("settle", "delete")
        self.ledger = (changes or {}).get("kafka", {}).get("ledger_topic") and name + ".ledger"
        self.about = this_run(self.topics, seed=seed, drain_limit=limit, memory_limit=MEMORY_LIMIT, settle=self.settle, note=note,
                              once=bool(self.ledger), survives=self._survives((changes or {}).get("outbox", {})))
        self.recorder = Recorder(self.history)
        self.recorder.add(self.about)
        self.fleet = Fleet(self, changes or {})
        self.relays = relays
        self.load = Load(self.connect, self.mix, seed=seed, rate=rate)
        self.collector = self.sampler = None
        self.loading = False
        self.closed = threading.Event()

    def _survives(self, outbox):
        """Whether no event may arrive that the faults take out of the database."""
        losing = [entry for entry in self.entries if LOSS in entry.excuses]
        return bool(losing) and all(outbox.get("publish_after") in entry.survives for entry in losing)

    @property
    def database(self):
        return self.postgres.database(self.name)

    def connect(self):
        """For the writers: to what is the primary now, past the proxies."""
        return self.postgres.primary.connect(self.name, autocommit=False)

    # Its beginning and its end.

    def set_up(self, backlog=False):
        """The relays start before the load, or find what it wrote in a while."""
        self.database.create()
        if self.mix.column != "jsonb":
            self.execute(truth.OUTBOX.format(self.mix.column))
        self.migrate()
        for topic, partitions in self.topics.items():
            self.kafka.create_topic(topic, partitions, **self.topic_settings)
        if self.ledger:
            self.kafka.create_topic(self.ledger, PRODUCERS, cleanup_policy="compact")
        self.load.create_tables()
        if not self.mix.flushes:
            self.execute(f"ALTER ROLE {OWNER} IN DATABASE {self.name} SET synchronous_commit = off")
        self.postgres.wait_replayed()  # a relay that is new asks the standby first, and believes it
        isolation = {"isolation.level": "read_committed"} if self.ledger else {}
        self.collector = Collector(self.kafka.direct, self.topics, self.recorder, **isolation).start()
        self.sampler = Sampler(self.recorder, self.fleet.processes).__enter__()
        if backlog:
            self._start_load()
            self.load.wait_events(300, 30)
        for _ in range(self.relays):
            self.fleet.add()
        until(self.fleet.owners, 30, "a relay to own a shard", every=0.05)
        if not backlog:
            self._start_load()

    def migrate(self):
        relay = Relay(self.directory, {"database": {"dsn": self.database.dsn("outbox_relay")},
                                       "kafka": {"bootstrap_servers": self.kafka.direct},
                                       "outbox": {"settle": self.settle}}, "migrate")
        done = relay.command("migrate", "--dsn", self.database.dsn())
        assert done.returncode == 0, done.stderr
        self.execute("GRANT pg_read_all_stats TO outbox_relay")  # for publish_after

    def _start_load(self):
        self.load.start()
        self.loading = True

    def finish(self):
        """Once everything is mended: the load ends, the outbox is drained, and all is written down."""
        self.look()
        self.load.stop()
        self.loading = False
        backlog = len(self._waiting())
        self.recorder.add(Mark("backlog", now(), backlog))
        self._drain(backlog)
        for member in self.fleet:
            if member.watched.name:
                member.watched.finish()
        self.recorder.add(Snapshot(now(), self._waiting(), self.collector.ends(60), True))
        self.collector.finish()
        self.recorder.add(*self.load.facts())

    def _drain(self, backlog):
        """What is not drained well after the limit is left to the checker's judgement."""
        patience = Patience()
        try:
            self.wait_drained(self.about.drain_limit + backlog / DRAIN_RATE + 15)
            self.recorder.add(Mark("drained", now(), late=patience.late()))
        except AssertionError:
            pass

    def close(self):
        """Also of a round that broke off anywhere."""
        self.closed.set()
        if self.loading:
            self.load.stopping.set()
            self.load.cut()
        if self.sampler:
            self.sampler.__exit__()
        if self.collector:
            self.collector.abandon()
        self.fleet.remove()
        self.recorder.close()

    def forget(self):
        """Takes the database and the topics away from the servers, which run."""
        self.database.drop()
        self.kafka.admin.delete_topics([*self.topics, *([self.ledger] if self.ledger else [])])

    # For the faults.

    def wait(self, seconds):
        self.load.wait(seconds)

    @contextmanager
    def noting(self, name, excuses, detail=""):
        """What is done within is a fault of the history, from its beginning until it is mended."""
        at = now()
        try:
            yield
        finally:
            self.recorder.add(Fault(name, at, now(), list(excuses), detail))

    def _waiting(self):
        connection = self.connect()
        try:
            return truth.waiting(connection, settle=self.settle) + truth.parked(connection)  # in this order: what moves is in both
        finally:
            connection.close()

    def look(self):
        """Notes what waits and what has arrived, if the servers let it be known."""
        try:
            at = now()
            waiting = self._waiting()
            self.recorder.add(Snapshot(at, waiting, self.collector.ends(), False))
        except (KafkaException, *AWAY):
            pass

    def wait_drained(self, timeout=30):
        """Until no row waits to be published; others may be there where they stay."""
        connection = self.connect()
        connection.autocommit = True
        try:
            until(lambda: not truth.waiting(connection, settle=self.settle), timeout, "the outbox to be drained", every=0.05,
                  slow=1)
        finally:
            connection.close()

    def wait_primary(self):
        """Until the primary takes statements again."""
        def answers():
            try:
                return self.database.value("SELECT true")
            except AWAY:
                return False
        until(answers, 60, "the primary to answer", every=0.1)

    def execute(self, sql, *args):
        """As the owner, on the primary of now."""
        self.database.execute(sql, *args)

    def transaction(self):
        """A cursor of the owner in a transaction that is rolled back unless it commits."""
        return self.database.session(OWNER, autocommit=False)
