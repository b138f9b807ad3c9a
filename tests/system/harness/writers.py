# SPDX-License-Identifier: ISC
"""Applications that write events: threads that commit, roll back and use savepoints, and know the truth."""
import json
import random
import threading
import time
import uuid

import psycopg2

from harness.checker import Arrival, Event
from harness.waiting import limit, until

SCHEMA = """
CREATE TABLE counters (key text PRIMARY KEY, number bigint NOT NULL DEFAULT 0);
CREATE TABLE truth (event_id uuid PRIMARY KEY, key text NOT NULL, number bigint NOT NULL);
"""


class Writers:
    """Each transaction counts up one or more keys, which also serialises the writers of a key, and inserts
    an event per count, with the same facts in the table truth. Some transactions are rolled back, as a
    whole or to a savepoint. A lost connection is opened again, for as long as it takes.

    Once a test has as many as it waits for, and the longer it waits for something else, the slower they write: how much
    there is to publish does not depend on how long a machine takes for that."""

    def __init__(self, database, threads=4, keys=20, pause=0.0, seed=1, table="outbox_events",
                 columns="event_id, aggregate_type, aggregate_id, event_type, payload"):
        """columns: the table's own for the event's id, its aggregate's type and id, its type, and its payload."""
        self.database = database
        self.keys = keys
        self.pause = pause
        self.insert = f"INSERT INTO {table} ({columns}) VALUES (%s, 'thing', %s, 'Counted', %s)"
        self.committed = 0
        self.goal, self.enough_since = 1, None  # how many are to be committed, and since when they are
        self.stopping = threading.Event()
        self.failure = None
        self.threads = [threading.Thread(target=self._run, args=(random.Random(seed * 1000 + n),),
                                         daemon=True) for n in range(threads)]
        database.execute(SCHEMA)
        database.execute("INSERT INTO counters SELECT 'key-' || n FROM generate_series(1, %s) n", keys)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(limit(60))
            assert not thread.is_alive(), "a transaction that does not end"
        if self.failure is not None:
            raise self.failure

    def wait_committed(self, more, timeout=60):
        """Waits for so many more transactions."""
        self.goal, self.enough_since = self.committed + more, None
        until(lambda: self.failure or self.committed >= self.goal, timeout, f"{more} commits")
        if self.failure is not None:
            raise self.failure

    def truth(self):
        return [Event(*row) for row in self.database.rows("SELECT event_id::text, key, number FROM truth")]

    def _run(self, rng):
        while not self.stopping.is_set():
            try:
                connection = self.database.server.connect(self.database.name, autocommit=False)
            except psycopg2.OperationalError:
                time.sleep(0.05)
                continue
            try:
                while not self.stopping.is_set():
                    self._transaction(connection, rng)
                    self._rest(rng)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                pass  # the server went away: committed or not, truth says
            except Exception as failure:  # pylint: disable=broad-except
                self.failure = failure
                return
            finally:
                connection.close()

    def _rest(self, rng):
        """With enough, for a fiftieth of the time since then: a thread has 35 more whenever that has doubled."""
        pause = self.pause
        if self.committed >= self.goal:
            now = time.monotonic()
            self.enough_since = since = self.enough_since or now
            pause += min((now - since) / 50, 0.5)
        if pause:
            self.stopping.wait(rng.uniform(0, 2 * pause))

    def _transaction(self, connection, rng):
        # In one order, so that two transactions never wait for each other.
        keys = sorted(rng.sample(range(1, self.keys + 1), rng.choice((1, 1, 1, 2, 3))))
        with connection.cursor() as cursor:
            for key in keys:
                self._event(cursor, f"key-{key}")
                if rng.random() < 0.1:
                    cursor.execute("SAVEPOINT here")
                    self._event(cursor, f"key-{key}")
                    cursor.execute("ROLLBACK TO here")
            if rng.random() < 0.2:
                time.sleep(rng.uniform(0, 0.01))
        if rng.random() < 0.1:
            connection.rollback()
        else:
            connection.commit()
            self.committed += 1

    def _event(self, cursor, key):
        cursor.execute("UPDATE counters SET number = number + 1 WHERE key = %s RETURNING number", (key,))
        number = cursor.fetchone()[0]
        event_id = str(uuid.uuid4())
        cursor.execute("INSERT INTO truth VALUES (%s, %s, %s)", (event_id, key, number))
        cursor.execute(self.insert, (event_id, key, json.dumps({"number": number})))


def arrivals(records):
    """What a Reader took, for the checker."""
    return [Arrival(r.partition, r.offset, Event(r.event_id, r.key.decode(), r.json["number"]))
            for r in records]


def insert(database, count, key="k", aggregate_type="thing", payload='{"n": 1}', **options):
    """count events in one transaction, keys key-0 to key-99 in turn."""
    database.execute(
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
        " SELECT %s, %s || '-' || n %% 100, 'Happened', %s FROM generate_series(1, %s) n",
        aggregate_type, key, payload, count, **options)
