# SPDX-License-Identifier: ISC
"""The claims that "Postgres alone" runs: the plain one, and the one the relay itself prepares."""
import re

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
    "position": f"SELECT {COLUMNS} FROM outbox_positions WHERE id > $1::int8 ORDER BY id LIMIT $2::int8",
}


def of_the_relay(rig, relay, table):
    """The text of a relay's claim on this table where nothing is set aside, as the server logs it."""
    def logged():
        rig.sql(f"INSERT INTO {table} (aggregate_type, aggregate_id, event_type) VALUES ('bench', 'a', 'Claimed')")
        return re.findall(r"LOG:  execute claim_plain \d+: (WITH .*%s.*)" % table, rig.postgres.process.log())
    rig.sql("ALTER ROLE outbox_relay SET log_statement = 'all'")
    try:
        relay.start(wait=False)
        claim = until(logged, 30, "the relay to claim")[-1]
    finally:
        relay.kill()
        rig.sql("ALTER ROLE outbox_relay RESET log_statement")
    rig.database.wait("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'outbox_relay')")
    return claim
