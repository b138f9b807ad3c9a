# SPDX-License-Identifier: ISC
"""Times of creation that no clock shows: beyond what Unix time in microseconds holds, and at the ends of Postgres' range."""
import pytest

TIMES = ["infinity", "-infinity", "294276-12-31 23:59:59.999999", "294247-01-10 04:00:55", "4714-11-24 00:00:00 BC",
         "2000-01-01 00:00:00"]


def write(database, aggregate_type):
    database.execute("SET timezone = 'UTC'; INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, created_at)"
                     " SELECT %s, 'k', 'Happened', at::timestamp FROM unnest(%s) at", aggregate_type, TIMES)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp"])
def test_events_of_any_time_are_published_or_set_aside(database, new_relay, reader, topic, kind, zone):
    """No time is an error: neither in claims, gauges and status, nor in dead letters. Time zones east and west of
    Greenwich shift a timestamp at either end out of the range."""
    topic()
    database.execute(f"ALTER TABLE outbox_events ALTER created_at TYPE {kind} USING created_at::{kind}")
    database.execute(f"ALTER DATABASE {database.name} SET timezone = '{zone}'")
    write(database, "thing")
    write(database, "no topic")
    relay = new_relay(outbox={"on_reject": "dead-letter"})
    assert relay.status()["depth"] == 2 * len(TIMES)
    relay.start()
    assert len(reader().take(len(TIMES))) == len(TIMES)
    database.wait_empty()
    assert not relay.log_contains("session with the database is gone")
    assert sorted(database.rows("SELECT created_at::timestamptz AT TIME ZONE 'UTC' = ANY (%s::timestamp[])"
                                " FROM outbox_relay.dead_letters", TIMES)) == [(True,)] * len(TIMES)
    latency = relay.metric("latency_seconds_sum")
    assert latency < 100 * 366 * 86400
