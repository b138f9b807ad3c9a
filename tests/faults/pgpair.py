# SPDX-License-Identifier: ISC
"""A primary and its asynchronous streaming standby, each behind a proxy, and what may happen to them."""
import os
from contextlib import contextmanager

from harness.postgres import OWNER, Database

from faults.patience import until
from faults.pgnode import PgNode

RELAY = "outbox_relay"


class PgPair:
    """primary and standby change places with failover()."""

    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o755)
        self.primary = PgNode(os.path.join(directory, "alpha"), "alpha")
        self.standby = PgNode(os.path.join(directory, "beta"), "beta")

    @property
    def nodes(self):
        return [self.primary, self.standby]

    def create(self):
        self.primary.create()
        self.primary.start()
        self.standby.copy(self.primary)
        return self

    def start(self):
        for node in self.nodes:
            if node.process.alive:
                node.resume()
            node.start()
        self.wait_streaming()
        return self

    def heal(self):
        for node in self.nodes:
            node.proxy.heal()
            node.feed.heal()
        return self.start()

    def remove(self):
        for node in self.nodes:
            node.remove()

    def database(self, name):
        """On the primary of now, past the proxies."""
        return Database(self.primary, name)

    def dsn(self, database, user=RELAY):
        """For the relay: both servers through their proxies, whichever takes writes."""
        ports = ",".join(str(node.proxy.port) for node in sorted(self.nodes, key=lambda n: n.name))
        return (f"host=127.0.0.1,127.0.0.1 port={ports} dbname={database} user={user}"
                " target_session_attrs=read-write")

    def proxy_dsn(self, database, user=RELAY, node=None):
        """Through the proxy of one server, by default of the primary."""
        port = (node or self.primary).proxy.port
        return f"host=127.0.0.1 port={port} dbname={database} user={user}"

    # Replication.

    def _ask(self, sql, node=None):
        return Database(node or self.primary, "postgres").value(sql)

    def wait_streaming(self, timeout=60):
        until(lambda: self._ask("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") > 0,
              timeout, "the standby to stream", every=0.1)

    def wait_replayed(self, timeout=60):
        """Until the standby shows all that the primary has committed before this."""
        position = self._ask("SELECT pg_current_wal_flush_lsn()")
        until(lambda: self._ask(f"SELECT pg_last_wal_replay_lsn() >= '{position}'", self.standby),
              timeout, "the standby to catch up", every=0.05)

    def fall_behind(self):
        """A rule: what the primary commits from now on does not reach the standby until it is released, and
        never if the standby is promoted before."""
        return self.primary.feed.hold(direction="down")

    def failover(self, crash=True):
        """The standby takes over with what it has. crash=False: the old primary lives on (split brain).
        The rules on the feed stay: what was held up must not arrive after all."""
        if crash:
            self.primary.crash()
        self.primary, self.standby = self.standby, self.primary
        self.primary.promote()
        return self.primary

    def rebuild(self):
        """The old primary becomes a standby of the new one, from nothing."""
        self.standby.stop("immediate")
        self.standby.feed.heal()
        self.standby.copy(self.primary).start()
        self.wait_streaming()

    # The relay's session.

    def _each_relay_session(self, function, database):
        return self.database(database).value(
            f"SELECT count({function}(pid)) FROM pg_stat_activity"
            " WHERE usename = %s AND datname = current_database()", RELAY)

    def terminate_relay(self, database):
        """pg_terminate_backend on every session of the relay; how many."""
        return self._each_relay_session("pg_terminate_backend", database)

    def cancel_relay(self, database):
        return self._each_relay_session("pg_cancel_backend", database)

    @contextmanager
    def locked(self, database, table="outbox_events", mode="ACCESS EXCLUSIVE"):
        """While it lasts, statements on the table wait."""
        with self.database(database).session(OWNER, autocommit=False) as cursor:
            cursor.execute(f"LOCK TABLE {table} IN {mode} MODE")
            yield
