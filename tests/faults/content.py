# SPDX-License-Identifier: ISC
"""Each record is its event, byte for byte, and stands where Java's producer would have put it."""
from functools import lru_cache

from harness.murmur2 import partition

from faults import tokens
from faults.verdict import Verdict


@lru_cache(maxsize=1 << 20)
def _partition(key, partitions):
    return partition(tokens.raw(key), partitions)


def _compare(name, member, facts):
    """A verdict about one member that a record and its event share."""
    verdict = Verdict(name, "records")
    for index, (arrival, event, _) in enumerate(facts.places):
        if event is None or event.topic is None:
            continue
        verdict.judged += 1
        expected, got = getattr(event, member), getattr(arrival, member)
        if got != expected:
            verdict.blame(f"{member} of event {event.number} of key {event.key!r} ({event.event_id}) is {got!r}, "
                          f"not {expected!r}", (event.topic, event.key), index)
    return verdict


def value_bytes(facts):
    return _compare("value bytes", "value", facts)


def key_bytes(facts):
    return _compare("key bytes", "key", facts)


def header_list(facts):
    return _compare("headers", "headers", facts)


def identity(facts):
    verdict = Verdict("header id", "records")
    for index, (arrival, event, by_id) in enumerate(facts.places):
        verdict.judged += 1
        if event is not None and not by_id:
            verdict.blame(f"event {event.event_id} arrived with the header id {arrival.event_id}",
                          (event.topic, event.key), index)
    return verdict


def _counts(facts, topic):
    """How many partitions the topic may have had for the relay."""
    return [facts.run.topics[topic], *(p.partitions for p in facts.history.partitions if p.topic == topic)]


def place(facts):
    verdict = Verdict("topic and partition", "records")
    counts = {topic: _counts(facts, topic) for topic in facts.run.topics}
    for index, (arrival, event, _) in enumerate(facts.places):
        if event is None or event.topic is None:
            continue
        verdict.judged += 1
        key = event.topic, event.key
        if arrival.topic != event.topic:
            verdict.blame(f"event {event.event_id} of topic {event.topic} is in {arrival.topic}", key, index)
        elif event.key is not None and arrival.topic in facts.run.topics:
            right = [_partition(event.key, count) for count in counts[arrival.topic]]
            if arrival.partition not in right:
                verdict.blame(f"event {event.event_id} of key {event.key!r} is in partition {arrival.partition}, "
                              f"not {' or '.join(map(str, right))}", key, index)
    return verdict
