# SPDX-License-Identifier: ISC
"""What the log says of an outage, and its lines as JSON."""
import json
import re
import signal

from harness.waiting import until
from harness.writers import insert

ABOUT_A_PEER = ("database_unreachable", "database_back", "kafka_unreachable", "kafka_back")


def lines(relay):
    """Every line, which has to be an object, say of which outbox it is, and have nothing empty."""
    found = [json.loads(line) for line in relay.log().splitlines()]
    for line in found:
        assert list(line)[:3] == ["time", "level", "message"] and line["outbox"] == "public.outbox_events"
        assert line["level"] in ("error", "warning", "info", "debug") and line["database"]
        assert "" not in line.values() and None not in line.values()
    return found


def coded(relay, *codes):
    return [line for line in lines(relay) if line.get("code") in codes]


def wait_coded(relay, code, count=1):
    return until(lambda: len(coded(relay, code)) >= count and coded(relay, code), 30, f"a line {code}", every=0.1)


def test_a_database_outage_is_few_lines(database, new_relay):
    """Each attempt writes none; the line of its end says how long it was and how many attempts there were."""
    relay = new_relay(log={"format": "json"}).start(wait=False)
    wait_coded(relay, "ready")
    database.server.stop()
    relay.wait_metric("retries_total", 6)
    database.server.start()
    back = wait_coded(relay, "database_back")[0]
    told = [line["code"] for line in coded(relay, *ABOUT_A_PEER)]
    # The first reason, the second one, and then one in 5 s at most: a server that stops and starts gives up to four.
    assert set(told[:-1]) == {"database_unreachable"} and told[-1] == "database_back", told
    assert len(told) - 1 <= 2 + back["outage_seconds"] // 5, told
    assert back["attempts"] >= 6 and back["outage_seconds"] > 1 and back["peer"] == "database"
    assert re.fullmatch(r"the database answers again after [0-9.]+ s, [0-9]+ attempts", back["message"])
    assert coded(relay, "database_unreachable")[0]["sqlstate"] == "57P01"


def test_a_session_that_comes_and_goes(database, new_relay):
    """Its losses and returns are not told one by one, and in the end it is known that all is well."""
    relay = new_relay(log={"format": "json"}).start(wait=False)
    wait_coded(relay, "ready")

    def lost_until(enough, what):
        def lost():
            database.end_relay_sessions()
            return enough()
        until(lost, 60, what, every=0.1)

    # Some of a busy machine's attempts fail within one outage, so that attempts alone say little of how often it went.
    lost_until(lambda: len(coded(relay, "database_back")) == 3, "three returns")
    lost_until(lambda: coded(relay, *ABOUT_A_PEER)[-1]["code"] == "database_unreachable", "a fourth loss")
    attempts = relay.metric("retries_total")
    lost_until(lambda: relay.metric("retries_total") >= attempts + 6, "more losses")
    until(lambda: coded(relay, *ABOUT_A_PEER)[-1]["code"] == "database_back", 30, "its return to be told", every=0.1)
    assert len(coded(relay, "database_back")) == 4 and len(coded(relay, "database_unreachable")) <= 9
    insert(database, 1)
    database.wait_empty()
    assert lines(relay)[-1]["code"] == "ready"


def test_a_kafka_outage_is_few_lines(database, new_relay, kafka):
    relay = new_relay(log={"format": "json"}).start(wait=False)
    wait_coded(relay, "ready")
    kafka.stop()
    insert(database, 3)
    assert wait_coded(relay, "kafka_unreachable")[0]["level"] == "warning"
    kafka.start()
    back = wait_coded(relay, "kafka_back")
    told = [line["code"] for line in coded(relay, *ABOUT_A_PEER)]
    # Another one for each minute that a slow machine takes to start the broker.
    assert set(told[:-1]) == {"kafka_unreachable"} and told[-1] == "kafka_back", told
    assert len(told) - 1 <= 1 + back[0]["outage_seconds"] // 60, told
    assert back[0]["peer"] == "kafka" and back[0]["outage_seconds"] > 0
    assert re.match(r"Kafka answers again after [0-9.]+ s", back[0]["message"])
    database.wait_empty()
    theirs = coded(relay, "librdkafka")
    assert all(line["facility"] for line in theirs)
    assert any(line.get("broker", "").endswith((":%s/bootstrap" % kafka.bootstrap.split(":")[1], "/1", "/0"))
               for line in theirs), theirs


def test_lines_of_every_kind_are_json(database, new_relay, topic):
    """A run with trouble of many kinds: each line is an object, and those that matter say in fields what they are
    about."""
    topic()
    relay = new_relay(log={"format": "json", "level": "debug"}, outbox={"on_reject": "dead-letter"}).start(wait=False)
    wait_coded(relay, "ready")
    insert(database, 1, aggregate_type="no/topic", key='k"\n\u2028')
    rejected = wait_coded(relay, "event_rejected")[0]
    assert rejected["reason"] == "topic" and rejected["level"] == "error" and "topic" not in rejected
    database.wait_empty()  # the log tells it before the row is gone
    # Claims are refused; the gauges, which only read, are not: their refusal would end the session.
    database.execute("REVOKE DELETE ON outbox_events FROM outbox_relay")
    assert wait_coded(relay, "database_refuses")[0]["sqlstate"] == "42501"
    relay.process.send(signal.SIGUSR1)
    status = wait_coded(relay, "status")[0]
    assert status["problem"] == "database_refuses" and status["shards"] == 1
    relay.write_config(outbox={"poll_interval": "soon"})
    relay.process.send(signal.SIGHUP)
    wait_coded(relay, "reload_refused")
    relay.stop()
    assert coded(relay, "stopped")


def test_a_rejected_event_has_fields(database, new_relay, topic):
    """A compacted topic refuses a record without a key, which the relay cannot foresee."""
    name = topic(cleanup_policy="compact")
    database.execute("ALTER TABLE outbox_events ADD COLUMN k text DEFAULT 'foobar'")
    relay = new_relay(log={"format": "json"}, outbox={"on_reject": "dead-letter"}, route={"key": "${k}"})
    relay.start(wait=False)
    wait_coded(relay, "ready")
    event = database.rows("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, k)"
                          " VALUES ('thing', 'a', 'Keyless', '1', NULL) RETURNING id, event_id::text")[0]
    insert(database, 20)
    line = wait_coded(relay, "event_rejected")[0]
    assert (line["id"], line["event_id"]) == tuple(event) and line["topic"] == name and "key_hash" not in line
    assert (line["reason"], line["error_code"], line["shard"]) == ("invalid_record", "INVALID_RECORD", 0)
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', 'a', 'Large', to_jsonb(repeat('x', 2000000)))")
    line = wait_coded(relay, "event_rejected", 2)[1]
    assert line["reason"] == "too_large" and line["key_hash"] == "85944171f73967e8"  # FNV-1a of "foobar"
    database.wait_empty()
