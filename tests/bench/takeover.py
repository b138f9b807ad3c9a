"""Section takeover: one of two relays is killed under load; how long until its shards move, and what waits longest."""
import random
import subprocess
import time

import latency
import outbox
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


def _kill_one(rig, topic, relays, cursor, chance):
    """(when it was killed, when its shards had another owner), monotonic seconds; a new relay takes its place."""
    until(lambda: _is_spread(cursor), 30, "the shards to be spread")
    time.sleep(CALM_SECONDS + chance.random())
    victim = relays.pop(chance.randrange(len(relays)))
    killed = time.monotonic()
    victim.kill()
    while sorted(_owners(cursor).values()) != [SHARDS]:
        time.sleep(0.005)
        if time.monotonic() - killed > 60:
            raise RuntimeError("the shards of a relay that was killed have not moved in 60 s")
    moved = time.monotonic()
    time.sleep(1)
    relays.append(rig.relay(topic.name, shards=SHARDS).start(wait=False))
    return killed, moved


def _worst_after(killed, commits, arrivals):
    """The longest way to the consumer, in ms, of an event whose way began or ended in the two seconds after."""
    begin, end = killed * 1e6, (killed + 2) * 1e6
    return max((arrivals[n][0] - commit[1]) / 1000 for n, commit in commits.items()
               if n in arrivals and commit[1] < end and arrivals[n][0] > begin)


def observe(rig, plan):
    chance = random.Random(plan.seed)
    seconds = int(plan.kills * (CALM_SECONDS + 4)) + 10
    events = RATE * seconds
    outbox.empty(rig)
    outbox.tidy(rig)
    with Topic(rig.kafka) as topic, rig.database.session() as cursor:
        relays = [rig.relay(topic.name, shards=SHARDS).start() for _ in range(2)]
        with latency.consumer(rig, topic, events, seconds + 60) as consumer:
            writer = subprocess.Popen(
                [rig.build("paced_writer"), rig.dsn, str(RATE), str(seconds), str(latency.connections(RATE)),
                 str(plan.keys)], stdout=subprocess.PIPE, text=True)
            kills = [_kill_one(rig, topic, relays, cursor, chance) for _ in range(plan.kills)]
            commits, _ = writer.communicate(timeout=seconds * 3)
            arrivals, _ = consumer.communicate(timeout=seconds + 120)
        for relay in relays:
            stop(relay)
    return kills, latency.numbers(commits), latency.numbers(arrivals)


def measure(rig, plan, with_relay, say):
    table = Table("takeover", f"kill -9 of one of two relays, {SHARDS} shards, {RATE:,} events/s, {plan.kills} times", {
        "median": "median, ms", "most": "max, ms"})
    if not with_relay:
        return table
    say(f"takeover: {plan.kills} kills")
    kills, commits, arrivals = observe(rig, plan)
    missing = sum(n not in arrivals for n in commits)
    if missing:
        raise RuntimeError(f"{missing} of {len(commits)} events did not arrive")
    moved = sorted((moved - killed) * 1000 for killed, moved in kills)
    worst = sorted(_worst_after(killed, commits, arrivals) for killed, _ in kills)
    for name, figures in (("until its shards have another owner", moved),
                          ("the event that waits longest, commit to consumer", worst)):
        table.add(name, median=figures[len(figures) // 2], most=figures[-1])
    return table
