# SPDX-License-Identifier: ISC
"""Several relays: which shards each owns, by its own word and by the locks in the database."""
import re

from harness.waiting import until

OWNED = re.compile(r'outbox_relay_shard_owned\{shard="(\d+)"\}')

HAS_KAFKA = 'outbox_relay_connected{peer="kafka"}'

# outbox/locks.h
LOCKS = ("SELECT pid, objid::int8 & 4095 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted"
         " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
         " AND classid = %s::regclass AND objid::int8 >> 24 = 111 AND (objid::int8 >> 12) & 4095 = %s")


def owned(relay):
    """The numbers of the shards that this relay says are its own."""
    return {int(OWNED.fullmatch(name).group(1)) for name, value in relay.metrics().items()
            if value == 1 and OWNED.fullmatch(name)}


def locked(database, shards, table="outbox_events"):
    """{pid of a session: the shards it has locked, of so many in all}."""
    owners = {}
    for pid, shard in database.rows(LOCKS, table, shards):
        owners.setdefault(pid, set()).add(shard)
    return owners


def wait_spread(relays, *counts, timeout=20):
    """Waits until the relays own so many shards each, in any order, and together all of them; {relay: shards}."""
    wanted = sorted(counts)
    last = {}

    def look():
        last.update((relay, owned(relay)) for relay in relays)
        everything = sorted(shard for shards in last.values() for shard in shards)
        return (sorted(map(len, last.values())) == wanted and everything == list(range(sum(wanted)))
                and dict(last))
    return until(look, timeout, f"shards spread {wanted}", every=0.02)


def wait_kafka(relays):
    """Waits until each of them has Kafka."""
    until(lambda: all(relay.metrics().get(HAS_KAFKA) == 1 for relay in relays), 20, "all relays to have Kafka",
          every=0.02)


def wait_spread_for_good(relays, *counts):
    """The same, once all have Kafka: until then one may give what it has to another, and what is seen does not last."""
    wait_kafka(relays)
    return wait_spread(relays, *counts)


def standby(relay):
    """What it waits for; "" if it does not."""
    return re.search(r'"standby":"([^"]*)"', relay.get("/status")[1]).group(1)


def wait_standby(relay, words, timeout=20):
    """Waits until it stands by for this reason, and is ready nevertheless."""
    until(lambda: words in standby(relay), timeout, f"{relay.name} to stand by: {words}", every=0.02)
    code, text = relay.get("/readyz")
    assert code == 200 and text == f"standby: {standby(relay)}\n", (code, text)


def sessions(database):
    """The backends of the relays' sessions."""
    return {pid for pid, in database.rows("SELECT pid FROM pg_stat_activity WHERE usename = 'outbox_relay'"
                                          " AND datname = current_database()")}
