# SPDX-License-Identifier: ISC
"""docs/runbooks/kafka-unreachable.md: Kafka is unreachable for minutes, and the outbox holds what two hours bring: 14.4 million
events. python3 -m runbooks.kafka_outage [EVENTS]"""
import sys
import threading
import time

from runbooks.stage import Play

RATE = 2000
FILL = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
        " SELECT 'order', 'k' || n % 10000, 'Happened', jsonb_build_object('n', n, 'text', repeat('x', 100))"
        " FROM generate_series(1, 200000) n")
SIZES = ("SELECT pg_size_pretty(pg_table_size('outbox_events')) AS table, pg_size_pretty(pg_indexes_size('outbox_events')) AS index,"
         " pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')) AS wal_written,"
         " pg_size_pretty((SELECT sum(size) FROM pg_ls_waldir())) AS wal_kept, n_live_tup, n_dead_tup"
         " FROM pg_stat_user_tables WHERE relname = 'outbox_events'")


def watch(play, relay, ended):
    """Every 15 s how much waits, and how fast it goes."""
    before, at = relay.metric("published_total"), time.monotonic()
    while not ended.wait(15):
        now, then = relay.metric("published_total"), time.monotonic()
        play.note(f"depth {relay.metric('depth'):.0f}, published {(now - before) / (then - at):.0f}/s,"
                  f" oldest {relay.metric('oldest_age_seconds'):.0f} s, relay {relay.metric('published_total'):.0f} in all")
        before, at = now, then


def main():
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 7200 * RATE
    with Play() as play:
        postgres, kafka = play.postgres(), play.kafka()
        play.on(postgres, kafka, kafka={"properties": ["compression.codec=lz4"]})
        kafka.create_topic("events.order", 4)
        relay = play.relay().wait_ready()
        play.alerts()
        with play.load(RATE):
            play.until(lambda: relay.metric("published_total") > 10 * RATE, 60, "load")
            play.sql(SIZES)
            kafka.kill()
            play.mark(f"kill -9 of the only broker; {RATE} events a second are inserted")
            play.wait_alert("OutboxRelayDisconnected")
            play.sh("outbox-relay check -c relay1.conf 2>&1 | grep -i -A2 kafka")
            play.sh("outbox-relay status -c relay1.conf")
            play.wait_alert("OutboxRelayLagging")
            play.note("the rest of two hours is filled in")
            for _ in range((events - 500 * RATE) // 200000):
                play.database.execute(FILL)
            play.sql(SIZES)
            play.sh("outbox-relay status -c relay1.conf | head -3")
            play.mark("the broker is started again")
            kafka.start()
            ended = threading.Event()
            watcher = threading.Thread(target=watch, args=(play, relay, ended), daemon=True)
            watcher.start()
            play.until(lambda: relay.metric("depth") < RATE and relay.metric("oldest_age_seconds") < 5, 1200, "the backlog to go")
            play.note("caught up")
            ended.set()
            watcher.join()
            play.sql(SIZES)
            play.sql("VACUUM outbox_events")
            play.sql(SIZES)
            play.note(f"peak memory of the relay {relay.peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
