# SPDX-License-Identifier: ISC
"""The outcome of one invariant, and the part of a history that tells it."""
from typing import NamedTuple, Optional

AROUND = 3    # records shown before and after the culprit
KEPT = 1000   # violations remembered; the others are counted


class Violation(NamedTuple):
    """What is wrong, in words. key: (topic, key) it is about; index: the culprit among Facts.places; event: one
    that did not arrive."""
    text: str
    key: Optional[tuple] = None
    index: Optional[int] = None
    event: Optional[object] = None


class Verdict:
    """judged: how many of `what` were looked at. skipped: why there was nothing to judge."""

    def __init__(self, name, what):
        self.name, self.what = name, what
        self.judged = 0
        self.count = 0
        self.violations = []
        self.skipped = None

    @property
    def holds(self):
        return self.count == 0

    def blame(self, text, key=None, index=None, event=None):
        self.count += 1
        if len(self.violations) < KEPT:
            self.violations.append(Violation(text, key, index, event))

    def skip(self, why):
        self.skipped = why
        return self


def excerpt(facts, violation):
    """The records of the key around the culprit, with the faults among them, as lines."""
    if violation.key is None:
        if violation.index is None:
            return []
        indices = _neighbours(facts, violation.index)
    else:
        indices = facts.keys.get(violation.key, [])
    middle = _middle(facts, indices, violation)
    chosen = indices[max(0, middle - AROUND):middle + AROUND + 1]
    return _with_faults(facts, chosen, violation.index)


def _neighbours(facts, index):
    """The records of the same partition around this one, when the key is not known."""
    place = facts.places[index].arrival[:2]
    return [i for i in range(max(0, index - AROUND), min(len(facts.places), index + AROUND + 1))
            if facts.places[i].arrival[:2] == place]


def _middle(facts, indices, violation):
    if violation.index is not None:
        return indices.index(violation.index) if violation.index in indices else 0
    if violation.event is not None:
        return sum(facts.places[i].event.number < violation.event.number for i in indices)
    return 0


def _with_faults(facts, indices, culprit):
    lines, before = [], None
    for index in indices:
        arrival, event, _ = facts.places[index]
        at = facts.time(arrival)
        if before is not None:
            lines += [f"    ---- {fault.name} at {fault.at:.3f} to {fault.until:.3f} {fault.detail}".rstrip()
                      for fault in facts.history.faults if before <= fault.at <= at]
        before = at
        number = "?" if event is None else event.number
        lines.append(f"  {'>' if index == culprit else ' '} {arrival.topic}/{arrival.partition}@{arrival.offset}"
                     f" {at:.3f} key={arrival.key!r} n={number} id={arrival.event_id}"
                     f" value={_short(arrival.value)}")
    return lines


def _short(value):
    return repr(value if value is None or len(value) <= 60 else value[:60] + "...")
