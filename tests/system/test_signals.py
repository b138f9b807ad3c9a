"""Signals: stop, stop at once, reload, tell."""
import json
import signal

from harness.checker import problems
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
    database.wait("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'outbox_relay'"
                  " AND datname = current_database() AND state = 'idle in transaction')")
    relay.terminate()
    relay.wait_log("settling what is in flight")
    assert relay.process.alive
    relay.terminate()
    relay.wait_exit(timeout=3)
    assert database.value("SELECT count(*) FROM outbox_events") == 10


def test_stop_while_kafka_is_away(database, new_relay, kafka, topic):
    """One SIGTERM ends it within half a minute, whatever the broker does, and loses nothing."""
    topic()
    relay = new_relay().start()
    kafka.pause()
    insert(database, 10)
    relay.terminate()
    relay.wait_exit(timeout=25)
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
