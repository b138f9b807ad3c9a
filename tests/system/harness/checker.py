# SPDX-License-Identifier: ISC
"""Judges what arrived against what was committed. Pure: no Kafka, no Postgres.

Every event carries its key and its number among the events of that key: 1, 2, 3, ... in the order in
which they were committed. From that alone follows what a partition may hold:

- nothing is missing and nothing is there that was never committed;
- a key lives in one partition;
- the first arrivals of a key are 1, 2, 3, ...;
- a relay that is killed may publish again from some earlier point, and must then go on without a gap:
  a replay. So a number is followed by the next one, or by a step back, and steps back are at most as
  many as kills. Without a kill there is none.
"""
from collections import defaultdict
from typing import NamedTuple


class Event(NamedTuple):
    event_id: str
    key: str
    number: int


class Arrival(NamedTuple):
    partition: int
    offset: int
    event: Event


def problems(committed, arrivals, kills=0):
    """What is wrong, in words; empty when all is well."""
    return (_strangers(committed, arrivals) + _missing(committed, arrivals)
            + _split_keys(arrivals) + _order(arrivals, kills))


def _strangers(committed, arrivals):
    known = set(committed)
    return [f"{a.event} arrived at {a.partition}/{a.offset} but was never committed"
            for a in arrivals if a.event not in known]


def _missing(committed, arrivals):
    seen = {a.event for a in arrivals}
    return [f"{event} was committed and never arrived" for event in committed if event not in seen]


def _split_keys(arrivals):
    places = defaultdict(set)
    for arrival in arrivals:
        places[arrival.event.key].add(arrival.partition)
    return [f"key {key} is in the partitions {sorted(where)}"
            for key, where in places.items() if len(where) > 1]


def _order(arrivals, kills):
    found = []
    last, highest, steps_back = defaultdict(int), defaultdict(int), defaultdict(int)
    for arrival in sorted(arrivals, key=lambda a: (a.partition, a.offset)):
        _, key, number = arrival.event
        at = f"key {key} at {arrival.partition}/{arrival.offset}"
        if number > highest[key] + 1:
            found.append(f"{at}: {number} overtook {highest[key] + 1}")
        elif number <= last[key]:
            steps_back[key] += 1
            if steps_back[key] > kills:
                found.append(f"{at}: {number} again after {last[key]}, with {kills} kills")
        elif number != last[key] + 1:
            found.append(f"{at}: {number} after {last[key]}, a replay with a gap")
        last[key] = number
        highest[key] = max(highest[key], number)
    return found


def repeats(arrivals):
    """How many arrivals came on top of the first of their event."""
    return len(arrivals) - len({a.event for a in arrivals})
