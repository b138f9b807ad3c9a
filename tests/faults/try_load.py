# SPDX-License-Identifier: ISC
"""The load, the collector and the checker once on real servers:

    cd tests && OUTBOX_RELAY=... /usr/bin/python3 -m faults.try_load FILE [FAULT [COUNT [SECONDS [RATE [COLUMN]]]]]

Writes the history to FILE and judges it. FAULT, so often over the run: none, kill (of the relay), crash (of
Postgres), terminate (all sessions), freeze (those of the writers), failover (once, to a standby that lacks a
second of commits); or a planted error, theft or forgery.
"""
import os
import shutil
import signal
import sys
import tempfile

from confluent_kafka import Producer

from harness import process
from harness.kafka import Kafka
from harness.postgres import Database, Postgres
from harness.relay import Relay

from faults import truth
from faults.checker import report
from faults.collector import Collector
from faults.history import LOSS, REPLAY, SCATTER, Fault, Mark, Recorder, Snapshot, now, read, this_run
from faults.load import Load, Mix
from faults.sampler import Sampler
from faults.watched import Watched

PARTITIONS = 4


def snapshot(database, collector, final=False):
    """What waits, and then where the partitions end."""
    at = now()
    with database.server.connect(database.name) as connection:
        waiting = truth.waiting(connection)
    return Snapshot(at, waiting, collector.ends(), final)


class Trial:
    """One Postgres with an idle standby, one Kafka, one relay."""

    def __init__(self, directory, column):
        self.mix = Mix(column=column)
        primary = Postgres(os.path.join(directory, "postgres")).create().start()
        self.database = Database(primary, "app").create()
        self.standby = primary.clone(os.path.join(directory, "standby"))
        self.kafka = Kafka(os.path.join(directory, "kafka")).create().start()
        self.topics = {topic: PARTITIONS for topic in self.mix.topics()}
        for topic in self.topics:
            self.kafka.create_topic(topic, PARTITIONS)
        dsn = (f"host=127.0.0.1,127.0.0.1 port={primary.port},{self.standby.port} dbname=app user=outbox_relay "
               "target_session_attrs=read-write")
        self.relay = Relay(directory, {"database": {"dsn": dsn}, "http": {"listen": "127.0.0.1:0"},
                                       "kafka": {"bootstrap_servers": self.kafka.bootstrap}})
        self.database.execute(truth.OUTBOX.format(column))
        done = self.relay.command("migrate", "--dsn", self.database.dsn())
        assert done.returncode == 0, done.stderr

    def connect(self):
        return self.database.server.connect(self.database.name, autocommit=False)

    def run(self, path, fault, count, seconds, rate):
        about = this_run(self.topics, seed=1, drain_limit=20, memory_limit=64, note=f"{fault} {count}")
        with Recorder(path) as self.recorder:
            self.recorder.add(about)
            self.watched = Watched(self.relay, self.recorder, about.wall_offset).start()
            self.collector = Collector(self.kafka.bootstrap, self.topics, self.recorder).start()
            self.load = Load(self.connect, self.mix, rate=rate)
            self.load.create_tables()
            with Sampler(self.recorder, self.watched.alive):
                self.load.start()
                for _ in range(count):
                    self.load.wait(seconds / (count + 1))
                    getattr(self, fault)()
                self.load.wait(seconds / (count + 1))
                self.end()

    def end(self):
        self.recorder.add(snapshot(self.database, self.collector))
        self.load.stop()
        self.database.wait_empty()
        self.recorder.add(Mark("drained", now()))
        self.watched.finish()
        self.recorder.add(snapshot(self.database, self.collector, final=True))
        self.collector.finish()
        self.recorder.add(*self.load.facts())

    # Faults.

    def kill(self):
        self.watched.kill_and_restart(wait=False)

    def crash(self):
        at = now()
        self.database.server.restart("immediate")
        self.recorder.add(Fault("crash of Postgres", at, now()))

    def terminate(self):
        at = now()
        Database(self.database.server, "postgres").execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app'")
        self.recorder.add(Fault("sessions terminated", at, now()))

    def freeze(self):
        """The writers' sessions stand still for a second, and the writers give them up before they go on."""
        at = now()
        pids = [pid for (pid,) in self.database.rows(
            "SELECT pid FROM pg_stat_activity WHERE datname = 'app' AND usename = 'owner'"
            " AND pid <> pg_backend_pid()")]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass  # it had just ended
            self.load.wait(1)
            self.load.cut()
        self.recorder.add(Fault("writers' sessions frozen", at, now()))

    def failover(self):
        """The standby stops receiving, a second later the primary dies, and the standby takes over."""
        self.standby.start()
        self.database.wait("SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
        behind = Database(self.standby, "postgres")
        behind.execute("ALTER SYSTEM SET primary_conninfo = ''")
        behind.execute("SELECT pg_reload_conf()")
        self.database.wait("SELECT count(*) = 0 FROM pg_stat_replication")
        at = now()
        self.load.wait(1)
        self.database.server.stop("immediate")
        self.standby.promote()
        self.database.server = self.standby
        self.recorder.add(Fault("failover", at, now(), [SCATTER, LOSS]))

    # Planted errors, which the checker must find.

    def theft(self):
        """A row is deleted that was not published: no loss, settled after published."""
        at = self.watched.kill()
        self.load.wait_events(50, 30)
        self.database.execute("DELETE FROM outbox_events WHERE id = (SELECT max(id) FROM outbox_events)")
        self.watched.start()
        self.recorder.add(Fault("kill -9 of the relay", at, now(), [REPLAY]))

    def forgery(self):
        """Somebody publishes an event once more, with another value: value bytes, headers, repeats have a cause."""
        with self.database.session() as cursor:
            cursor.execute("SELECT event_id::text, topic, key FROM truth WHERE n > 3 LIMIT 1")
            event_id, topic, key = cursor.fetchone()
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "partitioner": "murmur2_random"})
        producer.produce(topic, b"forged", key.encode(), headers=[("id", event_id.encode())])
        assert producer.flush(30) == 0


def main(argv):
    path, fault, count, seconds, rate, column = (
        *argv[1:], *("none", "0", "20", "500", "jsonb")[len(argv) - 2:])
    directory = tempfile.mkdtemp(prefix="outbox-relay-faults-")
    os.chmod(directory, 0o755)
    try:
        Trial(directory, column).run(path, fault, int(count), float(seconds), float(rate))
    finally:
        for started in process.everyone:
            started.kill()
        shutil.rmtree(directory, ignore_errors=True)
    text, holds = report(read(path))
    print(text)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
