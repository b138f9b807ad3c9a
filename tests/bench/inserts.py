# SPDX-License-Identifier: ISC
"""Section inserts: what the application pays for a trigger on its outbox."""
import os
import re
import select
import time
from collections import deque
from contextlib import contextmanager

import outbox
import usage
from report import Table
from rig import HERE, beside, program_of_postgres, run, stop
from topics import Topic

CLIENTS, THREADS = 32, 2
TIMEOUT = 120
BELL = 'outbox_relay_wakeups_total{cause="bell"}'


def prepare(rig):
    """Beside the outbox itself two like it: without trigger and with the naive one."""
    for schema in ("plain", "naive"):
        rig.sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        rig.sql(f"CREATE TABLE IF NOT EXISTS {schema}.outbox_events (LIKE public.outbox_events INCLUDING ALL)")
        options = rig.value("SELECT array_to_string(reloptions, ', ') FROM pg_class"
                            " WHERE oid = 'public.outbox_events'::regclass")
        rig.sql(f"ALTER TABLE {schema}.outbox_events SET ({options})")
    with open(os.path.join(HERE, "naive_trigger.sql")) as script:
        rig.sql(script.read())


def pgbench(rig, plan, schema):
    """Transactions per second."""
    said = run([program_of_postgres("pgbench"), "-n", "-M", "prepared", "-c", CLIENTS, "-j", THREADS,
                "-T", plan.insert_seconds, f"--random-seed={plan.seed}",
                "-f", os.path.join(HERE, "insert.sql"), rig.dsn],
               plan.insert_seconds + TIMEOUT, PGOPTIONS=f"-c search_path={schema}")
    return float(re.search(r"^tps = ([0-9.]+)", said, re.M).group(1))


def _start_afresh(rig, schema):
    rig.sql(f"TRUNCATE {schema}.outbox_events")
    outbox.empty(rig)
    outbox.tidy(rig, f"{schema}.outbox_events")


def without_trigger(rig, plan):
    _start_afresh(rig, "plain")
    return {"tps": pgbench(rig, plan, "plain")}


def bell_at_rest(rig, plan):
    _start_afresh(rig, "public")
    return {"tps": pgbench(rig, plan, "public")}


def naive_trigger(rig, plan):
    _start_afresh(rig, "naive")
    with _listener(rig):
        return {"tps": pgbench(rig, plan, "naive")}


@contextmanager
def _listener(rig):
    """The publisher that such a trigger is there for: it only listens."""
    connection = rig.postgres.connect(rig.database.name)
    connection.cursor().execute("LISTEN naive")

    def listen(over):
        while not over.is_set():
            if select.select([connection], [], [], 0.1)[0]:
                connection.poll()
                connection.notifies.clear()
    try:
        with beside(listen):
            yield
    finally:
        connection.close()


def relay_running(rig, plan):
    _start_afresh(rig, "public")
    with Topic(rig.kafka) as topic:
        relay = rig.relay(topic.name).start()
        rang, cpu = relay.metrics().get(BELL, 0), usage.cpu_seconds(relay.process.pid)
        began = time.monotonic()
        tps = pgbench(rig, plan, "public")
        ended = time.monotonic()
        cpu = usage.cpu_seconds(relay.process.pid) - cpu
        left = outbox.waiting(rig)
        rig.database.wait_empty(timeout=TIMEOUT)
        caught_up = time.monotonic() - ended
        rang = relay.metrics().get(BELL, 0) - rang
        stop(relay)
        return {"tps": tps, "left": left, "catch_up": caught_up * 1000, "bell": int(rang),
                "cpu": cpu / (ended - began) * 100, "published": topic.count() / (ended + caught_up - began)}


VARIANTS = {
    "no trigger": without_trigger,
    "our trigger, bell at rest": bell_at_rest,
    "our trigger, relay running": relay_running,
    "naive NOTIFY trigger": naive_trigger,
}


def measure(rig, plan, with_relay, say):
    table = Table("inserts", f"{CLIENTS} clients, one event per transaction,"
                  f" medians of {plan.rounds} x {plan.insert_seconds} s", {
        "tps": "inserts/s", "ratio": "of no trigger", "published": "published/s", "left": "left at the end",
        "catch_up": "ms until empty", "bell": "bell rang", "cpu": "relay CPU %"})
    prepare(rig)
    order = deque(name for name in VARIANTS if with_relay or VARIANTS[name] is not relay_running)
    for name in order:
        table.rows[name] = {}
    for number in range(plan.rounds):
        figures = {}
        for name in order:
            say(f"inserts, round {number + 1}: {name}")
            figures[name] = VARIANTS[name](rig, plan)
        for name, figure in figures.items():
            table.add(name, **figure, ratio=figure["tps"] / figures["no trigger"]["tps"])
        order.rotate(-1)
    return table
