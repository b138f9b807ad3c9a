# SPDX-License-Identifier: ISC
"""Order: the events of a key arrive in the order of their transactions, whatever else goes on."""
from harness.checker import problems
from harness.writers import Writers, arrivals


def test_concurrent_writers(relay, database, reader, topic):
    """Eight writers on ten keys with rollbacks, savepoints and transactions over several keys: everything
    committed arrives exactly once and in order, and nothing else."""
    topic()
    with Writers(database, threads=8, keys=10) as writers:
        writers.wait_committed(3000)
    database.wait_empty()
    assert problems(writers.truth(), arrivals(reader().rest())) == []


def test_a_backlog_in_small_claims(database, new_relay, reader, topic):
    """What piled up while no relay ran comes in order, also when batches are cut into small claims."""
    topic()
    with Writers(database, keys=5) as writers:
        writers.wait_committed(1000)
    new_relay(outbox={"claim_rows": 7, "batch_rows": 31}).start()
    database.wait_empty()
    assert problems(writers.truth(), arrivals(reader().rest())) == []


def test_a_transaction_that_stays_open_across_others(relay, database, reader, topic):
    """One key's transaction draws a low id and commits late, while another key goes on: both keys come in
    their own order."""
    topic()
    consumer = reader()
    with database.session(autocommit=False) as slow:
        slow.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', 'slow', 'First', '{}')")
        database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                         " SELECT 'thing', 'quick', n::text, '{}' FROM generate_series(1, 200) n")
        quick = consumer.take(200)
        slow.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', 'slow', 'Second', '{}')")
        slow.connection.commit()
    late = consumer.take(2)
    assert [r.header("type") for r in quick] == [str(n) for n in range(1, 201)]
    assert [r.header("type") for r in late] == ["First", "Second"]


def test_two_relays_take_turns(database, new_relay, reader, topic):
    """A second relay stands by while the first serves, and takes over when it is killed; nothing is lost and
    nothing out of order."""
    topic()
    first, second = new_relay().start(), new_relay()
    second.start(wait=False)
    with Writers(database) as writers:
        writers.wait_committed(300)
        assert first.metric("shard_owned") == 1
        assert second.metric("shard_owned") == 0
        first.kill()
        second.wait_metric("shard_owned", 1)
        writers.wait_committed(300)
    database.wait_empty()
    assert problems(writers.truth(), arrivals(reader().rest()), kills=1) == []
