# SPDX-License-Identifier: ISC
"""Section memory: does the relay grow with what went through it?"""
import outbox
import usage
from report import Table
from rig import stop
from topics import Topic

TIMEOUT = 300
PORTIONS = 3


def measure(rig, plan, with_relay, say):
    table = Table("memory", "one relay, events inserted while it runs", {
        "rss": "RSS MiB", "peak": "peak RSS MiB", "growth": "growth since the first, KiB"})
    if not with_relay:
        return table
    outbox.empty(rig)
    outbox.tidy(rig)
    with Topic(rig.kafka) as topic:
        relay = rig.relay(topic.name).start()
        table.add("at start", rss=usage.rss_mib(relay.process.pid), peak=usage.peak_rss_mib(relay.process.pid))
        first = None
        for portion in range(1, PORTIONS + 1):
            say(f"memory: {portion * plan.memory_events:,} events")
            outbox.fill_in_chunks(rig, plan, plan.memory_events)
            topic.wait(portion * plan.memory_events, TIMEOUT, alive=lambda: relay.process.alive)
            rig.database.wait_empty(timeout=TIMEOUT)
            rss = usage.rss_mib(relay.process.pid)
            first = first or rss
            table.add(f"{portion * plan.memory_events:,} events", rss=rss, growth=(rss - first) * 1024,
                      peak=usage.peak_rss_mib(relay.process.pid))
        stop(relay)
        topic.span(PORTIONS * plan.memory_events)  # each of them, once
    outbox.empty(rig)
    return table
