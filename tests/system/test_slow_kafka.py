# SPDX-License-Identifier: ISC
"""A Kafka that acknowledges little by little."""
import json
import time
from contextlib import contextmanager

from harness.beside import beside
from harness.writers import insert


@contextmanager
def trickling(kafka, relay):
    """In every half second Kafka lives until it has acknowledged something, and no longer."""
    def outstanding():
        return json.loads(relay.get("/status")[1])["outstanding"]

    def let_some_through():
        before, end = outstanding(), time.monotonic() + 2
        kafka.resume()
        # Not by until(), which asks seldom on a slow machine: meanwhile Kafka would acknowledge all there is.
        while outstanding() >= before and time.monotonic() < end:  # in vain if nothing is on its way at the moment
            time.sleep(0.002)
        kafka.pause()

    def pause_and_resume(over):
        kafka.pause()
        while not over.wait(0.5):
            let_some_through()
        kafka.resume()
    with beside(pause_and_resume):
        yield


def test_reports_that_trickle_in_do_not_keep_the_transaction_open(database, kafka, new_relay, reader, topic):
    """Otherwise vacuum would wait, and in the end the server would take the session, and the lock with it."""
    topic()
    relay = new_relay(outbox={"stall_timeout": "4s", "batch_rows": 30_000}, kafka={"properties": ["batch.num.messages=1"]}).start()
    insert(database, 1)
    database.wait_empty()
    insert(database, 30_000)
    with trickling(kafka, relay):
        relay.wait_log(r"Kafka has not acknowledged a batch for \d+ s: the transaction is rolled back", timeout=90)
    consumer = reader()
    assert len({record.event_id for record in consumer.take(30_001, timeout=60)}) == 30_001
    database.wait_empty(timeout=60)
    assert consumer.rest() == []
    assert "the session with the database is gone" not in relay.log()
