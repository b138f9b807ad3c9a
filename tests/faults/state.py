# SPDX-License-Identifier: ISC
"""What the relay came to: drained in time, within its memory, alive, and telling the truth about itself."""
from faults.causes import SLACK
from faults.verdict import Verdict

PUBLISHED, REJECTED, DEPTH = "published_total", "rejected_total", "depth"
BY_LEDGER = "settled_by_ledger_total"  # not in published_total


def drained(facts):
    """Within the limit after the last fault was mended and the load had ended, nothing waited any more."""
    verdict = Verdict("drained in time", "waits")
    history = facts.history
    _still_waiting(facts, verdict)
    if facts.run.drain_limit is None:
        return verdict if verdict.count else verdict.skip("the run has no limit")
    verdict.judged = 1
    limit = history.drain_limit()
    done = history.mark("drained")
    begin = max([fault.until for fault in history.faults] + [history.mark("load ended") or 0])
    if done is None:
        verdict.blame("the outbox was never seen empty after the load")
    elif done - begin > limit:
        verdict.blame(f"the outbox was empty {done - begin:.1f} s after the last fault and the load, which is more "
                      f"than {limit:.1f} s")
    return verdict


def _still_waiting(facts, verdict):
    for snapshot in facts.history.snapshots:
        for event_id in snapshot.waiting if snapshot.final else ():
            event = facts.by_id.get(event_id)
            verdict.blame(f"event {event_id} still waits at the end", event and (event.topic, event.key),
                          event=event)


def memory(facts):
    verdict = Verdict("bounded memory", "samples")
    limit = facts.run.memory_limit
    if limit is None:
        return verdict.skip("the run has no limit")
    worst = {}
    for sample in facts.history.memory:
        verdict.judged += 1
        worst[sample.process] = max(worst.get(sample.process, sample), sample, key=lambda s: s.mib)
    for sample in worst.values():
        if sample.mib > limit:
            verdict.blame(f"{sample.process} had {sample.mib:.1f} MiB resident at {sample.at:.3f}, limit {limit}")
    if verdict.judged == 0:
        verdict.blame("no sample was taken")
    return verdict


def alive(facts):
    """No relay ends but when it is told to."""
    verdict = Verdict("relays live", "processes")
    for process in facts.history.processes:
        verdict.judged += 1
        if process.how == "died":
            verdict.blame(f"{process.name} died of itself at {process.ended:.3f}")
    return verdict


def metrics(facts):
    """published_total against what is in the topics; nothing rejected; nothing waiting at the end.

    A relay that is killed takes its last counts with it, so its latest are a lower bound of what it did. What
    arrived after the last of those had ended is the work of relays that were read to the end."""
    verdict = Verdict("metrics are true", "scrapes")
    latest = {m.process: m for m in sorted(facts.history.metrics, key=lambda m: m.at)}
    if not latest:
        return verdict.skip("the run read none")
    verdict.judged = len(facts.history.metrics)
    _not_too_many(facts, verdict, latest)
    _not_too_few(facts, verdict, latest)
    _at_rest(facts, verdict, latest)
    return verdict


def total(scrape, name):
    """The sum over all labels, or 0."""
    name = f"outbox_relay_{name}"
    return sum(value for sample, value in scrape.samples.items() if sample.split("{")[0] == name)


def _not_too_many(facts, verdict, latest):
    """Each acknowledged record is in a topic. By topic, and over all relays."""
    said = {}
    for scrape in latest.values():
        for sample, value in scrape.samples.items():
            if sample.startswith("outbox_relay_published_total{"):
                said[sample] = said.get(sample, 0) + value
    held = {}
    for arrival, _, _ in facts.places:
        held[arrival.topic] = held.get(arrival.topic, 0) + 1
    for sample, value in said.items():
        topic = sample.split('topic="')[1].split('"')[0]
        if topic != "other" and value > held.get(topic, 0):
            verdict.blame(f"relays count {value:.0f} events published to {topic}, which holds "
                          f"{held.get(topic, 0)} records")


def _not_too_few(facts, verdict, latest):
    final = [p for p in facts.history.processes if p.final]
    if not final:
        return
    last = max((p.ended for p in facts.history.processes if not p.final), default=float("-inf"))
    since = sum(_after(facts, facts.places[index].arrival, last + SLACK) for index in facts.first.values())
    said = sum(total(latest[p.name], PUBLISHED) + total(latest[p.name], BY_LEDGER) for p in final if p.name in latest)
    if said < since:
        verdict.blame(f"relays that were read at the end count {said:.0f} published events, but {since} events "
                      f"arrived first after {last:.3f}, when only these were alive")


def _after(facts, arrival, limit):
    """By the relay's clock, and by ours: that of a relay may have jumped."""
    return facts.time(arrival) > limit and (arrival.came is None or arrival.came > limit)


def _at_rest(facts, verdict, latest):
    for process in facts.history.processes:
        scrape = latest.get(process.name)
        if scrape is None:
            continue
        if total(scrape, REJECTED) and not facts.rejects:
            verdict.blame(f"{process.name} counts {total(scrape, REJECTED):.0f} rejected events, and none was "
                          "to be rejected")
        if process.final and process.how == "alive" and total(scrape, DEPTH):
            verdict.blame(f"{process.name} tells a depth of {total(scrape, DEPTH):.0f} at the end")
