# SPDX-License-Identifier: ISC
"""The relay itself through the proxies: its messages have the names that faults are aimed with."""
import os

from harness.consumer import Reader
from harness.postgres import Database
from harness.relay import BINARY, Relay
from harness.writers import insert

from faults.patience import until

NAMES = ("begin", "claim", "commit")
RELAY = {"application_name": "outbox-relay"}


def run(cluster):
    if not os.access(BINARY, os.X_OK):
        print(f"  relay: left out, there is no {BINARY}")
        return
    pair, kafka = cluster.postgres, cluster.kafka
    database = Database(pair.primary, "relayed").create()
    relay = Relay(cluster.directory, {
        "database": {"dsn": pair.dsn("relayed")}, "kafka": {"bootstrap_servers": kafka.bootstrap},
        "route": {"topic": "relayed.${aggregate_type}"}, "http": {"listen": "127.0.0.1:0"}})
    done = relay.command("migrate", "--dsn", database.dsn())
    assert done.returncode == 0, done.stderr
    kafka.create_topic("relayed.thing")
    relay.start()
    try:
        commits(pair, kafka, database, relay)
    finally:
        relay.process.forget()


def commits(pair, kafka, database, relay):
    proxy = pair.primary.proxy
    mark = proxy.mark()
    insert(database, 100)
    for name in NAMES:
        proxy.wait_for(name, answered=True, since=mark, where=RELAY)
    database.wait_empty()
    print("  relay: names seen:", sorted({entry.message.names[0] for entry in proxy.passed_since()}))
    cut_after_commit(proxy, database)
    hold_produce(kafka, database)
    reader = Reader(kafka.direct, "relayed.thing")
    got = reader.rest()
    print(f"  relay: {len(got)} events of 300 have arrived")
    reader.close()


def cut_after_commit(proxy, database):
    """COMMIT of a settlement is executed, and the relay never knows (F14)."""
    settles = proxy.mark()
    rule = proxy.cut(at=lambda message: "commit" in message.names and message.answer == "COMMIT",
                     when="after", where=RELAY)
    insert(database, 100)
    rule.wait()
    database.wait_empty()
    proxy.wait_for("Startup", answered=True, since=settles, where=RELAY)
    print("  relay: came back after its COMMIT was cut")


def hold_produce(kafka, database):
    """Produce held at every broker: nothing is settled until it is let go."""
    rules = [proxy.hold(at="Produce", when="after", where={"client_id": "outbox-relay"})
             for proxy in kafka.proxies.values()]
    insert(database, 100)
    until(lambda: any(rule.fired for rule in rules), 20, "a Produce to be held")
    assert database.value("SELECT count(*) FROM outbox_events") > 0
    for rule in rules:
        rule.release()
    database.wait_empty()
    print("  relay: settled once the answers were let through")
