# SPDX-License-Identifier: ISC
"""Section idle: what a relay with nothing to do costs its database and its machine."""
import time

import outbox
import usage
from report import Table
from rig import stop
from topics import Topic

CALM_SECONDS = 5  # from the last event to sleep
STATEMENTS = """SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements s
                 JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = 'outbox_relay'"""


def _statements(rig):
    return rig.value(STATEMENTS)


def _server_cpu(rig):
    """Of the relay's sessions."""
    pids = rig.database.rows("SELECT pid FROM pg_stat_activity WHERE usename = 'outbox_relay'")
    return sum(usage.fine_cpu_seconds(pid) for (pid,) in pids)


def _reading(rig, relay):
    return (_statements(rig), usage.fine_cpu_seconds(relay.process.pid), _server_cpu(rig), time.monotonic())


def observe(rig, plan):
    outbox.empty(rig)
    outbox.tidy(rig)
    with Topic(rig.kafka) as topic, rig.server_setting("pg_stat_statements.track", "top"):
        relay = rig.relay(topic.name).start()
        outbox.fill(rig, plan, 1)
        topic.wait(1, 30, alive=lambda: relay.process.alive)
        time.sleep(CALM_SECONDS)
        before = _reading(rig, relay)
        time.sleep(plan.idle_seconds)
        after = _reading(rig, relay)
        stop(relay)
    statements, cpu, server, seconds = (b - a for a, b in zip(before, after))
    return {"statements": statements / seconds, "cpu": cpu / seconds * 100, "server": server / seconds * 100}


def measure(rig, plan, with_relay, say):
    table = Table("idle", f"nothing to publish, medians of {plan.rounds} x {plan.idle_seconds} s", {
        "statements": "statements/s", "cpu": "relay CPU %", "server": "its sessions' CPU %"})
    rig.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    for number in range(plan.rounds if with_relay else 0):
        say(f"idle, round {number + 1}")
        table.add("relay", **observe(rig, plan))
    return table
