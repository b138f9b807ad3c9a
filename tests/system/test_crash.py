# SPDX-License-Identifier: ISC
"""kill -9 of the relay, again and again, while all around it fails too."""
import random

from harness.checker import problems, repeats
from harness.writers import Writers, arrivals

ROUNDS = 20

# What a killed relay had published and not settled is one batch at most.
BATCH = {"claim_rows": 5, "batch_rows": 10}


def most_repeats(kills):
    return BATCH["batch_rows"] * kills


def test_kill_rounds_under_load(database, new_relay, kafka, reader, topic):
    """Twenty times the relay is killed at a random moment under load; in between Postgres crashes and Kafka is
    restarted. Every committed event arrives and nothing else; first arrivals are in order per key; what is
    repeated is repeated as one contiguous replay per kill at most."""
    topic()
    rng = random.Random(7)
    relay = new_relay(outbox=BATCH).start()
    with Writers(database, threads=4, keys=12) as writers:
        for round_ in range(1, ROUNDS + 1):
            writers.wait_committed(rng.randint(5, 150))
            relay.kill()
            if round_ % 5 == 2:
                database.server.restart("immediate")
            if round_ % 10 == 4:
                kafka.stop()
                relay.start(wait=False)
                kafka.start()
            else:
                relay.start(wait=round_ % 3 == 0)
        writers.wait_committed(100)
    database.wait_empty(timeout=60)
    arrived = arrivals(reader().rest())
    assert problems(writers.truth(), arrived, kills=ROUNDS) == []
    assert len(arrived) > 1000
    assert repeats(arrived) <= most_repeats(ROUNDS)


def test_kill_in_mark_mode(empty_database, migrate, new_relay, reader, topic):
    topic()
    mark = {"settle": "mark", **BATCH}
    migrate(outbox=mark)
    relay = new_relay(outbox=mark).start()
    rng = random.Random(8)
    with Writers(empty_database, threads=4, keys=12) as writers:
        for _ in range(8):
            writers.wait_committed(rng.randint(5, 150))
            relay.kill()
            relay.start()
    empty_database.wait("SELECT NOT EXISTS (SELECT FROM outbox_events WHERE published_at IS NULL)", 60)
    arrived = arrivals(reader().rest())
    assert problems(writers.truth(), arrived, kills=8) == []
    assert repeats(arrived) <= most_repeats(8)
