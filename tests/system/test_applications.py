# SPDX-License-Identifier: ISC
"""The programs of docs/examples: applications of each kind that publish in their own transactions, with the rights of
outbox_writer only, and consumers that apply each event once."""
import functools
import json
import os
import subprocess

import pytest
from confluent_kafka import Producer

from harness.process import Process
from harness.relay import ROOT
from harness.waiting import limit, until

EXAMPLES = os.path.join(ROOT, "docs", "examples")
SETUP = os.path.join(ROOT, "tests", "setup.sh")
# They share what was compiled, and are not all started at the same time.
pytestmark = pytest.mark.xdist_group("applications")


@functools.cache
def needs(language):
    """The directory of what programs in this language need."""
    return subprocess.run([SETUP, "examples", language], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session")
def java(world):
    """java("JpaShop"): the command."""
    classes, jars = os.path.join(world, "classes"), os.path.join(needs("java"), "*")
    folder = os.path.join(EXAMPLES, "java", "shop")
    subprocess.run(["javac", "-cp", jars, "-d", classes, *(os.path.join(folder, name) for name in os.listdir(folder))],
                   check=True)
    path = ":".join([classes, os.path.join(EXAMPLES, "java"), jars])
    return lambda name, *argv, options=(): ["java", *options, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", path,
                                f"shop.{name}", *argv]


def python(name, *argv):
    return [os.path.join(needs("python"), "bin", "python"), "-u", os.path.join(EXAMPLES, "python", name), *argv]


PROGRAMS = {
    "sqlalchemy": lambda java: python("shop_sqlalchemy.py"),
    "django": lambda java: python("shop_django.py"),
    "jdbc": lambda java: java("JdbcShop"),
    "jpa": lambda java: java("JpaShop"),
    "spring": lambda java: java("SpringShop"),
    "pgx": lambda java: [os.path.join(needs("go"), "shop")],
    "lib/pq": lambda java: [os.path.join(needs("go"), "shop"), "postgres"],
    "node": lambda java: ["node", os.path.join(EXAMPLES, "node", "shop.js")],
}
EVENTS = [("OrderPlaced", {"items": 2}), ("ItemReserved", {"item": "apple"}), ("ItemReserved", {"item": "pear"})]


@pytest.fixture
def environment(database):
    """For a program that connects as the application's role."""
    database.execute("DO $$ BEGIN CREATE ROLE shop_app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
                     " GRANT outbox_writer TO shop_app; CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL);"
                     " GRANT ALL ON orders TO shop_app")
    return {"PGHOST": "127.0.0.1", "PGPORT": str(database.server.port), "PGUSER": "shop_app",
            "PGDATABASE": database.name, "PGSSLMODE": "disable", "PGPASSWORD": "",
            "NODE_PATH": os.path.join(needs("node"), "node_modules")}


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_an_application_publishes_in_its_transaction(database, environment, java, new_relay, reader, program):
    """What it committed arrives in the order of its inserts, what it rolled back does not."""
    done = subprocess.run(PROGRAMS[program](java), env={**os.environ, **environment}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=limit(120))
    assert done.returncode == 0 and "rolled back: the card was refused" in done.stdout, done.stdout
    assert database.rows("SELECT id, state FROM orders") == [("o-1", "placed")]
    rows = database.rows("SELECT event_type, payload, event_id::text FROM outbox_events ORDER BY id")
    assert [(kind, payload) for kind, payload, _ in rows] == EVENTS and len({row[2] for row in rows}) == 3
    new_relay().start()
    records = reader("order").take(3)
    database.wait_empty()
    assert [(record.header("type"), record.json) for record in records] == EVENTS
    assert [record.event_id for record in records] == [row[2] for row in rows]
    assert {record.key for record in records} == {b"o-1"} and reader("order").rest() == records


def test_hibernate_needs_its_setting(database, environment, java):
    """Without it the driver asks for all columns, to which a writer has no right. As docs/applications.md says."""
    done = subprocess.run(java("JpaShop", options=["-Dhibernate.jdbc.use_get_generated_keys=true"]),
                          env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=limit(120))
    assert done.returncode != 0 and "permission denied for table outbox_events" in done.stdout, done.stdout


LOSES = """
const pool = new Pool();
inTransaction(pool, async (client) => {
  await publish(client, "o-1", "OrderPlaced", {});
  const ended = new Promise((resolve) => client.once("end", resolve));
  await client.query("SELECT pg_terminate_backend(pg_backend_pid())").catch(() => {});
  await ended;
  throw new Error("the card was refused");
}).catch(async (error) => {
  const result = await pool.query("SELECT 1 AS one");
  console.log(`${error.message}, and then ${result.rows[0].one}`);
  await pool.end();
});
"""


def test_node_outlives_its_connection(database, environment):
    """Lost in the transaction: the error of the work arrives, nothing is published, and the pool has another one."""
    with open(os.path.join(EXAMPLES, "node", "shop.js")) as program:
        parts = program.read().split("async function main")[0]
    done = subprocess.run(["node", "-e", parts + LOSES], env={**os.environ, **environment}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=limit(60))
    assert done.stdout == "the card was refused, and then 1\n"
    assert database.value("SELECT count(*) FROM outbox_events") == 0


def inbox_python(java, environment, *argv):
    return python("inbox.py", *argv)


def inbox_java(java, environment, *argv):
    return java("Inbox", "jdbc:postgresql://{PGHOST}:{PGPORT}/{PGDATABASE}?user={PGUSER}".format(**environment), *argv)


POISON = [  # headers and key
    ([("id", b"no uuid"), ("type", b"ItemReserved")], b"o-1"), ([("id", b"\0"), ("type", b"ItemReserved")], b"o-1"),
    ([("id", b"\xff"), ("type", b"ItemReserved")], b"o-1"), ([("id", None), ("type", b"ItemReserved")], b"o-1"),
    ([("type", b"ItemReserved")], b"o-1"), ([], b"o-1"),
    ([("id", b"b4f3d1f2-6c1b-4f43-93c5-4b8a0a0b0c01"), ("type", b"OrderPlaced")], None),
    ([("id", b"b4f3d1f2-6c1b-4f43-93c5-4b8a0a0b0c02"), ("type", b"OrderPlaced")], b"o\0"),
    ([("id", b"b4f3d1f2-6c1b-4f43-93c5-4b8a0a0b0c03"), ("type", None)], b"o-1")]


@pytest.mark.parametrize("command", [inbox_python, inbox_java])
def test_a_consumer_applies_each_event_once(database, environment, directory, java, kafka, relay, reader, topic,
                                            command):
    """Repeats after newer events of the key, records that cannot be processed, a type it does not know, events with
    a header id of the producer's; and all of it again by a consumer without offsets."""
    with open(os.path.join(EXAMPLES, "inbox.sql")) as tables:
        database.execute(tables.read() + "; GRANT ALL ON ALL TABLES IN SCHEMA public TO shop_app")
    name = topic("order", partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})

    def publish(*events):
        for order, kind, payload in events:
            database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
                             """ VALUES ('order', %s, %s, %s, '{"id": "the same", "trace": null}')""", order, kind,
                             json.dumps(payload))
        database.wait_empty()
    publish(("o-1", "OrderPlaced", {"items": 2}), ("o-1", "ItemReserved", {"item": "apple"}),
            ("o-1", "ItemReserved", {"item": "pear"}), ("o-1", "GiftWrapped", {}))
    records = reader("order").take(4)
    for record in records:
        producer.produce(name, record.value, record.key, headers=record.headers)
    for headers, key in POISON:
        producer.produce(name, b"{\xff\0", key, partition=0, headers=headers)
    assert producer.flush(60) == 0
    for group in ("first", "second"):
        consumer = Process(f"consumer {group}", command(java, environment, kafka.bootstrap, f"{name}{group}", name),
                           os.path.join(directory, f"{group}.log"), env=environment).start()
        publish((group, "OrderPlaced", {"items": 0}))
        until(lambda: database.value("SELECT EXISTS (SELECT FROM shipments WHERE order_id = %s)", group) or
              not consumer.alive, 60, "the consumer to come to the end")
        assert database.rows("SELECT items FROM shipments WHERE order_id = 'o-1'") == [(2,)], consumer.log()
        kept = database.rows("SELECT position, key, value FROM inbox_failed ORDER BY position")
        assert [(position, key and bytes(key), bytes(value)) for position, key, value in kept] == [
            (4 + 4 + i, key, b"{\xff\0") for i, (_, key) in enumerate(POISON)]
        assert bytes(database.value("SELECT event_id FROM inbox_failed WHERE position = 8")) == b"no uuid"
        consumer.end()
        consumer.forget()
    assert database.value("SELECT count(*) FROM inbox") == 6
