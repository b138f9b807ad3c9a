# SPDX-License-Identifier: ISC
"""What has arrived, in little memory: a bit for each event. Pure."""
from collections import Counter

SHOWN = 20  # of what is out of order


class Arrivals:
    """seen: {writer: a byte for each of its transactions, with a bit for each event}."""

    def __init__(self):
        self.seen = {}
        self.first = self.again = 0
        self.reordered = []
        self._last = {}  # {(topic, key): (partition, number, place) of its latest first arrival}

    def add(self, topic, partition, key, identity):
        """Whether this is the event's first arrival."""
        writer, number, place = identity
        if not self._is_new(writer, number, 1 << place):
            self.again += 1
            return False
        self.first += 1
        before = self._last.get((topic, key))
        if before is not None and (before[0] != partition or before[1:] > (number, place)):
            self._blame(topic, partition, key, (number, place), before)
        self._last[topic, key] = (partition, number, place)
        return True

    def _is_new(self, writer, number, bit):
        bits = self.seen.setdefault(writer, bytearray())
        if number >= len(bits):
            bits.extend(bytes(number + 10_000 - len(bits)))
        new = not bits[number] & bit
        bits[number] |= bit
        return new

    def _blame(self, topic, partition, key, event, before):
        if len(self.reordered) < SHOWN:
            self.reordered.append(f"{topic}/{partition} key {key}: event {event[0]}.{event[1]} came first after "
                                  f"{before[1]}.{before[2]} in partition {before[0]}")
        else:
            self.reordered[-1] = "and more"


def compare(seen, orders):
    """(lost, phantoms, committed): how many events of committed transactions never arrived, how many arrived that belong to
    none, and how many were committed. orders: (writer, number, events) of each transaction."""
    counts = Counter()
    missed = {writer: bytearray(bits) for writer, bits in seen.items()}
    for writer, number, events in orders:
        bits = missed.get(writer, b"")
        arrived = bits[number] if number < len(bits) else 0
        due = (1 << events) - 1
        counts["committed"] += events
        counts["lost"] += (due & ~arrived).bit_count()
        if number < len(bits):
            bits[number] &= ~due & 0xff
    phantoms = sum(byte.bit_count() for bits in missed.values() for byte in bits if byte)
    return counts["lost"], phantoms, counts["committed"]
