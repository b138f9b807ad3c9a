# SPDX-License-Identifier: ISC
"""Waiting for something to become true, never longer than asked."""
import time


class TimedOut(AssertionError):
    pass


def until(condition, timeout, what, every=0.01):
    """The first true answer of condition(), which is asked again and again; TimedOut names `what`."""
    end = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimedOut(f"waited {timeout} s in vain for {what}")
        time.sleep(every)


def holds(condition, seconds, what, every=0.05):
    """Asserts that condition() stays true for so long: for things that must not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"did not last {seconds} s: {what}"
        time.sleep(every)
