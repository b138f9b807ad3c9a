# SPDX-License-Identifier: ISC
"""Applications that write events, through every failure of their database, and can say afterwards what is true.

Writers of a key take turns, by a lock on the key's counter, as the guide asks for; on the `loose` keys they do
not, and there only what really followed upon a commit has an order. Threads write; each has a random source
of its own, so a seed gives the same choices, if not the same interleaving.
"""
import random
import threading
import uuid
from typing import NamedTuple

import psycopg2
from psycopg2 import errors

from faults import truth
from faults.history import Mark, now
from faults.pace import Pace, Tickets
from faults.patience import wait_for
from faults.payloads import keys
from faults.transaction import Transaction

# The server is going, gone, or not a primary any more: connect again. Everything of OperationalError too.
AWAY = (psycopg2.OperationalError, psycopg2.InterfaceError, errors.ReadOnlySqlTransaction)
RETRY = 0.1  # seconds between attempts to connect


class Mix(NamedTuple):
    """What the load is made of. Shares are of transactions, but for null, empty, large and wide (of events)."""
    keys: int = 50
    loose_keys: int = 3           # more keys, whose writers overlap
    types: tuple = ("thing", "other")
    topic: str = "events.{}"      # of a type
    table: str = "outbox_events"
    column: str = "jsonb"         # type of the payload column
    largest: int = 100_000        # bytes of the largest payload
    null: float = 0.05
    empty: float = 0.05
    large: float = 0.01
    wide: float = 0.0             # hundreds of headers
    rollback: float = 0.1
    savepoint: float = 0.1
    delay: float = 0.2            # wait before the end of the transaction
    longest_delay: float = 0.05
    many: float = 0.05            # a transaction of up to 100 events
    flushes: bool = True          # COMMIT is answered once it is flushed, else before (synchronous_commit = off)

    def names(self):
        """All keys: {key: aggregate type}."""
        loose = [f"loose-{n}" for n in range(self.loose_keys)]
        return {key: self.types[n % len(self.types)] for n, key in enumerate(keys(self.keys) + loose)}

    def topics(self):
        return [self.topic.format(name) for name in self.types]


class Load:
    """connect(): a psycopg2 connection to whatever is the primary now. rate: events per second."""

    def __init__(self, connect, mix=Mix(), seed=1, threads=4, rate=None):
        self.connect, self.mix, self.seed = connect, mix, seed
        self.keys = mix.names()
        self.names = list(self.keys)
        self.tickets = {key: Tickets() for key in self.keys if key.startswith("loose-")}
        self.pace = Pace(rate)
        self.events = 0          # whose COMMIT was answered
        self.acked, self.aborted, self.unknown = {}, [], []
        self.failure = None
        self.stopping = threading.Event()
        self._moved = threading.Condition()
        self._connections = {}
        self._marks = []
        self._threads = [threading.Thread(target=self._guarded, args=(number,), daemon=True, name=f"writer {number}")
                         for number in range(threads)]

    # For the run.

    def create_tables(self):
        connection = self.connect()
        connection.autocommit = True
        truth.create(connection, self.keys)
        connection.close()

    def start(self):
        self._marks.append(Mark("load started", now()))
        for thread in self._threads:
            thread.start()
        return self

    def wait_events(self, count, timeout):
        """Waits for so many more events whose commit was answered. False when time is over."""
        with self._moved:
            goal = self.events + count
            done = wait_for(self._moved, lambda: self.failure or self.events >= goal, timeout)
        self._raise()
        return done

    def wait(self, seconds):
        """Lets it go on for so long, unless it fails."""
        with self._moved:
            self._moved.wait_for(lambda: self.failure, seconds)
        self._raise()

    def cut(self):
        """Closes all connections under the writers' hands: for a server that neither answers nor goes."""
        for connection in list(self._connections.values()):
            truth.shut(connection)

    def stop(self, timeout=30):
        """Ends the writers; a transaction that hangs after the timeout is cut off."""
        self.stopping.set()
        end = now() + timeout
        for thread in self._threads:
            thread.join(max(0, end - now()))
        if any(thread.is_alive() for thread in self._threads):
            self.cut()
        for thread in self._threads:
            thread.join(timeout)
        self._marks.append(Mark("load ended", now()))
        self._raise()
        if any(thread.is_alive() for thread in self._threads):
            raise RuntimeError("a writer does not end, though its connection was cut")

    def facts(self):
        """After stop(): every event with what became of it, for a Recorder; and the marks."""
        connection = self.connect()
        try:
            yield from truth.resolve(connection, self.acked, self.unknown)
        finally:
            connection.close()
        yield from self.aborted
        yield from self._marks

    # Its threads.

    def _raise(self):
        if self.failure is not None:
            raise self.failure

    def _guarded(self, number):
        try:
            self._run(number, random.Random(self.seed * 1000 + number))
        except Exception as failure:  # pylint: disable=broad-except
            with self._moved:
                self.failure = failure
                self._moved.notify_all()

    def _run(self, number, rng):
        count = 0
        while not self.stopping.is_set():
            try:
                connection = self._connections[number] = self.connect()
            except AWAY:
                self.stopping.wait(RETRY)
                continue
            try:
                while not self.stopping.is_set():
                    count += 1
                    self._one(connection, rng, f"w{number}-{count}")
            except AWAY:
                self.stopping.wait(RETRY)  # Transaction has noted what it knows of its outcome
            finally:
                connection.close()

    def _one(self, connection, rng, name):
        transaction = Transaction(self, connection, rng, name)
        wait = self.pace.reserve(transaction.size)
        if wait == 0 or not self.stopping.wait(wait):
            transaction.run()

    # For a transaction.

    def new_id(self, rng):
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))

    def committed(self, events):
        when = now()
        with self._moved:
            self.acked.update((event.event_id, (when, event)) for event in events)
            self.events += len(events)
            self._moved.notify_all()
