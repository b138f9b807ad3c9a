# SPDX-License-Identifier: ISC
"""What check finds on a partitioned outbox."""
import re

import pytest

from harness.fleet import wait_spread


@pytest.fixture
def partitioned(empty_database, migrate):
    """An outbox in four partitions."""
    migrate("--partitions", "4")
    return empty_database


def found(done, pattern):
    return re.search(pattern, done.stdout, re.M) is not None


def test_nothing_wrong(partitioned, new_relay):
    done = new_relay().command("check")
    assert done.returncode == 0, done.stdout
    for words in ("each of the 4 partitions of table outbox_events is a shard", "an index leads with id",
                  "autovacuum comes often enough to outbox_events", "the bell of outbox_events is in place",
                  r"ids come from sequence \S*outbox_events_id_seq, one by one", "has the rights it needs"):
        assert found(done, f"^ok    .*{words}$"), done.stdout


def test_mark_mode(empty_database, migrate, new_relay):
    mark = {"outbox": {"settle": "mark"}}
    migrate("--partitions", "4", **mark)
    done = new_relay(**mark).command("check")
    assert done.returncode == 0 and found(done, "^ok    an index leads with id$"), done.stdout
    empty_database.execute("DROP INDEX outbox_events_id_idx; CREATE INDEX ON outbox_events_p1 (id)"
                           " WHERE published_at IS NULL")
    done = new_relay(**mark).command("check")
    assert done.returncode == 1
    assert re.findall(r"^error no index on (\S+) \(id\) WHERE published_at IS NULL", done.stdout, re.M) == [
        f"public.outbox_events_p{i}" for i in (0, 2, 3)]


@pytest.mark.parametrize("change, status, words", [
    ("REVOKE DELETE ON outbox_events_p2 FROM outbox_relay", 1,
     r"^error this role lacks rights on outbox_events: DELETE on public\.outbox_events_p2: run `outbox-relay migrate`"),
    ("ALTER TABLE outbox_events_p3 RESET (autovacuum_vacuum_scale_factor)", 0,
     r"^warn  autovacuum of public\.outbox_events_p3 waits for a share"),
    ("ALTER TABLE outbox_events_p0 SET (autovacuum_enabled = off)", 1,
     r"^error autovacuum is off for public\.outbox_events_p0;"),
    ("ALTER TABLE outbox_events DROP CONSTRAINT outbox_events_pkey; CREATE INDEX ON outbox_events_p0 (id);"
     " CREATE INDEX ON outbox_events_p1 (id, event_id); CREATE INDEX ON outbox_events_p2 (event_id, id);"
     " CREATE INDEX ON outbox_events_p3 (id)", 1, r"^error no index on public\.outbox_events_p2 leads with id;"),
    ("DROP TRIGGER outbox_relay_bell ON outbox_events", 0, "^warn  table outbox_events has no trigger"),
    ("ALTER TABLE outbox_events ALTER COLUMN id SET CACHE 20", 1, r"^error sequence \S*outbox_events_id_seq has CACHE 20")])
def test_a_leaf_is_looked_at_as_a_table(partitioned, new_relay, change, status, words):
    partitioned.execute(change)
    done = new_relay().command("check")
    assert done.returncode == status and found(done, words), done.stdout
    assert len(re.findall("^(?:error|warn) .*outbox_events", done.stdout, re.M)) == 1, done.stdout


@pytest.mark.parametrize("columns, key, wrong", [
    ("aggregate_id", "${aggregate_id}", []),
    ("aggregate_id", "${tenant}/${aggregate_id}", []),
    ("tenant, aggregate_id", "${tenant}/${aggregate_id}", []),
    ("tenant, aggregate_id", "${aggregate_id}", ["tenant"]),
    ("tenant", "${aggregate_id}", ["tenant"]),
    ("id, tenant", "fixed", ["id", "tenant"])])
def test_the_partition_key_is_part_of_the_key(empty_database, migrate, new_relay, columns, key, wrong):
    """Or one key would be in two shards. By the column's own name: here that of the aggregate is "Id"."""
    columns = columns.replace("aggregate_id", '"Id"')
    empty_database.execute(
        "CREATE TABLE outbox_events (id bigint GENERATED ALWAYS AS IDENTITY, event_id uuid NOT NULL, aggregate_type"
        ' text, tenant text, "Id" text NOT NULL, event_type text, payload text, headers text, created_at timestamptz)'
        f" PARTITION BY HASH ({columns}); CREATE TABLE leaf PARTITION OF outbox_events FOR VALUES WITH (MODULUS 1,"
        " REMAINDER 0); CREATE INDEX ON outbox_events (id)")
    changes = {"outbox": {"columns": {"aggregate_id": "Id"}}, "route": {"key": key}}
    migrate(**changes)
    relay = new_relay(**changes)
    done = relay.command("check")
    assert done.returncode == bool(wrong), done.stdout
    words = 'is partitioned by column {}, which is no part of route.key "{}"; events of one key lie in several partitions'
    said = words.format(", ".join(f'"{column}"' for column in wrong), key)
    assert (said in done.stdout) == bool(wrong), done.stdout
    relay.start(wait=not wrong)
    assert not wrong or relay.wait_exit() == 1 and relay.log_contains(re.escape(said))


def test_a_pause_is_found(database, new_relay):
    relay = new_relay()
    relay.command("pause")
    done = relay.command("check")
    assert done.returncode == 0 and found(done, "^warn  outbox outbox_events is paused; .*resume"), done.stdout


@pytest.mark.parametrize("shards, good", [(1, True), (4, True), (3, False), (8, False)])
def test_the_number_of_shards(partitioned, new_relay, shards, good):
    """Is that of the partitions, or is left to them; run refuses what check finds."""
    relay = new_relay(outbox={"shards": shards})
    done = relay.command("check")
    assert done.returncode == (not good), done.stdout
    words = f"outbox.shards is {shards}, but each of the 4 partitions of table .* is a shard"
    assert found(done, f"^error {words}: leave outbox.shards out$") is not good
    relay.start(wait=good)
    if good:
        wait_spread([relay], 4)
    else:
        assert relay.wait_exit() == 1 and relay.log_contains(words + "; leave outbox.shards out")


def test_without_order_no_key_is_needed(empty_database, migrate, new_relay):
    empty_database.execute(
        "CREATE TABLE outbox_events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL,"
        " aggregate_type text, aggregate_id text, event_type text, payload text, headers text, created_at"
        " timestamptz) PARTITION BY HASH (id); CREATE TABLE leaf PARTITION OF outbox_events FOR VALUES"
        " WITH (MODULUS 1, REMAINDER 0)")
    migrate()
    for ordering, wrong in (("key", True), ("none", False)):
        relay = new_relay(outbox={"ordering": ordering})
        assert found(relay.command("check"), '^error .*by column "id", which is no part of route.key') is wrong
        relay.start(wait=not wrong)
        if wrong:
            assert relay.wait_exit() == 1 and relay.log_contains('by column "id", which is no part of route.key')
