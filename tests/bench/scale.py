# SPDX-License-Identifier: ISC
"""Section scale: a drain by several relays, with shards told apart by a hash and with partitions."""
import os
import time
from contextlib import contextmanager

import outbox
import usage
from report import Table
from rig import stop, until
from topics import Topic

TIMEOUT = 300
# name: (relays, shards of the filter or 0, partitions or 0)
FLEETS = {
    "1 relay, 1 shard": (1, 1, 0),
    "1 relay, 2 shards": (1, 2, 0),
    "1 relay, 4 shards": (1, 4, 0),
    "2 relays, 2 shards": (2, 2, 0),
    "4 relays, 4 shards": (4, 4, 0),
    "1 relay, 2 partitions": (1, 0, 2),
    "1 relay, 4 partitions": (1, 0, 4),
    "2 relays, 2 partitions": (2, 0, 2),
    "4 relays, 4 partitions": (4, 0, 4),
}
OWNED = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
            AND classid = %s::regclass AND objid::int8 BETWEEN x'6e000000'::int8 AND x'6effffff'::int8"""


def _table(partitions):
    return f"outbox_in_{partitions}" if partitions else "outbox_events"


@contextmanager
def _paused(rig, table):
    """Relays stand by; when the block ends they are told to go on, all at once."""
    flag = "UPDATE outbox_relay.outboxes SET paused = %s WHERE outbox = %s::regclass"
    rig.sql(flag, True, table)
    yield
    rig.sql(flag, False, table)
    rig.sql("SELECT pg_notify('outbox_relay', %s::regclass::oid || ' group')", table)


def _server_cpu(rig):
    """Of every process of Postgres: sessions, the writers of WAL and pages."""
    main = rig.postgres.process.pid
    children = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == main]
    return sum(usage.cpu_seconds(pid) for pid in [main, *children])


def _parent(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def drain(rig, plan, relays, shards, partitions):
    table = _table(partitions)
    outbox.prepare(rig, plan, table)
    with Topic(rig.kafka) as topic:
        with _paused(rig, table):
            fleet = [rig.relay(topic.name, table, shards=shards or 1).start(wait=False) for _ in range(relays)]
            until(lambda: rig.value(OWNED, table) == relays, 30, "the relays to be there")
            time.sleep(1)  # for their producers to be ready
            before = _server_cpu(rig), usage.cpu_seconds(rig.kafka.process.pid)
        alive = lambda: all(relay.process.alive for relay in fleet)  # noqa: E731
        topic.wait(plan.events, TIMEOUT, alive=alive)
        until(lambda: outbox.waiting(rig, table) == 0, 30, "the last batches to be settled")
        after = _server_cpu(rig), usage.cpu_seconds(rig.kafka.process.pid)
        own = sum(usage.cpu_seconds(relay.process.pid) for relay in fleet)
        for relay in fleet:
            stop(relay)
        each = 1e6 / plan.events
        return {"rate": plan.events / topic.span(plan.events).seconds, "relay": own * each,
                "postgres": (after[0] - before[0]) * each, "kafka": (after[1] - before[1]) * each}


def measure(rig, plan, with_relay, say):
    table = Table("scale", f"{plan.events:,} events, medians of {plan.rounds}", {
        "rate": "events/s", "of_one": "of one relay, one shard", "relay": "CPU us/event: relays",
        "postgres": "Postgres", "kafka": "Kafka"})
    if not with_relay:
        return table
    for partitions in (2, 4):
        outbox.migrate(rig, _table(partitions), "delete", partitions)
    with rig.server_setting("autovacuum", "off"):
        for number in range(plan.rounds):
            rates = {}
            for name, fleet in FLEETS.items():
                say(f"scale, round {number + 1}: {name}")
                figures = drain(rig, plan, *fleet)
                rates[name] = figures["rate"]
                table.add(name, **figures, of_one=rates[name] / rates["1 relay, 1 shard"])
    table.note("the relays stand by until the table is full, then all begin at once; CPU of Postgres and Kafka"
               " is of all their processes meanwhile")
    return table
