"""A Kafka that acknowledges little by little."""
import threading
from contextlib import contextmanager

from harness.writers import insert


@contextmanager
def trickling(kafka):
    """Kafka answers for some milliseconds in every half second."""
    over = threading.Event()

    def pause_and_resume():
        while not over.is_set():
            kafka.pause()
            over.wait(0.5)
            kafka.resume()
            over.wait(0.012)
    thread = threading.Thread(target=pause_and_resume)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_reports_that_trickle_in_do_not_keep_the_transaction_open(database, kafka, new_relay, reader, topic):
    """Otherwise vacuum would wait, and in the end the server would take the session, and the lock with it."""
    topic()
    relay = new_relay(outbox={"stall_timeout": "2s"}, kafka={"properties": ["batch.num.messages=1"]}).start()
    insert(database, 1)
    database.wait_empty()
    with trickling(kafka):
        insert(database, 10_000)
        relay.wait_log("Kafka has not acknowledged a batch for 1[2-9] s: the transaction is rolled back", timeout=60)
    consumer = reader()
    assert len({record.event_id for record in consumer.take(10_001, timeout=60)}) == 10_001
    database.wait_empty(timeout=60)
    assert consumer.rest() == []
    assert "the session with the database is gone" not in relay.log()
