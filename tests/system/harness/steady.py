# SPDX-License-Identifier: ISC
"""Events at a steady rate, and how long a consumer waits between two of them."""
import json
import threading
import time
import uuid

import psycopg2.extras

from harness.checker import Event
from harness.waiting import limit


class Steady:
    """One application that inserts `rate` events a second, in a transaction every 20 ms."""

    def __init__(self, database, rate=500, keys=20):
        self.database = database
        self.rows = rate // 50
        self.keys = keys
        self.truth = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.begun = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(limit(30))
        self.seconds = time.monotonic() - self.begun

    def _run(self):
        made = 0
        with self.database.session() as cursor:
            due = time.monotonic()
            while not self.stopping.is_set():
                events = []
                for _ in range(self.rows):
                    events.append(Event(str(uuid.uuid4()), f"key-{made % self.keys}", made // self.keys + 1))
                    made += 1
                psycopg2.extras.execute_values(
                    cursor, "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload)"
                            " VALUES %s",
                    [(e.event_id, "thing", e.key, "Counted", json.dumps({"number": e.number})) for e in events])
                self.truth += events
                due = max(due + 0.02, time.monotonic() - 1)  # after a pause not all at once
                time.sleep(max(0, due - time.monotonic()))


class Waits:
    """Reads with a Reader all the time. records: what came; longest(): the seconds between two of them."""

    def __init__(self, reader):
        self.reader = reader
        self.records = []
        self.times = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(limit(60))

    def _run(self):
        while not self.stopping.is_set():
            found = self.reader.poll(0.05)
            self.records += found
            if found:
                self.times.append(time.monotonic())

    def longest(self, since, until):
        """Of those that ended in between; it counts from the last arrival before."""
        times = list(self.times)
        return max((after - before for before, after in zip(times, times[1:]) if since <= after <= until), default=0)
