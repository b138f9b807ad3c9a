# SPDX-License-Identifier: ISC
"""Several relays share the shards of an outbox: they come, leave and die under load, and every event arrives
in the order of its key."""
import signal

import pytest

from harness.fleet import locked, owned, standby, wait_spread, wait_spread_for_good, wait_standby
from harness.waiting import holds, until
from harness.writers import Writers, insert

EIGHT = {"shards": 8}
SMALL = {"shards": 8, "claim_rows": 10, "batch_rows": 20}


def test_one_relay_owns_all(fleet, database):
    """By its own word and by the locks."""
    relay, = fleet(1, **EIGHT)
    wait_spread([relay], 8)
    assert list(locked(database, 8).values()) == [set(range(8))]


def test_a_second_relay_joins_under_load(fleet, new_relay, database, in_order):
    """It gets half of the shards; nothing is lost, repeated or out of order while they change hands."""
    first, = fleet(1, **SMALL)
    second = new_relay(outbox=SMALL)
    with Writers(database, threads=8, keys=40) as writers:
        wait_spread([first], 8)
        writers.wait_committed(300)
        second.start()
        shares = wait_spread_for_good([first, second], 4, 4)
        writers.wait_committed(600)
    assert sorted(locked(database, 8).values(), key=min) == sorted(shares.values(), key=min)
    in_order(writers)
    assert all(relay.metric("published_total") > 0 for relay in (first, second))


def test_two_relays_join_at_once_and_again(fleet, database, in_order):
    """Three relays that start together, then one leaves and comes back, again and again."""
    relays = fleet(3, **SMALL)
    with Writers(database, threads=4, keys=40) as writers:
        for _ in range(4):
            wait_spread(relays, 3, 3, 2)
            writers.wait_committed(100)
            assert relays[2].stop() == 0
            wait_spread(relays[:2], 4, 4)
            writers.wait_committed(100)
            relays[2].start()
    in_order(writers)


SHARD = "SELECT (hashtextextended((%s || chr(31)) COLLATE \"C\", 0) & 9223372036854775807) %% 8"


def test_each_relay_works_on_its_own_shards_only(fleet, database, reader):
    """While one of two stands still, and nobody takes it for dead, the keys of the other's shards arrive and no
    others; then its own."""
    relays = fleet(2, shards=8, session_timeout="5m")
    shares = wait_spread_for_good(relays, 4, 4)
    consumer = reader()
    insert(database, 100)
    consumer.take(100)
    database.wait_empty()
    relays[0].process.pause()
    insert(database, 5000)
    shard_of = {key: database.value(SHARD, key) for key in (f"k-{number}" for number in range(100))}
    others = [key for key, shard in shard_of.items() if shard in shares[relays[1]]]
    records = consumer.take(50 * len(others))
    assert {record.key.decode() for record in records} == set(others)
    holds(lambda: consumer.rest() == [], 0.5, "nothing else comes", every=0.1)
    relays[0].process.resume()
    records += consumer.take(5000 - len(records))
    assert len({record.event_id for record in records}) == 5000
    database.wait_empty()


@pytest.mark.parametrize("sent, kills", [(signal.SIGTERM, 0), (signal.SIGKILL, 1)])
def test_one_of_three_ends_under_load(fleet, database, in_order, sent, kills):
    """Told to stop it settles and hands over, so that nothing is repeated; killed, its shards are taken over."""
    relays = fleet(3, **SMALL)
    wait_spread(relays, 3, 3, 2)
    with Writers(database, threads=8, keys=40) as writers:
        writers.wait_committed(300)
        relays[1].process.send(sent)
        wait_spread([relays[0], relays[2]], 4, 4)
        writers.wait_committed(300)
    relays[1].wait_exit()
    in_order(writers, kills=kills)


def test_the_last_but_one_ends(fleet, database, in_order):
    """Of two relays one is killed and the other stopped; a third that starts only then finds all in order."""
    relays = fleet(2, **SMALL)
    wait_spread(relays, 4, 4)
    with Writers(database, threads=4, keys=40) as writers:
        writers.wait_committed(200)
        relays[0].kill()
        wait_spread([relays[1]], 8)
        writers.wait_committed(200)
        assert relays[1].stop() == 0
        until(lambda: locked(database, 8) == {}, 10, "the session to be over for the server, too")
        relays[0].start()
        wait_spread([relays[0]], 8)
    in_order(writers, kills=1)


def test_kill_rounds(fleet, database, in_order):
    """Ten times one of three relays is killed under load and started again at once."""
    relays = fleet(3, **SMALL)
    with Writers(database, threads=4, keys=40) as writers:
        for round_ in range(10):
            writers.wait_committed(60)
            relays[round_ % 3].kill()
            relays[round_ % 3].start(wait=False)
        wait_spread(relays, 3, 3, 2)
        writers.wait_committed(100)
    in_order(writers, kills=10)


def test_a_rolling_restart(fleet, database, in_order):
    """Three rounds under load: no event is lost, out of order, or there twice."""
    relays = fleet(2, **SMALL)
    wait_spread(relays, 4, 4)
    with Writers(database, threads=8, keys=40) as writers:
        for _ in range(3):
            for relay in relays:
                writers.wait_committed(150)
                assert relay.stop() == 0
                relay.start()
                wait_spread(relays, 4, 4)
    in_order(writers)


def test_a_backlog_is_shared(fleet, database, in_order):
    """The shards move while each relay is in the middle of a backlog."""
    with Writers(database, threads=4, keys=60) as writers:
        writers.wait_committed(3000)
    relays = fleet(3, **SMALL)
    in_order(writers)
    count = len(writers.truth())
    until(lambda: sum(relay.metric("published_total") for relay in relays) == count, 20, "all to be counted")


def test_a_hand_over_with_the_bell_and_long_timers(fleet, new_relay, database, reader):
    """Nobody polls: what a relay gets from another, and what comes to it afterwards, is published soon."""
    slow = {"shards": 2, "poll_interval": "1h", "sweep_interval": "1h"}
    first, = fleet(1, **slow)
    wait_spread([first], 2)
    consumer = reader()
    second = new_relay(outbox=slow).start()
    wait_spread_for_good([first, second], 1, 1)
    for _ in range(5):
        insert(database, 100)
        assert len(consumer.take(100)) == 100
    assert first.stop() == 0
    wait_spread([second], 2)
    insert(database, 100)
    assert len(consumer.take(100)) == 100


def test_the_sessions_are_ended(fleet, database, in_order):
    """pg_terminate_backend on all relays, again and again: they find together again, and since each remembers
    what it published, nothing comes twice."""
    relays = fleet(2, **SMALL)
    wait_spread(relays, 4, 4)
    ended = 0
    with Writers(database, threads=4, keys=40) as writers:
        while ended < 12:
            writers.wait_committed(50)
            ended += database.end_relay_sessions()
        wait_spread(relays, 4, 4)
    in_order(writers)


def test_postgres_restarts(fleet, database, in_order):
    """All relays come back, and again share the shards. Who got a shard that was another's before cannot know
    what of it was published: at most one replay per restart."""
    relays = fleet(2, **SMALL)
    with Writers(database, threads=4, keys=40) as writers:
        for mode in ("fast", "immediate", "fast", "immediate"):
            wait_spread(relays, 4, 4)
            writers.wait_committed(100)
            database.server.restart(mode)
        wait_spread(relays, 4, 4)
    in_order(writers, kills=4)


def test_more_relays_than_shards(fleet, database, reader):
    """The surplus one stands by, is ready, and comes in when another leaves."""
    relays = fleet(3, shards=2)
    shares = wait_spread_for_good(relays, 1, 1, 0)
    spare, = (relay for relay in relays if not shares[relay])
    working = [relay for relay in relays if relay is not spare]
    wait_standby(spare, "other relays own all 2 shards")
    assert standby(working[0]) == standby(working[1]) == ""
    insert(database, 1000)
    consumer = reader()
    assert len(consumer.take(1000)) == 1000
    assert spare.metric("published_total") == 0
    working[0].kill()
    wait_spread([working[1], spare], 1, 1)
    insert(database, 1000)
    assert len(consumer.take(1000)) == 1000
    until(lambda: spare.metric("published_total") > 0, 10, "the spare one to publish")


def test_one_shard_and_two_relays(fleet, database, in_order):
    """The other waits; on SIGTERM the shard is handed over, and nothing is repeated."""
    relays = fleet(2, shards=1)
    shares = wait_spread_for_good(relays, 1, 0)
    owner, other = sorted(relays, key=lambda relay: not shares[relay])
    wait_standby(other, "another relay owns the shard")
    with Writers(database) as writers:
        for _ in range(3):
            writers.wait_committed(200)
            assert owner.stop() == 0
            wait_spread_for_good([other], 1)
            owner.start(wait=False)
            wait_standby(owner, "another relay owns the shard")
            owner, other = other, owner
        assert owned(owner) == {0}
    in_order(writers)
