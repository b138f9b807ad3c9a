# SPDX-License-Identifier: ISC
"""A relay that lost its session ends what the server still has of it, and never a session of another relay that
has got the same process id since: in a container, after a restart, process ids begin anew."""
import os
import signal
import time

import pytest

from harness.fleet import sessions
from harness.postgres import Database, Postgres
from harness.relay import Relay, merge
from harness.waiting import holds, until


class Contained(Postgres):
    """A server in a pid namespace of its own, as in a container."""

    def __init__(self, directory):
        super().__init__(directory, "contained")
        self.process.argv = ["unshare", "--pid", "--fork", "--kill-child", *self.process.argv]

    def stop(self, mode="immediate"):
        if self.process.alive:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
                os.kill(int(children.read()), signal.SIGQUIT)
            self.process.wait()


@pytest.fixture
def contained(world, number, settings):
    """A database there, and the settings of a relay for it. A busy machine stops processes for a second, too."""
    if os.system("unshare --pid --fork true 2>/dev/null") != 0:
        pytest.skip("pid namespaces need root")
    server = Contained(os.path.join(world, f"contained{number}")).create()
    with open(os.path.join(server.data, "postgresql.auto.conf"), "a") as conf:
        conf.write("autovacuum = off\nmax_parallel_workers = 0\n")  # nothing else takes process ids
    database = Database(server.start(), "contained").create()
    yield database, merge(settings, {"database": {"dsn": database.dsn("outbox_relay")},
                                     "outbox": {"session_timeout": "3s"}})
    server.remove()


def next_is(database, pid):
    """Takes process ids of the server until the next session gets this one."""
    while database.value("SELECT pg_backend_pid()") != pid - 1:
        pass


@pytest.mark.parametrize("own", [False, True])
def test_a_process_id_used_again(contained, directory, own):
    """A relay is stopped, its server starts anew meanwhile, and the process id of its session is that of another
    relay's session, or of its own next one: neither is ended."""
    database, settings = contained
    first, second = (Relay(directory, settings, name) for name in ("first", "second"))
    assert first.command("migrate", "--dsn", database.dsn()).returncode == 0
    try:
        for _ in range(100):  # so that the process id is higher than those that a start takes
            database.value("SELECT 1")
        first.start()
        pid, = sessions(database)
        first.process.pause()
        paused = time.monotonic()
        database.server.restart()
        until(lambda: time.monotonic() - paused > 3.2, 10, "session_timeout to be over")
        said = len(first.log())
        next_is(database, pid)
        if not own:
            second.start()
        first.process.resume()
        first.wait_log("ready: publishing" if own else "standby: another relay owns the shard", after=said)
        holds(lambda: pid in sessions(database), 0.5, "the session is kept", every=0.1)
        assert len(sessions(database)) == (1 if own else 2)
        assert not second.process.alive or not second.log_contains("session with the database is gone")
    finally:
        for relay in (first, second):
            relay.process.end()
            relay.process.forget()
