# SPDX-License-Identifier: ISC
"""The claims that "Postgres alone" runs: the plain one, and the one the relay itself prepares."""
from contextlib import contextmanager

from rig import until

COLUMNS = "id, event_id, aggregate_type, aggregate_id, event_type, payload, headers, created_at"
PLAIN = {
    "delete": "DELETE FROM outbox_events WHERE ctid = ANY(ARRAY(SELECT ctid FROM outbox_events"
              " WHERE id > $1::int8 ORDER BY id LIMIT $2::int8 FOR UPDATE SKIP LOCKED))"
              f" RETURNING {COLUMNS}",
    "mark": "UPDATE outbox_marked SET published_at = clock_timestamp() WHERE ctid = ANY(ARRAY("
            "SELECT ctid FROM outbox_marked WHERE id > $1::int8 AND published_at IS NULL"
            " ORDER BY id LIMIT $2::int8 FOR UPDATE SKIP LOCKED))"
            f" RETURNING {COLUMNS}",
}
# pg_stat_activity shows a statement as it was sent.
SEEN = """SELECT query FROM pg_stat_activity
           WHERE usename = 'outbox_relay' AND query LIKE %s AND query LIKE '%%SKIP LOCKED%%'"""


@contextmanager
def _nobody_may_claim(rig, table):
    with rig.database.session(autocommit=False) as cursor:
        cursor.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        yield


def of_the_relay(rig, relay, table):
    """The text of a relay's claim on this table: caught while a lock holds the statement up."""
    with _nobody_may_claim(rig, table), rig.database.session() as cursor:
        def look():
            cursor.execute(SEEN, (f"%{table}%",))
            return cursor.fetchone()
        try:
            relay.start(wait=False)
            claim = until(look, 30, "the relay to claim")[0]
        finally:
            relay.kill()
    _wait_gone(rig)
    return claim


def _wait_gone(rig):
    """Until no session of a killed relay is left."""
    rig.database.wait("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'outbox_relay')")
