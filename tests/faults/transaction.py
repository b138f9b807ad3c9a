# SPDX-License-Identifier: ISC
"""One transaction of an application: one key or several, one event or many, committed or not."""
import psycopg2
from psycopg2 import errors

from faults import tokens, truth
from faults.history import COMMITTED, ROLLED_BACK, SAVEPOINT, Event
from faults.payloads import EVENT_TYPES, Maker, token

LOCK = "SELECT key, n FROM app_counters WHERE key = ANY(%s) ORDER BY key FOR UPDATE"
COUNT = "UPDATE app_counters SET n = %s WHERE key = %s"


class Transaction:
    """size: events it is going to insert, for the pace."""

    def __init__(self, load, connection, rng, name):
        self.load, self.connection, self.rng, self.name = load, connection, rng, name
        mix = self.mix = load.mix
        self.maker = Maker(rng, mix.column, mix.largest, mix.null, mix.empty, mix.large, mix.wide)
        self.insert = truth.INSERT.format(table=mix.table, column=mix.column)
        self.keys = rng.sample(load.names, min(rng.choice((1, 1, 1, 2, 3, 5)), len(load.names)))
        most = 100 if rng.random() < mix.many else 3
        self.order = [rng.choice(self.keys) for _ in range(rng.randint(1, most))]
        self.size = len(self.order)
        self.numbers = {}
        self.events, self.undone = [], []

    def run(self):
        """Notes with the load what became of its events, also when the connection breaks, and then raises."""
        try:
            self._work()
        except psycopg2.Error as error:
            self._ended(self.undone, self.events)
            self._recover(error)
            return
        if self.rng.random() < self.mix.rollback:
            self._ended(self.undone, self.events)
            self.connection.rollback()
            return
        self._commit()

    def prepare(self):
        """Does the work and prepares the transaction under its name; committed() is for when that is committed. False
        if it was rolled back: Postgres prepares no transaction that has notified, as one does that rings the bell."""
        self._work()
        with self.connection.cursor() as cursor:
            try:
                cursor.execute(f"PREPARE TRANSACTION '{self.name}'")
            except errors.FeatureNotSupported:
                self._ended(self.undone, self.events)
                return False
        return True

    def committed(self):
        """Its COMMIT was answered. Until then nothing is ordered behind it, also if it was prepared."""
        self.load.committed(self.events)
        self._ended(self.undone, [])

    def _commit(self):
        """An error here says nothing about the outcome: truth will tell."""
        try:
            self.connection.commit()
        except psycopg2.Error:
            self.load.unknown += self.events
            self.load.aborted += [e._replace(state=SAVEPOINT) for e in self.undone]
            raise
        self.committed()

    def _recover(self, error):
        """Goes on with the connection if the server has only refused a statement (a deadlock, a cancel)."""
        if self.connection.closed or not isinstance(error, psycopg2.OperationalError):
            raise error
        self.connection.rollback()

    def _ended(self, undone, rolled_back):
        """COMMIT was not sent, or was answered: nothing is in doubt."""
        self.load.aborted += [e._replace(state=SAVEPOINT) for e in undone]
        self.load.aborted += [e._replace(state=ROLLED_BACK) for e in rolled_back]
        for key in self.keys:
            if key in self.load.tickets:
                self.load.tickets[key].end(self.name)

    def _work(self):
        rng, mix = self.rng, self.mix
        with self.connection.cursor() as cursor:
            self._lock(cursor)
            where = rng.randrange(len(self.order)) if rng.random() < mix.savepoint else None
            for index, key in enumerate(self.order):
                if index == where:
                    self._undo(cursor)
                self._insert(cursor, key, self.events)
            for key, number in self.numbers.items():
                cursor.execute(COUNT, (number, key))
        if rng.random() < mix.delay:
            self.load.stopping.wait(rng.uniform(0, mix.longest_delay))

    def _lock(self, cursor):
        """Takes turns with the other writers of these keys. In one order, so that nobody waits in a circle."""
        serial = [key for key in set(self.order) if key not in self.load.tickets]
        if serial:
            cursor.execute(LOCK, (serial,))
            self.numbers = dict(cursor.fetchall())

    def _undo(self, cursor):
        """Events in a savepoint that is rolled back, with numbers that later ones get."""
        before = dict(self.numbers)
        cursor.execute("SAVEPOINT here")
        for key in self.rng.choices(self.keys, k=self.rng.randint(1, 3)):
            if key in self.numbers or key in self.load.tickets:
                self._insert(cursor, key, self.undone)
        cursor.execute("ROLLBACK TO SAVEPOINT here")
        self.numbers = before

    def _insert(self, cursor, key, events):
        number, after = self._number(key)
        kind = self.load.keys[key]
        event_id = self.load.new_id(self.rng)
        event_type = self.rng.choice(EVENT_TYPES)
        payload = self.maker.payload(event_id, number)
        headers, pairs = self.maker.headers(number, self.name)
        event = Event(COMMITTED, event_id, self.mix.topic.format(kind), key, number, after, self.name,
                      token(payload), tokens.headers([("type", event_type), *pairs]))
        events.append(event)  # before the insert, whose answer may not come
        cursor.execute(self.insert, (event_id, kind, key, event_type, payload, headers, *truth.row(event)))

    def _number(self, key):
        if key in self.load.tickets:
            return self.load.tickets[key].draw(self.name)
        self.numbers[key] += 1
        return self.numbers[key], self.numbers[key] - 1
