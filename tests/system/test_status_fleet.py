# SPDX-License-Identifier: ISC
"""What status tells of the relays and their shards."""
import re


def test_no_relay(database, new_relay):
    relay = new_relay()
    status = relay.status()
    assert (status["relays"], status["layouts"]) == ([], [])
    assert status["shards"] == [{"shard": 0, "owner": None}]
    words = relay.command("status").stdout
    assert re.search("^shard 0 +no owner\nrelays +none$", words, re.M)


def test_who_owns_what(database, migrate, new_relay, play):
    """On four partitions: two relays and one that stands by, a shard that is free."""
    database.execute("DROP TABLE outbox_events")
    migrate("--partitions", "4")
    relay = new_relay()
    a, b, c = play(4, 0, 2), play(4, 1, name="outbox-relay here:2"), play(4, name="outbox-relay here:3")
    status = relay.status()
    assert [shard["partition"] for shard in status["shards"]] == [f"outbox_events_p{i}" for i in range(4)]
    assert [(shard["owner"] or {}).get("pid") for shard in status["shards"]] == [a.pid, b.pid, a.pid, None]
    owner = status["shards"][1]["owner"]
    assert set(owner) == {"pid", "application", "client", "since"}
    assert owner["application"] == "outbox-relay here:2" and owner["client"] == "127.0.0.1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", owner["since"])
    assert [(r["pid"], r["layout"], r["shards"]) for r in status["relays"]] == [
        (a.pid, 4, [0, 2]), (b.pid, 4, [1]), (c.pid, 4, [])]
    assert status["layouts"] == [{"shards": 4, "relays": 3, "owned": 3}]
    words = relay.command("status").stdout
    assert re.search(f"^shard 1 +outbox_events_p1: outbox-relay here:2 at 127.0.0.1, session {b.pid} since 2", words,
                     re.M)
    assert re.search("^shard 3 +outbox_events_p3: no owner\nfree +1 of 4 shards$", words, re.M)
    assert re.search(f"^relays .* session {a.pid} since .*: owns 2 of 4 shards$", words, re.M)
    assert re.search(f" session {c.pid} since .*: standby$", words, re.M) and "at odds" not in words


def test_relays_at_odds(database, new_relay, play):
    """With another number of shards each: who works, and who waits."""
    play(4, 0, 1, 2, 3), play(1), play(1)
    relay = new_relay()
    status = relay.status()
    assert status["shards"] == [{"shard": 0, "owner": None}]
    assert status["layouts"] == [{"shards": 4, "relays": 1, "owned": 4}, {"shards": 1, "relays": 2, "owned": 0}]
    words = relay.command("status").stdout
    assert re.search("^at odds +1 with 4 shards: at work; the others wait until these own nothing\n"
                     " +2 with 1 shard: wait until no others own a shard$", words, re.M)


def test_without_order(database, new_relay, play):
    a, b = play(0, 0), play(0, 0)
    status = new_relay().status()
    assert [(r["pid"], r["layout"], r["shards"]) for r in status["relays"]] == [(a.pid, 0, [0]), (b.pid, 0, [0])]
    words = new_relay().command("status").stdout
    assert re.search(f"session {b.pid} since .*: publishes without order$", words, re.M)
