# SPDX-License-Identifier: ISC
"""The servers a run stands on, and the programs it starts. The only module that knows the tests' harness."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "system"))

from harness import process, relay as relay_module  # noqa: E402
from harness.beside import beside  # noqa: E402,F401  for the others
from harness.kafka import Kafka  # noqa: E402
from harness.postgres import Database, Postgres, bindir, run as run_postgres  # noqa: E402
from harness.relay import Relay  # noqa: E402
from harness.waiting import until  # noqa: E402,F401  for the others

# Durable, as in production. Checkpoints only when the bench asks, so that no round is hit by one.
POSTGRES = """
synchronous_commit = on
fsync = on
full_page_writes = on
shared_buffers = 512MB
max_wal_size = 16GB
checkpoint_timeout = 1h
pg_stat_statements.track = none
track_activity_query_size = 16kB
"""
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion"]


class Rig:
    """One Postgres with one database, one Kafka broker, and a directory for everything else. kafka: makes another
    Kafka in the directory that it is given, a cluster for instance."""

    def __init__(self, against=None, kafka=Kafka, checksums=False):
        self.against = against  # another relay's binary, to compare with
        self.checksums = checksums
        self.settle = "delete"  # of relays that are not told another
        self.directory = tempfile.mkdtemp(prefix="outbox-relay-bench-")
        os.chmod(self.directory, 0o755)
        self.postgres = Postgres(os.path.join(self.directory, "postgres"))
        self.kafka = kafka(os.path.join(self.directory, "kafka"))
        self.database = Database(self.postgres, "bench")
        self.relays = []

    def __enter__(self):
        try:
            self.postgres.create()
            if self.checksums:
                run_postgres([program_of_postgres("pg_checksums"), "--enable", "-D", self.postgres.data])
            with open(os.path.join(self.postgres.data, "postgresql.auto.conf"), "a") as conf:
                conf.write(POSTGRES)
            self.postgres.start()
            self.kafka.create().start()
            self.database.create()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.kill_relays()
        self.postgres.stop("immediate")  # a killed one would leave its children writing for a moment
        for started in process.everyone:
            started.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def dsn(self):
        return self.database.dsn()

    def sql(self, text, *args):
        self.database.execute(text, *args)

    def value(self, text, *args):
        return self.database.value(text, *args)

    @contextmanager
    def server_setting(self, name, value):
        self.sql(f"ALTER SYSTEM SET {name} = {value}")
        self.sql("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            self.sql(f"ALTER SYSTEM RESET {name}")
            self.sql("SELECT pg_reload_conf()")

    def relay(self, topic, table="outbox_events", settle=None, shards=1, binary=None):
        """A relay with the defaults, not yet started."""
        settle = settle or self.settle
        settings = {
            "database": {"dsn": self.database.dsn("outbox_relay")},
            "outbox": {"table": table, "settle": settle, "on_reject": "halt", "shards": shards},
            "kafka": {"bootstrap_servers": self.kafka.bootstrap},
            "route": {"topic": topic},
            "http": {"listen": "127.0.0.1:0"},
        }
        self.relays.append(Relay(self.directory, settings, f"relay{len(self.relays) + 1}"))
        if binary:
            self.relays[-1].process.argv[0] = binary
        return self.relays[-1]

    def kill_relays(self):
        """After a failure: what the last of them said, with none left running."""
        for relay in self.relays:
            relay.kill()
        started = [relay for relay in self.relays if relay.process.child is not None]
        return started[-1].log()[-2000:] if started else ""

    def build(self, name):
        """Compiles NAME.c of this directory; the program's path."""
        program = os.path.join(self.directory, name)
        if not os.path.exists(program):
            flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "libpq", "rdkafka"],
                                            text=True).split()
            subprocess.run(["cc", "-std=gnu11", "-O2", *WARNINGS, os.path.join(HERE, f"{name}.c"),
                            "-o", program, *flags, "-lpthread"], check=True)
        return program


def run(argv, timeout, **environment):
    """A program run to its end: what it printed."""
    argv = [str(arg) for arg in argv]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          stdin=subprocess.DEVNULL, timeout=timeout, env=dict(os.environ, **environment))
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def run_json(argv, timeout):
    return json.loads(run(argv, timeout))


def stop(relay):
    """Asks a relay to settle and stop, which it must do well."""
    status = relay.stop()
    if status != 0:
        raise RuntimeError(f"{relay.name} ended with {status} when asked to stop")


def program_of_postgres(name):
    return os.path.join(bindir(), name)


def relay_binary():
    return relay_module.BINARY
