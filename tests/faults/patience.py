# SPDX-License-Identifier: ISC
"""Waiting on what passes through the proxies, with a patience that is measured by them.

Everything between a relay and its servers passes this process. On a machine with too much work it may get no processor
for seconds at a time, while relays and servers, each in a session of its own, get their share: to a relay both Kafka
and PostgreSQL stand still then. Such seconds are not the relay's, and do not count as waited.
"""
import time

from harness import waiting

from faults.loop import BEAT, shared_thread

SLOW = 4      # times as long as where nothing else runs: brokers, too, may wait for a processor
SLOWEST = 10  # times as long as asked it may last at most, should the proxies stand still for good


class Patience:
    """Seconds since it was made, without those in which the proxies stood still: a clock for waiting.until."""

    def __init__(self, thread=None):
        self.thread = thread or shared_thread()
        self.beats, self.begun = self.thread.beats, time.monotonic()

    def __call__(self):
        return max((self.thread.beats - self.beats) * BEAT, self._elapsed() / SLOWEST)

    def late(self):
        """For how many seconds they stood still."""
        return max(0.0, self._elapsed() - self())

    def _elapsed(self):
        return time.monotonic() - self.begun


def until(condition, timeout, what, every=0.01, slow=SLOW):
    """As harness.waiting has it. The timeout is for a machine where nothing else runs."""
    return waiting.until(condition, timeout * slow, what, every, clock=Patience())


def wait_for(moved, condition, timeout):
    """Waits on moved, a threading.Condition that is held, until condition() is true; whether it is."""
    patience = Patience()
    while not (done := condition()) and (left := timeout - patience()) > 0:
        moved.wait(min(left, 1))
    return bool(done)
