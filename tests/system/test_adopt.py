# SPDX-License-Identifier: ISC
"""migrate --adopt: other people's tables, before and after, what is published of them, and in which order."""
import subprocess
import threading
import time

import pytest

from harness.block import block
from harness.relay import run_relay
from harness.waiting import limit, until

PLAIN = {"poll_interval": "100ms"}


@pytest.fixture
def adopt(empty_database, new_relay):
    """adopt(*options, **outbox): the command on table box, on a file with these settings."""
    def run(*options, table="box", **outbox):
        relay = new_relay(outbox={"table": table, **outbox})
        return relay.command("migrate", "--adopt", "--dsn", empty_database.dsn(), *options, timeout=300)
    return run


@pytest.fixture
def published(adopt, new_relay, prefix, kafka, reader):
    """published(count, done): the values that a relay publishes by the block that was printed."""
    def run(count, done, topic=None):
        assert done.returncode == 0, done.stderr
        name = prefix + "box"
        if name not in kafka.topics():
            kafka.create_topic(name, 1)
        changes = block(done.stdout)
        relay = new_relay(outbox={**changes["outbox"], **PLAIN}, route={"topic": name}).start()
        taken = reader("box").take(count)
        until(lambda: relay.status()["depth"] == 0, 20, "a depth of 0")
        relay.stop()
        return [record.value.decode() for record in taken]
    return run


UUIDS = ("CREATE TABLE box (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregate_type text NOT NULL, aggregate_id text,"
         " type text, payload jsonb, {more});"
         "INSERT INTO box (aggregate_type, aggregate_id, type, payload{columns})"
         " SELECT 'thing', 'k', 'E', to_jsonb(n){values} FROM generate_series(1, 100) AS n")


def table(more, columns="", values=""):
    return UUIDS.format(more=more, columns=columns and ", " + columns, values=values and ", " + values)


@pytest.mark.parametrize("named", [{}, {"columns": {"created_at": ""}}], ids=["named", "import-debezium"])
def test_order_by_time(empty_database, adopt, published, named):
    """The later a row was made, the later it comes, wherever it lies, also where the relay needs no such column (as
    import-debezium writes it); and it is said."""
    empty_database.execute(table("made timestamptz, created_at timestamptz", "created_at", "now() - n * interval '1 s'"))
    done = adopt(**named)
    assert "numbered by created_at" in done.stderr
    assert published(100, done) == [str(n) for n in range(100, 0, -1)]
    assert empty_database.value("SELECT attidentity FROM pg_attribute WHERE attrelid = 'box'::regclass AND attname ="
                                " 'relay_id'") in ("d", b"d")


def test_order_by_transaction(empty_database, adopt, published):
    """Without a time, and never by a random uuid: rows that took the places of deleted ones are the last."""
    empty_database.execute(table("note text DEFAULT repeat('x', 1000)"))
    empty_database.execute("DELETE FROM box WHERE payload <= '50'")
    empty_database.execute("VACUUM box")
    for number in range(101, 121):
        empty_database.execute("INSERT INTO box (aggregate_type, aggregate_id, type, payload) VALUES ('thing', 'k', 'E', %s)",
                               str(number))
    empty_database.execute("VACUUM FREEZE box")
    assert empty_database.value("SELECT payload::int > 100 FROM box ORDER BY ctid LIMIT 1")
    assert published(70, adopt()) == [str(n) for n in range(51, 121)]


def test_order_within_a_transaction(empty_database, adopt, published):
    """As they lie, where one command has inserted them."""
    empty_database.execute(table("note text"))
    done = adopt()
    assert "by the transactions that inserted them" in done.stderr
    assert published(100, done) == [str(n) for n in range(1, 101)]


def test_order_by_columns(empty_database, adopt, published):
    empty_database.execute(table('"Rank" int, created_at timestamptz DEFAULT now()', '"Rank"', "n % 10"))
    done = adopt("--order-by", '"Rank" DESC, payload')
    order = sorted(range(1, 101), key=lambda n: (-(n % 10), n))
    assert published(100, done) == [str(n) for n in order]
    wrong = adopt("--order-by", "nothing")
    assert wrong.returncode == 1 and 'has no column "nothing"' in wrong.stderr


def test_a_column_that_is_numbered_already(empty_database, adopt, published):
    """No column is added and no row touched, whatever the column's name is; an index is made."""
    empty_database.execute(table("place bigserial"))
    before = empty_database.rows("SELECT ctid::text, b::text FROM box AS b ORDER BY place")
    done = adopt()
    assert "in the order of column place" in done.stderr
    assert empty_database.rows("SELECT ctid::text, b::text FROM box AS b ORDER BY place") == before
    assert published(100, done) == [str(n) for n in range(1, 101)]


@pytest.mark.parametrize("kind, value", [
    ("uuid", "('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid"), ("text", "'id-' || n"), ("integer", "n * 7"),
    ("bigint", "1000000 - n"), ("varchar(20)", "n::text"), ("numeric(10)", "n")])
def test_ids_of_every_kind(empty_database, adopt, published, kind, value):
    """That the application gives: the place in the table is the order, and the id stays the event's identity."""
    empty_database.execute(f"CREATE TABLE box (id {kind} PRIMARY KEY, aggregate_type text, aggregate_id text, event_type text,"
                           f" payload text); INSERT INTO box SELECT {value}, 'thing', 'k', 'E', n::text FROM"
                           " generate_series(1, 20) AS n")
    done = adopt()
    assert block(done.stdout)["outbox"]["columns"]["event_id"] == "id"
    assert published(20, done) == [str(n) for n in range(1, 21)]


def test_a_key_of_two_columns(empty_database, adopt, published):
    empty_database.execute("CREATE TABLE box (tenant int, seq int, aggregate_id text, payload text, PRIMARY KEY (tenant, seq));"
                           "INSERT INTO box SELECT n % 3, n, 'k', n::text FROM generate_series(1, 20) AS n")
    done = adopt()
    columns = block(done.stdout)["outbox"]["columns"]
    assert (columns["id"], columns["event_id"], columns["aggregate_type"], columns["event_type"]) == (
        "id", "id", "", "")
    assert published(20, done) == [str(n) for n in range(1, 21)]


TYPES = [
    ("enum", "CREATE TYPE kind AS ENUM ('thing', 'other')", "kind", "'thing'::kind", "text", "'x' || n"),
    ("domain", "CREATE DOMAIN kind AS text CHECK (VALUE <> '')", "kind", "'thing'", "jsonb", "to_jsonb(n)"),
    ("char", "", "char(8)", "'thing'", "json", "to_json(n)"),
    ("varchar", "", "varchar(9)", "'thing'", "bytea", "convert_to(n::text, 'UTF8')"),
    ("name", "", "name", "'thing'", "xml", "('<n>' || n || '</n>')::xml"),
]


@pytest.mark.parametrize("name, before, kind, value, payload, content", TYPES)
def test_types_of_every_kind(empty_database, adopt, published, name, before, kind, value, payload, content):
    empty_database.execute(f"{before or 'SELECT'}; CREATE TABLE box (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
                           f" aggregate_type {kind}, aggregate_id numeric, event_type {kind}, payload {payload});"
                           f"INSERT INTO box (aggregate_type, aggregate_id, event_type, payload) SELECT {value}, 7, {value},"
                           f" {content} FROM generate_series(1, 3) AS n")
    expected = [text for text, in empty_database.rows("SELECT " + ("convert_from(payload, 'UTF8')" if payload == "bytea"
                                                                   else "payload::text") + " FROM box ORDER BY ctid")]
    assert published(3, adopt()) == expected


def test_citext(empty_database, adopt, published):
    empty_database.execute("CREATE EXTENSION citext; CREATE TABLE box (id citext PRIMARY KEY, aggregate_type citext,"
                           " aggregate_id citext, event_type citext, payload citext);"
                           "INSERT INTO box SELECT 'I' || n, 'Thing', 'K', 'E', 'Value ' || n FROM generate_series(1, 3) n")
    assert published(3, adopt()) == ["Value 1", "Value 2", "Value 3"]


def test_partitioned_by_range(empty_database, adopt, published):
    empty_database.execute("CREATE TABLE box (id uuid, day date, aggregate_type text, aggregate_id text, event_type text, payload"
                           " text, created_at timestamptz, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);"
                           "CREATE TABLE box_1 PARTITION OF box FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');"
                           "CREATE TABLE box_2 PARTITION OF box FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');"
                           "INSERT INTO box SELECT gen_random_uuid(), CASE n % 2 WHEN 0 THEN '2024-01-05'::date ELSE '2024-02-05'"
                           " END, 'thing', 'k', 'E', n::text, '2024-01-01'::timestamptz + n * interval '1 min' FROM"
                           " generate_series(1, 4000) AS n")
    printed = adopt("--print").stdout
    assert printed.count('CREATE INDEX CONCURRENTLY "outbox_relay_ids') == 2 and "ON public.box_2" in printed
    done = adopt()
    empty_database.execute("INSERT INTO box SELECT gen_random_uuid(), '2024-01-06', 'thing', 'k', 'E', n::text, now() FROM"
                           " generate_series(4001, 4005) AS n")
    assert published(4005, done) == [str(n) for n in range(1, 4006)]


# ---- what is published already ----

FLAGS = [
    ("processed", "boolean", "true", "false"), ("processed", "boolean", "true", "NULL"),
    ("processed_at", "timestamptz", "now()", "NULL"), ("sentAt", "timestamp", "now()", "NULL"),
    ("published_at", "timestamptz", "now()", "NULL"), ("published", "smallint", "1", "0"),
    ("status", "text", "'SENT'", "'NEW'"), ("status", "varchar(10)", "'PROCESSED'", "'PENDING'"),
    ("isDelivered", "char(1)", "'Y'", "'N'"), ("pending", "boolean", "false", "true")]


@pytest.mark.parametrize("settle", ["delete", "mark", "position", None])
@pytest.mark.parametrize("column, kind, done, waits", FLAGS)
def test_what_is_published_is_not_published_again(empty_database, new_relay, adopt, published, settle, column, kind, done, waits):
    """95 of 100 rows: the other five are, and what is inserted later."""
    empty_database.execute(table(f'"{column}" {kind}', f'"{column}"', f"CASE WHEN n <= 95 THEN {done} ELSE {waits} END"))
    old = empty_database.rows("SELECT payload::text, \"%s\"::text FROM box WHERE payload::int <= 95 ORDER BY 1" % column)
    adopted = adopt(settle=settle) if settle else run_relay("migrate", "--adopt", "--table", "box", "--dsn",
                                                            empty_database.dsn())
    assert adopted.returncode == 0, adopted.stderr
    assert "not published again" in adopted.stderr or (settle, column) == ("mark", "published_at")  # as it is configured
    outbox = block(adopted.stdout)["outbox"]
    assert ("where" in outbox) == (settle in ("delete", "position"))
    empty_database.execute(f"""INSERT INTO box (aggregate_type, aggregate_id, type, payload, "{column}") VALUES ('thing', 'k', 'E',"""
                           f" '101', {waits})")
    assert published(6, adopted) == ["96", "97", "98", "99", "100", "101"]
    assert empty_database.rows("SELECT payload::text, \"%s\"::text FROM box WHERE payload::int <= 95 ORDER BY 1" % column) == old


def test_an_enum_status(empty_database, adopt, published):
    empty_database.execute("CREATE TYPE stage AS ENUM ('PENDING', 'SENT', 'FAILED');"
                           + table("status stage DEFAULT 'PENDING'", "status",
                                   "(CASE WHEN n <= 95 THEN 'SENT' ELSE 'PENDING' END)::stage"))
    assert published(5, adopt(settle="mark")) == ["96", "97", "98", "99", "100"]
    assert empty_database.value("SELECT count(*) FROM box WHERE status = 'SENT'") == 100


def test_an_enum_names_what_no_row_has(empty_database, adopt, published):
    """All rows are sent; a new one is pending."""
    empty_database.execute("CREATE TYPE stage AS ENUM ('PENDING', 'SENT');" + table("status stage", "status", "'SENT'::stage"))
    done = adopt()
    empty_database.execute("INSERT INTO box (aggregate_type, aggregate_id, type, payload, status) VALUES ('thing', 'k', 'E',"
                           " '101', 'PENDING')")
    assert published(1, done) == ["101"]


UNCLEAR = [
    ("status text", "status", "CASE WHEN n < 5 THEN 'SENT' WHEN n < 9 THEN 'FAILED' ELSE 'NEW' END", "FAILED"),
    ("status text", "status", "CASE WHEN n < 5 THEN 'SENT' WHEN n < 9 THEN 'DONE' ELSE 'NEW' END", "no one value"),
    ("status text", "status", "'SENT'", "no one value"),
    ("status text", "status", "CASE WHEN n < 5 THEN 'SENT' WHEN n < 9 THEN 'NEW' END", "NULL"),
    ("status text", "status", "CASE WHEN n < 5 THEN 'versendet' ELSE 'NEW' END", 'whether "versendet" is to be published'),
    ("status int", "status", "CASE WHEN n < 5 THEN 1 ELSE 0 END", "what its numbers mean"),
    ("processed int", "processed", "n % 3", "other numbers than 0 and 1"),
    ("processed boolean, sent_at timestamptz", "processed, sent_at", "n < 50, CASE WHEN n < 60 THEN now() END",
     "says something else"),
    ("not_sent boolean", "not_sent", "n > 50", "its name does not tell which"),
    ("unsent char(1)", "unsent", "CASE WHEN n > 50 THEN 'Y' ELSE 'N' END", "its name does not tell which"),
    ("publish_at timestamptz", "publish_at", "now()", "its name does not tell which"),
    ("sent_at timestamptz NOT NULL DEFAULT now()", "sent_at", "now()", "has the default now(), so that no new row"),
    ("published_on timestamptz NOT NULL", "published_on", "now()", "it is never NULL"),
    ("processed boolean DEFAULT true", "processed", "n < 50", "has the default true"),
    ("sent smallint DEFAULT 1", "sent", "CASE WHEN n < 50 THEN 1 ELSE 0 END", "has the default"),
    ("unpublished boolean DEFAULT false", "unpublished", "n > 50", "has the default false"),
]


@pytest.mark.parametrize("settle", ["delete", "mark", "position"])
@pytest.mark.parametrize("more, columns, values, why", UNCLEAR)
def test_what_is_not_plain_is_the_owner_s_to_say(empty_database, adopt, published, settle, more, columns, values, why):
    """Refused with the choice; nothing has changed. Then each choice does what it says."""
    empty_database.execute(table(more, columns, values))
    refused = adopt(settle=settle)
    assert refused.returncode == 1 and refused.stdout == "" and why in refused.stderr
    assert "--published-where" in refused.stderr and "--ignore-flag" in refused.stderr
    assert empty_database.value("SELECT to_regnamespace('outbox_relay') IS NULL AND NOT EXISTS (SELECT FROM pg_attribute"
                                " WHERE attrelid = 'box'::regclass AND attname = 'relay_id')")
    chosen = adopt("--published-where", "payload <= '90' -- the old ones", settle=settle)
    assert published(10, chosen) == [str(n) for n in range(91, 101)]


def test_of_two_columns_that_say_the_same_the_time_is_set(empty_database, adopt, published):
    empty_database.execute(table("processed boolean, processed_at timestamptz", "processed, processed_at",
                                 "n <= 95, CASE WHEN n <= 95 THEN now() END"))
    done = adopt(settle="mark")
    assert "column processed of table box says the same, and the relay does not set it" in done.stderr
    assert published(5, done) == ["96", "97", "98", "99", "100"]
    assert empty_database.value("SELECT count(*) FROM box WHERE processed_at IS NULL") == 0


@pytest.mark.parametrize("settle", ["delete", "mark"])
def test_a_condition_beside_a_flag(empty_database, adopt, published, settle):
    """Both hold; a flag of rows that are no events is of no account."""
    empty_database.execute(table("processed boolean, tenant int", "processed, tenant", "n <= 10 OR n % 2 = 0, n % 2"))
    done = adopt(settle=settle, where="tenant = 1")
    assert published(45, done) == [str(n) for n in range(11, 101, 2)]
    assert empty_database.value("SELECT count(*) FROM box WHERE tenant = 0 AND processed") == 50


def test_the_flag_means_something_else(empty_database, adopt, published):
    empty_database.execute(table("processed boolean", "processed", "true"))
    assert published(100, adopt("--ignore-flag")) == [str(n) for n in range(1, 101)]


@pytest.mark.parametrize("where, why", [("nothing = 1", "nothing"), ("true) OR (true", "closes a parenthesis"),
                                        ("created_at < now()", "now"), ("payload", "must be type boolean")])
def test_a_wrong_condition(empty_database, adopt, where, why):
    empty_database.execute(table("created_at timestamptz"))
    refused = adopt("--published-where", where)
    assert refused.returncode in (1, 2) and why in refused.stderr and refused.stdout == ""


@pytest.mark.parametrize("more, columns, values, options, why", [
    ("sent_at timestamptz DEFAULT now()", "", "", ["mark"], "has the default now()"),
    ("processed boolean GENERATED ALWAYS AS (aggregate_id = 'k') STORED", "", "", ["mark"], "GENERATED"),
    ("created_at timestamptz", "", "", ["delete", "--published-where", "created_at::date < '2024-01-01'"], "IMMUTABLE"),
    ("relay_id bigint", "", "", ["delete"], "that is not numbered by the database"),
])
def test_what_cannot_be_right_changes_nothing(empty_database, adopt, more, columns, values, options, why):
    """Refused before any step is taken."""
    empty_database.execute(table(more, columns, values))
    refused = adopt(*options[1:], settle=options[0])
    assert refused.returncode == 1 and why in refused.stderr and "step 1" not in refused.stderr, refused.stderr
    assert empty_database.value("SELECT to_regnamespace('outbox_relay') IS NULL AND (SELECT count(*) FROM pg_attribute"
                                " WHERE attrelid = 'box'::regclass AND attnum > 0) = 6")


def test_who_owns_the_table_says_what_is_added(empty_database, new_relay, number):
    """Refused with the ways out."""
    empty_database.execute(table("note text") + f"; CREATE ROLE other_{number} LOGIN SUPERUSER")
    empty_database.execute(f"ALTER ROLE other_{number} NOSUPERUSER; GRANT SELECT ON box TO other_{number}")
    try:
        refused = run_relay("migrate", "--adopt", "--table", "box", "--dsn", empty_database.dsn(f"other_{number}"))
        assert refused.returncode == 1 and "only the table's owner may do" in refused.stderr
        assert "--adopt --print" in refused.stderr and "by a trigger" in refused.stderr
    finally:
        empty_database.execute(f"DROP OWNED BY other_{number}; DROP ROLE other_{number}")


# ---- while others write ----

BIG = 200_000


def big(database):
    database.execute("CREATE TABLE box (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregate_type text NOT NULL,"
                     " aggregate_id text, event_type text, payload text, created_at timestamptz NOT NULL DEFAULT"
                     " clock_timestamp());"
                     "INSERT INTO box (aggregate_type, aggregate_id, event_type, payload, created_at) SELECT 'thing', n % 10, 'E',"
                     f" n::text, '2024-01-01'::timestamptz + ({BIG} - n) * interval '1 s' FROM generate_series(1, {BIG}) AS n")


class Writer(threading.Thread):
    """Inserts one row after the other, each with a lock timeout."""

    def __init__(self, database):
        super().__init__(daemon=True)
        self.database, self.rows, self.longest, self.ends, self.failure = database, 0, 0.0, threading.Event(), None

    def run(self):
        try:
            with self.database.session() as cursor:
                cursor.execute("SET lock_timeout = '5s'")
                while not self.ends.is_set():
                    began = time.monotonic()
                    cursor.execute("INSERT INTO box (aggregate_type, aggregate_id, event_type, payload) VALUES ('thing', 'w', 'E',"
                                   " %s)", (f"w{self.rows}",))
                    self.longest = max(self.longest, time.monotonic() - began)
                    self.rows += 1
        except Exception as failure:  # is looked at by the test
            self.failure = failure

    def stop(self):
        self.ends.set()
        self.join(limit(30))
        assert self.failure is None, self.failure


def numbered_right(database, writer):
    """Older rows by time, then the writer's in the order of their inserts."""
    assert database.value("SELECT count(*) FROM box WHERE relay_id IS NULL") == 0
    assert database.value("SELECT count(*) = count(DISTINCT relay_id) FROM box")
    assert database.value("SELECT bool_and(payload::int = before - 1 OR before IS NULL) FROM (SELECT payload, lag(payload::int)"
                          " OVER (ORDER BY relay_id) AS before FROM box WHERE payload !~ 'w') AS b")
    assert database.value("SELECT bool_and(n > coalesce(before, -1)) FROM (SELECT substr(payload, 2)::int AS n,"
                          " lag(substr(payload, 2)::int) OVER (ORDER BY relay_id) AS before FROM box WHERE payload ~ 'w') AS b")
    assert database.value("SELECT (SELECT max(relay_id) FROM box WHERE payload !~ 'w') < (SELECT min(relay_id) FROM box"
                          " WHERE payload ~ 'w')")


def test_writers_are_not_kept_waiting(empty_database, adopt):
    """200,000 rows; the transaction that is open meanwhile holds nobody up for longer than half a second at a time."""
    big(empty_database)
    writer = Writer(empty_database)
    writer.start()
    done = adopt()
    writer.stop()
    assert done.returncode == 0, done.stderr
    assert writer.rows > 0 and writer.longest < 2, f"{writer.rows} rows, the longest insert took {writer.longest} s"
    numbered_right(empty_database, writer)
    print(f"{writer.rows} rows inserted meanwhile, the longest insert took {writer.longest:.3f} s")


def test_an_interrupted_adoption_is_run_again(empty_database, adopt, new_relay):
    """Whatever step it was in: rows keep the numbers that they have."""
    big(empty_database)
    writer = Writer(empty_database)
    writer.start()
    oid = empty_database.value("SELECT 'box'::regclass::oid")
    for words, holds in STEPS:
        relay = new_relay(outbox={"table": "box"})
        with empty_database.session() as holder:
            holder.execute(holds.format(oid=oid))
            killer = threading.Thread(target=kill_migration, args=(empty_database, words))
            killer.start()
            interrupted = relay.command("migrate", "--adopt", "--dsn", empty_database.dsn(), timeout=300)
            killer.join()
        assert interrupted.returncode == 1, interrupted.stderr
        assert "run the same command again" in interrupted.stderr
    kept = empty_database.rows("SELECT id, relay_id FROM box WHERE relay_id IS NOT NULL AND payload !~ 'w' ORDER BY id LIMIT 1000")
    done = adopt()
    writer.stop()
    assert done.returncode == 0, done.stderr
    for identity, number in kept:
        assert empty_database.value("SELECT relay_id FROM box WHERE id = %s", identity) == number
    numbered_right(empty_database, writer)
    assert adopt().returncode == 0


# What only the step that is interrupted says, and what another session does meanwhile, which keeps the step from
# ending: it makes a table of that name, has a row from the middle of the order, a lock of the table, a snapshot.
STEPS = [("CREATE TABLE % row_number()", "BEGIN; CREATE TABLE outbox_relay_order_{oid} ()"),
         ("UPDATE %.outbox_relay_n ", f"BEGIN; SELECT FROM box WHERE payload = '{BIG // 2}' FOR UPDATE"),
         ("NOT VALID", "BEGIN; LOCK TABLE box IN SHARE UPDATE EXCLUSIVE MODE"),
         ("INDEX CONCURRENTLY", "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")]


def kill_migration(database, words):
    """Ends its session once it is in this step."""
    with database.session() as cursor:
        def killed():
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'outbox-relay migrate'"
                           " AND wait_event_type = 'Lock' AND query LIKE %s", (f"%{words}%",))
            return cursor.rowcount > 0
        until(killed, 120, f"the migration to be in the step with {words}")


SERIAL = ("CREATE TABLE box (id bigserial PRIMARY KEY, aggregate_type text NOT NULL, aggregate_id text, type text,"
          " payload jsonb); INSERT INTO box (aggregate_type, aggregate_id, type, payload) VALUES ('thing', 'k', 'E', '1')")


@pytest.mark.parametrize("change, words", [
    ("CACHE 20", "sequence public.box_id_seq has CACHE 20; sessions then give early ids to late events, and order is lost: "
                 "ALTER SEQUENCE ... CACHE 1 (for an identity too), and have all sessions that insert connect anew"),
    ("INCREMENT -1 MINVALUE -9 START 9", "sequence public.box_id_seq does not only ascend: ALTER SEQUENCE ... INCREMENT 1"),
    ("CYCLE", "sequence public.box_id_seq does not only ascend")])
@pytest.mark.parametrize("options", [[], ["--print"]], ids=["adopt", "print"])
def test_a_sequence_without_an_order(empty_database, adopt, options, change, words):
    """Refused with the words of `check`, and nothing is changed."""
    empty_database.execute(SERIAL + f"; ALTER SEQUENCE box_id_seq {change}")
    done = adopt(*options)
    assert done.returncode == 1 and f"column id of table box gives the order, but {words}" in done.stderr, done.stderr
    assert done.stdout == "" and empty_database.value("SELECT to_regnamespace('outbox_relay') IS NULL")


def test_a_sequence_that_skips(empty_database, adopt, published):
    """Is adopted with a warning, and is not warned of where it goes one by one."""
    empty_database.execute(SERIAL + "; ALTER SEQUENCE box_id_seq INCREMENT 50")
    done = adopt()
    assert "adopting box: sequence public.box_id_seq has INCREMENT 50; see that no application gives ids" in done.stderr, done.stderr
    assert published(1, done) == ["1"]
    empty_database.execute("ALTER SEQUENCE box_id_seq INCREMENT 1")
    assert "box_id_seq" not in adopt().stderr


@pytest.mark.parametrize("options", [[], ["-1"]], ids=["many transactions", "one transaction"])
def test_the_printed_script_does_the_same(empty_database, adopt, new_relay, published, options):
    """As psql runs it; of a small table also in one transaction."""
    empty_database.execute(table("created_at timestamptz", "created_at", "now() - n * interval '1 s'"))
    printed = adopt("--print")
    assert printed.returncode == 0 and "1: adding a column" in printed.stdout
    assert empty_database.value("SELECT to_regnamespace('outbox_relay') IS NULL")
    said = subprocess.run(["psql", "-X", "-v", "ON_ERROR_STOP=1", "-q", "-o", "/dev/null", *options, empty_database.dsn()],
                          input=printed.stdout, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    done = adopt()
    assert "no column has to be added" in done.stderr
    assert published(100, done) == [str(n) for n in range(100, 0, -1)]
