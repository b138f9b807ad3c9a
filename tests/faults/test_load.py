# SPDX-License-Identifier: ISC
"""The parts of the load that need no server: numbers, pace, payloads, and what a transaction says of its outcome."""
import json
import random

import psycopg2
import pytest

from faults import tokens
from faults.load import Load, Mix
from faults.pace import Pace, Tickets
from faults.payloads import Maker, token
from faults.transaction import Transaction


def test_tickets_order_after_what_has_ended():
    tickets = Tickets()
    assert tickets.draw("a") == (1, 0)
    tickets.end("a")
    assert tickets.draw("b") == (2, 1)
    assert tickets.draw("c") == (3, 1)      # b is open
    assert tickets.draw("b") == (4, 2)      # c is open; b's own 2 was inserted before
    tickets.end("b")
    assert tickets.draw("d") == (5, 2)      # c is open still
    tickets.end("c")
    tickets.end("d")
    assert tickets.draw("e") == (6, 5)


def test_pace_spreads_events():
    pace = Pace(100)
    waits = [pace.reserve(10) for _ in range(5)]
    assert waits[0] == 0 and waits[-1] == pytest.approx(0.4, abs=0.05) and waits == sorted(waits)


def test_no_rate_no_wait():
    assert Pace(None).reserve(1_000_000) == 0


@pytest.mark.parametrize("column", ["jsonb", "json", "text", "bytea"])
def test_payloads(column):
    """None, nothing, and never over the limit, which is reached."""
    maker = Maker(random.Random(1), column, largest=5000, large=0.1)
    payloads = [maker.payload("an id", n) for n in range(1000)]
    sizes = [len(p if isinstance(p, bytes) else p.encode()) for p in payloads if p is not None]
    assert None in payloads and 5000 in sizes and max(sizes) <= 5002
    assert min(sizes) == (2 if column in ("json", "jsonb") else 0)
    if column != "bytea":
        assert all(json.loads(p)["id"] == "an id" for p in payloads if p and len(p) > 2)


def test_tokens_tell_values_apart():
    values = [None, b"", b"=", b"a", b"\xff", b"\\xff", "\udcff".encode("utf-8", "surrogatepass"), b"a" * 48,
              b"a" * 49, b"a" * 50, b"a" * 49 + b"b", b"\0", b"{}"]
    assert len({token(value) for value in values}) == len(values)
    assert all(tokens.raw(tokens.text(value)) == value for value in values)


def test_id_is_taken_from_the_headers_once():
    pairs = [("type", b"T"), ("id", b"1"), ("id", b"2"), ("none", None)]
    assert tokens.without_id(pairs) == ("1", '[["type","T"],["id","2"],["none",null]]')
    assert tokens.without_id(None) == (None, "[]")


# A transaction against a connection that breaks where it is told to.

class Connection:
    closed = 0

    def __init__(self, breaks=None, error=psycopg2.OperationalError):
        self.breaks, self.error, self.statements = breaks, error, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def cursor(self):
        return self

    def execute(self, sql, arguments=None):
        self.statements.append(sql)
        if sql.startswith("SELECT key"):
            self.rows = [(key, 0) for key in arguments[0]]
        self._break("WITH" if "INSERT" in sql else sql.split()[0])

    def fetchall(self):
        return self.rows

    def commit(self):
        self._break("COMMIT")

    def rollback(self):
        self._break("ROLLBACK")

    def _break(self, at):
        if at == self.breaks:
            self.closed = 2
            raise self.error("gone")


def outcome(breaks=None, **mix):
    """(acked, rolled back, savepoint, unknown): how many events each."""
    load = Load(None, Mix(delay=0, many=0, **mix))
    transaction = Transaction(load, Connection(breaks), random.Random(3), "t")
    try:
        transaction.run()
        assert breaks is None
    except psycopg2.OperationalError:
        assert breaks is not None
    states = [event.state for event in load.aborted]
    return (len(load.acked), states.count("rolled back"), states.count("savepoint"), len(load.unknown))


def test_nothing_is_ordered_behind_a_prepared_transaction():
    """Until that is committed."""
    load = Load(None, Mix(delay=0))
    transaction = Transaction(load, Connection(), random.Random(3), "t")
    transaction.keys = transaction.order = ["loose-0"]
    assert transaction.prepare()
    tickets = load.tickets["loose-0"]
    number, after = tickets.draw("other")
    assert after < transaction.events[0].number < number
    tickets.end("other")
    transaction.committed()
    assert tickets.draw("another") == (number + 1, number)


def test_commit():
    acked, rolled_back, savepoint, unknown = outcome(rollback=0, savepoint=1)
    assert acked and savepoint and not rolled_back and not unknown


def test_rollback():
    acked, rolled_back, savepoint, unknown = outcome(rollback=1, savepoint=1)
    assert rolled_back and savepoint and not acked and not unknown


def test_lost_before_commit_is_rolled_back():
    assert outcome("WITH", rollback=0, savepoint=0) == (0, 1, 0, 0)


def test_lost_in_commit_is_unknown():
    acked, rolled_back, savepoint, unknown = outcome("COMMIT", rollback=0, savepoint=1)
    assert unknown and savepoint and not acked and not rolled_back
