# SPDX-License-Identifier: ISC
"""What counts as waited while the proxies stand still."""
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from harness.waiting import TimedOut, until

from faults import patience as by_proxies
from faults.loop import shared_thread
from faults.patience import Patience


@contextmanager
def standing_still(thread):
    """Nothing passes the proxies of this thread."""
    stands, go_on = threading.Event(), threading.Event()
    thread.loop.call_soon_threadsafe(lambda: (stands.set(), go_on.wait()))
    stands.wait()
    try:
        yield
    finally:
        go_on.set()


def test_time_in_which_they_stand_still_is_not_waited(thread):
    with standing_still(thread):
        patience = Patience(thread)
        until(lambda: patience.late() > 0.5, 60, "half a second of standing still")
        assert patience() * 5 < patience.late()
    until(lambda: patience() > 0.5, 60, "time to count again")


def test_patience_ends_although_they_stand_still(thread):
    with standing_still(thread), pytest.raises(TimedOut):
        until(lambda: False, 0.05, "what never comes", clock=Patience(thread))


def test_a_condition_is_waited_for_past_a_standstill():
    came = threading.Event()
    with ThreadPoolExecutor() as pool:
        with standing_still(shared_thread()):
            patience = Patience()
            waiting = pool.submit(by_proxies.until, came.is_set, 1, "what comes late", slow=1)
            until(lambda: patience.late() > 1.2, 60, "a standstill longer than the wait")
            assert not waiting.done()
            came.set()
        assert waiting.result(60)


def test_a_rule_is_waited_for_past_a_standstill(thread, raw):
    rule = raw.proxy.hold()
    with ThreadPoolExecutor() as pool:
        with standing_still(thread):
            patience = Patience(thread)
            client = socket.create_connection(("127.0.0.1", raw.proxy.port))
            waiting = pool.submit(rule.wait, 1)
            until(lambda: patience.late() > 1.2, 60, "a standstill longer than the wait")
        assert waiting.result(60).fired
    client.close()
