# SPDX-License-Identifier: ISC
"""settle = "position": rows stay as they are, and a position tells what is published."""
import pytest

from harness.checker import problems
from harness.writers import Writers, arrivals, insert

POSITION = {"settle": "position"}
PENDING = ("SELECT count(*) = 0 FROM outbox_events t CROSS JOIN LATERAL (SELECT p.* FROM outbox_relay.positions p"
           " ORDER BY number DESC LIMIT 1) AS p WHERE NOT (pg_visible_in_snapshot(t.x, p.finished) OR p.target IS NOT"
           " NULL AND pg_visible_in_snapshot(t.x, p.target) AND t.id <= p.reached)")


def test_rows_stay_as_they_are(empty_database, migrate, new_relay, reader):
    """They are published once, also over a restart."""
    migrate(outbox=POSITION)
    relay = new_relay(outbox=POSITION).start()
    insert(empty_database, 3000)
    consumer = reader()
    assert len(consumer.take(3000)) == 3000
    empty_database.wait(PENDING)
    before = empty_database.rows("SELECT ctid, xmin, xmax FROM outbox_events")
    assert len(before) == 3000 and all(row[2] == "0" for row in before)
    assert relay.stop() == 0
    relay.start()
    insert(empty_database, 1)
    consumer.take(1)
    empty_database.wait(PENDING)
    assert consumer.rest() == []


def test_order_under_load(empty_database, migrate, new_relay, reader, topic):
    topic()
    migrate(outbox=POSITION)
    new_relay(outbox=POSITION).start()
    with Writers(empty_database) as writers:
        writers.wait_committed(3000, timeout=180)
    empty_database.wait(PENDING, timeout=120)
    assert problems(writers.truth(), arrivals(reader().rest())) == []


def test_a_backlog_is_walked(empty_database, migrate, new_relay, reader, topic):
    topic()
    migrate(outbox=POSITION)
    insert(empty_database, 50000)
    new_relay(outbox=POSITION).start()
    with Writers(empty_database) as writers:
        writers.wait_committed(500)
    empty_database.wait(PENDING, timeout=180)
    records = reader().rest(timeout=120)
    assert sum(record.json is None or "number" not in record.json for record in records) == 50000
    assert problems(writers.truth(), arrivals([r for r in records if r.json and "number" in r.json])) == []


@pytest.mark.parametrize("claim_rows", (1, 7))
def test_a_target_in_many_claims(empty_database, migrate, new_relay, reader, topic, claim_rows):
    topic()
    outbox = dict(POSITION, claim_rows=claim_rows)
    migrate(outbox=outbox)
    new_relay(outbox=outbox).start()
    with Writers(empty_database) as writers:
        writers.wait_committed(1000, timeout=180)
    empty_database.wait(PENDING, timeout=120)
    assert problems(writers.truth(), arrivals(reader().rest())) == []
