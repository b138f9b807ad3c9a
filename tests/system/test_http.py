# SPDX-License-Identifier: ISC
"""What the relay tells over HTTP: metrics that Prometheus takes, health, readiness."""
import json
import os
import re
import socket
import subprocess

from harness.waiting import until
from harness.writers import insert

METRICS = """depth oldest_age_seconds published_total parked_keys dead_letters shard_owned connected
    halted paused wakeups_total build_info latency_seconds_count claim_seconds_count publish_seconds_count
    settle_seconds_count batch_events_count retries_total""".split()


def answers(relay, path, status, timeout=30):
    until(lambda: relay.get(path)[0] == status, timeout, f"{path} to answer {status}", every=0.1)


def problems(relay):
    """What /status says is wrong, by name; the first that keeps the relay from being ready is what /readyz says."""
    found = json.loads(relay.get("/status")[1])["problems"]
    return [problem["name"] for problem in found]


def test_prometheus_takes_the_metrics(relay, database, reader):
    """Every metric of the contract is there, and promtool has nothing to say against them."""
    insert(database, 100)
    reader().take(100)
    database.wait_empty()
    status, text = relay.get("/metrics")
    assert status == 200
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert checked.returncode == 0 and checked.stdout.strip() == "", checked.stdout
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert [name for name in METRICS if f"outbox_relay_{name}" not in names] == []


def test_labels_are_there_before_the_first_session(empty_database, new_relay):
    """By the configuration alone, names as they are in the catalog."""
    dsn = re.sub("port=[0-9]+ dbname=[^ ]+", "port=1 dbname='sh\"op'", empty_database.dsn("outbox_relay"))
    relay = new_relay(database={"dsn": dsn}, outbox={"table": 'app."Order Box"'}).start(wait=False)
    samples = [line for line in relay.get("/metrics")[1].splitlines() if not line.startswith("#")]
    assert len(samples) > 100
    labels = r'{database="sh\"op",outbox="app.Order Box"'
    assert [line for line in samples if line.partition("{")[1:] and labels not in line] == []
    assert relay.metric("connected") == 0


def test_metrics_tell_the_truth(relay, database, reader, prefix):
    """What is counted as published is what is in the topics."""
    insert(database, 300)
    insert(database, 200, aggregate_type="other")
    assert len(reader("thing", "other").take(500)) == 500
    database.wait_empty()
    relay.wait_metric("settle_seconds_count", 1)
    metrics = relay.metrics()
    assert metrics[f'outbox_relay_published_total{{topic="{prefix}thing"}}'] == 300
    assert metrics[f'outbox_relay_published_total{{topic="{prefix}other"}}'] == 200
    assert metrics["outbox_relay_latency_seconds_count"] == 500
    assert metrics["outbox_relay_batch_events_sum"] == 500
    assert metrics['outbox_relay_connected{peer="database"}'] == 1
    assert metrics['outbox_relay_connected{peer="kafka"}'] == 1
    until(lambda: relay.metric("depth") == 0, 15, "the depth to be 0", every=0.1)


def test_depth_and_age_while_events_wait(database, new_relay, kafka, topic):
    topic()
    relay = new_relay(outbox={"stall_timeout": "1s"}).start()
    kafka.stop()
    insert(database, 123)
    until(lambda: relay.metric("depth") == 123, 30, "the depth to be 123", every=0.1)
    until(lambda: relay.metric("oldest_age_seconds") > 2, 30, "an age above 2 s", every=0.1)
    database.server.stop()  # another relay may have the shards now, and would say the same once more
    until(lambda: relay.metric("connected") == 0, 20, "no peer to be connected")
    assert relay.metric("depth") == relay.metric("oldest_age_seconds") == 0


def test_ready_only_with_both_peers(relay, database, kafka):
    """readyz is 503 while one of them is away and 200 when it is back; healthz stays 200, as restarting the
    relay would mend nothing."""
    answers(relay, "/readyz", 200)
    assert problems(relay) == []
    assert json.loads(relay.get("/status")[1])["explanation"].startswith("no events wait")
    database.server.stop()
    answers(relay, "/readyz", 503)
    assert problems(relay)[0] == "database_unreachable"
    assert relay.get("/healthz")[0] == 200
    database.server.start()
    answers(relay, "/readyz", 200)
    kafka.stop()
    answers(relay, "/readyz", 503)
    assert problems(relay) == ["kafka_unreachable"]
    assert relay.get("/healthz")[0] == 200
    kafka.start()
    answers(relay, "/readyz", 200, timeout=60)


def test_a_relay_that_stands_by_is_ready(relay, new_relay):
    second = new_relay().start(wait=False)
    answers(second, "/readyz", 200)
    until(lambda: "standby" in second.get("/readyz")[1], 10, "it to stand by")


def test_other_paths_and_methods(relay):
    assert relay.get("/")[0] == 404
    assert relay.get("/nothing")[0] == 404
    host, port = relay.wait_log(r"http listens on (\S+):(\d+)").groups()
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert b" 405 " in raw.recv(4096).split(b"\r\n")[0]
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(os.urandom(2000) + b"\r\n\r\n")
    assert relay.get("/healthz")[0] == 200


def test_a_unix_socket(database, new_relay, directory):
    """http.listen may be a unix socket."""
    path = f"{directory}/http"
    new_relay(http={"listen": f"unix:{path}"}).start()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(path)
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 200 " in raw.recv(4096).split(b"\r\n")[0]


def test_no_http(database, new_relay, reader):
    """An empty http.listen turns it off."""
    relay = new_relay(http={"listen": ""}).start()
    insert(database, 1)
    reader().take(1)
    assert not relay.log_contains("http listens")
