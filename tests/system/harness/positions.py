# SPDX-License-Identifier: ISC
"""settle = "position": what is settled, by the database's own word."""
from harness.waiting import until

POSITION = {"settle": "position"}
AHEAD = "SELECT count(*) FROM outbox_relay.settled_ahead"
HALF = "SELECT count(*) FROM outbox_relay.last_positions('outbox_events') WHERE target IS NOT NULL"


def unsettled(database, table="outbox_events"):
    """How many rows are not settled by the positions, nor ahead of them."""
    with database.session() as cursor:
        cursor.execute("SELECT outbox_relay.settled_condition(%s)", (table,))
        condition, = cursor.fetchone()
        cursor.execute(f"SELECT count(*) FROM {table} AS t WHERE ({condition}) IS NOT TRUE")
        return cursor.fetchone()[0]


def wait_settled(database, table="outbox_events", timeout=60):
    """Until all are, and what was noted ahead of a position is forgotten again."""
    until(lambda: unsettled(database, table) == 0, timeout, "all rows to be settled", every=0.02)
    until(lambda: database.value(AHEAD) == 0, 20, "nothing to be noted as settled", every=0.05)


def waiting(database, table="outbox_events"):
    """Rows that are to be published, whatever the way of settling is."""
    settle = database.value("SELECT settle FROM outbox_relay.outboxes WHERE outbox = %s::regclass", table)
    if settle == "position":
        return unsettled(database, table)
    return database.value(f"SELECT count(*) FROM {table}" + (" WHERE published_at IS NULL" if settle == "mark" else ""))


def wait_nothing_waits(database, timeout=20):
    until(lambda: waiting(database) == 0, timeout, "nothing to wait in the outbox", every=0.02)
