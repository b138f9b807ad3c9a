# SPDX-License-Identifier: ISC
"""A relay whose every process goes into the history: how it began and ended, its counts, and what in its log
excuses repeats."""
import re
from datetime import datetime, timezone

from harness.waiting import TimedOut

from faults.history import REPLAY, Fault, Metrics, Process, now
from faults.patience import until

SAID = re.compile(r"^(\S+Z) \w+ +(?:"
                  r"(?P<rebuilt>.*the producer must be rebuilt)|"
                  r"(?P<unfinished>.*what is not settled is published again|.*: stopping immediately))", re.MULTILINE)
EXCUSES = {"rebuilt": "producer rebuilt", "unfinished": "stop before all was settled"}


def excuses(log, wall_offset):
    """Faults that a relay's log tells of: a rebuilt producer, a stop that left something unsettled."""
    for found in SAID.finditer(log):
        wall = datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
        at = wall.timestamp() - wall_offset
        yield Fault(EXCUSES[found.lastgroup], at, at, [REPLAY], found[0][:200])


class Watched:
    """relay: of harness.relay. The faults of its log are judged by wall_offset of the Run."""

    def __init__(self, relay, recorder, wall_offset):
        self.relay, self.recorder, self.wall_offset = relay, recorder, wall_offset
        self.name, self.started, self.count = None, None, 0

    def start(self, wait=True):
        self.count += 1
        self.name, self.started = f"{self.relay.name}#{self.count}", now()
        self.relay.start(wait)
        return self

    def alive(self):
        """For a Sampler: [(name, pid)] or []."""
        return [(self.name, self.relay.process.pid)] if self.relay.process.alive else []

    def scrape(self):
        """Its counts as they are now."""
        at = now()
        self.recorder.add(Metrics(self.name, at, self.relay.metrics()))

    def kill(self):
        """kill -9. The time before it, for the Fault that the caller notes once it has mended it."""
        at = now()
        lived = self.relay.process.alive
        self.relay.kill()
        self.ended("killed" if lived else "died")
        return at

    def kill_and_restart(self, wait=True):
        at = self.kill()
        self.start(wait)
        self.recorder.add(Fault("kill -9 of the relay", at, now(), [REPLAY], self.name))

    def stop(self):
        """SIGTERM; its exit status."""
        status = self.relay.stop()
        self.ended("stopped" if status == 0 else "died")
        return status

    def finish(self):
        """At the end, when nothing is left to do: its counts, and that it lives. It is left running."""
        if not self.relay.process.alive:
            self.ended("died")
            return
        self._wait_depth()
        self.scrape()
        self.ended("alive", final=True)

    def _wait_depth(self):
        """The depth is read every few seconds only; after that long it counts as it is, and the checker judges."""
        try:
            until(lambda: self.relay.metric("depth") == 0, 15, "depth 0", every=0.1)
        except TimedOut:
            pass

    def ended(self, how, final=False):
        """Notes an end that somebody else brought about ("killed", "stopped", "died")."""
        self.recorder.add(Process(self.name, self.started, now(), how, final))
        self.recorder.add(*excuses(self.relay.log(), self.wall_offset))
