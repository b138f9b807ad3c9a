# SPDX-License-Identifier: ISC
"""Another number of shards puts keys elsewhere: relays with the new number wait until the last with the old one
has ended."""
import pytest

from harness.fleet import locked, wait_spread, wait_spread_for_good, wait_standby
from harness.waiting import holds, until
from harness.writers import Writers, arrivals

BATCH = {"claim_rows": 10, "batch_rows": 20}


def layouts(database, *numbers):
    """Of these numbers of shards those for which any is locked."""
    return [number for number in numbers if locked(database, number)]


@pytest.mark.parametrize("old, new", [(8, 4), (4, 8), (1, 4)])
def test_another_number_of_shards(fleet, database, in_order, old, new):
    """Two relays with the new number wait while one with the old one is left, then share the outbox."""
    before = fleet(2, shards=old, **BATCH)
    wait_spread(before, old - old // 2, old // 2)
    with Writers(database, threads=4, keys=40) as writers:
        writers.wait_committed(200)
        after = fleet(2, shards=new, **BATCH)
        for relay in after:
            wait_standby(relay, f"relays with {old} shard")
        assert before[0].stop() == 0
        wait_spread(before[1:], old)
        writers.wait_committed(200)
        holds(lambda: layouts(database, old, new) == [old], 1, "only the old ones at work")
        assert before[1].stop() == 0
        wait_spread_for_good(after, new // 2, new // 2)
        writers.wait_committed(200)
    in_order(writers)
    assert all(relay.metric("published_total") > 0 for relay in after)


def test_the_last_of_the_old_is_killed(fleet, database, in_order):
    before, after = fleet(1, shards=8, **BATCH), []
    wait_spread(before, 8)
    with Writers(database, threads=4, keys=40) as writers:
        after += fleet(1, shards=3, **BATCH)
        wait_standby(after[0], "relays with 8 shards are at work")
        writers.wait_committed(200)
        before[0].kill()
        wait_spread(after, 3)
        writers.wait_committed(200)
    in_order(writers, kills=1)


def test_a_rolling_change_there_and_back(fleet, database, in_order):
    """Each relay in turn is stopped and started with the new number; and all again with the old one."""
    relays = fleet(2, shards=8, **BATCH)
    wait_spread(relays, 4, 4)
    with Writers(database, threads=4, keys=40) as writers:
        for old, new in ((8, 2), (2, 8)):
            writers.wait_committed(150)
            for relay in relays:
                assert relay.stop() == 0
                relay.write_config(outbox={"shards": new})
                relay.start(wait=False)
                if relay is relays[0]:
                    wait_standby(relay, f"relays with {old} shards are at work")
            wait_spread(relays, new // 2, new // 2)
    in_order(writers)


def test_both_numbers_start_at_once(fleet, new_relay, database, in_order):
    """One of them begins, never both, again and again."""
    relays = [new_relay(outbox={"shards": number, **BATCH}) for number in (8, 8, 4, 4)]
    with Writers(database, threads=4, keys=40) as writers:
        for _ in range(5):
            for relay in relays:
                relay.start(wait=False)
            writers.wait_committed(100)
            database.wait("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid::int8 >> 24 = 111")
            for relay in relays:
                relay.wait_log("ready: publishing|standby")
            holds(lambda: len(layouts(database, 4, 8)) <= 1, 0.5, "one number of shards at work", every=0.01)
            assert [relay.stop() for relay in relays] == [0] * 4
        wait_spread([relays[0].start()], 8)
    in_order(writers)


@pytest.mark.parametrize("old, new, words", [
    ({"shards": 4}, {"ordering": "none"}, "relays with 4 shards are at work"),
    ({"ordering": "none"}, {"shards": 4}, "relays without order are at work"),
    ({"ordering": "none"}, {"shards": 1}, "relays without order are at work")])
def test_without_order_beside_order(fleet, database, reader, old, new, words):
    """The one waits for the end of the other."""
    def shards(outbox):
        return outbox.get("shards", 1)
    before, = fleet(1, **old, **BATCH)
    wait_spread([before], shards(old))
    with Writers(database, threads=4, keys=40) as writers:
        after, = fleet(1, **new, **BATCH)
        wait_standby(after, words)
        writers.wait_committed(200)
        assert after.metric("published_total") == 0
        assert before.stop() == 0
        wait_spread([after], shards(new))
        writers.wait_committed(200)
    database.wait_empty()
    arrived = [arrival.event for arrival in arrivals(reader().rest())]
    assert sorted(arrived) == sorted(writers.truth())


def test_paused_and_resumed_with_three_numbers(fleet, database, in_order):
    """Nobody's shards are taken at the resume, and all three numbers may begin: one of them does, soon."""
    relays = [relay for shards in (8, 4, 1) for relay in fleet(1, shards=shards, **BATCH)]
    with Writers(database, threads=4, keys=40) as writers:
        for _ in range(6):
            writers.wait_committed(60)
            assert relays[0].command("pause").returncode == 0
            # One that polled before the pause may lock a shard yet, and gives it back when it polls again.
            until(lambda: layouts(database, 8, 4, 1) == [], 5, "nobody at work")
            assert relays[0].command("resume").returncode == 0
            until(lambda: len(layouts(database, 8, 4, 1)) == 1, 5, "one number at work", every=0.01, prompt=True)
    in_order(writers)
