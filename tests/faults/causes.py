# SPDX-License-Identifier: ISC
"""What may make a relay publish again, and which repeat is put down to which."""
from bisect import bisect_left

from faults.history import REPLAY, SCATTER

# Between a fault and what we noted of it, and between the two clocks.
SLACK = 0.5


class Causes:
    """Faults of a history that excuse repeats. A scatter lasts until the outbox was next seen empty: until then
    rows that came back may wait in it."""

    def __init__(self, history):
        self.points = sorted((f for f in history.faults if REPLAY in f.excuses), key=lambda f: f.until)
        self.ends = [fault.until for fault in self.points]
        drained = sorted(mark.at for mark in history.marks if mark.name == "drained")
        self.windows = [(fault.at, next((at for at in drained if at >= fault.until), float("inf")))
                        for fault in history.faults if SCATTER in fault.excuses]

    def scattered(self, begin, end):
        """Whether repeats in any shape are excused at some time between."""
        return any(at <= end + SLACK and until >= begin - SLACK for at, until in self.windows)

    def between(self, begin, end, used=()):
        """The first fault between that has not been used, or None."""
        for number in range(bisect_left(self.ends, begin - SLACK), len(self.points)):
            fault = self.points[number]
            if fault.at <= end + SLACK and number not in used:
                return number
        return None
