# SPDX-License-Identifier: ISC
"""outbox.where: rows that do not meet it are no events. Nothing takes, counts or deletes them."""
import json

import psycopg2
import pytest

from harness.positions import wait_settled
from harness.waiting import until

KAFKA = "kind = 'kafka'"


def insert(database, kind, first, last):
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, kind)"
                     " SELECT 'thing', n %% 3, 'E', to_jsonb(n), %s FROM generate_series(%s::int, %s::int) AS n",
                     kind, first, last)


@pytest.fixture
def kinds(database, migrate):
    """kinds(settle): an outbox with a column kind, migrated so."""
    def make(settle, where=KAFKA):
        database.execute("ALTER TABLE outbox_events ADD COLUMN kind text")
        migrate(outbox={"settle": settle, "where": where})
        return database
    return make


def numbers(records):
    return [int(record.value) for record in records]


@pytest.mark.parametrize("settle", ["delete", "mark", "position"])
def test_other_rows_are_no_events(kinds, new_relay, reader, topic, settle):
    """Before and after the events, with NULL and with another kind; they stay as they are, also in the metrics."""
    topic(partitions=1)
    database = kinds(settle)
    for kind, first in (("mail", 1), ("kafka", 11), (None, 21), ("kafka", 31), ("mail", 41)):
        insert(database, kind, first, first + 9)
    before = database.rows("SELECT o::text FROM outbox_events AS o WHERE kind IS DISTINCT FROM 'kafka' ORDER BY id")
    relay = new_relay(outbox={"settle": settle, "where": KAFKA, "poll_interval": "100ms"})
    waiting = json.loads(relay.command("status", "--json").stdout)
    assert waiting["depth"] == 20
    relay.start()
    records = reader()
    assert numbers(records.take(20)) == [*range(11, 21), *range(31, 41)]
    insert(database, "mail", 51, 60)
    insert(database, "kafka", 61, 63)
    assert numbers(records.take(3)) == [61, 62, 63]
    until(lambda: json.loads(relay.command("status", "--json").stdout)["depth"] == 0, 20, "all to be settled")
    until(lambda: relay.metric("depth") == 0, 10, "the gauge to say so")
    after = database.rows("SELECT o::text FROM outbox_events AS o WHERE kind IS DISTINCT FROM 'kafka' ORDER BY id")
    assert after[:len(before)] == before and len(after) == len(before) + 10
    if settle != "delete":
        verified = relay.command("verify", "--json")
        assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize("settle", ["delete", "mark", "position"])
def test_a_row_that_becomes_an_event_is_published(kinds, new_relay, reader, topic, settle):
    """By an UPDATE: the next sweep sees it."""
    topic(partitions=1)
    database = kinds(settle)
    insert(database, "mail", 1, 5)
    new_relay(outbox={"settle": settle, "where": KAFKA, "sweep_interval": "300ms"}).start()
    insert(database, "kafka", 6, 6)
    records = reader()
    assert numbers(records.take(1)) == [6]
    database.execute("UPDATE outbox_events SET kind = 'kafka' WHERE payload = '3'")
    assert numbers(records.take(1)) == [3]


def test_what_was_withdrawn_does_not_become_an_event(kinds, new_relay, reader, topic):
    topic(partitions=1)
    database = kinds("position")
    insert(database, "mail", 1, 2)
    taken = database.value("SELECT outbox_relay.withdraw('outbox_events', id, event_id::text) FROM outbox_events"
                           " WHERE payload = '1'")
    assert taken == 1
    new_relay(outbox={"settle": "position", "where": KAFKA}).start()
    insert(database, "kafka", 3, 3)
    records = reader()
    assert numbers(records.take(1)) == [3]
    wait_settled(database)
    database.wait("SELECT NOT EXISTS (SELECT FROM outbox_relay.settled_ahead)")
    database.execute("UPDATE outbox_events SET kind = 'kafka'")
    assert numbers(records.take(1)) == [2]
    wait_settled(database)
    assert records.rest() == []


def test_a_row_that_becomes_an_event_by_a_generated_column(database, migrate, new_relay, reader, topic):
    """Its value is not known yet when the trigger looks at what an UPDATE makes of the row. A published event stays
    published, whatever is changed of it."""
    topic(partitions=1)
    database.execute("ALTER TABLE outbox_events ADD COLUMN draft boolean, ADD COLUMN kind text GENERATED ALWAYS AS"
                     " (CASE WHEN draft THEN 'none' ELSE 'kafka' END) STORED")
    options = {"settle": "position", "where": KAFKA}
    migrate(outbox=options)
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, draft)"
                     " SELECT 'thing', 'k', 'E', to_jsonb(n), n < 5 FROM generate_series(1, 5) AS n")
    new_relay(outbox=options).start()
    records = reader()
    assert numbers(records.take(1)) == [5]
    database.execute("UPDATE outbox_events SET draft = NULL WHERE payload IN ('2', '5')")
    assert numbers(records.take(1)) == [2]
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES ('thing', 'k', 'E', '6')")
    assert numbers(records.take(1)) == [6]


OTHER = "kind IN ('kafka', 'mail')"


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("publish", [True, False])
def test_positions_and_another_condition(kinds, migrate, new_relay, reader, topic, publish, shards):
    """Nothing tells of what becomes an event by it whether it is published: somebody has to say so. Before the position
    and behind it."""
    topic(partitions=1)
    database = kinds("position")
    old, new = ({"settle": "position", "where": where, "shards": shards} for where in (KAFKA, OTHER))
    relay = new_relay(outbox=old).start()
    insert(database, "mail", 1, 3)
    insert(database, "kafka", 4, 5)
    records = reader()
    assert sorted(numbers(records.take(2))) == [4, 5]
    with pytest.raises(AssertionError, match="a relay of table .*outbox_events is connected; stop all of them first"):
        migrate(outbox=new)
    with pytest.raises(psycopg2.errors.ObjectInUse, match="is connected; stop all of them first"):
        database.execute("SELECT outbox_relay.set_where('outbox_events', %s, %s)", OTHER, publish)
    assert relay.stop() == 0
    insert(database, "mail", 6, 7)
    insert(database, "kafka", 8, 8)
    database.execute("SELECT outbox_relay.withdraw('outbox_events', id, event_id::text) FROM outbox_events"
                     " WHERE payload = '7'")
    with pytest.raises(AssertionError, match="nothing tells whether they are published; .* outbox_relay.set_where"):
        migrate(outbox=new)
    database.execute("SELECT outbox_relay.set_where('outbox_events', %s, %s)", OTHER, publish)
    wanted = [1, 2, 3, 6, 8] if publish else [8]
    migrate(outbox=new)
    new_relay(outbox=new).start()
    assert sorted(numbers(records.take(len(wanted)))) == wanted
    insert(database, "mail", 9, 9)
    assert numbers(records.take(1)) == [9]
    wait_settled(database)
    assert records.rest() == []
    assert database.value("SELECT detail FROM outbox_relay.operator_actions WHERE action = 'where'") == OTHER


def test_a_relay_of_another_condition_claims_nothing(kinds, new_relay, reader, topic):
    """It has read the old one, and the new one is there before its first claim: it ends, and says why."""
    topic(partitions=1)
    database = kinds("position")
    relay = new_relay(outbox={"settle": "position", "where": KAFKA}).start()
    insert(database, "kafka", 1, 1)
    records = reader()
    assert numbers(records.take(1)) == [1]
    with database.session(autocommit=False) as cursor:
        cursor.execute("UPDATE outbox_relay.outboxes SET condition = %s", (OTHER,))
        cursor.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, kind)"
                       " VALUES ('thing', '1', 'E', '2', 'mail'), ('thing', '1', 'E', '3', 'kafka')")
        cursor.connection.commit()
    relay.wait_log("was migrated for outbox.where = .kind IN")
    assert relay.stop() in (0, 1)
    new_relay(outbox={"settle": "position", "where": OTHER}).start()
    assert numbers(records.take(2)) == [2, 3]


@pytest.mark.parametrize("arguments, why", [
    ("'kind = ', true", "is no condition on a row"), ("'true', NULL", "is to be published"),
    ("NULL, true", "is to be published"), ("'random() < 0.5', true", "is no condition on a row")])
def test_what_set_where_refuses(kinds, arguments, why):
    database = kinds("position")
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match=why):
        database.execute(f"SELECT outbox_relay.set_where('outbox_events', {arguments})")


def test_set_where_needs_positions(kinds):
    database = kinds("delete")
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState, match="has no positions"):
        database.execute("SELECT outbox_relay.set_where('outbox_events', 'true', false)")


def test_a_trigger_that_keeps_rows_from_being_updated(kinds):
    database = kinds("position")
    insert(database, "mail", 1, 3)
    database.execute("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
                     " CREATE TRIGGER keep BEFORE UPDATE ON outbox_events FOR EACH ROW EXECUTE FUNCTION keep()")
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState, match="keeps rows of table .* from being updated"):
        database.execute("SELECT outbox_relay.set_where('outbox_events', %s, true)", OTHER)


def test_a_virtual_column_says_nothing_to_a_trigger(database, migrate):
    if database.value("SELECT current_setting('server_version_num')::int") < 180000:
        pytest.skip("from PostgreSQL 18 on")
    database.execute("ALTER TABLE outbox_events ADD COLUMN kind text GENERATED ALWAYS AS ('kafka') VIRTUAL")
    with pytest.raises(AssertionError, match="outbox.where .* is no condition on a row .*virtual"):
        migrate(outbox={"settle": "position", "where": KAFKA})
    migrate(outbox={"settle": "delete", "where": KAFKA})


def test_another_condition_of_which_nothing_becomes_an_event(kinds, migrate, new_relay, reader, topic):
    topic(partitions=1)
    database = kinds("position")
    insert(database, "kafka", 1, 3)
    narrower = {"settle": "position", "where": "kind = 'kafka' AND payload <> '2'"}
    migrate(outbox=narrower)
    new_relay(outbox=narrower).start()
    assert numbers(reader().take(2)) == [1, 3]


def test_the_claim_walks_the_ids(kinds, empty_database):
    """Whatever other index there is on the column that is asked for."""
    database = kinds("delete")
    database.execute("CREATE INDEX ON outbox_events (kind); INSERT INTO outbox_events (aggregate_type, aggregate_id,"
                     " event_type, kind) SELECT 'thing', n, 'E', CASE n % 1000 WHEN 0 THEN 'kafka' ELSE 'mail' END"
                     " FROM generate_series(1, 20000) AS n; ANALYZE outbox_events")
    with database.session() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("EXPLAIN SELECT t.ctid FROM ONLY outbox_events AS t WHERE t.id >= 1 AND coalesce((\n" + KAFKA
                       + "\n), false) ORDER BY t.id LIMIT 100")
        assert "outbox_events_pkey" in "\n".join(line for line, in cursor.fetchall())


def test_a_depth_guard_counts_events_only(kinds, migrate):
    database = kinds("delete")
    insert(database, "mail", 1, 50)
    database.execute("SELECT outbox_relay.set_depth_guard('outbox_events', 10)")
    insert(database, "kafka", 51, 58)
    with pytest.raises(Exception, match="takes no more events: 10 wait"):
        for n in range(59, 80):
            insert(database, "kafka", n, n)


WRONG = [
    ("kind = 'kafka", "a quote does not end"),
    ("kind = 'kafka') OR (true", "closes a parenthesis"),
    ("true; DROP TABLE outbox_events", "a semicolon"),
    ("kind = $1", "there are no parameters"),
    ("created_at < current_timestamp", "changes by itself"),
    ("created_at < 'now'", "a moment that is read anew"),
    ("/* nothing */ -- at all", "nothing but blanks"),
    ("kind", "must be type boolean"),
    ("kind = 'a' ORDER BY id", "syntax error"),
    ("no_such_column = 1", "no_such_column"),
    ("EXISTS (SELECT FROM pg_class)", "cannot use subquery"),
    ("count(*) > 1", "aggregate functions are not allowed"),
    ("row_number() OVER () > 1", "window functions are not allowed"),
    ("xmin IS NOT NULL", "xmin"),
    ("random() < 0.5", "random gives another answer"),
    ("created_at < now()", "now gives another answer"),
    ("(SELECT true)", "cannot use subquery"),
    ("pg_class.relname = 'x'", "pg_class"),
]


@pytest.mark.parametrize("where, why", WRONG)
def test_what_is_no_condition_is_refused(database, kafka, new_relay, where, why):
    """By migrate, check and run, with the reason; nothing is published, and nothing has changed."""
    database.execute("ALTER TABLE outbox_events ADD COLUMN kind text")
    insert(database, "kafka", 1, 1)
    relay = new_relay(outbox={"where": where})
    migrated = relay.command("migrate", "--dsn", database.dsn())
    assert migrated.returncode in (1, 2) and why in migrated.stderr and migrated.stdout == ""
    checked = relay.command("check")
    assert checked.returncode in (1, 2) and why in checked.stdout + checked.stderr
    relay.start(wait=False)
    assert relay.wait_exit() in (1, 2)
    assert why in relay.log()
    assert database.value("SELECT count(*) FROM outbox_events") == 1


def test_migrate_judges_operators_too(database, migrate, new_relay):
    """What hangs on the session's time zone is no condition of an index."""
    refused = new_relay(outbox={"where": "created_at::date > '2020-01-01'"}).command("migrate", "--dsn", database.dsn())
    assert refused.returncode == 1 and "must be marked IMMUTABLE" in refused.stderr


def test_a_relay_with_another_condition_does_not_begin(kinds, new_relay):
    """The rows that an old configuration left alone are not published by one that forgot them."""
    database = kinds("delete")
    insert(database, "mail", 1, 3)
    relay = new_relay().start(wait=False)
    assert relay.wait_exit() == 1
    assert "was migrated for outbox.where" in relay.log()
    assert database.value("SELECT count(*) FROM outbox_events") == 3


def test_comments_and_quotes(kinds, new_relay, reader, topic):
    topic(partitions=1)
    where = "kind = $q$it's$q$ /* a /* nested */ ) */ AND \"kind\" <> ')' -- no more"
    database = kinds("delete", where)
    insert(database, "it's", 1, 2)
    insert(database, ")", 3, 4)
    new_relay(outbox={"where": where}).start()
    assert numbers(reader().take(2)) == [1, 2]
