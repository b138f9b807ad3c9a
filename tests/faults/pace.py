# SPDX-License-Identifier: ISC
"""How fast a load goes, and what overlapping writers of a key know of each other."""
import threading
import time


class Pace:
    """So many events a second over all threads; None: as fast as it goes. What an outage held up is not made
    up for later by more than a second's worth."""

    def __init__(self, rate):
        self.rate = rate
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def reserve(self, events):
        """How many seconds to wait before so many events."""
        if self.rate is None:
            return 0
        with self._lock:
            now = time.monotonic()
            begin = max(self._next, now - 1)
            self._next = begin + events / self.rate
            return max(0, begin - now)


class Tickets:
    """Numbers of one key whose writers do not take turns. A number is out from before the insert until the
    transaction is known to have ended; what has the number `after` or a lower one ended before."""

    def __init__(self):
        self._last = 0
        self._out = {}  # number: transaction
        self._lock = threading.Lock()

    def draw(self, txn):
        """(number, after)."""
        with self._lock:
            self._last += 1
            others = [number for number, other in self._out.items() if other != txn]
            self._out[self._last] = txn
            return self._last, min(others, default=self._last) - 1

    def end(self, txn):
        """Call when the outcome is known. Without it, nothing later is ordered after this transaction."""
        with self._lock:
            self._out = {number: other for number, other in self._out.items() if other != txn}
