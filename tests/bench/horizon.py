#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What a queue does while old snapshots keep vacuum from its work: the load that PgQue and PlanetScale published.

Events at a steady rate, one or more in each transaction. First nothing else, then three overlapping transactions of 120 s each
that only read, then one snapshot that stays open, then nothing again. Beside each other, each with a Postgres of its
own: this relay with delete, mark, position, and a plain program that polls with FOR UPDATE SKIP LOCKED and deletes.

    tests/bench/horizon.py --rate 2000 --hold-minutes 30 --modes delete,plain --json FILE --plot docs/queue-2000.svg
"""
import argparse
import json
import os
import subprocess
import sys
import threading
import time
from array import array
from contextlib import ExitStack, contextmanager
from functools import partial

from confluent_kafka import KafkaException

import drain
import machine
import outbox
import usage
from latency import connections, consumer
from report import percentile
from rig import HERE, Rig, relay_binary, stop
from topics import Topic

sys.path.insert(0, os.path.join(HERE, ".."))
from endurance.plot import Panel, Plot, Series  # noqa: E402

READERS, READ_SECONDS = 3, 120  # PlanetScale's
KEYS = 10_000
PLAIN_ROWS, PLAIN_POLL_MS = 1000, 10
RETENTION = "5m"
PARTITION_BY = "id:1000000"  # of positions: what is published goes with its partition
# The intervals of checkpoints as they come with Postgres, and autovacuum as eager as PgQue had it.
SETTINGS = {"checkpoint_timeout": "'5min'", "max_wal_size": "'4GB'", "autovacuum_naptime": "'10s'"}
STATE = """
SELECT (SELECT last_value FROM outbox_events_id_seq), sum(n_dead_tup)::bigint, sum(pg_table_size(relid))::bigint,
       sum(pg_indexes_size(relid))::bigint, pg_current_wal_lsn() - '0/0'::pg_lsn,
       ARRAY(SELECT pid FROM pg_stat_activity WHERE datname = current_database()
              AND (usename = 'outbox_relay' OR application_name = 'publisher'))
  FROM (SELECT relid::oid FROM pg_partition_tree('outbox_events') UNION SELECT 'outbox_events'::regclass) AS t
  JOIN pg_stat_user_tables USING (relid)"""
# In one transaction, so that nobody publishes them; what was not committed is as dead.
DEAD = """DO $$ BEGIN
    INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type)
    SELECT 'bench', 'key-' || n %% 10000, 'BenchEvent' FROM generate_series(1, %s) AS n;
    DELETE FROM outbox_events WHERE payload IS NULL;
END $$"""
STYLES = {"delete": "a", "mark": "b", "position": "database", "plain": "kafka", "other": "kafka"}
CALLED = {"delete": "relay, delete", "mark": "relay, mark", "position": "relay, position", "plain": "plain poller", "other": "other relay, delete"}


class Shared:
    """The Kafka of another rig."""

    def __init__(self, kafka):
        self.kafka = kafka

    def __getattr__(self, name):
        return getattr(self.kafka, name)

    def create(self):
        return self

    def start(self):
        return self


class Side:
    """One contender with its server, writer and consumer."""

    def __init__(self, mode, rig, topic):
        self.mode, self.rig, self.topic = mode, rig, topic
        self.settle = mode if mode in ("mark", "position") else "delete"
        self.samples, self.gone = [], 0  # gone: ids that nobody publishes
        self.sessions = {}  # of the publisher, each with its CPU seconds when it was last seen
        for name, value in SETTINGS.items():
            rig.sql(f"ALTER SYSTEM SET {name} = {value}")
        rig.sql("SELECT pg_reload_conf()")
        for program in ("bare", "paced_writer"):  # now, not when the consumer's time runs
            rig.build(program)
        outbox.migrate(rig, "outbox_events", self.settle, partition_by=PARTITION_BY if mode == "position" else "")
        if mode == "plain":  # no trigger is its advantage
            rig.sql("ALTER TABLE outbox_events DISABLE TRIGGER USER")

    @contextmanager
    def publishing(self, events):
        if self.mode == "plain":
            with drain.bare_publisher(self.rig, self.topic, events, PLAIN_ROWS, PLAIN_POLL_MS,
                                      "application_name=publisher") as publisher:
                self.pid = publisher.pid
                try:
                    yield
                finally:
                    publisher.kill()
        else:
            relay = self.rig.relay(self.topic.name, settle=self.settle,
                                   binary=self.rig.against if self.mode == "other" else None)
            relay.write_config(outbox={"retention": None if self.settle == "delete" else RETENTION})
            self.pid = relay.start().process.pid
            yield
            stop(relay)

    @contextmanager
    def writing(self, options, seconds):
        path = os.path.join(self.rig.directory, "commits")
        with open(path, "w") as commits:
            writer = subprocess.Popen([self.rig.build("paced_writer"), self.rig.dsn, str(options.rate), str(seconds),
                                       str(connections(options.rate // options.per_transaction)), str(KEYS),
                                       str(options.per_transaction)], stdout=commits)
        self.writer, self.commits = writer, path
        try:
            yield
        finally:
            writer.kill()
            writer.wait()

    def make_dead(self, rows):
        """As if they had been published while the snapshot was held."""
        self.rig.sql(DEAD, rows)
        self.gone = rows

    def _published(self):
        try:
            return self.topic.count()
        except KafkaException:  # a broker that is busy may say for a moment that it does not lead the partition
            return self.samples[-1]["published"] if self.samples else 0

    def backlog(self):
        return self.samples[-1]["written"] - self.samples[-1]["published"]

    def sample(self, at):
        """Everything so far; rates come from differences."""
        published = self._published()
        (written, dead, table, index, wal, sessions), = self.rig.database.rows(STATE)
        self.sessions.update({pid: usage.cpu_seconds_if_there(pid) or self.sessions.get(pid, 0) for pid in sessions})
        self.samples.append({
            "at": at, "written": written - self.gone, "published": published, "dead": dead, "table_bytes": table,
            "index_bytes": index, "wal_bytes": int(wal), "publisher_cpu": usage.cpu_seconds(self.pid),
            "postgres_cpu": usage.family_cpu_seconds(self.rig.postgres.process.pid),
            "claim_cpu": sum(self.sessions.values()), "rss": usage.rss_mib(self.pid)})


class Phase:
    """What holds the horizon now: sessions that read and nothing else."""

    def __init__(self, sides):
        self.sides, self.over, self.threads = sides, threading.Event(), []

    def hold(self, sessions, seconds, apart):
        """sessions: on each side, begun so many seconds apart, each again and again for so many seconds."""
        for side in self.sides:
            for number in range(sessions):
                self.threads.append(threading.Thread(target=self._read, args=(side, seconds, number * apart)))
                self.threads[-1].start()

    def _read(self, side, seconds, wait):
        over = self.over.wait(wait)
        while not over:
            with side.rig.database.session(autocommit=False) as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("SELECT count(*) FROM pg_class")
                over = self.over.wait(seconds)

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


@contextmanager
def reading(sides, sessions=0, seconds=0.0, dead=0):
    phase = Phase(sides)
    phase.hold(sessions, seconds, READ_SECONDS / READERS)
    for side in sides if dead else ():
        side.make_dead(dead)
    try:
        yield
    finally:
        phase.end()


def schedule(options):
    """[(name, seconds, what goes on meanwhile)]"""
    return [("quiet", options.quiet_minutes * 60, reading),
            ("overlapping readers", options.reader_minutes * 60,
             partial(reading, sessions=READERS, seconds=READ_SECONDS)),
            ("snapshot held", options.hold_minutes * 60,
             partial(reading, sessions=1, seconds=options.hold_minutes * 60 + 60, dead=options.dead)),
            ("released", options.after_minutes * 60, reading)]


def sample(sides, every, kafka, begun, until, shared):
    """Up to that time."""
    while (now := time.monotonic() - begun) < until:
        for side in sides:
            side.sample(time.monotonic() - begun)
        shared.append({"at": now, "kafka_cpu": usage.cpu_seconds(kafka.process.pid), "load": os.getloadavg()[0]})
        time.sleep(max(0, every - (time.monotonic() - begun - now)))
        if int(now / 60) != int((time.monotonic() - begun) / 60):
            print("; ".join(f"{side.mode}: dead {side.samples[-1]['dead']}, backlog {side.backlog()}"
                            for side in sides), flush=True)


def observe(sides, steps, every, kafka, begun):
    """Takes the samples of the whole run; [(seconds, phase)] and what all share."""
    phases, shared, at = [], [], 0.0
    for name, seconds, meanwhile in steps:
        if not seconds:
            continue
        phases.append((at, name))
        print(f"{at:6.0f} s: {name}", flush=True)
        at += seconds
        with meanwhile(sides):
            sample(sides, every, kafka, begun, at, shared)
        with open(os.path.join(sides[0].rig.directory, "samples.json"), "w") as kept:  # should it break off
            json.dump([side.samples for side in sides], kept)
    return phases, shared


def latencies(side, arrived, every, begun_us, end_us):
    """By window of commit: p50 and p99 in ms, and how many had not arrived by the end, which count as the rest."""
    arrivals = array("q", bytes(8 * side.events))
    for line in arrived:
        n, when = line.split()
        arrivals[int(n)] = int(when)
    windows = {}
    with open(side.commits) as commits:
        for line in commits:
            n, _, after = map(int, line.split())
            window = windows.setdefault(int((after - begun_us) / 1e6 / every), [[], 0])
            window[0].append(((arrivals[n] or end_us) - after) / 1000)
            window[1] += not arrivals[n]
    return [{"at": number * every, "p50": percentile(sorted(took), 0.50),
             "p99": percentile(sorted(took), 0.99), "max": max(took), "count": len(took), "missing": missing}
            for number, (took, missing) in sorted(windows.items())]


def run(options, rigs, steps, extra=0):
    """extra: events that the writer of the rate does not write."""
    sides = [Side(mode, rig, Topic(rig.kafka)) for mode, rig in zip(options.modes, rigs)]
    seconds = int(sum(seconds for _, seconds, _ in steps))
    with ExitStack() as stack:
        for side in sides:
            side.events = options.rate * seconds + extra
            stack.enter_context(side.publishing(side.events))
            side.receiver = stack.enter_context(consumer(side.rig, side.topic, side.events, seconds + 20))
        for side in sides:
            stack.enter_context(side.writing(options, seconds))
        begun = time.monotonic()
        phases, shared = observe(sides, steps, options.every, rigs[0].kafka, begun)
        found = {"machine": machine.describe(rigs[0], True), "rate": options.rate, "phases": phases, "shared": shared,
                 "modes": {side.mode: {"samples": side.samples} for side in sides}}
        for side in sides:
            side.writer.terminate()  # one that has fallen behind would go on
        for side in sides:
            side.writer.wait(60)
        for side in sides:
            arrived = side.receiver.communicate(timeout=600)[0].splitlines()
            found["modes"][side.mode]["latency"] = latencies(side, arrived, options.every, begun * 1e6,
                                                             time.monotonic() * 1e6)
    return found


def together(paths):
    """Runs one after the other, as one."""
    runs = []
    for path in paths:
        with open(path) as kept:
            runs.append(json.load(kept))
    loads = {mode: run["shared"] for run in runs for mode in run["modes"]} if len(runs) > 1 else {}
    return {**runs[0], "modes": {mode: seen for run in runs for mode, seen in run["modes"].items()}, "loads": loads}


def load(found):
    """Of the machine, which is each mode's own where they ran in turn."""
    def series(called, style, shared):
        return Series(called, style, values(shared, lambda s: s["load"]))
    if not found.get("loads"):
        return [series("", "a", found["shared"])]
    return [series(CALLED[mode], STYLES[mode], shared) for mode, shared in found["loads"].items()]


def rates(samples, name, factor=1.0):
    """[(seconds, growth in a second)]"""
    return [(s["at"], factor * (s[name] - before[name]) / (s["at"] - before["at"]))
            for before, s in zip(samples, samples[2:]) if s["at"] > before["at"]][::2]


def values(samples, of):
    return [(s["at"], of(s)) for s in samples][::2]


def draw(found):
    def panel(title, of, log=False):
        return Panel(title, [Series(CALLED[mode], STYLES[mode], of(seen))
                             for mode, seen in found["modes"].items()], log)

    def samples(of):
        return lambda seen: values(seen["samples"], of)

    panels = [
        panel("events published in a second", lambda seen: rates(seen["samples"], "published")),
        panel("latency p50, ms, from COMMIT to the consumer",
              lambda seen: values(seen["latency"], lambda w: w["p50"]), True),
        panel("latency p99, ms", lambda seen: values(seen["latency"], lambda w: w["p99"]), True),
        panel("backlog, events", samples(lambda s: max(0, s["written"] - s["published"]))),
        panel("dead rows of the outbox", samples(lambda s: s["dead"])),
        panel("CPU of PostgreSQL, % of a core", lambda seen: rates(seen["samples"], "postgres_cpu", 100)),
        panel("of that, sessions of the publisher, % of a core", lambda seen: rates(seen["samples"], "claim_cpu", 100)),
        panel("CPU of the publisher itself, % of a core", lambda seen: rates(seen["samples"], "publisher_cpu", 100)),
        panel("table and indexes, MB", samples(lambda s: (s["table_bytes"] + s["index_bytes"]) / 1e6)),
        Panel("load average of the machine", load(found))]
    kinds = {"quiet": ("", "grid"), "overlapping readers": ("r", "relay"), "snapshot held": ("s", "relay"),
             "released": ("e", "database")}
    legend = {"relay": f"r: from here {READERS} transactions of {READ_SECONDS} s overlap; s: from here one snapshot is "
              "held", "database": "e: from here nothing holds vacuum up"}
    return str(Plot(f"{found['rate']:,} events/s while old snapshots hold vacuum up", panels, found["phases"],
                    max(s["at"] for s in found["shared"]), kinds, legend))


def summary(found):
    """A line for each contender and phase: means of rates, medians of latencies, the last of the rest."""
    print(f"{'':34} {'events/s':>8} {'p50 ms':>9} {'p99 ms':>9} {'backlog':>9} {'dead':>9} {'MB':>6} {'PG CPU':>7}"
          f" {'claims':>7} {'publ.':>6} {'WAL MB/s':>8}")
    end = found["shared"][-1]["at"] + 1
    for (begin, phase), (until, _) in zip(found["phases"], [*found["phases"][1:], (end, "")]):
        spans = {"": (begin, until)}
        if phase == "snapshot held":  # its first and last quarter apart: what grows shows
            spans = {"first": (begin, begin + (until - begin) / 4), "last": (until - (until - begin) / 4, until)}
        for which, (low, high) in spans.items():
            for mode, seen in found["modes"].items():
                row(f"{phase} {which} {CALLED[mode]}", [s for s in seen["samples"] if low <= s["at"] < high],
                    [w for w in seen["latency"] if low <= w["at"] < high])


def row(name, samples, windows):
    if len(samples) < 2 or not windows:
        return
    first, last = samples[0], samples[-1]
    rate = {key: (last[key] - first[key]) / (last["at"] - first["at"]) for key in first if key != "at"}
    middle = {key: percentile(sorted(w[key] for w in windows), 0.5) for key in ("p50", "p99")}
    print(f"{name:34} {rate['published']:8.0f} {middle['p50']:9.1f} {middle['p99']:9.1f}"
          f" {last['written'] - last['published']:9} {last['dead']:9}"
          f" {(last['table_bytes'] + last['index_bytes']) / 1e6:6.0f} {100 * rate['postgres_cpu']:6.0f}%"
          f" {100 * rate['claim_cpu']:6.0f}% {100 * rate['publisher_cpu']:5.0f}% {rate['wal_bytes'] / 1e6:8.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rate", type=int, default=2000, help="events/s for each contender")
    parser.add_argument("--per-transaction", type=int, default=1, help="events in each")
    parser.add_argument("--quiet-minutes", type=float, default=1)
    parser.add_argument("--reader-minutes", type=float, default=3, help=f"with {READERS} overlapping transactions")
    parser.add_argument("--hold-minutes", type=float, default=30, help="with one snapshot")
    parser.add_argument("--after-minutes", type=float, default=3)
    parser.add_argument("--dead", type=int, default=0, help="rows to make dead under the snapshot, in a part of its time")
    parser.add_argument("--modes", type=lambda text: text.split(","), default=["delete", "mark", "plain"],
                        help="of delete,mark,position,plain,other")
    parser.add_argument("--against", metavar="BINARY", help="of the mode other")
    parser.add_argument("--every", type=float, default=5, help="seconds between samples")
    parser.add_argument("--json", help="keeps everything there")
    parser.add_argument("--plot", help="an SVG")
    parser.add_argument("--again", nargs="+", help="reads such JSONs instead of a run: modes that ran in turn")
    options = parser.parse_args()
    if not options.again and not os.access(relay_binary(), os.X_OK):
        parser.error(f"no {relay_binary()}; build it, or name another in OUTBOX_RELAY")
    if options.again:
        found = together(options.again)
    else:
        with ExitStack() as stack:
            rigs = [stack.enter_context(Rig(options.against))]
            for _ in options.modes[1:]:
                rigs.append(stack.enter_context(Rig(options.against, kafka=lambda _: Shared(rigs[0].kafka))))
            found = run(options, rigs, schedule(options))
    if options.json:
        with open(options.json, "w") as kept:
            json.dump(found, kept)
    if options.plot:
        with open(options.plot, "w") as plot:
            plot.write(draw(found))
    summary(found)


if __name__ == "__main__":
    sys.exit(main())
