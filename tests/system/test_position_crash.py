# SPDX-License-Identifier: ISC
"""settle = "position" where something dies: what is repeated is one batch, from its beginning and without a gap, and only
where the relay itself was killed."""
import random
import time

import pytest

from harness.checker import problems, repeats
from harness.positions import AHEAD, POSITION, wait_settled
from harness.writers import Writers, arrivals, insert

BATCH = {"claim_rows": 5, "batch_rows": 10}
# Counts what is noted as settled, which the claims take away again.
COUNTED = """
CREATE SEQUENCE noted;
CREATE FUNCTION count_noted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    'BEGIN PERFORM nextval(''public.noted''); RETURN NEW; END';
CREATE TRIGGER counted AFTER INSERT ON outbox_relay.settled_ahead FOR EACH ROW EXECUTE FUNCTION count_noted()"""
NOTED = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM noted"


@pytest.mark.parametrize("options, outbox", [((), {}), ((), {"shards": 4}), (("--partitions", "3"), {}),
                                             (("--partition-by", "id:5000"), {})],
                         ids=["plain", "shards", "by hash", "by id"])
def test_kill_rounds_under_load(empty_database, migrate, new_relay, reader, topic, options, outbox):
    topic()
    outbox = {**POSITION, **BATCH, **outbox}
    migrate(*options, outbox=outbox)
    relay = new_relay(outbox=outbox).start()
    rng = random.Random(9)
    with Writers(empty_database, threads=4, keys=12) as writers:
        for number in range(8):
            writers.wait_committed(rng.randint(5, 150))
            relay.kill()
            if number == 3:
                empty_database.server.restart("immediate")
            relay.start()
    wait_settled(empty_database)
    arrived = arrivals(reader().rest())
    assert problems(writers.truth(), arrived, kills=8) == []
    assert repeats(arrived) <= 8 * BATCH["batch_rows"]


def test_sessions_are_ended_all_the_time(empty_database, migrate, new_relay, reader, topic):
    """What was published in a transaction that is gone is noted, and not published again."""
    topic()
    outbox = dict(POSITION, claim_rows=20, batch_rows=50)
    migrate(outbox=outbox)
    new_relay(outbox=outbox).start()
    ended = 0
    with Writers(empty_database, threads=3) as writers:
        while ended < 30:
            writers.wait_committed(20)
            ended += empty_database.end_relay_sessions()
    wait_settled(empty_database)
    assert problems(writers.truth(), arrivals(reader().rest())) == []


@pytest.mark.parametrize("outbox", [{}, {"shards": 4}, {"claim_rows": 7}], ids=["plain", "shards", "small claims"])
def test_a_crash_between_acknowledgement_and_commit(empty_database, migrate, new_relay, kafka, reader, topic, outbox):
    """The broker has the batch when Postgres crashes. Its rows are noted, and nothing is repeated, also of what the relay
    that lives on goes through a second time."""
    database, outbox = empty_database, {**POSITION, **outbox}
    topic()
    migrate(outbox=outbox)
    database.execute(COUNTED)
    relay = new_relay(outbox=outbox).start()
    consumer = reader()
    insert(database, 100)
    consumer.take(100)
    wait_settled(database)
    kafka.pause()
    insert(database, 500)
    relay.wait_in_flight(500)
    database.server.stop("immediate")
    relay.wait_log("session with the database is gone")
    kafka.resume()
    assert len(consumer.take(500)) == 500
    database.server.start()
    wait_settled(database)
    assert database.value(NOTED) == 500
    insert(database, 50, key="after")
    assert {r.key[:5] for r in consumer.take(50)} == {b"after"}
    assert consumer.rest() == [] and database.value(AHEAD) == 0


def test_a_kill_between_acknowledgement_and_commit(empty_database, migrate, new_relay, kafka, reader, topic):
    """The relay stands still when the broker acknowledges, and dies: exactly that batch comes a second time."""
    database = empty_database
    topic(partitions=1)
    migrate(outbox=POSITION)
    relay = new_relay(outbox=POSITION).start()
    consumer = reader()
    insert(database, 300)
    first = consumer.take(300)
    wait_settled(database)
    kafka.pause()
    insert(database, 5)  # librdkafka has no more than five requests under way
    relay.wait_in_flight(5)
    time.sleep(1)  # they are with librdkafka, and are to be with the broker's kernel
    relay.process.pause()
    kafka.resume()
    batch = consumer.take(5)
    relay.kill()
    relay.start()
    wait_settled(database)
    again = consumer.rest()
    assert [r.event_id for r in again] == [r.event_id for r in batch]
    assert not {r.event_id for r in first} & {r.event_id for r in batch}
