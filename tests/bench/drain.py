"""Section drain: how fast a full outbox becomes empty, and what the two peers could do alone."""
import os
import resource
import sys
import time
from collections import deque
from functools import partial

import claims
import outbox
import usage
from report import Table
from rig import HERE, run, run_json, stop
from topics import Topic

TABLES = {"delete": "outbox_events", "mark": "outbox_marked"}
TIMEOUT = 300
PLAIN_DELETE, PLAIN_MARK, PYTHON = "Postgres alone, delete", "Postgres alone, mark", "Python publisher"
OWN = {settle: f"Postgres alone, the relay's {settle}" for settle in TABLES}
ROWS = [PLAIN_DELETE, OWN["delete"], PLAIN_MARK, OWN["mark"], "librdkafka alone", "relay, delete",
        "relay, mark", PYTHON]
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


def relay(rig, plan, settle):
    table = TABLES[settle]
    outbox.prepare(rig, plan, table)
    with Topic(rig.kafka) as topic:
        contender = rig.relay(topic.name, table, settle)
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


def python_publisher(rig, plan):
    outbox.prepare(rig, plan)
    with Topic(rig.kafka) as topic:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        run([sys.executable, os.path.join(HERE, "polling_publisher.py"), rig.dsn, rig.kafka.bootstrap,
             topic.name], TIMEOUT)
        elapsed = time.monotonic() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"rate": plan.events / topic.span(plan.events).seconds, "whole": plan.events / elapsed,
                "cpu": cpu * 1e6 / plan.events}


def _contenders(rig, plan, with_relay):
    """{name: what measures it once}; a row each."""
    found = {PLAIN_DELETE: partial(postgres_alone, rig, plan, "delete", claims.PLAIN["delete"]),
             PLAIN_MARK: partial(postgres_alone, rig, plan, "mark", claims.PLAIN["mark"]),
             "librdkafka alone": partial(kafka_alone, rig, plan),
             PYTHON: partial(python_publisher, rig, plan)}
    for settle in TABLES if with_relay else ():
        found[OWN[settle]] = partial(postgres_alone, rig, plan, settle, _claim_of_the_relay(rig, settle))
        found[f"relay, {settle}"] = partial(relay, rig, plan, settle)
    return {name: found[name] for name in ROWS if name in found}


def _claim_of_the_relay(rig, settle):
    table = TABLES[settle]
    outbox.empty(rig, table)
    with Topic(rig.kafka) as topic:
        return claims.of_the_relay(rig, rig.relay(topic.name, table, settle), table)


def measure(rig, plan, with_relay, say):
    table = Table("drain", f"{plan.events:,} events, medians of {plan.rounds}", {
        "rate": "events/s", "whole": "start to end, events/s", "of_postgres": "of Postgres alone",
        "of_own": "of its own claim alone", "of_python": "times Python", "cpu": "CPU us/event",
        "peak": "peak RSS MiB"})
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
    table.note("of Postgres alone: of the plain claim with delete; start to end: of the process, for"
               " librdkafka of its work; CPU: of the client process")
    return table


def _add_round(table, figures):
    rate = {name: figure["rate"] for name, figure in figures.items()}
    for name, figure in figures.items():
        table.add(name, **figure, of_postgres=rate[name] / rate[PLAIN_DELETE],
                  of_python=rate[name] / rate[PYTHON])
        if name.startswith("relay, "):
            table.add(name, of_own=rate[name] / rate[OWN[name.split(", ")[1]]])
