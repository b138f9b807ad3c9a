#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What it costs to get rid of published rows in mark mode: row by row, and by partitions.

While clients insert as fast as they can and the relay publishes what they insert: their transactions per second and
99th percentile without any old row, then while so many old rows are deleted, and while partitions with as many are
dropped; how long that took; and how large the table was before and afterwards.

    tests/bench/retention.py --rows 10000000 --seconds 120     # about half an hour, 30 GB of disk
"""
import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile
import time

from rig import HERE, Database, Rig, program_of_postgres, stop, until

CHUNK = 200_000
OLD = """INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, created_at, published_at)
SELECT 'bench', 'key-' || n %% 10000, 'BenchEvent', jsonb_build_object('n', lpad(n::text, 10, '0'),
       't', left(repeat(md5(n::text), 9), 270)), now() - interval '30 days', now() - interval '30 days'
  FROM generate_series(1, %s) AS n"""
SIZE = ("SELECT sum(pg_total_relation_size(t.relid)) FROM (SELECT 'outbox_events'::regclass AS relid"
        " UNION SELECT relid FROM pg_partition_tree('outbox_events')) AS t")


class Clients:
    """pgbench in the background; afterwards its transactions per second and their 99th percentile."""

    def __init__(self, rig, options):
        self.directory = tempfile.mkdtemp(dir=rig.directory)
        rate = ["-R", str(options.rate)] if options.rate else []
        self.argv = [program_of_postgres("pgbench"), "-n", "-M", "prepared", "-c", str(options.clients), "-j", "2", *rate,
                     "-l", "--log-prefix", os.path.join(self.directory, "log"),
                     "-f", os.path.join(HERE, "insert.sql"), rig.dsn]

    def start(self, seconds):
        self.child = subprocess.Popen([*self.argv[:1], "-T", str(seconds), *self.argv[1:]], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
        return self

    def end(self):
        said, errors = self.child.communicate()
        if self.child.returncode != 0:
            raise RuntimeError(f"pgbench: {errors[-1000:]}")
        took = []
        for path in glob.glob(os.path.join(self.directory, "log*")):
            with open(path) as log:
                took += [int(line.split()[2]) for line in log]
        took.sort()
        return {"tps": float(re.search(r"^tps = ([0-9.]+)", said, re.M).group(1)),
                "p99": took[int(len(took) * 0.99)] / 1000, "max": took[-1] / 1000}


def migrated(rig, name, retention, *options):
    """A relay in mark mode on an outbox in a database of its own."""
    rig.database = Database(rig.postgres, name).create()
    rig.kafka.create_topic(name, 4)
    relay = rig.relay(name, settle="mark")
    relay.write_config(outbox={"retention": retention})
    done = relay.command("migrate", "--dsn", rig.dsn, *options)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return relay


def fill(rig, rows):
    for first in range(0, rows, CHUNK):
        rig.sql(OLD, min(CHUNK, rows - first))
    rig.sql("VACUUM (ANALYZE) outbox_events")
    rig.sql("CHECKPOINT")


def phase(rig, options, relay, gone):
    """What the clients had, and after how many seconds the old rows were gone."""
    rig.sql("CHECKPOINT")
    before = rig.value(SIZE)
    relay.start()
    clients = Clients(rig, options).start(options.seconds)
    began, took = time.monotonic(), None
    while clients.child.poll() is None:
        if gone and took is None and gone():
            took = time.monotonic() - began
        time.sleep(0.25)
    found = clients.end()
    if gone and took is None:
        until(gone, options.timeout, "the old rows are gone")
        took = time.monotonic() - began
    rig.sql("VACUUM outbox_events")
    stop(relay)
    return dict(found, seconds=took, before=before, after=rig.value(SIZE))


# What is prepared: (relay, whether the old rows are gone).

def without(rig, _rows):
    return migrated(rig, "none", "7d"), None


def by_rows(rig, rows):
    relay = migrated(rig, "rows", "7d")
    fill(rig, rows)
    last = rig.value("SELECT max(id) FROM outbox_events")
    return relay, lambda: not rig.value("SELECT EXISTS (SELECT FROM outbox_events WHERE id <= %s)", last)


def by_partitions(rig, rows):
    step = max(rows // 10, 1000)
    relay = migrated(rig, "partitions", "7d", "--partition-by", f"id:{step}")
    for _ in range(rows // step + 4):
        rig.sql("SELECT outbox_relay.make_partitions('outbox_events', 20)")
    fill(rig, rows)
    rig.sql("SELECT outbox_relay.make_partitions('outbox_events', 20)")
    # The last one that is over stays until its own length has passed.
    return relay, lambda: not rig.value("SELECT EXISTS (SELECT FROM outbox_events WHERE id <= %s)", rows - 2 * step)


WAYS = {"none": without, "row by row": by_rows, "by partitions": by_partitions}


def show(name, rows, found):
    took = found["seconds"]
    print(f"{name:14} {found['tps']:8.0f} {found['p99']:8.2f} {found['max']:8.1f}"
          f" {f'{took:.1f} s' if took else '':>10} {f'{rows / took:.0f}' if took else '':>9}"
          f" {float(found['before']) / 1e6:10.0f} {float(found['after']) / 1e6:9.0f}"
          f"   load {os.getloadavg()[0]:.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=300_000, help="old rows")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=int, default=0, help="inserts per second of all clients; 0: as fast as they can")
    parser.add_argument("--seconds", type=int, default=20, help="for which the clients insert")
    parser.add_argument("--timeout", type=int, default=3600)
    parser.add_argument("--ask", action="store_true", help="once all is filled, wait for a line on standard input")
    options = parser.parse_args()
    print(f"{options.rows} old rows, {options.clients} clients, {options.rate or 'no'} rate, {options.seconds} s each")
    with Rig() as rig:
        ready = {}
        for name, way in WAYS.items():
            ready[name] = (*way(rig, options.rows), rig.database)
        if options.ask:
            print("everything is filled", flush=True)
            sys.stdin.readline()
        print(f"{'':14} {'tps':>8} {'p99 ms':>8} {'max ms':>8} {'gone after':>10} {'rows/s':>9} {'MB before':>10} {'MB after':>9}")
        for name in [*ready, "none"]:  # twice: the machine may not be as it was
            relay, gone, rig.database = ready[name]
            show(name, options.rows, phase(rig, options, relay, gone))


if __name__ == "__main__":
    sys.exit(main())
