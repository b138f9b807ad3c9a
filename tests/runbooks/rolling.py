# SPDX-License-Identifier: ISC
"""docs/runbooks/upgrade.md and change-of-shards.md: relays are replaced one by one under load.
OLD=path python3 -m runbooks.rolling upgrade (OLD: a binary of the version before); python3 -m runbooks.rolling shards"""
import os
import sys
import time

from harness.relay import BINARY
from runbooks.flow import Flow
from runbooks.stage import Play

STATUS = "outbox-relay status -c relay1.conf | grep -E '^(shard|relays|at odds| +(outbox-relay|[0-9]+ with))'"


def serving(play, relay):
    """It owns shards, or stands by."""
    play.until(lambda: relay.process.alive and relay.get("/readyz")[0] == 200, 30, f"{relay.name} to be ready")


def replace(play, relay, binary, what):
    play.mark(f"{relay.name} is stopped, and started {what}")
    relay.stop()
    relay.process.argv[0] = binary
    relay.start(wait=False)
    serving(play, relay)
    time.sleep(2)


def upgrade(play, broker):
    old = os.environ["OLD"]
    os.symlink(old, play.path("old-relay"))
    before = [play.relay(start=False) for _ in range(2)]
    play.relay(start=False, http={"listen": ""})
    play.sh(f"psql -X -q -d '{play.database.dsn()}' -c 'DROP SCHEMA outbox_relay CASCADE; DROP TABLE outbox_events'")
    play.sh(f"./old-relay migrate -c relay1.conf --dsn '{play.database.dsn()}' | tail -1")
    for relay in before:
        relay.process.argv[0] = old
        relay.start()
    time.sleep(1)
    with Flow(play, broker) as flow:
        time.sleep(2)
        play.mark("the new binary before the migration")
        play.sh("outbox-relay check -c relay1.conf 2>&1 | grep -v ^ok | cut -c1-180")
        play.sh("timeout 5 outbox-relay run -c relay3.conf 2>&1 | grep -v info | cut -c1-180")
        play.mark("1. the new binary migrates, while the old relays run")
        play.sh(f"outbox-relay migrate -c relay1.conf --dsn '{play.database.dsn()}'")
        time.sleep(3)
        play.sh("./old-relay check -c relay1.conf 2>&1 | grep -v ^ok | cut -c1-180")
        for relay in before:
            replace(play, relay, BINARY, "with the new binary")
        play.sh(STATUS)
        flow.play.note(f"{flow.sent} events so far")
        replace(play, before[1], old, "with the old binary again")
        play.sh(STATUS)
        replace(play, before[1], BINARY, "with the new binary")
    play.database.wait_empty()
    flow.judge()


def shards(play, broker):
    relays = [play.relay() for _ in range(2)]
    for relay in relays:
        serving(play, relay)
    play.alerts()
    with Flow(play, broker, 2000) as flow:
        time.sleep(3)
        play.sh(STATUS)
        for relay in relays:
            relay.write_config(outbox={"shards": 8})
            replace(play, relay, BINARY, "with shards = 8")
            play.sh(STATUS)
        play.mark("a relay with the old number is started by mistake")
        late = play.relay(outbox={"shards": 4})
        serving(play, late)
        time.sleep(2)
        play.sh("outbox-relay status -c relay1.conf | grep -A1 -E '^at odds'")
        late.stop()
    play.database.wait_empty()
    flow.judge()


def main():
    with Play() as play:
        broker = play.kafka()
        play.on(play.postgres(), broker, outbox={"shards": 4})
        broker.create_topic("events.order", 4)
        {"upgrade": upgrade, "shards": shards}[sys.argv[1]](play, broker)


if __name__ == "__main__":
    main()
