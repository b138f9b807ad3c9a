# SPDX-License-Identifier: ISC
"""docs/runbooks/disk-full.md: full disks of PostgreSQL, of Kafka, and of the relay's log, each a small tmpfs (as root).
python3 -m runbooks.disk_full postgres|kafka|log"""
import contextlib
import os
import subprocess
import sys
import time

import psycopg2

from harness.postgres import Postgres
from harness.process import unprivileged
from runbooks.stage import Play

BIG = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
       " SELECT 'order', 'k' || n % 100, 'Happened', jsonb_build_object('text',"
       " (SELECT string_agg(md5(n || ' ' || i), '') FROM generate_series(1, 30) i)) FROM generate_series(1, 1000) n")


@contextlib.contextmanager
def small(path, megabytes):
    uid, gid = unprivileged()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700,uid={uid},gid={gid}", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def grow(path, megabytes):
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", path], check=True)


def fill(play):
    """Until the database takes no more; the error."""
    with play.database.session() as cursor:
        while True:
            try:
                cursor.execute(BIG)
            except psycopg2.Error as error:
                return str(error).strip().split("\n")[0]


def of_postgres(play):
    server = Postgres(play.path("postgres"), "postgres")
    os.mkdir(server.data)
    with small(server.data, 160):
        server.create()
        with open(os.path.join(server.data, "postgresql.auto.conf"), "a", encoding="utf-8") as conf:
            conf.write("max_wal_size = '48MB'\nmin_wal_size = '32MB'\n")
        server.start()
        broker = play.kafka()
        play.on(server, broker)
        broker.create_topic("events.order", 4)
        relay = play.relay().wait_ready()
        play.alerts()
        broker.pause()
        play.mark("Kafka does not answer, events pile up, and the disk of PostgreSQL is full")
        play.note(f"the application: {fill(play)}")
        play.sh(f"df -h --output=size,used,avail {server.data}")
        broker.resume()
        play.note("Kafka answers again; the disk is full still")
        time.sleep(20)
        if server.process.alive:
            play.sh("outbox-relay status -c relay1.conf")
            play.sql("SELECT state, wait_event_type, wait_event, now() - state_change AS since, left(query, 50) FROM pg_stat_activity"
                     " WHERE application_name LIKE 'outbox-relay%'")
            play.sh(f"grep -A1 'outbox_relay@.*ERROR' {server.directory}/log | head -16 | cut -c1-200", lines=60)
        else:
            play.sh(f"grep -E 'PANIC|FATAL|LOG:.*shut' {server.directory}/log | tail -4 | cut -c1-150")
        play.mark("the disk is made larger; PostgreSQL is started if it has ended")
        grow(server.data, 320)
        server.start()
        play.database.wait_empty(timeout=60)
        time.sleep(2)
        play.note(f"published in all {relay.metric('published_total'):.0f}")
        play.sh("outbox-relay status -c relay1.conf | tail -8")
        play.sh(f"df -h --output=size,used,avail {server.data}")


def of_kafka(play):
    data = play.path("kafkadata")
    os.mkdir(data)
    with small(data, 30):
        broker = play.kafka(log_dirs=data, log_segment_bytes=1 << 20, log_index_size_max_bytes=1 << 16)
        play.on(play.postgres(), broker)
        broker.create_topic("events.order", 1)
        relay = play.relay().wait_ready()
        play.alerts()
        play.mark("more events than the disk of the only broker holds (30 MB)")
        for _ in range(80):
            play.database.execute(BIG)
        play.wait_alert("OutboxRelayDisconnected")
        play.sh("outbox-relay status -c relay1.conf | sed -n '2,3p;7,12p'")
        play.sh(f"grep -E 'No space|Shutdown broker' {broker.directory}/log | head -3 | cut -c1-180")
        play.mark("the disk is made larger, the broker started again")
        grow(data, 400)
        broker.process.end()
        broker.start()
        play.database.wait_empty(timeout=90)
        time.sleep(1)
        play.note(f"published in all {relay.metric('published_total'):.0f}")
        play.sh("outbox-relay status -c relay1.conf | sed -n '2,3p;7,12p'")


def of_log(play):
    play.on(play.postgres(), play.kafka())
    relay = play.relay(start=False)
    play.mark("the disk of the log is full: every write of it fails with ENOSPC, as to /dev/full")
    going = subprocess.Popen([relay.process.argv[0], "run", "-c", relay.config], stderr=open("/dev/full", "w"))
    try:
        play.insert(1000)
        play.database.wait_empty()
        play.sh("outbox-relay status -c relay1.conf")
    finally:
        going.terminate()
        play.note(f"stopped with status {going.wait(20)}")


def main():
    with Play() as play:
        {"postgres": of_postgres, "kafka": of_kafka, "log": of_log}[sys.argv[1]](play)


if __name__ == "__main__":
    main()
