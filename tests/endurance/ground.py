# SPDX-License-Identifier: ISC
"""The servers and relays of a run, and what a restart of each is. The servers are the bench's, durable, with three brokers
instead of one; both relays have the defaults but for the shards."""
import random
import time

from bench.rig import Rig
from faults.kafkacluster import KafkaCluster
from faults.sampler import Sampler
from faults.watched import Watched

from endurance.names import RESTARTED, STEADY
from endurance.writer import SCHEMA, TYPES

SHARDS = 8
TOPIC = "endurance.{}"
PARTITIONS = [(TOPIC.format(kind), number) for kind in TYPES for number in range(4)]


class Ground:
    """ground.steady is never restarted, ground.restarted is: Watched, which note the lives of their processes."""

    def __init__(self, recorder, wall_offset):
        self.recorder = recorder
        self.rig = Rig(kafka=KafkaCluster)
        self.wall_offset = wall_offset
        self.steady = self.restarted = None

    def __enter__(self):
        self.rig.__enter__()
        try:
            self._furnish()
        except BaseException:
            self.rig.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for proxy in self.rig.kafka.proxies.values():
            proxy.close()
        self.rig.__exit__()

    def _furnish(self):
        """As in production: checkpoints now and then. The relays come last, to a database that is ready."""
        rig = self.rig
        rig.sql("ALTER SYSTEM SET checkpoint_timeout = '5min'")
        rig.sql("SELECT pg_reload_conf()")
        self.steady, self.restarted = self._relay(STEADY), self._relay(RESTARTED)
        done = self.steady.relay.command("migrate", "--dsn", rig.dsn)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        rig.sql(SCHEMA)
        for topic in dict.fromkeys(topic for topic, _ in PARTITIONS):
            rig.kafka.create_topic(topic, sum(name == topic for name, _ in PARTITIONS))
        for watched in self.relays:
            watched.start()

    def _relay(self, name):
        relay = self.rig.relay(TOPIC.format("${aggregate_type}"), shards=SHARDS)
        relay.name = name
        relay.write_config(database={"dsn": relay.settings["database"]["dsn"] + f" application_name={name}"},
                           kafka={"properties": [f"client.id={name}"]})
        return Watched(relay, self.recorder, self.wall_offset)

    @property
    def relays(self):
        return [self.steady, self.restarted]

    def sampler(self, every):
        return Sampler(self.recorder, lambda: [pair for watched in self.relays for pair in watched.alive()], every)

    def waiting(self):
        return self.rig.value("SELECT count(*) FROM outbox_events")

    def orders(self):
        """(writer, number, events) of each committed transaction."""
        connection = self.rig.postgres.connect(self.rig.database.name, autocommit=False)
        with connection.cursor("orders") as cursor:
            cursor.itersize = 50_000
            cursor.execute("SELECT writer, number, events FROM orders")
            yield from cursor
        connection.close()

    # Restarts, by the names of plan.KINDS. Each returns when what it restarted serves again.

    def do(self, restart):
        RESTARTS[restart.kind](self, restart.pause, random.Random(restart.seed))

    def _relay_stopped(self, pause, _rng):
        status = self.restarted.stop()
        if status != 0:
            raise RuntimeError(f"the relay ended with {status} when asked to stop")
        time.sleep(pause)
        self.restarted.start()

    def _relay_killed(self, pause, _rng):
        self.restarted.kill()
        time.sleep(pause)
        self.restarted.start()

    def _postgres_fast(self, pause, _rng):
        self._postgres("fast", pause)

    def _postgres_immediate(self, pause, _rng):
        self._postgres("immediate", pause)

    def _postgres(self, mode, pause):
        self.rig.postgres.stop(mode)
        time.sleep(pause)
        self.rig.postgres.start()

    def _broker_stopped(self, pause, rng):
        self._broker("stop", pause, rng)

    def _broker_killed(self, pause, rng):
        self._broker("kill", pause, rng)

    def _broker(self, how, pause, rng):
        broker = rng.choice(list(self.rig.kafka.brokers.values()))
        getattr(broker, how)()
        time.sleep(pause)
        broker.start()
        for topic, _ in PARTITIONS:
            self.rig.kafka.wait_in_sync(topic)

    def _sessions_cut(self, _pause, _rng):
        self.rig.database.end_relay_sessions()

    def _kafka_cut(self, _pause, _rng):
        for proxy in self.rig.kafka.proxies.values():
            proxy.cut("rst")


RESTARTS = {
    "relay stopped": Ground._relay_stopped, "relay killed": Ground._relay_killed,
    "PostgreSQL fast": Ground._postgres_fast, "PostgreSQL immediate": Ground._postgres_immediate,
    "broker stopped": Ground._broker_stopped, "broker killed": Ground._broker_killed,
    "database sessions cut": Ground._sessions_cut, "Kafka connections cut": Ground._kafka_cut,
}
