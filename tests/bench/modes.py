# SPDX-License-Identifier: ISC
"""Section modes: delete, mark and position beside each other: what an event costs each peer, and the application."""
import glob
import os
import tempfile
import time
from collections import deque

import outbox
import usage
from drain import TIMEOUT
from report import Table, percentile
from rig import HERE, program_of_postgres, run, stop
from topics import Topic

MODES = ("delete", "mark", "position")
CLIENTS, THREADS = 32, 2


def prepare(rig):
    """Each has an outbox of its own, in a schema called as the mode."""
    for mode in MODES:
        rig.sql(f'CREATE SCHEMA IF NOT EXISTS "{mode}"')
        outbox.migrate(rig, "outbox_events", mode, schema=mode)


def _wal(rig):
    return int(rig.value("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


def bulk(rig, plan, table):
    """One transaction."""
    outbox.empty(rig, table)
    began = time.monotonic()
    outbox.fill(rig, plan, plan.events, table)
    return plan.events / (time.monotonic() - began)


def drain(rig, plan, mode, table):
    """Whose CPU, with the vacuum of what it leaves behind; and how much WAL."""
    rig.sql(f"ANALYZE {table}")  # without VACUUM: rows are published as they were inserted, and seen first
    rig.sql("CHECKPOINT")
    postgres, kafka = rig.postgres.process.pid, rig.kafka.process.pid
    with Topic(rig.kafka) as topic:
        before = (usage.family_cpu_seconds(postgres), usage.cpu_seconds(kafka), _wal(rig))
        relay = rig.relay(topic.name, table, mode).start(wait=False)
        topic.wait(plan.events, TIMEOUT, alive=lambda: relay.process.alive)
        own = usage.cpu_seconds(relay.process.pid)
        stop(relay)
        after = (usage.family_cpu_seconds(postgres), usage.cpu_seconds(kafka), _wal(rig))
        rig.sql(f"VACUUM {table}")
        vacuumed = usage.family_cpu_seconds(postgres)
        each = 1e6 / plan.events
        return {"rate": plan.events / topic.span(plan.events).seconds, "relay_cpu": own * each,
                "postgres_cpu": (after[0] - before[0]) * each, "vacuum_cpu": (vacuumed - after[0]) * each,
                "kafka_cpu": (after[1] - before[1]) * each, "wal": (after[2] - before[2]) / plan.events}


def inserts(rig, plan, mode, table):
    """One event a transaction while the relay publishes."""
    outbox.empty(rig, table)
    outbox.tidy(rig, table)
    with Topic(rig.kafka) as topic, tempfile.TemporaryDirectory() as directory:
        relay = rig.relay(topic.name, table, mode).start()
        run([program_of_postgres("pgbench"), "-n", "-M", "prepared", "-c", CLIENTS, "-j", THREADS, "-T",
             plan.insert_seconds, "-l", f"--log-prefix={directory}/took", f"--random-seed={plan.seed}", "-f",
             os.path.join(HERE, "insert.sql"), rig.dsn], plan.insert_seconds + TIMEOUT,
            PGOPTIONS=f"-c search_path={mode}")
        took = []
        for path in glob.glob(f"{directory}/took*"):
            with open(path) as log:
                took += [int(line.split()[2]) for line in log]
        topic.wait(len(took), TIMEOUT, alive=lambda: relay.process.alive)
        stop(relay)
    return {"tps": len(took) / plan.insert_seconds, "p99": percentile(sorted(took), 0.99) / 1000}


def measure(rig, plan, with_relay, say):
    table = Table("modes", f"{plan.events:,} events drained; {CLIENTS} clients insert for {plan.insert_seconds} s;"
                  f" medians of {plan.rounds}", {
        "bulk": "rows/s inserted at once", "rate": "drained, events/s", "of_delete": "of delete",
        "relay_cpu": "relay CPU us/event", "postgres_cpu": "PostgreSQL's", "vacuum_cpu": "vacuum's",
        "kafka_cpu": "Kafka's", "wal": "WAL bytes/event", "tps": "inserts/s", "p99": "p99 ms"})
    if not with_relay:
        return table
    prepare(rig)
    order = deque(MODES)
    for mode in MODES:
        table.rows[mode] = {}
    for number in range(plan.rounds):
        figures = {}
        for mode in order:
            say(f"modes, round {number + 1}: {mode}")
            name = f'"{mode}".outbox_events'
            with rig.server_setting("autovacuum", "off"):
                figures[mode] = {"bulk": bulk(rig, plan, name), **drain(rig, plan, mode, name)}
            figures[mode] |= inserts(rig, plan, mode, name)
        for mode, figure in figures.items():
            table.add(mode, **figure, of_delete=figure["rate"] / figures["delete"]["rate"])
        order.rotate(-1)
    return table
