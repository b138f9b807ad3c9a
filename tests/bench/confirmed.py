# SPDX-License-Identifier: ISC
"""Section confirmed: what outbox.publish_after costs, with a standby on the same machine in all rounds."""
import os
import statistics
import time
from contextlib import contextmanager
from functools import partial

import latency
import outbox
from report import Table
from rig import stop, until
from topics import Topic

RATE, TIMEOUT = 500, 300
STANDBY = "east"
HOW = {"commit": {}, "flush": {"publish_after": "flush"},
       "standby": {"publish_after": "standby", "publish_standbys": STANDBY}}
TRIES = 200
BEHIND = "SELECT count(*) = 1 FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()"


@contextmanager
def standby(rig):
    """It streams from the server of the bench, as durable as that one."""
    clone = rig.postgres.clone(os.path.join(rig.directory, STANDBY), STANDBY).start()
    try:
        until(lambda: rig.value(BEHIND), 60, "the standby to have caught up")
        yield
    finally:
        clone.remove()


def relay_of(rig, topic, how):
    contender = rig.relay(topic.name)
    contender.write_config(outbox=HOW[how])
    return contender


@contextmanager
def contender(how, rig, topic, _events):
    one = relay_of(rig, topic, how).start()
    yield
    stop(one)


def drain(rig, plan, how):
    """From the relay's start to its last acknowledgement; the standby has caught up with the rows before."""
    outbox.prepare(rig, plan)
    until(lambda: rig.value(BEHIND), TIMEOUT, "the standby to have caught up")
    with Topic(rig.kafka) as topic:
        one = relay_of(rig, topic, how).start()
        began = time.monotonic()
        until(lambda: one.metric("published_total") >= plan.events, TIMEOUT, "all to be published", every=0.02)
        seconds = time.monotonic() - began
        stop(one)
    return plan.events / seconds


def steady(rig, plan, how):
    figures = latency.figures(*latency.observe(rig, plan, RATE, partial(contender, how)), RATE)
    return {name: figures[name] for name in ("p50", "p99")}


def round_trip(rig):
    """Of the standby, in ms: how much longer a commit takes that waits for its flush, in the median."""
    def commits(level):
        with rig.database.session() as cursor:
            cursor.execute(f"SET synchronous_commit = {level}")
            for _ in range(TRIES):
                began = time.monotonic()
                cursor.execute("INSERT INTO one VALUES (1)")
                yield (time.monotonic() - began) * 1000
    rig.sql("CREATE TABLE IF NOT EXISTS one (n int)")
    with rig.server_setting("synchronous_standby_names", f"'{STANDBY}'"):
        return statistics.median(commits("on")) - statistics.median(commits("local"))


def measure(rig, plan, with_relay, say):
    table = Table("confirmed", f"{plan.events:,} events, {RATE}/s for {plan.latency_seconds} s; medians of {plan.rounds}", {
        "rate": "drain, events/s", "ratio": "of commit", "p50": f"{RATE}/s: p50 ms", "p99": "p99", "trip": "standby's flush, ms"})
    if not with_relay:
        return table
    rig.sql("GRANT pg_read_all_stats TO outbox_relay")
    with standby(rig):
        for number in range(plan.rounds):
            rates = {}
            for how in list(HOW) if number % 2 == 0 else list(HOW)[::-1]:
                say(f"confirmed, round {number + 1}: {how}")
                rates[how] = drain(rig, plan, how)
                table.add(how, rate=rates[how], **steady(rig, plan, how))
            for how in ("flush", "standby"):
                table.add(how, ratio=rates[how] / rates["commit"])
            table.add("standby", trip=round_trip(rig))
    table.note("latencies from just after COMMIT returned; the standby shares this machine's processors and disk")
    return table
