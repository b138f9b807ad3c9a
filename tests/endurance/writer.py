# SPDX-License-Identifier: ISC
"""The application: transactions of an order and its events, at a steady rate, through every restart of the database.

What an outage held up is not made up for by more than a second's worth (faults.pace), so that the load stays what it is."""
import random
import threading
import time

import psycopg2

from faults.load import AWAY, RETRY
from faults.pace import Pace

from endurance.identity import MOST, event_id
from endurance.windows import Windows

SCHEMA = """
CREATE TABLE orders (
    writer int NOT NULL,
    number bigint NOT NULL,
    events int NOT NULL,
    placed timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (writer, number))
"""
TYPES = ("order", "payment")
WRITERS = 8
KEYS = 250  # of each writer
PAD = "0123456789abcdef" * 16


def statement(rng, writer, number, size, at):
    """The text of a transaction; at: microseconds of the monotonic clock, for whoever reads the event."""
    rows = []
    for place in range(size):
        key = rng.randrange(KEYS)
        rows.append(f"('{event_id(writer, number, place)}','{TYPES[key % len(TYPES)]}','w{writer}-{key}','Changed',"
                    f"'{{\"at\": {at}, \"pad\": \"{PAD}\"}}')")
    return (f"BEGIN; INSERT INTO orders VALUES ({writer},{number},{size});"
            "INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload) VALUES "
            + ",".join(rows) + "; COMMIT")


class Writer:
    """One of the threads: a session, and keys that no other writes."""

    def __init__(self, office, number):
        self.office, self.number = office, number
        self.rng = random.Random(f"{office.seed} {number}")
        self.connection = None

    def run(self):
        self._connect()
        number = 0
        while not self.office.stopping.is_set():
            size = self.rng.randint(1, MOST)
            wait = self.office.pace.reserve(size)
            if wait and self.office.stopping.wait(wait):
                break
            number += 1
            self._transaction(number, size)

    def _connect(self):
        while not self.office.stopping.is_set():
            try:
                self.connection = psycopg2.connect(self.office.dsn)
                self.connection.autocommit = True  # the text has BEGIN and COMMIT itself
                return
            except AWAY:
                time.sleep(RETRY)

    def _transaction(self, number, size):
        text = statement(self.rng, self.number, number, size, time.monotonic_ns() // 1000)
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(text)
            self.office.committed(size)
        except AWAY:
            self._find_out(number, size)

    def _find_out(self, number, size):
        """Whether a transaction has committed whose answer was lost with the session: the server that ran it has ended
        before it takes a new session."""
        self.office.broke()
        while not self.office.stopping.is_set():
            try:
                self.connection.close()
                self._connect()
                with self.connection.cursor() as cursor:
                    cursor.execute("SELECT FROM orders WHERE writer = %s AND number = %s", (self.number, number))
                    if cursor.rowcount:
                        self.office.committed(size)
                return
            except AWAY:
                pass


class Office:
    """All writers, and what they count."""

    def __init__(self, dsn, rate, seed, path, stopping):
        self.dsn, self.seed, self.stopping = dsn, seed, stopping
        self.pace = Pace(rate)
        self.windows = Windows(path)
        self._lock = threading.Lock()
        self._failure = None

    def committed(self, events):
        with self._lock:
            self.windows.add(time.monotonic(), events=events, transactions=1)

    def broke(self):
        with self._lock:
            self.windows.add(time.monotonic(), broken=1)

    def run(self):
        threads = [threading.Thread(target=self._guarded, args=(Writer(self, number),)) for number in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.windows.flush()
        if self._failure:
            raise self._failure

    def _guarded(self, writer):
        """One that fails ends all: the run is void."""
        try:
            writer.run()
        except Exception as failure:  # pylint: disable=broad-except
            self._failure = failure
            self.stopping.set()


def run(dsn, rate, seed, path, stopping):
    """For a process of its own: until stopping is set."""
    Office(dsn, rate, seed, path, stopping).run()
