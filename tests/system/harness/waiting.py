# SPDX-License-Identifier: ISC
"""Waiting for something to become true. A limit ends a hang; it does not measure a machine."""
import time

patience = 1  # how many times as long as a limit says is waited; conftest.py of the system tests sets it


class TimedOut(AssertionError):
    pass


def limit(seconds):
    """How long is waited for what takes less than these seconds where nothing else runs."""
    return seconds * patience


def until(condition, timeout, what, every=0.01, prompt=False, clock=time.monotonic):
    """The first true answer of condition(), which is asked again and again; TimedOut names `what`. What is dear to ask, or
    waited for long, is asked less often: the machine is there for what is waited for. prompt: that it becomes true
    within `timeout` is what is tested. clock(): the seconds that count for the timeout."""
    timeout = timeout if prompt else limit(timeout)
    begun, end = time.monotonic(), clock() + timeout
    while True:
        asked = time.monotonic()
        answer = condition()
        if answer:
            return answer
        now = time.monotonic()
        if clock() > end:
            raise TimedOut(f"waited {timeout} s in vain for {what}")
        time.sleep(max(every, 5 * (now - asked), (now - begun) / 50))


def holds(condition, seconds, what, every=0.05):
    """Asserts that condition() stays true for so long: for things that must not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"did not last {seconds} s: {what}"
        time.sleep(every)
