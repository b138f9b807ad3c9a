# SPDX-License-Identifier: ISC
"""Order of first arrivals, and the shape of repeats.

Of a key whose writers serialised, a partition holds its events in order, and after a fault that excuses it
one replay: the relay goes back to an earlier event and publishes all from there on again, in order, without a
gap, up to the newest and on. So a record is followed by the next, or by a step back; and each step back has a
fault of its own between the two records, by the times at which the relay handed them to its client.
"""
from bisect import bisect_right

from faults.causes import Causes
from faults.history import COMMITTED
from faults.verdict import Verdict


def order(facts):
    """Where B's insert began after A had committed, A arrives first."""
    verdict = Verdict("order per key", "pairs of first arrivals")
    for key, events in facts.committed.items():
        _order_of_key(facts, verdict, key, events)
    return verdict


def _order_of_key(facts, verdict, key, events):
    numbers, latest = [], []  # latest[i]: of the events up to numbers[i], the one that arrived last
    for event in events:
        index = facts.first.get(event.event_id)
        if index is None:
            continue
        known = bisect_right(numbers, event.after)
        if known:
            verdict.judged += 1
            earlier = latest[known - 1]
            if earlier[0] > index and _same_partition(facts, earlier[0], index):
                verdict.blame(f"event {earlier[1].number} of key {event.key!r} had committed before the insert of "
                              f"{event.number} began, and arrived after it", key, index)
        numbers.append(event.number)
        latest.append(max(latest[-1], (index, event)) if latest else (index, event))


def _same_partition(facts, one, other):
    return facts.places[one].arrival[:2] == facts.places[other].arrival[:2]


def repeats(facts):
    """(verdict on the shape of repeats, verdict on their causes)."""
    shape = Verdict("repeats are contiguous", "repeats")
    cause = Verdict("repeats have a cause", "repeats")
    if facts.history.run.once:
        return shape, _none(facts, cause)
    causes = Causes(facts.history)
    for key, indices in facts.repeated().items():
        indices = [i for i in indices if facts.places[i].event.state == COMMITTED]
        again = len(indices) - len({facts.places[i].event.event_id for i in indices})
        shape.judged += again
        cause.judged += again
        if _serial(facts.committed[key]):
            for part in _by_partition(facts, indices):
                _walk(facts, causes, part, key, shape, cause)
        else:
            _loose(facts, causes, indices, key, cause)
    return shape, cause


def _none(facts, cause):
    """Exactly once: those that the database lost are no events."""
    for key, indices in facts.repeated().items():
        seen = set()
        for index in indices:
            event = facts.places[index].event
            if event.state == COMMITTED and event.event_id in seen:
                cause.judged += 1
                cause.blame(f"key {key[1]!r}: event {event.number} again, and relays deliver exactly once", key, index)
            seen.add(event.event_id)
    return cause


def _serial(events):
    """Whether the writers of a key took turns, so that there is one order."""
    return all(event.after >= before.number for before, event in zip(events, events[1:]))


def _by_partition(facts, indices):
    parts = {}
    for index in indices:
        parts.setdefault(facts.places[index].arrival[:2], []).append(index)
    return parts.values()


def _walk(facts, causes, indices, key, shape, cause):
    """One key in one partition, record by record. Ranks are by first arrival, so that what order() blames is
    not blamed again."""
    ranks, used, last, begin = {}, set(), -1, None
    for index in indices:
        arrival, event, _ = facts.places[index]
        end = facts.time(arrival)
        head = len(ranks)
        rank = ranks.setdefault(event.event_id, head)
        if rank != last + 1 and not causes.scattered(begin, end):
            if rank > last:
                shape.blame(f"key {key[1]!r}: event {event.number} comes after a replay that left out "
                            f"{rank - last - 1} events before it", key, index)
            else:
                found = causes.between(begin, end, used)
                used.add(found)
                if found is None:
                    cause.blame(f"key {key[1]!r}: event {event.number} again, and nothing happened between this "
                                f"record ({end:.3f}) and the one before ({begin:.3f}) that excuses it",
                                key, index)
        last, begin = rank, end


def _loose(facts, causes, indices, key, cause):
    """Writers that overlap have no order that a replay could be held against; a cause there must be."""
    seen = {}
    for index in indices:
        arrival, event, _ = facts.places[index]
        end = facts.time(arrival)
        begin = seen.get(event.event_id)
        seen[event.event_id] = end
        if begin is not None and causes.between(begin, end) is None and not causes.scattered(begin, end):
            cause.blame(f"key {key[1]!r}: event {event.number} again, and nothing happened between {begin:.3f} and "
                        f"{end:.3f} that excuses it", key, index)
