# SPDX-License-Identifier: ISC
"""Relays of one outbox that put a key in different shards, for another route.key or another column in it, never
work at the same time."""
import json
import re

import pytest

from harness.fleet import locked, owned, wait_spread, wait_spread_for_good, wait_standby
from harness.waiting import holds, until
from harness.writers import Writers, arrivals

BATCH = {"shards": 8, "claim_rows": 10, "batch_rows": 20}
WORDS = ("relays with another route.key, other columns in it, or another kafka.delivery are at work; waiting for their"
         " end")
OTHER_KEY = {"route": {"key": "${aggregate_type}${aggregate_id}"}}
OTHER_COLUMN = {"outbox": {"columns": {"aggregate_id": "owner_id"}}}


@pytest.fixture
def with_owner(database):
    """The outbox has another column that says the same as aggregate_id."""
    database.execute("ALTER TABLE outbox_events ADD COLUMN owner_id text"
                     " GENERATED ALWAYS AS (aggregate_id) STORED")


@pytest.fixture
def make(new_relay, topic):
    topic()

    def build(changes):
        return new_relay(**{**changes, "outbox": {**BATCH, **changes.get("outbox", {})}})
    return build


@pytest.mark.parametrize("changes", [OTHER_KEY, OTHER_COLUMN], ids=["key", "column"])
def test_one_after_the_other(with_owner, database, make, in_order, reader, changes):
    """The new ones wait for the last of the old ones, and the other way round; all in order, nothing twice."""
    old, new = [make({}) for _ in range(2)], [make(changes) for _ in range(2)]
    for relay in old:
        relay.start()
    wait_spread_for_good(old, 4, 4)
    with Writers(database, threads=4, keys=40) as writers:
        for before, after in ((old, new), (new, old)):
            for relay in after:
                relay.start(wait=False)
            for relay in after:
                wait_standby(relay, WORDS)
            writers.wait_committed(100)
            assert before[0].stop() == 0
            wait_spread(before[1:], 8)
            holds(lambda: not any(map(owned, after)), 0.5, "the others wait", every=0.1)
            assert before[1].stop() == 0
            wait_spread_for_good(after, 4, 4)
            writers.wait_committed(100)
    if changes is OTHER_COLUMN:
        in_order(writers)
        return
    # The records of the two have different keys, and lie in different partitions.
    database.wait_empty(timeout=60)
    events = [arrival.event for arrival in arrivals(reader().rest())]
    assert sorted(e._replace(key=e.key.removeprefix("thing")) for e in events) == sorted(writers.truth())


def test_they_start_at_once(database, make):
    """One kind of them begins, never both, again and again."""
    kinds = [[make(changes) for _ in range(2)] for changes in ({}, OTHER_KEY)]
    everybody = kinds[0] + kinds[1]
    for _ in range(4):
        for relay in everybody:
            relay.start(wait=False)
        for relay in everybody:
            relay.wait_log("ready: publishing|standby")

        def one_kind():
            at_work = [kind for kind in kinds if any(map(owned, kind))]
            assert len(at_work) <= 1
            return at_work and sum(len(owned(relay)) for relay in at_work[0]) == 8
        until(one_kind, 20, "one kind at work")
        assert len(locked(database, 8)) <= 2
        assert [relay.stop() for relay in everybody] == [0] * 4


def test_status_and_pause(database, make):
    """status tells the two kinds apart, pause stops both."""
    first, second = make({}).start(), make(OTHER_KEY)
    wait_spread([first], 8)
    second.start(wait=False)
    wait_standby(second, WORDS)
    status = first.status()
    assert [(layout["shards"], layout["relays"], layout["owned"]) for layout in status["layouts"]] == [
        (8, 1, 8), (8, 1, 0)]
    assert len({layout["fingerprint"] for layout in status["layouts"]}) == 2
    assert len({relay["fingerprint"] for relay in status["relays"]}) == 2
    words = first.command("status").stdout
    assert "at odds" in words and "other columns" in words, words
    paused = first.command("pause", "--json")
    assert paused.returncode == 0 and json.loads(paused.stdout)["owners"] == []
    assert first.command("resume").returncode == 0


def test_one_shard_needs_no_fingerprint(database, make, reader):
    """All rows are in it whatever the key: the other takes over as usual."""
    one = {"outbox": {"shards": 1}}
    first, second = make(one).start(), make({**one, **OTHER_KEY})
    wait_spread([first], 1)
    second.start(wait=False)
    wait_standby(second, "another relay owns the shard")
    first.stop()
    wait_spread([second], 1)


def test_another_key_waits_for_what_is_parked(database, make, reader):
    """Later events would not be found to be of a parked key: run and check refuse, and say how to go on."""
    def letters():
        return database.value("SELECT count(*) FROM outbox_relay.dead_letters")
    old, new = make({}), make(OTHER_KEY)
    old.start()
    for headers in ("[]", None):
        database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
                         " VALUES ('thing', 'bad', 'E', '{}', %s)", headers)
    until(lambda: letters() == 2, 20, "the key to be parked")
    assert old.stop() == 0
    done = new.command("check")
    words = "parked by another key, one of them is event_id .*, key bad: .*dlq discard, and then change it"
    assert done.returncode == 1 and re.search(words, " ".join(done.stdout.split())), done.stdout
    new.start(wait=False)
    assert new.wait_exit() == 1
    assert new.log_contains(words)
    # Whatever is in an event id and a key: nothing of it reaches the terminal, and what to do is still said.
    database.execute("UPDATE outbox_relay.dead_letters SET event_id = repeat(U&'\\+01F600', 600), key = 'a; b' || chr(27) || 'c'")
    done = new.command("check", "--json")
    finding, = [entry for entry in json.loads(done.stdout) if "parked by another key" in entry["what"]]
    assert done.returncode == 1 and finding["what"].count("\U0001f600") < 100 and r"key a; b\x1bc: " in finding["what"], finding
    assert finding["remedy"].startswith("go back to the old route.key") and finding["remedy"].endswith("and then change it")
    new.start(wait=False)
    assert new.wait_exit() == 1
    assert new.log_contains(r"key a; b.*dlq discard, and then change it")
    old.start()
    database.execute("INSERT INTO outbox_relay.letter_requests (outbox, letter, action) SELECT outbox, number, 'discard'"
                     " FROM outbox_relay.dead_letters WHERE reason IS NOT NULL")
    assert len(reader().take(1)) == 1
    until(lambda: letters() == 0, 20, "no letters")
    assert old.stop() == 0
    assert new.command("check").returncode == 0
    new.start()
