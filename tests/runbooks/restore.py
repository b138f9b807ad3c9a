# SPDX-License-Identifier: ISC
"""docs/runbooks/restore.md: a table is emptied by mistake, and the database is restored to the moment before, from a base backup and
its archive. python3 -m runbooks.restore"""
import os
import shutil

from harness.consumer import Reader
from harness.postgres import Database, Postgres, bindir, run
from runbooks.failover import IDS, ORDER
from runbooks.stage import Play

ARCHIVE = """
archive_mode = on
archive_command = 'cp %p {archive}/%f'
wal_level = replica
"""
RECOVERY = """
restore_command = 'cp {archive}/%f %p'
recovery_target_name = 'before'
recovery_target_action = 'pause'
"""


def append(path, text):
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def place(play, count):
    for _ in range(count // 10):
        play.database.rows(ORDER)


def published(play, broker, seen):
    """What an independent consumer has now: all, twice, and new since it looked last."""
    reader = Reader(broker.bootstrap, "events.order")
    ids = [record.event_id for record in reader.rest()]
    reader.close()
    play.write(f"# the topic has {len(ids)} records of {len(set(ids))} events; {len(ids) - len(seen)} records are new,"
               f" {len(ids) - len(seen) - len(set(ids) - set(seen))} of them repeats")
    return ids


def main():
    with Play() as play:
        archive = play.path("archive")
        os.mkdir(archive)
        os.chmod(archive, 0o777)
        old = Postgres(play.path("old"), "old").create()
        append(os.path.join(old.data, "postgresql.auto.conf"), ARCHIVE.format(archive=archive))
        old.start()
        broker = play.kafka()
        play.on(old, broker)
        broker.create_topic("events.order", 4)
        play.database.execute("CREATE TABLE orders (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), at timestamptz DEFAULT now())")
        relay = play.relay().wait_ready()
        place(play, 300)
        new = Postgres(play.path("new"), "new")
        new.process.end()
        run([os.path.join(bindir(), "pg_basebackup"), "-D", new.data, "-c", "fast", "-d", old.dsn("postgres")])
        play.note("pg_basebackup; then 200 orders, and the relay stopped for a moment: 20 of them wait at the point")
        place(play, 180)
        play.database.wait_empty()
        relay.stop()
        place(play, 20)
        play.sql(IDS)
        Database(old, "postgres").execute("SELECT pg_create_restore_point('before')")
        play.note("this is the point; after it 500 more orders, all published; then DELETE FROM orders by mistake")
        relay.start()
        place(play, 500)
        play.database.wait_empty()
        play.sql(IDS)
        seen = published(play, broker, [])
        play.database.execute("DELETE FROM orders")
        play.mark("1. stop every relay: the restored database does not know that it should be paused")
        relay.stop()
        Database(old, "postgres").execute("SELECT pg_switch_wal()")
        old.stop()
        restore(play, old, new, archive)
        play.database = Database(new, "shop")
        relay.write_config(database={"dsn": play.database.dsn("outbox_relay")})
        recover(play, broker, new)
        play.mark("6. ids far above all that were drawn since; start the relays")
        play.sh("outbox-relay handover -c relay1.conf --above +1000000 --stay-paused")
        relay.start(wait=False)
        play.sh("outbox-relay resume -c relay1.conf")
        play.database.wait_empty()
        seen = published(play, broker, seen)
        place(play, 100)
        play.database.wait_empty()
        published(play, broker, seen)
        play.sql(IDS)
        play.sh("outbox-relay check -c relay1.conf")


def restore(play, old, new, archive):
    play.note("2. restore the base backup, and let it recover to the point")
    append(os.path.join(new.data, "postgresql.auto.conf"), RECOVERY.format(archive=archive) + f"port = {new.port}\n")
    append(os.path.join(new.data, "recovery.signal"), "")
    shutil.chown(os.path.join(new.data, "recovery.signal"), "postgres", "postgres")
    new.start()
    play.until(lambda: Database(new, "postgres").value("SELECT pg_get_wal_replay_pause_state()") == "paused", 60, "the point")
    play.write("$ cat postgresql.auto.conf\nrestore_command = 'cp archive/%f %p'\nrecovery_target_name = 'before'\n"
               "recovery_target_action = 'pause'")


def recover(play, broker, new):
    play.sql(IDS)
    play.mark("3. what the relay would do now: the server is a standby still")
    play.sh("outbox-relay check -c relay1.conf 2>&1 | grep -v ^ok")
    play.mark("4. promote, and pause the outbox before a relay is started")
    play.sql("SELECT pg_promote()", Database(new, "postgres"))
    play.sh("outbox-relay pause -c relay1.conf")
    play.mark("5. settle what was published since")
    play.sh("outbox-relay reconcile -c relay1.conf --dry-run")
    play.sh("outbox-relay reconcile -c relay1.conf")
    play.note("the lost transactions")
    play.sh(f"kcat -C -q -e -b {broker.bootstrap} -t events.order -f '%h\\n' | sed 's/.*\\bid=\\([^,]*\\).*/\\1/' >published.txt")
    play.sh(f'''psql -X "{play.database.dsn()}" -c "CREATE TEMP TABLE published (event_id uuid)"'''
            ''' -c "\\copy published FROM published.txt"'''
            ''' -c "SELECT count(DISTINCT event_id) AS lost_orders FROM published p LEFT JOIN orders o ON o.id = p.event_id WHERE o.id IS NULL"''')


if __name__ == "__main__":
    main()
