# SPDX-License-Identifier: ISC
"""A history, sorted: which event each record is, when each first arrived, and what a key's partition holds."""
from collections import defaultdict
from functools import cached_property
from typing import NamedTuple

from faults.history import COMMITTED, LOSS, LOST, REJECT, UNKNOWN


class Place(NamedTuple):
    """A record, the event it is (None: nobody's), and whether its header `id` said so."""
    arrival: object
    event: object
    by_id: bool


class Facts:
    """places: all records by topic, partition and offset. first: {event_id: index in places}. keys: {(topic,
    key): indices in places} by the key of the event, whatever the record's is. committed: {(topic, key):
    events by number}."""

    def __init__(self, history):
        self.history = history
        self.run = history.run
        self.by_id = {event.event_id: event for event in history.events}
        self.loses = any(LOSS in fault.excuses for fault in history.faults)
        self.rejects = any(REJECT in fault.excuses for fault in history.faults)
        self.committed = self._committed()
        self.places = self._identify(_sorted(history.arrivals))
        self.first = self._first()

    def _committed(self):
        by_key = defaultdict(list)
        for event in self.history.events:
            if event.state == COMMITTED:
                by_key[event.topic, event.key].append(event)
        for events in by_key.values():
            events.sort(key=lambda event: event.number)
        return by_key

    def _identify(self, arrivals):
        by_id = self.by_id
        places = [Place(a, by_id.get(a.event_id), True) for a in arrivals]
        if all(place.event for place in places):
            return places
        others = self._by_content(places)
        return [place if place.event else Place(place.arrival, others.get(_content(place.arrival)), False)
                for place in places]

    def _by_content(self, places):
        """Committed events that are told apart by what is in them alone, among those that did not arrive under
        their own id: a record with a wrong `id` may be one of these."""
        arrived = {place.event.event_id for place in places if place.event}
        found = {}
        for events in self.committed.values():
            for event in events:
                if event.event_id not in arrived:
                    content = _content(event)
                    found[content] = None if content in found else event
        return found

    def _first(self):
        first = {}
        for index in range(len(self.places) - 1, -1, -1):
            event = self.places[index][1]
            if event is not None:
                first[event.event_id] = index
        return first

    @cached_property
    def keys(self):
        """{(topic, key): indices in places}, by the key of the event, whatever the record's is."""
        keys = defaultdict(list)
        for index, (_, event, _) in enumerate(self.places):
            if event is not None:
                keys[event.topic, event.key].append(index)
        return keys

    @cached_property
    def missing(self):
        """Committed events that never arrived."""
        first = self.first
        return [event for event in self.all_committed() if event.event_id not in first]

    def repeated(self):
        """The part of keys that holds a committed event twice; found without making all of it."""
        first, again = self.first, set()
        for index, (_, event, _) in enumerate(self.places):
            if event is not None and first[event.event_id] != index and event.state == COMMITTED:
                again.add((event.topic, event.key))
        return {key: self.keys[key] for key in again}

    def excused(self, event):
        """A failover took it: it may have arrived, and counts for nothing, unless relays wait for what survives."""
        return self.loses and not self.run.survives and event.state in (LOST, UNKNOWN)

    def time(self, arrival):
        """When the relay handed it to its client, on the monotonic clock."""
        return arrival.timestamp / 1000 - self.run.wall_offset

    def all_committed(self):
        return (event for event in self.history.events if event.state == COMMITTED)


def _content(fact):
    return fact.topic, fact.key, fact.value, fact.headers


def _sorted(arrivals):
    """By place, each once: a consumer that starts over reads the same records again."""
    ordered = sorted(arrivals, key=lambda a: (a.topic, a.partition, a.offset))
    return [a for a, before in zip(ordered, [None, *ordered])
            if before is None or a[:3] != before[:3]]
