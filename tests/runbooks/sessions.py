# SPDX-License-Identifier: ISC
"""docs/runbooks of the database, of standbys and of a relay's resources, each in half a minute.
python3 -m runbooks.sessions unreachable|refuses|old|standby|resources|stuck|unconfirmed"""
import resource
import socket
import sys
import time

from runbooks.stage import Play

OPEN = ("SELECT a.pid, now() - a.xact_start AS since, a.state, left(a.query, 60) AS query"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.relation = 'outbox_events'::regclass AND l.mode = 'RowExclusiveLock'"
        " AND a.application_name NOT LIKE 'outbox-relay%' ORDER BY a.xact_start")
DEAD = "SELECT n_live_tup, n_dead_tup, last_autovacuum FROM pg_stat_user_tables WHERE relname = 'outbox_events'"


def start(play, **settings):
    broker = play.kafka()
    play.on(play.postgres(), broker, **settings)
    broker.create_topic("events.order", 4)
    relay = play.relay()
    play.alerts()
    return relay


def status(play, number=1):
    play.sh(f"outbox-relay status -c relay{number}.conf | grep -E -A1 '^(depth|shard|relays|state|problems|parked)' | grep -v -e '^--' | cut -c1-300")


def check(play, number=1):
    play.sh(f"outbox-relay check -c relay{number}.conf 2>&1 | grep -v -E '^ok|fsync|librdkafka|one replica'")


def ready(play, relay):
    play.until(lambda: relay.get("/readyz")[0] == 200, 60, "it to be ready")
    time.sleep(1)


def unreachable(play):
    relay = start(play)
    with play.load(100):
        time.sleep(2)
        play.mark("the server ends (kill -9)")
        play.database.server.process.kill()
        time.sleep(5)
        check(play)
        status(play)
        play.wait_alert("OutboxRelayDisconnected")
        play.mark("it is started again")
        play.database.server.start()
        ready(play, relay)
    play.wait_alert("OutboxRelayDisconnected", fires=False)
    play.database.wait_empty()


def refuses(play):
    relay = start(play)
    play.mark("REVOKE DELETE ON outbox_events")
    play.database.execute("REVOKE DELETE ON outbox_events FROM outbox_relay")
    with play.load(100):
        time.sleep(12)
        status(play)
        check(play)
        play.wait_alert("OutboxRelay")
    play.mark("migrate gives all rights")
    play.sh(f"outbox-relay migrate -c relay1.conf --dsn '{play.database.dsn()}' | tail -1")
    play.database.wait_empty()
    ready(play, relay)
    status(play)


def old(play):
    relay = start(play)
    play.mark("a transaction has inserted one event and stays open; 2,000 events a second")
    with play.database.session(autocommit=False) as cursor:
        cursor.execute("SET application_name = 'import'; INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                       " VALUES ('order', 'slow', 'Placed', '{\"n\": 1}')")
        with play.load(2000):
            time.sleep(60)
            status(play)
            play.sql(DEAD)
            play.sql(OPEN)
            play.sh("curl -s http://$(grep -o '127.0.0.1:[0-9]*' relay1.conf | tail -1)/metrics | grep -E 'latency_seconds_(sum|count)'")
        play.mark("it is committed")
        cursor.connection.commit()
    play.database.wait_empty()
    time.sleep(61)
    play.sql(DEAD)
    status(play)
    play.note(f"published {relay.metric('published_total'):.0f}")


def standby(play):
    relay = start(play, outbox={"shards": 2})
    with play.load(50):
        time.sleep(1)
        play.mark("a second relay has another route.key")
        play.relay(route={"key": "${aggregate_type}-${aggregate_id}"})
        time.sleep(4)
        status(play, 2)
        play.relays[1].stop()
        play.mark("a session that is no relay takes the lock of a shard, as the relay stops")
        relay.stop()
        play.database.execute("DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        outbox = play.database.value("SELECT 'outbox_events'::regclass::oid::int8")
        with play.database.session("stranger") as cursor:
            cursor.execute("SET application_name = 'report'")
            for shard in range(2):
                cursor.execute("SELECT pg_advisory_lock(%s::int, %s)", (outbox, 0x6f000000 + (2 << 12) + shard))
            relay.start(wait=False)
            time.sleep(8)
            status(play)
            play.wait_alert("OutboxRelayNobodyServes", timeout=300)
            play.mark("that session is ended")
        play.until(lambda: relay.get("/readyz")[1].startswith("ready"), 30, "it to work")
    play.database.wait_empty()
    time.sleep(3)
    status(play)


def resources(play):
    relay = start(play)
    play.mark("descriptors: as many as are open, and 20 idle connections to http.listen")
    limit = int(relay.metrics()["process_open_fds"]) + 8
    resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE, (limit, 4096))
    host, port = relay.wait_log(r"http listens on (\S+):(\d+)").groups()
    idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(20)]
    play.insert(500)
    play.database.wait_empty()
    time.sleep(12)
    resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE, (1024, 4096))
    for connection in idle:
        connection.close()
    ready(play, relay)
    play.mark("started with 20 descriptors")
    play.relay(start=False, http={"listen": ""})
    play.sh("ulimit -n 20; outbox-relay run -c relay2.conf 2>&1 | cut -c26-")
    play.mark("memory: an address space of 420 MB, batch_bytes = \"256MiB\", 600 events of 640 kB")
    relay.stop()
    relay.write_config(outbox={"batch_bytes": "256MiB"})
    relay.process.argv = ["prlimit", "--as=420000000", "--", *relay.process.argv]
    relay.start()
    with play.load(10):
        play.database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) SELECT 'order', n, 'Big',"
                              " jsonb_build_object('text', repeat(md5(n::text), 20000)) FROM generate_series(1, 600) n")
        time.sleep(20)
        play.note(f"the relay is {'there' if relay.process.alive else 'gone: status ' + str(relay.process.child.returncode)}")
        play.sh("tail -3 relay1.log | cut -c26-")


def stuck(play):
    relay = start(play, outbox={"stall_timeout": "10s"})
    with play.load(100):
        time.sleep(2)
        play.mark("the relay hangs (SIGSTOP) for a probe of 30 s, and after it goes on")
        relay.process.pause()
        time.sleep(30)
        status(play)
        relay.process.resume()
        ready(play, relay)
        play.mark("another session holds ACCESS EXCLUSIVE on the outbox")
        with play.database.session(autocommit=False) as cursor:
            cursor.execute("SET application_name = 'ddl'; LOCK TABLE outbox_events")
            time.sleep(45)
            play.sh("curl -s -w '%{http_code}\\n' http://$(grep -o '127.0.0.1:[0-9]*' relay1.conf | tail -1)/healthz")
            check(play)
        play.mark("it is ended")
        ready(play, relay)
        play.database.wait_empty()


def unconfirmed(play):
    broker, postgres = play.kafka(), play.postgres()
    play.on(postgres, broker, outbox={"publish_after": "standby", "publish_standbys": "east", "stall_timeout": "5s"})
    play.sql("GRANT pg_read_all_stats TO outbox_relay")
    east = postgres.clone(play.path("east"), "east").start()
    broker.create_topic("events.order", 4)
    try:
        relay = play.relay()
        play.alerts()
        with play.load(100):
            time.sleep(2)
            play.mark("the standby east ends")
            east.stop()
            play.wait_alert("OutboxRelayUnconfirmed")
            check(play)
            status(play)
            play.mark("it is started again")
            east.start()
            ready(play, relay)
        play.wait_alert("OutboxRelayUnconfirmed", fires=False)
        play.database.wait_empty()
    finally:
        east.remove()


def main():
    with Play() as play:
        {"unreachable": unreachable, "refuses": refuses, "old": old, "standby": standby, "resources": resources,
         "stuck": stuck, "unconfirmed": unconfirmed}[sys.argv[1]](play)


if __name__ == "__main__":
    main()
