# SPDX-License-Identifier: ISC
"""File descriptors that run out: the relay lives, goes on publishing, says so and serves again."""
import resource
import socket

import pytest

from harness.waiting import until
from harness.writers import insert


def idle_connections(relay, count):
    """So many connections to the relay's HTTP port that send nothing."""
    host, port = relay.wait_log(r"http listens on (\S+):(\d+)").groups()
    made = []
    for _ in range(count):
        made.append(socket.create_connection((host, int(port)), timeout=10))
        made[-1].setblocking(False)
    return made


def limit_descriptors(relay, count):
    resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE, (count, 4096))


def open_descriptors(relay):
    return relay.metrics()["process_open_fds"]


def test_a_low_limit_and_idle_connections(database, new_relay, reader):
    """A relay under `ulimit -n 40` with 60 idle connections to its HTTP port."""
    relay = new_relay()
    relay.process.argv = ["prlimit", "--nofile=40", "--"] + relay.process.argv
    relay.start()
    insert(database, 1)
    reader().take(1)
    idle = idle_connections(relay, 60)
    relay.wait_log("file descriptors are short")
    insert(database, 10)
    reader().take(11)
    assert relay.get("/healthz")[0] == 200
    for raw in idle:
        raw.close()
    assert relay.get("/metrics")[0] == 200


def test_a_limit_lowered_while_it_runs(database, relay, reader):
    """No descriptor is left for a single connection, and later there are some again."""
    insert(database, 1)
    reader().take(1)
    limit_descriptors(relay, 8)
    waiting = idle_connections(relay, 1)[0]
    waiting.setblocking(True)
    waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    relay.wait_log("file descriptors are short")
    insert(database, 10)
    reader().take(11)
    assert relay.process.alive
    limit_descriptors(relay, 1024)
    assert b" 200 " in waiting.recv(4096).split(b"\r\n")[0]
    assert relay.get("/metrics")[0] == 200


def test_no_descriptor_for_a_new_session(database, relay, reader):
    """The session ends while no descriptor is free: the relay says why, tries again and recovers."""
    insert(database, 1)
    reader().take(1)
    limit_descriptors(relay, 8)
    database.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                   " WHERE usename = 'outbox_relay' AND datname = current_database()")
    # Its own descriptor was freed; others take the low numbers.
    with_limit_two = relay.wait_log("session with the database is gone")
    assert with_limit_two and relay.process.alive
    limit_descriptors(relay, 1024)
    insert(database, 10)
    reader().take(11)


def test_at_most_64_connections(database, relay, reader):
    """More connections than 64 close the oldest idle ones, so that a scraper is always served."""
    insert(database, 1)
    reader().take(1)  # it has its connections to Kafka by now
    before = open_descriptors(relay)
    idle = idle_connections(relay, 200)
    until(lambda: closed(idle) >= 200 - 64, 20, "the oldest connections to be closed", every=0.05)
    assert open_descriptors(relay) <= before + 64
    assert relay.get("/healthz")[0] == 200
    assert relay.get("/metrics")[0] == 200


def closed(connections):
    """How many of them the relay has closed."""
    count = 0
    for raw in connections:
        try:
            count += raw.recv(1) == b""
        except BlockingIOError:
            pass
        except OSError:
            count += 1
    return count


@pytest.mark.parametrize("count", (4, 8, 12, 31))
def test_a_limit_too_low_to_work(empty_database, new_relay, count):
    """It ends with the reason, and not by a library that cannot go on."""
    relay = new_relay(kafka={"embedded": True, "bootstrap_servers": None})
    relay.process.argv = ["prlimit", f"--nofile={count}", "--"] + relay.process.argv
    assert relay.start(wait=False).wait_exit() == 1
    assert relay.log_contains(f"the limit of open files is {count}, and the relay needs at least 32")


@pytest.mark.parametrize("broker", ({}, {"embedded": True, "bootstrap_servers": None}))
def test_the_lowest_limit(database, new_relay, broker):
    relay = new_relay(kafka=broker)
    relay.process.argv = ["prlimit", "--nofile=32", "--"] + relay.process.argv
    relay.start()
    insert(database, 10)
    database.wait_empty()
