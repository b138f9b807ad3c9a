# SPDX-License-Identifier: ISC
"""Section dead: a drain while an old snapshot keeps vacuum from removing rows that are long gone."""
import time
from contextlib import contextmanager, nullcontext

import claims
import outbox
from report import Table
from rig import run_json, stop
from topics import Topic

TIMEOUT = 600


@contextmanager
def old_snapshot(rig, reads="outbox_events"):
    """A report, a backup: reads as of now until the end of the block."""
    with rig.database.session(autocommit=False) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(f"SELECT count(*) FROM {reads}")
        yield


def _rates(plan, span, began):
    return {"rate": plan.events / span.seconds, "since": plan.events / (span.last - began)}


def started_afterwards(rig, plan, dead):
    """The dead rows and the events are there when the relay starts."""
    outbox.empty(rig)
    with old_snapshot(rig) if dead else nullcontext(), Topic(rig.kafka) as topic:
        _make_dead_rows(rig, plan, dead)
        outbox.fill(rig, plan, plan.events)
        outbox.tidy(rig)
        relay = rig.relay(topic.name)
        began = time.time()
        relay.start(wait=False)
        topic.wait(plan.events, TIMEOUT, alive=lambda: relay.process.alive)
        stop(relay)
        return _rates(plan, topic.span(plan.events), began)


def _make_dead_rows(rig, plan, count):
    outbox.fill_in_chunks(rig, plan, count)
    rig.sql("DELETE FROM outbox_events")


def running_already(rig, plan, dead):
    """The relay itself made the dead rows; then the events come, in one transaction."""
    outbox.empty(rig)
    outbox.tidy(rig)
    with old_snapshot(rig) if dead else nullcontext(), Topic(rig.kafka) as topic:
        relay = rig.relay(topic.name).start()
        outbox.fill_in_chunks(rig, plan, dead)
        topic.wait(dead, TIMEOUT, alive=lambda: relay.process.alive)
        rig.sql("CHECKPOINT")
        topic.mark()
        outbox.fill(rig, plan, plan.events)
        began = time.time()
        topic.wait(plan.events, TIMEOUT, alive=lambda: relay.process.alive)
        stop(relay)
        return _rates(plan, topic.span(plan.events), began)


def without_floor(rig, plan):
    """What the floor is for: the same claim, always from 0, over the same dead rows."""
    outbox.empty(rig)
    with old_snapshot(rig):
        _make_dead_rows(rig, plan, plan.dead_rows)
        outbox.fill(rig, plan, plan.events)
        outbox.tidy(rig)
        done = run_json([rig.build("pg_alone"), rig.dsn, claims.PLAIN["delete"], plan.events], TIMEOUT)
    return {"rate": plan.events / done["seconds"], "since": plan.events / done["seconds"]}


def measure(rig, plan, with_relay, say):
    table = Table("dead", f"{plan.events:,} events drained over {plan.dead_rows:,} dead rows,"
                  f" medians of {plan.rounds}", {
        "rate": "events/s", "ratio": "of clean", "since": "of all the time, events/s",
        "since_ratio": "of clean"})
    with rig.server_setting("autovacuum", "off"):
        for number in range(plan.rounds if with_relay else 0):
            for name, drain in (("relay started afterwards", started_afterwards),
                                ("relay running already", running_already)):
                say(f"dead, round {number + 1}: {name}")
                _pair(rig, plan, table, name, drain)
        say("dead: Postgres alone without a floor")
        table.add("Postgres alone, no floor, dead rows", **without_floor(rig, plan))
    table.note("of all the time: from the start of the process, or from their commit, to the last")
    outbox.empty(rig)
    return table


def _pair(rig, plan, table, name, drain):
    clean, dirty = drain(rig, plan, 0), drain(rig, plan, plan.dead_rows)
    table.add(f"{name}, clean", **clean)
    table.add(f"{name}, dead rows", **dirty, ratio=dirty["rate"] / clean["rate"],
              since_ratio=dirty["since"] / clean["since"])
