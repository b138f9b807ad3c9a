"""What the log says of an outage, and its lines as JSON."""
import json
import re

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
    assert told in (["database_unreachable", "database_back"], ["database_unreachable"] * 2 + ["database_back"]), told
    assert back["attempts"] >= 6 and back["outage_seconds"] > 1 and back["peer"] == "database"
    assert re.fullmatch(r"the database answers again after [0-9.]+ s, [0-9]+ attempts", back["message"])
    assert coded(relay, "database_unreachable")[0]["sqlstate"] == "57P01"


def test_a_kafka_outage_is_few_lines(database, new_relay, kafka):
    relay = new_relay(log={"format": "json"}).start(wait=False)
    wait_coded(relay, "ready")
    kafka.stop()
    insert(database, 3)
    assert wait_coded(relay, "kafka_unreachable")[0]["level"] == "warning"
    kafka.start()
    back = wait_coded(relay, "kafka_back")
    assert [line["code"] for line in coded(relay, *ABOUT_A_PEER)] == ["kafka_unreachable", "kafka_back"]
    assert back[0]["peer"] == "kafka" and back[0]["outage_seconds"] > 0
    assert re.match(r"Kafka answers again after [0-9.]+ s", back[0]["message"])
    database.wait_empty()
    theirs = coded(relay, "librdkafka")
    assert all(line["facility"] for line in theirs)
    assert any(line.get("broker", "").endswith((":%s/bootstrap" % kafka.bootstrap.split(":")[1], "/1", "/0"))
               for line in theirs), theirs
