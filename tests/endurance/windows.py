# SPDX-License-Identifier: ISC
"""Figures of each few seconds, as lines of JSON that are written when the window is over."""
import json

SECONDS = 5


def percentile(ordered, share):
    """Of a sorted list, the smallest figure that at least this share of all does not exceed."""
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


class Windows:
    """Windows of the monotonic clock. A line: [begin, counts, {"p50", "p99", "max"} or null], latencies in ms."""

    def __init__(self, path):
        self._file = open(path, "w", encoding="ascii")
        self._number, self._counts, self._latencies = None, {}, []

    def add(self, at, latency=None, **counts):
        self.pass_to(at)
        for name, count in counts.items():
            self._counts[name] = self._counts.get(name, 0) + count
        if latency is not None:
            self._latencies.append(latency)

    def pass_to(self, at):
        """Writes what is over by now."""
        number = int(at // SECONDS)
        if number != self._number:
            self.flush()
            self._number = number

    def flush(self):
        if self._counts:
            line = [self._number * SECONDS, self._counts, summary(self._latencies)]
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()
        self._counts, self._latencies = {}, []


def summary(latencies):
    if not latencies:
        return None
    latencies = sorted(latencies)
    return {"p50": round(percentile(latencies, 0.5), 2), "p99": round(percentile(latencies, 0.99), 2),
            "max": round(latencies[-1], 2)}


def read(path):
    """[(begin, counts, latencies)]; a last line that was cut off is left out."""
    with open(path, encoding="ascii") as file:
        return [tuple(json.loads(line)) for line in file if line.endswith("\n")]
