# SPDX-License-Identifier: ISC
"""docs/runbooks/ledger-mismatch.md and producers-fenced.md. python3 -m runbooks.exactly_once ledger|fenced"""
import sys

from harness.postgres import Database
from runbooks.stage import Play

LEDGER = "shop-ledger"
OWN_IDS = """UPDATE outbox_relay.outboxes SET producers = gen_random_uuid();
DELETE FROM outbox_relay.producers; DELETE FROM outbox_relay.producer_shards;"""


def start(play):
    broker = play.kafka()
    play.on(play.postgres(), broker, kafka={"delivery": "exactly-once", "ledger_topic": LEDGER})
    for name in ("events.order", "events.order.staging"):
        broker.create_topic(name, 4)
    broker.create_topic(LEDGER, 64, cleanup_policy="compact")
    return broker, play.relay().wait_ready()


def ledger(play):
    broker, relay = start(play)
    play.alerts()
    play.insert(20)
    play.database.wait_empty()
    relay.stop()
    play.mark("the ledger's topic is deleted and made anew, 5 events are inserted, and the relay is started")
    broker.delete_topic(LEDGER)
    broker.create_topic(LEDGER, 64, cleanup_policy="compact")
    play.insert(5)
    relay.start(wait=False)
    play.wait_alert("OutboxRelayInDoubt")
    play.sh("outbox-relay status -c relay1.conf | grep -E -A1 '^(depth|problems)' | cut -c1-200")
    relay.stop()
    relay.write_config(kafka={"ledger_topic": LEDGER + ".2"})
    play.sh("outbox-relay check -c relay1.conf --create 2>&1 | grep ledger")
    play.sql(OWN_IDS)
    play.mark("the relay is started")
    relay.start()
    play.wait_alert("OutboxRelayInDoubt", fires=False)
    play.database.wait_empty()


def fenced(play):
    """Staging is a copy of shop, and publishes to the same Kafka."""
    _, relay = start(play)
    relay.stop()
    staging = Database(play.database.server, "staging").create(template="shop")
    relay.start()
    play.mark("a relay of the copy is started; both have events")
    copy = play.relay(database={"dsn": staging.dsn("outbox_relay")},
                      route={"topic": "events.${aggregate_type}.staging"}).wait_ready()
    play.alerts(ready=[relay])
    with play.load(20), play.load(20, database=staging):
        play.wait_alert("OutboxRelayFenced")
        play.mark("the relay of the copy is stopped, the copy gets ids of its own and a ledger, and it is started again")
        copy.stop()
        play.sql(OWN_IDS, staging)
        copy.write_config(kafka={"ledger_topic": LEDGER + ".staging"})
        play.sh("outbox-relay check -c relay2.conf --create 2>&1 | grep ledger")
        copy.start()
        play.wait_alert("OutboxRelayFenced", fires=False)
    play.database.wait_empty()
    staging.wait_empty()


def main():
    with Play() as play:
        {"ledger": ledger, "fenced": fenced}[sys.argv[1]](play)


if __name__ == "__main__":
    main()
