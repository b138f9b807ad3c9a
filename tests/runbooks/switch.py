# SPDX-License-Identifier: ISC
"""docs/runbooks/database-switch.md: from one PostgreSQL server to another under an application that writes.
python3 -m runbooks.switch dump (dump and restore); python3 -m runbooks.switch logical (logical replication);
NEW_BINDIR: programs of another version for the new server; python3 -m runbooks.switch upgrade (pg_upgrade --link to the same version);
SETTLE=position: rows stay"""
import os
import sys
import time

from harness.positions import wait_nothing_waits
from harness.postgres import Database, Postgres, bindir, run
from harness.process import as_unprivileged
from runbooks.flow import Flow
from runbooks.stage import Play

SETTLE = os.environ.get("SETTLE", "delete")
IDS = "SELECT last_value, (SELECT count(*) FROM outbox_events) AS waiting FROM outbox_events_id_seq"


def server(play, name):
    made = Postgres(play.path(name), name)
    if "NEW_BINDIR" in os.environ:
        made.process.argv = as_unprivileged([os.path.join(os.environ["NEW_BINDIR"], "postgres"), "-D", made.data])
        run([os.path.join(os.environ["NEW_BINDIR"], "initdb"), "-D", made.data, "-U", "owner", "--no-sync", "--auth=trust",
             "--encoding=UTF8", "--locale=C.UTF-8"])
        made._configure()
        return made
    return made.create()


def drain(play):
    """What comes before each switch; the application writes no more."""
    play.mark("1. the application stops writing; the relays drain the outbox to empty, and are paused")
    play.sh("outbox-relay handover -c relay1.conf --output old.json")
    play.sql(IDS)


def by_dump(play, old, new):
    play.note("2. roles and the database are dumped and restored")
    to = f"psql -X -q -o /dev/null -d 'host=127.0.0.1 port={new.port} user=owner dbname="
    play.sh(f"pg_dumpall --roles-only -d '{old.dsn('postgres')}' | grep -v 'ROLE owner' | {to}postgres'")
    Database(new, "shop").create()
    play.sh(f"pg_dump -d '{play.database.dsn()}' | {to}shop' -v ON_ERROR_STOP=1")


def before_logical(play, old, new):
    """While the application writes: the schema, then the rows of all tables but those of the outbox."""
    play.note("schema and roles on the new server; a publication of the application's tables, not of the outbox")
    to = f"psql -X -q -o /dev/null -d 'host=127.0.0.1 port={new.port} user=owner dbname="
    play.sh(f"pg_dumpall --roles-only -d '{old.dsn('postgres')}' | grep -v 'ROLE owner' | {to}postgres'")
    Database(new, "shop").create()
    play.sh(f"pg_dump --schema-only -d '{play.database.dsn()}' | {to}shop' -v ON_ERROR_STOP=1")
    play.sql("CREATE PUBLICATION moving FOR TABLE orders")
    play.sql(f"CREATE SUBSCRIPTION moving CONNECTION '{play.database.dsn()}' PUBLICATION moving", Database(new, "shop"))


def by_logical(play, old, new):
    play.note("2. the new server has all that the old one has")
    orders = play.database.value("SELECT count(*) FROM orders")
    play.until(lambda: Database(new, "shop").value("SELECT count(*) FROM orders") == orders, 30, "the subscription")
    play.sql("DROP SUBSCRIPTION moving", Database(new, "shop"))
    play.sh(f"outbox-relay migrate -c relay1.conf --dsn '{Database(new, 'shop').dsn()}'")


def by_upgrade(play, old, new):
    play.note("2. pg_upgrade --link")
    for end in (old, new):
        with open(os.path.join(end.data, "pg_hba.conf"), "a", encoding="utf-8") as access:
            access.write("local all all trust\n")
    old.stop()
    os.mkdir(play.path("work"))
    os.chmod(play.path("work"), 0o777)
    run(["sh", "-c", f"cd {play.path('work')} && {bindir()}/pg_upgrade --link -U owner -b {bindir()} -B {bindir()} -d {old.data} -D {new.data}"
         f" -p {old.port} -P {new.port}"])


def main():
    kind = sys.argv[1]
    with Play() as play:
        old, new, broker = Postgres(play.path("old"), "old"), server(play, "new"), play.kafka()
        old.create()
        with open(os.path.join(old.data, "postgresql.auto.conf"), "a", encoding="utf-8") as conf:
            conf.write("wal_level = logical\n")
        old.start()
        if kind != "upgrade":
            new.start()
        play.on(old, broker, outbox={"settle": SETTLE})
        play.database.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        broker.create_topic("events.order", 4)
        relay = play.relay().wait_ready()
        with Flow(play, broker) as flow:
            time.sleep(2)
            if kind == "logical":
                before_logical(play, old, new)
                play.database.execute("INSERT INTO orders SELECT generate_series(1, 1000)")
        drain(play)
        {"dump": by_dump, "logical": by_logical, "upgrade": by_upgrade}[kind](play, old, new)
        if kind == "upgrade":
            new.start()
        play.database = Database(new, "shop")
        play.sql("SHOW server_version")
        play.sql(IDS)
        play.note("3. the relays' dsn leads to the new server; they are started, and what has arrived is checked")
        relay.stop()
        relay.write_config(database={"dsn": play.database.dsn("outbox_relay")})
        if kind == "logical":
            play.sh("outbox-relay pause -c relay1.conf")
        play.sh("outbox-relay check -c relay1.conf | grep -v ^ok")
        play.sh("outbox-relay status -c relay1.conf | head -2")
        relay.start(wait=False)
        play.sh("outbox-relay handover -c relay1.conf --new old.json")
        play.note("4. the application writes")
        flow.write(500)
        wait_nothing_waits(play.database)
        flow.judge()
        play.sql(IDS)
        play.sh("outbox-relay status -c relay1.conf | grep -E '^(state|problems|low)'")


if __name__ == "__main__":
    main()
