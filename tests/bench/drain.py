# SPDX-License-Identifier: ISC
"""Section drain: how fast a full outbox becomes empty, and what the two peers could do alone."""
import os
import subprocess
import time
from collections import deque
from functools import partial

import claims
import outbox
import usage
from report import Table
from rig import run_json, stop
from topics import Topic

TABLES = {"delete": "outbox_events", "mark": "outbox_marked", "position": "outbox_positions"}
TIMEOUT = 300
PLAIN = {settle: f"Postgres alone, {settle}" for settle in TABLES}
BARE = {settle: f"barest program, {settle}" for settle in ("delete", "position")}
OWN = {settle: f"Postgres alone, the relay's {settle}" for settle in TABLES}
ROWS = [*(name for settle in TABLES for name in (PLAIN[settle], OWN[settle])), "librdkafka alone", *BARE.values(),
        *(f"relay, {settle}" for settle in TABLES), *(f"other relay, {settle}" for settle in TABLES)]
BARE_ROWS = 10_000  # in a transaction, as the relay's default
# As in relay/kafka/conf.c, but for the queue: the relay bounds what is in flight by its batch.
PRODUCER = ["acks=all", "enable.idempotence=true", "enable.gapless.guarantee=true", "message.timeout.ms=0",
            "batch.num.messages=10000", "socket.nagle.disable=true", "topic.metadata.refresh.interval.ms=60000",
            "log_level=3"]


def postgres_alone(rig, plan, settle, claim):
    table = TABLES[settle]
    outbox.prepare(rig, plan, table)
    done = run_json([rig.build("pg_alone"), rig.dsn, claim, plan.events], TIMEOUT)
    return {"rate": plan.events / done["seconds"], "cpu": done["cpu_seconds"] * 1e6 / plan.events}


def kafka_alone(rig, plan):
    with Topic(rig.kafka) as topic:
        done = run_json([rig.build("kafka_alone"), topic.name, plan.events, plan.keys,
                         f"bootstrap.servers={rig.kafka.bootstrap}", f"linger.ms={plan.linger_ms}",
                         *PRODUCER], TIMEOUT)
        return {"rate": plan.events / topic.span(plan.events).seconds,
                "whole": plan.events / done["seconds"], "cpu": done["cpu_seconds"] * 1e6 / plan.events}


def bare_publisher(rig, topic, events, rows=BARE_ROWS, poll_ms=0, session="", settle="delete"):
    """Started and ready to claim. session: more of its connection string."""
    publisher = subprocess.Popen(
        [rig.build("bare"), f"{rig.dsn} options='-c enable_seqscan=off -c enable_bitmapscan=off' {session}", topic.name, str(events),
         str(rows), str(poll_ms), settle,
         f"bootstrap.servers={rig.kafka.bootstrap}", "linger.ms=0", "partitioner=murmur2_random", *PRODUCER],
        stdout=subprocess.PIPE, text=True, start_new_session=True)  # like the relay: Linux may share by session
    if publisher.stdout.readline() != "ready\n":
        publisher.kill()
        raise RuntimeError("the barest program did not start")
    return publisher


def bare(rig, plan, settle="delete"):
    outbox.prepare(rig, plan, TABLES[settle])
    rig.sql("DROP TABLE IF EXISTS bare_position; CREATE TABLE bare_position AS SELECT 0::bigint AS reached")
    with Topic(rig.kafka) as topic:
        started = time.monotonic()
        with bare_publisher(rig, topic, plan.events, settle=settle) as publisher:
            _, status, used = os.wait4(publisher.pid, 0)
            publisher.returncode = os.waitstatus_to_exitcode(status)
        elapsed = time.monotonic() - started
        return {"rate": plan.events / topic.span(plan.events).seconds, "whole": plan.events / elapsed,
                "cpu": (used.ru_utime + used.ru_stime) * 1e6 / plan.events}


def relay(rig, plan, settle, binary=None):
    table = TABLES[settle]
    outbox.prepare(rig, plan, table)
    with Topic(rig.kafka) as topic:
        contender = rig.relay(topic.name, table, settle, binary=binary)
        started = time.monotonic()
        contender.start(wait=False)
        topic.wait(plan.events, TIMEOUT, alive=lambda: contender.process.alive)
        cpu, peak = usage.cpu_seconds(contender.process.pid), usage.peak_rss_mib(contender.process.pid)
        stop(contender)
        elapsed = time.monotonic() - started
        left = outbox.waiting(rig, table, settle)
        if left > 0:
            raise RuntimeError(f"{left} events are still in {table} after the relay stopped")
        return {"rate": plan.events / topic.span(plan.events).seconds, "whole": plan.events / elapsed,
                "cpu": cpu * 1e6 / plan.events, "peak": peak}


def _contenders(rig, plan, with_relay):
    """{name: what measures it once}; a row each."""
    found = {PLAIN[settle]: partial(postgres_alone, rig, plan, settle, claims.PLAIN[settle])
             for settle in ("delete", "mark")}
    found["librdkafka alone"] = partial(kafka_alone, rig, plan)
    found |= {name: partial(bare, rig, plan, settle) for settle, name in BARE.items()}
    for settle in TABLES if with_relay else ():
        found[OWN[settle]] = partial(postgres_alone, rig, plan, settle, _claim_of_the_relay(rig, settle))
        found[f"relay, {settle}"] = partial(relay, rig, plan, settle)
        if rig.against:
            found[f"other relay, {settle}"] = partial(relay, rig, plan, settle, rig.against)
    return {name: found[name] for name in ROWS if name in found}


def _claim_of_the_relay(rig, settle):
    table = TABLES[settle]
    outbox.empty(rig, table)
    with Topic(rig.kafka) as topic:
        return claims.of_the_relay(rig, rig.relay(topic.name, table, settle), table)


def measure(rig, plan, with_relay, say):
    table = Table("drain", f"{plan.events:,} events, medians of {plan.rounds}", {
        "rate": "events/s", "whole": "start to end, events/s", "of_postgres": "of Postgres alone",
        "of_own": "of its own claim alone", "of_bare": "of the barest program",
        "of_other": "of the other relay", "of_delete": "of relay, delete", "cpu": "CPU us/event", "peak": "peak RSS MiB"})
    contenders = _contenders(rig, plan, with_relay)
    table.rows = {name: {} for name in contenders}
    order = deque(contenders)
    say("drain: warming up")
    kafka_alone(rig, plan)
    with rig.server_setting("autovacuum", "off"):
        for number in range(plan.rounds):
            figures = {}
            for name in order:
                say(f"drain, round {number + 1}: {name}")
                figures[name] = contenders[name]()
            _add_round(table, figures)
            order.rotate(-1)
    table.note("of Postgres alone: of the plain claim with delete; of the barest program: of the one that settles alike; start to end: of the process, for"
               " librdkafka of its work; CPU: of the client process")
    return table


def _add_round(table, figures):
    rate = {name: figure["rate"] for name, figure in figures.items()}
    for name, figure in figures.items():
        table.add(name, **figure, of_postgres=rate[name] / rate[PLAIN["delete"]],
                  of_bare=rate[name] / rate[BARE["position" if "position" in name else "delete"]],
                  **({"of_delete": rate[name] / rate["relay, delete"]} if "relay, delete" in rate else {}))
        if name.startswith("relay, "):
            table.add(name, of_own=rate[name] / rate[OWN[name.split(", ")[1]]])
        if f"other {name}" in rate:
            table.add(name, of_other=rate[name] / rate[f"other {name}"])
