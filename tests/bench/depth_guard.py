#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What a depth guard costs: inserts with and without it in turns, the call, one count, and inserts beside dead rows.

    tests/bench/depth_guard.py                  # 5 minutes

CPU is that of the whole server, by the insert. Needs no Kafka and no relay.
"""
import argparse
import os
import re
import sys
import tempfile
import time
from collections import deque
from contextlib import contextmanager
from statistics import median

import outbox
import usage
from dead_rows import old_snapshot
from plan import Plan
from report import Table, percentile
from rig import HERE, Rig, beside, program_of_postgres, run

NEVER = 999_999_999_999  # a limit that no run comes near
GUARDS = {"no guard": None, "guard, limit 100,000": 100_000, "guard, limit 5,000": 5000}
CALLS = {"SELECT 1": "SELECT 1", "SELECT depth_guard(1000000)": "SELECT outbox_relay.depth_guard(1000000)"}


class NoKafka:
    """Where nothing is published."""

    def create(self):
        return self

    def start(self):
        return self


def pgbench(rig, clients, seconds, script):
    """Of a run: transactions/s, CPU of the server in us for each, and their times in ms, sorted."""
    with tempfile.TemporaryDirectory(dir=rig.directory) as logs:
        before = usage.family_cpu_seconds(rig.postgres.process.pid)
        said = run([program_of_postgres("pgbench"), "-n", "-M", "prepared", "-c", clients, "-j", 2, "-T", seconds, "-l",
                    "--log-prefix", os.path.join(logs, "log"), "-f", script, rig.dsn], seconds + 120)
        cpu = usage.family_cpu_seconds(rig.postgres.process.pid) - before
        took = []
        for name in os.listdir(logs):
            with open(os.path.join(logs, name)) as log:
                took += [int(line.split()[2]) / 1000 for line in log]
    return {"tps": float(re.search(r"^tps = ([0-9.]+)", said, re.M).group(1)), "cpu": cpu * 1e6 / len(took)}, sorted(took)


def guard(rig, limit, action="error"):
    rig.sql("SELECT outbox_relay.set_depth_guard('outbox_events', %s, %s)", limit, action)


def in_turns(names, rounds, of):
    """[{name: of(name)}], each round in another order."""
    order = deque(names)
    for _ in range(rounds):
        yield {name: of(name) for name in order}
        order.rotate(-1)


def inserts(rig, options):
    table = Table("inserts", f"{options.clients} clients, {options.rounds} rounds of {options.seconds} s", {
        "tps": "inserts/s", "cpu": "CPU us", "tps_ratio": "of none", "cpu_ratio": "CPU of none"})
    names = {"no guard": None, "guard": NEVER}

    def one(name):
        outbox.empty(rig)
        outbox.tidy(rig)
        guard(rig, names[name])
        return pgbench(rig, options.clients, options.seconds, os.path.join(HERE, "insert.sql"))[0]

    for found in in_turns(names, options.rounds, one):
        for name, figure in found.items():
            table.add(name, **figure, tps_ratio=figure["tps"] / found["no guard"]["tps"],
                      cpu_ratio=figure["cpu"] / found["no guard"]["cpu"])
    return table


def calls(rig, options):
    table = Table("calls", f"one client, {options.rounds} rounds of {options.seconds} s",
                  {"tps": "calls/s", "cpu": "CPU us", "more": "CPU us more", "p50": "p50 ms"})
    guard(rig, NEVER)
    scripts = {}
    for name, statement in CALLS.items():
        scripts[name] = os.path.join(rig.directory, f"call{len(scripts)}.sql")
        with open(scripts[name], "w") as script:
            script.write(statement + ";\n")

    def one(name):
        figures, took = pgbench(rig, 1, options.seconds, scripts[name])
        return dict(figures, p50=percentile(took, 0.5))

    rig.sql("SELECT outbox_relay.depth_guard(1000000)")
    for found in in_turns(CALLS, options.rounds, one):
        for name, figure in found.items():
            table.add(name, **figure, more=figure["cpu"] - found["SELECT 1"]["cpu"])
    return table


def counts(rig, options):
    """The first insert after set_depth_guard counts."""
    table = Table("counts", f"one insert, {options.rounds} rounds", {
        "counting": "ms, it counts", "counting_cpu": "CPU ms", "plain": "ms, the next", "plain_cpu": "CPU ms"})
    for waiting in (10_000, 100_000, 300_000):
        outbox.empty(rig)
        outbox.fill_in_chunks(rig, Plan(), waiting)
        outbox.tidy(rig)
        with rig.database.session() as cursor:
            for _ in range(options.rounds):
                guard(rig, 1_000_000)
                counting, plain = timed(cursor), timed(cursor)
                table.add(f"{waiting:,} events wait", counting=counting[0], counting_cpu=counting[1],
                          plain=plain[0], plain_cpu=plain[1])
    return table


def timed(cursor):
    """(ms, ms of CPU of the session) of one insert."""
    pid, began = cursor.connection.get_backend_pid(), time.monotonic()
    before = usage.fine_cpu_seconds(pid)
    cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type) VALUES ('b', 'k', 'e')")
    took = time.monotonic() - began
    return took * 1000, (usage.fine_cpu_seconds(pid) - before) * 1000


@contextmanager
def publisher(rig):
    """Takes rows away as a relay does, with a low watermark of its own."""
    def take(over):
        low = 0
        with rig.database.session() as cursor:
            while not over.wait(0.01):
                cursor.execute("WITH gone AS (DELETE FROM outbox_events WHERE ctid = ANY(ARRAY(SELECT ctid FROM outbox_events"
                               " WHERE id > %s ORDER BY id LIMIT 2000)) RETURNING id) SELECT max(id) FROM gone", (low,))
                low = max(low, (cursor.fetchone()[0] or 0) - 10_000)
    with beside(take):
        yield


def dead(rig, options):
    table = Table("dead", f"{options.clients} clients beside {options.dead:,} dead rows of an old snapshot", {
        "tps": "inserts/s", "cpu": "CPU us", "p50": "p50 ms", "p99": "p99 ms", "max": "max ms"})
    guard(rig, None)
    outbox.empty(rig)
    with old_snapshot(rig, "pg_class"):  # with no lock on the outbox
        outbox.fill_in_chunks(rig, Plan(), options.dead)
        rig.sql("DELETE FROM outbox_events")

        def one(name):
            guard(rig, GUARDS[name], "warn")  # no client ends if the publisher falls behind
            rig.sql("DELETE FROM outbox_events")
            with publisher(rig):
                figures, took = pgbench(rig, options.clients, options.seconds, os.path.join(HERE, "insert.sql"))
            return dict(figures, p50=percentile(took, 0.5), p99=percentile(took, 0.99), max=took[-1])

        for found in in_turns(GUARDS, max(1, options.rounds // 2), one):
            for name, figure in found.items():
                table.add(name, **figure)
    return table


SECTIONS = {"inserts": inserts, "calls": calls, "counts": counts, "dead": dead}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--dead", type=int, default=500_000)
    parser.add_argument("--only", default=",".join(SECTIONS), help="some of these sections")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    with Rig(kafka=lambda _: NoKafka()) as rig:
        outbox.migrate(rig, "outbox_events", "delete")
        for name in options.only.split(","):
            print(SECTIONS[name](rig, options), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    sys.exit(main())
