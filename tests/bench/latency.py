# SPDX-License-Identifier: ISC
"""Section latency: from an application's COMMIT to a consumer's hands, at a steady rate."""
import os
import subprocess
import sys
from collections import deque
from contextlib import contextmanager
from functools import partial

import drain
import outbox
from report import Table, percentile
from rig import HERE, run, stop
from topics import PARTITIONS, Topic

WARM_UP_SECONDS = 2  # not counted
SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
RATIOS = ("p50", "p99", "before_p50", "before_p99")


def connections(rate):
    """Enough that one commit's wait for the disk does not hold up the next event."""
    return max(1, min(16, rate // 100))


@contextmanager
def consumer(rig, topic, events, seconds):
    """Connected and waiting; ended with the block, whatever happens."""
    receiver = subprocess.Popen(
        [sys.executable, os.path.join(HERE, "latency_consumer.py"), rig.kafka.bootstrap, topic.name,
         str(PARTITIONS), str(events), str(seconds)], stdout=subprocess.PIPE, text=True)
    try:
        if receiver.stdout.readline() != "ready\n":
            raise RuntimeError("the consumer did not start")
        yield receiver
    finally:
        receiver.kill()
        receiver.wait()


def numbers(text):
    return {n: rest for n, *rest in (map(int, line.split()) for line in text.splitlines())}


@contextmanager
def relay(rig, topic, _events, binary=None):
    contender = rig.relay(topic.name, binary=binary).start()
    yield
    stop(contender)


@contextmanager
def floor(rig, topic, events):
    """The barest program, with the bell armed for good: every insert notifies."""
    rig.sql("SELECT setval(bell, 1, true) FROM outbox_relay.outboxes WHERE outbox = 'outbox_events'::regclass")
    with drain.bare_publisher(rig, topic, events) as publisher:
        try:
            yield
            publisher.wait(30)
        finally:
            publisher.kill()


def observe(rig, plan, rate, contender):
    """(commits {n: [before, after]}, arrivals {n: [when]}), in microseconds."""
    seconds = plan.latency_seconds + WARM_UP_SECONDS
    events = rate * seconds
    outbox.empty(rig)
    outbox.tidy(rig)
    with Topic(rig.kafka) as topic, contender(rig, topic, events):
        with consumer(rig, topic, events, seconds + 30) as receiver:
            commits = run([rig.build("paced_writer"), rig.dsn, rate, seconds, connections(rate), plan.keys, 1],
                          timeout=seconds * 3)
            arrivals, _ = receiver.communicate(timeout=seconds + 60)
    return numbers(commits), numbers(arrivals)


def figures(commits, arrivals, rate):
    """Latencies in ms, from COMMIT's return and from just before it was sent."""
    counted = [n for n in commits if n >= rate * WARM_UP_SECONDS]
    missing = [n for n in counted if n not in arrivals]
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(counted)} events did not arrive")
    after = sorted((arrivals[n][0] - commits[n][1]) / 1000 for n in counted)
    before = sorted((arrivals[n][0] - commits[n][0]) / 1000 for n in counted)
    span = (max(commits[n][1] for n in counted) - min(commits[n][1] for n in counted)) / 1e6
    return {"reached": (len(counted) - 1) / span,
            **{name: percentile(after, share) for name, share in SHARES.items()},
            "worst": after[-1],
            **{f"before_{name}": percentile(before, share) for name, share in SHARES.items()}}


def _contenders(rig):
    """The relay is the last: ratios are its figures by theirs."""
    found = {"floor": floor, "other relay": partial(relay, binary=rig.against), "relay": relay}
    return {name: how for name, how in found.items() if name != "other relay" or rig.against}


def measure(rig, plan, with_relay, say):
    table = Table("latency", "ms from commit to consumer,"
                  f" medians of {plan.rounds} x {plan.latency_seconds} s", {
        "reached": "commits/s", "p50": "p50", "p95": "p95", "p99": "p99", "worst": "max",
        "before_p50": "from before COMMIT: p50", "before_p95": "p95", "before_p99": "p99",
        **{f"ratio_{figure}": f"of the floor: {figure.replace('_', ' COMMIT ')}" for figure in RATIOS}})
    if not with_relay:
        return table
    contenders = _contenders(rig)
    table.rows = {f"{rate} events/s, {name}": {} for rate in plan.rates for name in contenders}
    order = deque(contenders)
    for number in range(plan.rounds):
        for rate in plan.rates:
            seen = {}
            for name in order:
                say(f"latency, round {number + 1}: {rate} events/s, {name}")
                seen[name] = figures(*observe(rig, plan, rate, contenders[name]), rate)
            for name, figure in seen.items():
                ratios = {f"ratio_{of}": figure[of] / seen["floor"][of] for of in RATIOS}
                table.add(f"{rate} events/s, {name}", **figure, **ratios)
        order.rotate(-1)
    table.note("from just after COMMIT returned to the writer; those of before COMMIT from just before it was sent")
    return table
