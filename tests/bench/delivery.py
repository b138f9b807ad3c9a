# SPDX-License-Identifier: ISC
"""Section delivery: what exactly once costs beside at least once, for consumers that read committed records."""
import itertools
import random
import subprocess
import time
from contextlib import contextmanager
from functools import partial

import latency
import outbox
from report import Table
from rig import stop, until
from topics import Topic

RATE, TIMEOUT = 500, 300
TAKEOVER_RATE, SHARDS, CALM_SECONDS = 1000, 8, 3
HOW = ("at least once", "exactly once")
_ledgers = itertools.count(1)


@contextmanager
def kafka_settings(rig, how):
    """Of the relays; exactly once each contender has a ledger of its own, as a service has."""
    if how == "at least once":
        yield {}
        return
    name = f"bench-ledger-{next(_ledgers)}"
    rig.kafka.create_topic(name, 64, cleanup_policy="compact")
    rig.sql("UPDATE outbox_relay.outboxes SET producers = gen_random_uuid()")
    rig.sql("TRUNCATE outbox_relay.producers, outbox_relay.producer_shards")
    yield {"delivery": "exactly-once", "ledger_topic": name}
    rig.kafka.delete_topic(name)


def relay_of(rig, topic, kafka, **outbox_settings):
    contender = rig.relay(topic.name, **outbox_settings)
    contender.write_config(kafka=kafka)
    return contender


def drain(rig, plan, how):
    """From ready to the last event that Kafka has committed, as the relay counts them."""
    outbox.prepare(rig, plan)
    with kafka_settings(rig, how) as kafka, Topic(rig.kafka) as topic:
        contender = relay_of(rig, topic, kafka).start()
        began = time.monotonic()
        until(lambda: contender.metric("published_total") >= plan.events, TIMEOUT, "all to be published", every=0.02)
        seconds = time.monotonic() - began
        stop(contender)
        if outbox.waiting(rig) > 0:
            raise RuntimeError("events are left")
        return {"rate": plan.events / seconds}


@contextmanager
def contender(how, rig, topic, _events):
    with kafka_settings(rig, how) as kafka:
        one = relay_of(rig, topic, kafka).start()
        yield
        stop(one)


def steady(rig, plan, how):
    figures = latency.figures(*latency.observe(rig, plan, RATE, partial(contender, how)), RATE)
    return {name: figures[name] for name in ("p50", "p99", "worst")}


def take_over(rig, plan, how):
    """Of two relays one is killed; the event that waits longest for a consumer, each time."""
    chance, seconds = random.Random(plan.seed), plan.kills * (CALM_SECONDS + 5) + 10
    outbox.empty(rig)
    outbox.tidy(rig)
    events = TAKEOVER_RATE * seconds
    with kafka_settings(rig, how) as kafka, Topic(rig.kafka) as topic:
        relays = [relay_of(rig, topic, kafka, shards=SHARDS).start() for _ in range(2)]
        with latency.consumer(rig, topic, events, seconds + 30) as receiver:
            writer = subprocess.Popen([rig.build("paced_writer"), rig.dsn, str(TAKEOVER_RATE), str(seconds),
                                       str(latency.connections(TAKEOVER_RATE)), str(plan.keys), "1"],
                                      stdout=subprocess.PIPE, text=True)
            kills = []
            for _ in range(plan.kills):
                time.sleep(CALM_SECONDS + chance.random())
                victim = relays.pop(chance.randrange(len(relays)))
                kills.append(time.monotonic())
                victim.kill()
                time.sleep(2)
                relays.append(relay_of(rig, topic, kafka, shards=SHARDS).start())
            commits = latency.numbers(writer.communicate(timeout=seconds * 3)[0])
            arrivals = latency.numbers(receiver.communicate(timeout=seconds + 90)[0])
        for relay in relays:
            stop(relay)
    missing = sum(n not in arrivals for n in commits)
    if missing:
        raise RuntimeError(f"{missing} of {len(commits)} events did not arrive")
    return [max((arrivals[n][0] - after) / 1000 for n, (_, after) in commits.items()
                if arrivals[n][0] / 1e6 > at and after / 1e6 < at + 2) for at in kills]


def measure(rig, plan, with_relay, say):
    table = Table("delivery", f"{plan.events:,} events, {RATE}/s for {plan.latency_seconds} s, {plan.kills} kills; medians of {plan.rounds}", {
        "rate": "drain, events/s", "ratio": "of at least once", "p50": f"{RATE}/s: p50 ms", "p99": "p99", "worst": "max",
        "takeover": "kill -9: longest wait, ms"})
    for number in range(plan.rounds if with_relay else 0):
        rates = {}
        for how in HOW if number % 2 == 0 else HOW[::-1]:
            say(f"delivery, round {number + 1}: {how}")
            rates[how] = drain(rig, plan, how)["rate"]
            table.add(how, rate=rates[how], **steady(rig, plan, how))
        table.add("exactly once", ratio=rates["exactly once"] / rates["at least once"])
    for how in HOW if with_relay else ():
        say(f"delivery: kills, {how}")
        for longest in take_over(rig, plan, how):
            table.add(how, takeover=longest)
    table.note("by a consumer that reads committed records, from COMMIT")
    return table
