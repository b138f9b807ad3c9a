# SPDX-License-Identifier: ISC
"""Signals: stop, stop at once, reload, tell; at any time."""
import errno
import json
import os
import signal
import subprocess

import pytest

from harness.checker import problems
from harness.fleet import wait_kafka
from harness.relay import BINARY
from harness.waiting import until
from harness.writers import Writers, arrivals, insert


def test_sigterm_settles(database, new_relay, reader, topic):
    """Stopped five times under load: status 0 each time, and in the end no event was published twice."""
    topic()
    relay = new_relay(outbox={"claim_rows": 50, "batch_rows": 200})
    with Writers(database) as writers:
        for _ in range(5):
            relay.start()
            writers.wait_committed(200)
            assert relay.stop() == 0
    relay.start()
    database.wait_empty()
    assert problems(writers.truth(), arrivals(reader().rest())) == []


def test_sigint_does_the_same(relay):
    relay.process.send(signal.SIGINT)
    assert relay.wait_exit() == 0


def test_a_second_one_stops_at_once(relay, database, kafka, topic, reader):
    """The first waits for a broker that does not answer; the second waits for nothing."""
    topic()
    insert(database, 1)
    reader().take(1)
    database.wait_empty()
    kafka.pause()
    insert(database, 10)
    relay.wait_in_flight(1)  # the first record to a partition goes alone
    relay.terminate()
    relay.wait_log("settling what is in flight")
    assert relay.process.alive
    relay.terminate()
    relay.wait_exit(timeout=8, prompt=True)
    assert not relay.log_contains("Kafka has not acknowledged everything")  # nor was it out of patience
    assert database.value("SELECT count(*) FROM outbox_events") == 10


def test_stop_while_kafka_is_away(database, new_relay, kafka, topic):
    """One SIGTERM ends it within half a minute, whatever the broker does, and loses nothing."""
    topic()
    relay = new_relay().start()
    kafka.pause()
    insert(database, 10)
    relay.terminate()
    relay.wait_exit(timeout=25, prompt=True)
    assert database.value("SELECT count(*) FROM outbox_events") == 10


def test_stop_while_the_database_is_away(relay, database):
    database.server.stop()
    relay.wait_log("session with the database is gone")
    relay.terminate()
    assert relay.wait_exit() == 0


def test_sighup_reloads(relay, database, reader):
    """What may change while it runs does, and the log tells it; what may not is told too; a file with an error
    changes nothing."""
    relay.write_config(log={"level": "debug"}, outbox={"poll_interval": "2s", "table": "other"})
    relay.process.send(signal.SIGHUP)
    relay.wait_log("reload: done")
    assert relay.log_contains("reload: log.level has changed\n")
    assert relay.log_contains("reload: outbox.poll_interval has changed\n")
    assert relay.log_contains("reload: outbox.table has changed; it takes a restart")
    relay.write_config(outbox={"poll_interval": "soon"})
    relay.process.send(signal.SIGHUP)
    relay.wait_log(r"reload: .*:\d+: outbox.poll_interval")
    insert(database, 1)
    reader().take(1)


def test_sigusr1_tells(relay):
    wait_kafka([relay])
    relay.process.send(signal.SIGUSR1)
    assert "database connected, kafka connected" in relay.wait_log("status: .*").group(0)


def test_json_logs(database, new_relay):
    """With log.format = "json" every line is an object."""
    relay = new_relay(log={"format": "json"}).start()
    relay.process.send(signal.SIGUSR1)
    relay.wait_log("status:")
    relay.stop()
    for line in relay.log().splitlines():
        assert {"time", "level", "message"} <= set(json.loads(line))


@pytest.fixture
def begun(database, new_relay):
    """A relay that has begun to read its configuration, and a function that lets it read on."""
    relay = new_relay()
    with open(relay.config, "rb") as file:
        text = file.read()
    os.unlink(relay.config)
    os.mkfifo(relay.config)
    relay.start(wait=False)
    writer = until(lambda: fifo_writer(relay.config), 20, "the relay to open its configuration")
    # What a reload reads.
    os.unlink(relay.config)
    relay.write_config()

    def go_on():
        os.write(writer, text)
        os.close(writer)
    return relay, go_on


def fifo_writer(path):
    """Opens a FIFO that another process has opened for reading; None if none has yet."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        assert error.errno == errno.ENXIO
        return None


def test_signals_before_it_can_answer_them(begun, database, reader):
    """SIGHUP and SIGUSR1 during the start are answered once it has started."""
    relay, go_on = begun
    relay.process.send(signal.SIGHUP)
    relay.process.send(signal.SIGUSR1)
    go_on()
    relay.wait_ready()
    relay.wait_log("reload: done")
    relay.wait_log("status: ")
    insert(database, 1)
    reader().take(1)


@pytest.mark.parametrize("signo", (signal.SIGTERM, signal.SIGINT))
def test_a_stop_before_it_has_started(begun, signo):
    relay, go_on = begun
    relay.process.send(signo)
    go_on()
    assert relay.wait_exit() == 0
    assert relay.log_contains("settling what is in flight, then stopping")


def test_other_commands_end_by_a_signal(directory):
    """They have nothing to settle, so the default action is right."""
    path = os.path.join(directory, "fifo")
    os.mkfifo(path)
    child = subprocess.Popen([BINARY, "check", "-c", path], stderr=subprocess.DEVNULL)
    writer = until(lambda: fifo_writer(path), 20, "the command to open its configuration")
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == -signal.SIGTERM
    os.close(writer)
