# SPDX-License-Identifier: ISC
"""What came of a run, from the files that it left: figures, and whether it was well."""
import json
import os
from bisect import bisect_right
from statistics import median
from typing import NamedTuple

from faults import history as histories

from endurance import windows
from endurance.names import HISTORY, MACHINE, OUTCOME, READ, STEADY, WRITTEN

AFTER = 30   # seconds after a restart that count as disturbed
SLACK = 60   # seconds after a restart, from its end, in which it may cause repeats
# What may be repeated after: what ends a relay or its session with the database.
REPEATS = ("relay stopped", "relay killed", "PostgreSQL fast", "PostgreSQL immediate", "database sessions cut")
# Growth from the first quarter to the last that is none: pages that an allocator kept after the largest backlog so far.
BOUNDS = {"mib": 8, "descriptors": 2, "threads": 1}


class Kept(NamedTuple):
    """read and written: windows; outcome: what was counted at the end."""
    history: object
    read: list
    written: list
    outcome: dict

    @property
    def begin(self):
        return self.history.mark("load started")

    @property
    def end(self):
        return self.history.mark("load ended") or max(sample.at for sample in self.history.memory)

    @property
    def restarts(self):
        return sorted(self.history.faults, key=lambda fault: fault.at)


def load(directory):
    def path(name):
        return os.path.join(directory, name)
    outcome = {"problems": ["the run did not come to its end"]}
    if os.path.exists(path(OUTCOME)):
        with open(path(OUTCOME), encoding="utf-8") as file:
            outcome = json.load(file)
    return Kept(histories.read(path(HISTORY)), windows.read(path(READ)), windows.read(path(WRITTEN)), outcome)


def calm(kept, begin, end=None):
    """Whether nothing was restarted at this time or shortly before it."""
    end = begin if end is None else end
    return not any(fault.at <= end and begin <= fault.until + AFTER for fault in kept.history.faults)


def backlog(kept):
    """[(end of the window, events that were committed and have not arrived)]."""
    change = {}
    for begin, counts, _ in kept.written:
        change[begin] = change.get(begin, 0) + counts.get("events", 0)
    for begin, counts, _ in kept.read:
        change[begin] = change.get(begin, 0) - counts.get("first", 0)
    waiting, found = 0, []
    for begin in sorted(change):
        waiting += change[begin]
        found.append((begin + windows.SECONDS, max(0, waiting)))
    return found


def growth(kept):
    """{figure: (median of the first quarter, median of the last)} of the relay that nobody restarts, while calm; {} without
    samples in both."""
    quarter = (kept.end - kept.begin) / 4
    mine = [s for s in kept.history.memory if s.process.startswith(STEADY) and calm(kept, s.at)]
    first = [s for s in mine if s.at < kept.begin + quarter]
    last = [s for s in mine if kept.end - quarter < s.at <= kept.end]
    if not first or not last:
        return {}
    return {name: (median(getattr(s, name) for s in first), median(getattr(s, name) for s in last)) for name in BOUNDS}


def latency(kept):
    """(median of the windows' p50, of their p99), while calm; None without any."""
    figures = [figure for begin, _, figure in kept.read if figure and calm(kept, begin, begin + windows.SECONDS)]
    if not figures:
        return None
    return median(f["p50"] for f in figures), median(f["p99"] for f in figures)


class After(NamedTuple):
    """Of one kind of restart: how often; the longest that it took; the longest wait of an event and the largest backlog
    until the next restart; repeats."""
    count: int
    took: float
    wait: float
    backlog: int
    repeats: int


def by_kind(kept):
    """{kind: After}, and how many repeats no restart explains."""
    restarts = kept.restarts
    starts = [fault.at - windows.SECONDS for fault in restarts]
    found = {fault.name: After(0, 0, 0, 0, 0) for fault in restarts}
    for fault in restarts:
        after = found[fault.name]
        found[fault.name] = after._replace(count=after.count + 1, took=max(after.took, fault.until - fault.at))
    unexplained = 0
    for begin, counts, figure in kept.read:
        number = bisect_right(starts, begin) - 1
        again = counts.get("again", 0)
        if number < 0 or not _may_repeat(restarts[:number + 1], begin):
            unexplained += again
        if number >= 0:
            after = found[restarts[number].name]
            found[restarts[number].name] = after._replace(
                wait=max(after.wait, figure["max"] if figure else 0), repeats=after.repeats + again)
    for at, waiting in backlog(kept):
        number = bisect_right(starts, at - windows.SECONDS) - 1
        if number >= 0:
            after = found[restarts[number].name]
            found[restarts[number].name] = after._replace(backlog=max(after.backlog, waiting))
    return found, unexplained


def _may_repeat(restarts, at):
    return any(fault.name in REPEATS and at <= fault.until + SLACK for fault in restarts)


def problems(kept):
    """What was not well, as sentences."""
    outcome, found = kept.outcome, list(kept.outcome["problems"])
    if outcome.get("lost"):
        found.append(f"{outcome['lost']:,} committed events never arrived")
    if outcome.get("phantoms"):
        found.append(f"{outcome['phantoms']:,} events arrived that no committed transaction has")
    found += [f"out of order: {text}" for text in outcome.get("reordered", ())]
    found += [f"{process.name} ended of itself" for process in kept.history.processes if process.how == "died"]
    if kept.history.mark("drained") is None:
        found.append("the outbox was never seen empty after the load")
    if unexplained := by_kind(kept)[1]:
        found.append(f"{unexplained:,} repeats that no restart explains")
    for name, (first, last) in growth(kept).items():
        if last - first > BOUNDS[name]:
            found.append(f"{name} of the relay that was never restarted grew from {first:.1f} to {last:.1f}")
    return found


def report(kept):
    outcome, found = kept.outcome, problems(kept)
    lines = [f"{(kept.end - kept.begin) / 60:.1f} minutes, {len(kept.restarts)} restarts, seed {kept.history.run.seed}, "
             f"{kept.history.run.note}",
             *(f"{text:<34}{outcome.get(name, '?'):>12,}" if name in outcome else f"{text}: not known" for name, text in
               (("committed", "events committed"), ("first", "events arrived"), ("again", "repeats"),
                ("lost", "lost"), ("phantoms", "never committed, but arrived"))),
             f"{'out of order':<34}{len(outcome.get('reordered', ())):>12,}"]
    if calm_figures := latency(kept):
        lines.append(f"latency while calm, ms: p50 {calm_figures[0]:.1f}, p99 {calm_figures[1]:.1f}")
    lines += [f"{STEADY} {name}: first quarter {first:.1f}, last quarter {last:.1f}"
              for name, (first, last) in growth(kept).items()]
    lines.append(f"{'after':<24}{'times':>6}{'took, s':>9}{'waited, s':>11}{'backlog':>10}{'repeats':>9}")
    lines += [f"{kind:<24}{a.count:>6}{a.took:>9.1f}{a.wait / 1000:>11.1f}{a.backlog:>10,}{a.repeats:>9,}"
              for kind, a in sorted(by_kind(kept)[0].items())]
    return "\n".join([*lines, *(f"PROBLEM: {text}" for text in found), "well" if not found else f"{len(found)} problems"])
