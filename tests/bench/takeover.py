# SPDX-License-Identifier: ISC
"""Section takeover: one of two relays is ended under load; how long until its shards move, and what waits longest."""
import random
import subprocess
import time

import latency
import outbox
from latency_consumer import N
from report import Table
from rig import stop, until
from topics import Topic

RATE, SHARDS = 5000, 8
CALM_SECONDS = 3  # between two kills, and before the first
OWNERS = """SELECT pid, count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
             AND classid = 'outbox_events'::regclass
             AND objid::int8 BETWEEN x'6f000000'::int8 AND x'6fffffff'::int8 GROUP BY pid"""


def _owners(cursor):
    cursor.execute(OWNERS)
    return dict(cursor.fetchall())


def _is_spread(cursor):
    return sorted(_owners(cursor).values()) == [SHARDS // 2, SHARDS // 2]


def _replace_one(rig, topic, relays, cursor, chance, kill):
    """(when it was ended, when its shards had another owner, when they were spread again over it and a new relay)."""
    time.sleep(CALM_SECONDS + chance.random())
    victim = relays.pop(chance.randrange(len(relays)))
    ended = time.monotonic()
    victim.kill() if kill else victim.terminate()
    while sorted(_owners(cursor).values()) != [SHARDS]:
        time.sleep(0.005)
        if time.monotonic() - ended > 60:
            raise RuntimeError("the shards of a relay that was ended have not moved in 60 s")
    moved = time.monotonic()
    victim.wait_exit()
    relays.append(rig.relay(topic.name, shards=SHARDS).start(wait=False))
    until(lambda: _is_spread(cursor), 30, "the shards to be spread")
    return ended, moved, time.monotonic()


def _worst_meanwhile(ended, spread, commits, arrivals):
    """The longest way to Kafka, in ms, of an event that was on its way between the end of a relay and a second after
    the shards were spread again."""
    return 1000 * max(arrivals[n] - committed for n, committed in commits.items()
                      if committed < spread + 1 and arrivals[n] > ended)


def observe(rig, plan, kill):
    """([(ended, moved, spread)], {n: committed}, {n: appended}), monotonic seconds."""
    chance = random.Random(plan.seed)
    seconds = int(plan.kills * (CALM_SECONDS + 3)) + 10
    outbox.empty(rig)
    outbox.tidy(rig)
    with Topic(rig.kafka) as topic, rig.database.session() as cursor:
        relays = [rig.relay(topic.name, shards=SHARDS).start() for _ in range(2)]
        until(lambda: _is_spread(cursor), 30, "the shards to be spread")
        writer = subprocess.Popen(
            [rig.build("paced_writer"), rig.dsn, str(RATE), str(seconds), str(latency.connections(RATE)),
             str(plan.keys), "1"], stdout=subprocess.PIPE, text=True)
        ends = [_replace_one(rig, topic, relays, cursor, chance, kill) for _ in range(plan.kills)]
        commits, _ = writer.communicate(timeout=seconds * 3)
        until(lambda: outbox.waiting(rig) == 0, 60, "the outbox to be empty")
        for relay in relays:
            stop(relay)
        since_1970 = time.time() - time.monotonic()
        appends = topic.appends(lambda value: int(value[N]))
    return (ends, {n: after / 1e6 for n, (_, after) in latency.numbers(commits).items()},
            {n: when - since_1970 for n, when in appends.items()})


def measure(rig, plan, with_relay, say):
    table = Table("takeover", f"one of two relays is ended and replaced, {SHARDS} shards, {RATE:,} events/s,"
                  f" {plan.kills} times each", {"median": "median, ms", "most": "max, ms"})
    if not with_relay:
        return table
    for name, kill in (("kill -9", True), ("SIGTERM", False)):
        say(f"takeover: {plan.kills} x {name}")
        ends, commits, arrivals = observe(rig, plan, kill)
        missing = sum(n not in arrivals for n in commits)
        if missing:
            raise RuntimeError(f"{missing} of {len(commits)} events did not arrive")
        moved = sorted((moved - ended) * 1000 for ended, moved, _ in ends)
        worst = sorted(_worst_meanwhile(ended, spread, commits, arrivals) for ended, _, spread in ends)
        for what, figures in ((f"{name}: until its shards have another owner", moved),
                              (f"{name}: the event that waits longest", worst)):
            table.add(what, median=figures[len(figures) // 2], most=figures[-1])
    table.note("waits longest: commit to append, until a second after the shards were spread over the new relay too")
    return table
