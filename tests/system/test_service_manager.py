# SPDX-License-Identifier: ISC
"""What systemd hears of the relay: that it is ready, that it stops, and, while it gets on, that it lives."""
import pytest

from harness.manager import Manager
from harness.waiting import holds, until
from harness.writers import insert

WATCHDOG_S = 1


@pytest.fixture
def manager(directory):
    return Manager(directory, WATCHDOG_S)


@pytest.fixture
def managed(new_relay, manager):
    """managed(**changes): a relay as a service of the manager."""
    def make(**changes):
        relay = new_relay(**changes)
        relay.process.env.update(manager.env)
        return relay
    return make


def fed(manager):
    manager.forget()
    manager.wait("WATCHDOG=1", times=3)
    return True


def silent(manager, seconds):
    """For so long nothing is heard."""
    manager.forget()
    holds(lambda: manager.listen() == [], seconds, "the relay tells nothing")
    return True


def test_a_service_from_start_to_end(managed, manager):
    """Ready although no peer is there: /readyz says so."""
    relay = managed(database={"dsn": "host=127.0.0.1 port=1 dbname=none"}).start(wait=False)
    manager.wait("READY=1")
    assert relay.get("/readyz")[0] == 503
    assert fed(manager)
    assert relay.stop() == 0
    assert manager.listen().count("STOPPING=1") == 1
    # A stop that takes long feeds the watchdog, too.
    assert set(manager.heard[manager.heard.index("STOPPING=1") + 1:]) <= {"WATCHDOG=1"}


def test_a_relay_that_hangs_does_not_feed_the_watchdog(managed, manager, database):
    relay = managed().start()
    assert fed(manager)
    relay.process.pause()
    assert silent(manager, 2 * WATCHDOG_S)
    relay.process.resume()
    assert fed(manager)


def test_a_manager_that_is_not_there_is_named(managed, database):
    relay = managed()
    relay.process.env["NOTIFY_SOCKET"] = "/nowhere/notify"
    relay.start()
    relay.wait_log("cannot tell the service manager READY=1 on NOTIFY_SOCKET=/nowhere/notify: No such file")


def test_a_relay_that_gets_no_further_does_not_feed_the_watchdog(managed, manager, database):
    """Both peers answer, and the one event that waits is locked by another session."""
    insert(database, 1)
    with database.session(autocommit=False) as other:
        other.execute("SELECT 1 FROM outbox_events FOR UPDATE")
        relay = managed(outbox={"stall_timeout": "1s"}).start()
        until(lambda: relay.get("/healthz")[0] == 503, 20, "the relay is stuck")
        assert silent(manager, 2 * WATCHDOG_S)
    until(lambda: relay.get("/healthz")[0] == 200, 20, "it goes on")
    assert fed(manager)
