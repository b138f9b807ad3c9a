# SPDX-License-Identifier: ISC
"""A private Postgres on 127.0.0.1: a cluster of its own, stopped, started and cloned at will."""
import glob
import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager

import psycopg2

from harness.ports import free_port
from harness.process import Process, as_unprivileged, unprivileged
from harness.waiting import until

OWNER = "owner"
PASSWORD_ROLE = "relay_with_password"  # the one role that must show a password
ACCEPTS = re.compile(r"database system is ready to accept (read-only )?connections")

# No test crashes the machine, and what the kernel was given outlives a server that crashes: nobody waits for the disk.
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
port = {port}
fsync = off
shared_buffers = 64MB
max_connections = 100
max_prepared_transactions = 5
shared_preload_libraries = 'pg_stat_statements'
log_line_prefix = '%m [%p] %q%u@%d '
lc_messages = 'C'
"""
ACCESS = f"""
host all {PASSWORD_ROLE} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""


def bindir():
    """Where the server's programs are: POSTGRES_BINDIR, the newest Debian has, else where pg_config says."""
    if "POSTGRES_BINDIR" in os.environ:
        return os.environ["POSTGRES_BINDIR"]
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"),
                   key=lambda path: int(path.split("/")[4]))
    if found:
        return os.path.dirname(found[-1])
    return subprocess.check_output(["pg_config", "--bindir"], text=True).strip()


def run(argv, **options):
    done = subprocess.run(as_unprivileged(argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, cwd="/", **options)
    assert done.returncode == 0, f"{argv[0]} failed: {done.stdout}"
    return done.stdout


class Postgres:
    """One server. directory must be reachable for the unprivileged user."""

    def __init__(self, directory, name="postgres"):
        self.name = name
        self.directory = directory
        self.data = os.path.join(directory, "data")
        self.port = free_port()
        os.makedirs(directory)
        who = unprivileged()
        if who is not None:
            os.chown(directory, *who)
        argv = as_unprivileged([os.path.join(bindir(), "postgres"), "-D", self.data])
        self.process = Process(name, argv, os.path.join(directory, "log"), cwd="/")

    def create(self):
        run([os.path.join(bindir(), "initdb"), "-D", self.data, "-U", OWNER, "--no-sync",
             "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
        self._configure()
        return self

    def _configure(self):
        with open(os.path.join(self.data, "postgresql.auto.conf"), "a") as conf:
            conf.write(SETTINGS.format(port=self.port))
        with open(os.path.join(self.data, "pg_hba.conf"), "w") as access:
            access.write(ACCESS)

    @property
    def version(self):
        """The major one."""
        with open(os.path.join(self.data, "PG_VERSION")) as file:
            return int(file.read())

    def start(self):
        """Starts it unless it runs, and returns when it takes connections."""
        if self.process.alive:
            return self
        for attempt in range(3):
            self.process.start()
            try:
                self.process.wait_log(ACCEPTS)
                return self
            except AssertionError:
                if "Address already in use" not in self.process.log() or attempt == 2:
                    raise
        return self

    def stop(self, mode="fast"):
        """fast: sessions are ended; immediate: like a crash."""
        number = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        self.process.end(number, timeout=30)

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def clone(self, directory, name="standby"):
        """A streaming standby of this server, not yet started. This one is restarted, and copied in between."""
        standby = Postgres(directory, name)
        self.stop()
        run(["cp", "-a", self.data, standby.data])
        self.start()
        run(["touch", os.path.join(standby.data, "standby.signal")])
        standby._configure()
        with open(os.path.join(standby.data, "postgresql.auto.conf"), "a") as conf:
            conf.write(f"primary_conninfo = 'host=127.0.0.1 port={self.port} user={OWNER}"
                       f" application_name={name}'\n")
        return standby

    def promote(self):
        run([os.path.join(bindir(), "pg_ctl"), "promote", "-w", "-D", self.data])

    def dsn(self, database, user=OWNER):
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user}"

    def connect(self, database, user=OWNER, autocommit=True):
        connection = psycopg2.connect(self.dsn(database, user))
        connection.autocommit = autocommit
        return connection

    def remove(self):
        self.stop("immediate")
        self.process.forget()
        shutil.rmtree(self.directory, ignore_errors=True)


class Database:
    """A database of a test's own on some server."""

    def __init__(self, server, name):
        self.server = server
        self.name = name

    def create(self, template="template1"):
        """Its files are copied, as all versions before 15 do: to log their pages costs three times as much."""
        strategy = "STRATEGY file_copy" if self.server.version >= 15 else ""
        Database(self.server, "postgres").execute(f'CREATE DATABASE "{self.name}" TEMPLATE "{template}" {strategy}')
        return self

    def drop(self):
        Database(self.server, "postgres").execute(f'DROP DATABASE "{self.name}" WITH (FORCE)')

    def dsn(self, user=OWNER):
        return self.server.dsn(self.name, user)

    @contextmanager
    def session(self, user=OWNER, autocommit=True):
        """A cursor on a connection of its own; what is not committed is rolled back."""
        connection = self.server.connect(self.name, user, autocommit)
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def execute(self, sql, *args, user=OWNER):
        with self.session(user) as cursor:
            cursor.execute(sql, args or None)

    def rows(self, sql, *args, user=OWNER):
        with self.session(user) as cursor:
            cursor.execute(sql, args or None)
            return cursor.fetchall()

    def value(self, sql, *args, user=OWNER):
        return self.rows(sql, *args, user=user)[0][0]

    def psql(self, script):
        """Runs a script in one transaction, as an app team would; what psql said."""
        return subprocess.run(["psql", "-X", "-1", "-v", "ON_ERROR_STOP=1", "-q", self.dsn()], input=script,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait(self, sql, timeout=20):
        """Waits until the query's first value is true."""
        with self.session() as cursor:
            def ask():
                cursor.execute(sql)
                return cursor.fetchone()[0]
            return until(ask, timeout, f"true from {sql!r}", every=0.02)

    def wait_empty(self, table="outbox_events", timeout=30):
        self.wait(f"SELECT NOT EXISTS (SELECT FROM {table})", timeout)

    def end_relay_sessions(self, user="outbox_relay"):
        """pg_terminate_backend on every session of the relay; how many."""
        return self.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                          " WHERE usename = %s AND datname = current_database()", user)

    def set_password(self, password):
        """Of PASSWORD_ROLE, which is a relay's role from then on."""
        self.execute(f"DO $$ BEGIN CREATE ROLE {PASSWORD_ROLE} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        self.execute(f"GRANT outbox_relay TO {PASSWORD_ROLE}")
        self.execute(f"ALTER ROLE {PASSWORD_ROLE} PASSWORD %s", password)

    def open_transactions(self):
        """Of the relay, in seconds since each began."""
        return [age for (age,) in self.rows(
            "SELECT extract(epoch FROM clock_timestamp() - xact_start)::float8 FROM pg_stat_activity"
            " WHERE usename = 'outbox_relay' AND datname = current_database()"
            " AND xact_start IS NOT NULL")]
