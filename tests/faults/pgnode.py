# SPDX-License-Identifier: ISC
"""One Postgres server of a pair, behind a proxy: what may happen to its processes."""
import os
import re
import shutil
import signal

from harness.postgres import OWNER, Postgres, bindir, run

from faults.patience import until
from faults.pgwire import PgWire
from faults.proxy import Proxy

# A standby whose replication was held up must still find the WAL it lacks.
SETTINGS = """
wal_keep_size = '1GB'
max_wal_senders = 10
wal_retrieve_retry_interval = '200ms'
hot_standby_feedback = off
"""
STANDBY = """
primary_conninfo = 'host=127.0.0.1 port={port} user={user} application_name={name}'
"""
IN_USE = re.compile("pre-existing shared memory block|lock file .* already exists")


def children(pid):
    """The processes that pid has started."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    if int(stat.read().rsplit(")", 1)[1].split()[1]) == pid:
                        found.append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


def is_called(pid, name):
    """Whether a server process says that it is this one."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as title:
            return name in title.read()
    except FileNotFoundError:
        return False


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class PgNode(Postgres):
    """proxy: between the relay and this server. feed: between this server and its standby."""

    def __init__(self, directory, name):
        super().__init__(directory, name)
        target = ("127.0.0.1", self.port)
        self.proxy = Proxy(target, PgWire, name=f"proxy of {name}")
        self.feed = Proxy(target, PgWire, name=f"feed from {name}")

    def _configure(self):
        super()._configure()
        with open(os.path.join(self.data, "postgresql.auto.conf"), "a") as conf:
            conf.write(SETTINGS)

    def copy(self, primary):
        """Becomes a standby of primary from nothing, not yet started."""
        self.stop("immediate")
        shutil.rmtree(self.data, ignore_errors=True)
        run([os.path.join(bindir(), "pg_basebackup"), "-D", self.data, "-R", "-X", "stream", "-c", "fast",
             "--no-sync", "-d", primary.dsn("postgres")])
        self._configure()
        self._follow(primary)
        return self

    def _follow(self, primary):
        with open(os.path.join(self.data, "postgresql.auto.conf"), "a") as conf:
            conf.write(STANDBY.format(port=primary.feed.port, user=OWNER, name=self.name))

    def start(self):
        """After crash(backends=False) it waits until the last orphan has left the shared memory."""
        def begin():
            try:
                return super(PgNode, self).start()
            except AssertionError:
                if not IN_USE.search(self.process.log()):
                    raise
        return until(begin, 30, f"{self.name} to start", every=0.2)

    def stop(self, mode="fast"):
        if self.process.alive:
            self.resume()
        super().stop(mode)

    def crash(self, backends=True):
        """kill -9 of the postmaster, and of all its children: or those find out for themselves."""
        pids = children(self.process.pid) if backends else []
        self.process.kill()
        signal_all(pids, signal.SIGKILL)

    def hold_wal(self):
        """The log is written by those alone who wait for that, until the server crashes: its own writer stands still."""
        signal_all([pid for pid in children(self.process.pid) if is_called(pid, b"walwriter")], signal.SIGSTOP)

    def pause(self):
        """The whole server stands still, and the kernel keeps its connections."""
        self.process.pause()
        signal_all(children(self.process.pid), signal.SIGSTOP)

    def resume(self):
        signal_all(children(self.process.pid), signal.SIGCONT)
        self.process.resume()

    @property
    def pids(self):
        return [self.process.pid, *children(self.process.pid)] if self.process.alive else []

    def remove(self):
        self.proxy.close()
        self.feed.close()
        super().remove()
