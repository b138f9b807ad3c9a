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
    relay = new_relay(database={"dsn": dsn}, outbox={"table": 'app."Order Box"'},
                      kafka={"bootstrap_servers": "127.0.0.1:1"}).start(wait=False)
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
    assert relay.get("/")[0] == 200
    assert relay.get("/runbooks/../status.html")[0] == relay.get("/runbooks/none")[0] == 404
    assert relay.get("/runbooks/paused")[0] == 200
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


def test_status_tells_of_the_last_minute(relay, new_relay, database, reader, topic):
    """Rates, percentiles, who owns what, how long the peers have answered; and nothing that is secret."""
    topic()
    consumer = reader()
    insert(database, 300)

    def told():
        found = json.loads(relay.get("/status")[1])
        all_counted = found["latency"] is not None and found["latency"]["events"] == 300
        return found if all_counted and found["rate_10s"] >= 30 and found["rate_60s"] >= 5 else None
    status = until(told, 20, "the rate of 300 events in 10 s", every=0.1)  # for ten seconds only
    consumer.take(300)
    latency = status["latency"]
    assert latency["seconds"] == 60 and latency["events"] == 300
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] < 60
    [mine] = until(lambda: [one for one in json.loads(relay.get("/status")[1])["relays"] if one["shards"]], 20, "an owner")
    assert mine["self"] and mine["shards"] == [0] and mine["client"] == "127.0.0.1"
    assert mine["application"].startswith("outbox-relay ") and mine["pid"] == relay.status()["relays"][0]["pid"]
    for peer in ("database", "kafka"):
        assert status["peers"][peer]["connected"] and status["peers"][peer]["seconds"] > 0
    assert "127.0.0.1" in status["peers"]["database"]["address"] and status["outbox"] == "public.outbox_events"
    listen = relay.wait_log(r"http listens on (\S+:\d+)").group(1)
    words = new_relay(http={"listen": listen}).command("status").stdout
    assert re.search(r"^rate +[0-9.]+ events/s in the last 10 s$", words, re.M)
    assert re.search(r"^latency +[0-9.]+ s, 95 % within ", words, re.M)
    assert "password" not in relay.get("/status")[1]


def actions(relay):
    return [(a["action"], a["role"]) for a in json.loads(relay.get("/status")[1])["operator_actions"]]


def test_status_tells_what_operators_did(relay, database):
    """Who paused and resumed: by the command, or in SQL. While nobody watches nothing is asked."""
    assert relay.command("pause", "--no-wait").returncode == 0
    until(lambda: actions(relay) == [("pause", "outbox_relay")], 15, "the pause to be told", every=0.2)
    database.execute("UPDATE outbox_relay.outboxes SET paused = false")
    owner = database.value("SELECT session_user")
    until(lambda: actions(relay) == [("resume", owner), ("pause", "outbox_relay")], 15, "the resume", every=0.2)
    told = relay.status()["operator_actions"]
    assert [a["action"] for a in told] == ["resume", "pause"] and told[1]["detail"].startswith("outbox-relay pause")
    assert re.search(r"^operators +\S+Z resume by ", relay.command("status").stdout, re.M)


def test_actions_are_few_and_nobody_makes_them_up(database):
    """The last 10,000 of a kind are kept; a pause that changes nothing is none; no role writes to the table."""
    for paused in ("true", "true", "false"):
        database.execute(f"UPDATE outbox_relay.outboxes SET paused = {paused}")
    assert database.value("SELECT count(*) FROM outbox_relay.operator_actions") == 2
    database.execute("INSERT INTO outbox_relay.operator_actions (outbox, role, action)"
                     " SELECT outbox, 'somebody', 'pause' FROM outbox_relay.outboxes, generate_series(1, 10000)")
    database.execute("UPDATE outbox_relay.outboxes SET paused = true")
    kept = database.rows("SELECT action, role = 'somebody', count(*) FROM outbox_relay.operator_actions"
                         " GROUP BY 1, 2 ORDER BY 1, 2")
    assert kept == [("pause", False, 1), ("pause", True, 9999), ("resume", False, 1)]
    for role in ("outbox_relay", "outbox_operator"):
        for privilege in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
            assert not database.value("SELECT has_table_privilege(%s, 'outbox_relay.operator_actions', %s)",
                                      role, privilege)


def test_actions_that_may_not_be_read(relay, database, reader):
    """Then nothing is told of them, and the relay works."""
    database.execute("REVOKE SELECT ON outbox_relay.operator_actions FROM outbox_relay;"
                     " UPDATE outbox_relay.outboxes SET paused = true; UPDATE outbox_relay.outboxes SET paused = false")
    until(lambda: relay.get("/status") and database.value(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") > 1, 15, "the relay to own its shard", every=0.2)
    insert(database, 10)
    reader().take(10)
    assert json.loads(relay.get("/status")[1])["operator_actions"] == []
def test_actions_whose_right_is_taken_away(relay, database):
    """The old ones are told no longer."""
    assert relay.command("pause", "--no-wait").returncode == 0
    until(lambda: actions(relay) == [("pause", "outbox_relay")], 15, "the pause to be told", every=0.2)
    database.execute("REVOKE SELECT ON outbox_relay.operator_actions FROM outbox_relay")
    until(lambda: actions(relay) == [], 15, "nothing to be told", every=0.2)


def test_actions_that_are_locked(relay, database, reader):
    """By a maintenance of their owner's: reading them is given up after lock_timeout (5 s), and events flow."""
    database.wait_empty()
    with database.session(autocommit=False) as cursor:
        cursor.execute("LOCK TABLE outbox_relay.operator_actions IN ACCESS EXCLUSIVE MODE")
        relay.get("/status")  # it is watched for ten seconds, and waits for five
        database.wait("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted"
                      " AND relation = 'outbox_relay.operator_actions'::regclass)")
        insert(database, 10)
        reader().take(10)
        for _ in range(3):
            relay.get("/status")
        insert(database, 10)
        reader().take(20)


def test_the_command_health(database, new_relay, directory):
    """It asks what a container's health check wants to know, of the relay with the same configuration."""
    relay = new_relay(http={"listen": f"unix:{directory}/asked"})
    done = relay.command("health")
    assert done.returncode == 1 and "is the relay running" in done.stderr
    relay.start()
    done = relay.command("health")
    assert (done.returncode, done.stdout) == (0, "ok\n")
    assert relay.command("health", "--ready").returncode == 0
    database.server.stop()
    until(lambda: relay.command("health", "--ready").returncode == 1, 20, "it not to be ready")
    assert "database" in relay.command("health", "--ready").stdout
    assert relay.command("health").returncode == 0
    database.server.start()
    relay.write_config(http={"listen": ""})
    done = relay.command("health")
    assert done.returncode == 1 and "http.listen is off" in done.stderr
    assert relay.command("health", "surplus").returncode == 2
