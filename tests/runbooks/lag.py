# SPDX-License-Identifier: ISC
"""docs/runbooks/backlog-grows.md: four reasons for a backlog, and how the metrics tell them apart. python3 -m runbooks.lag"""
import threading
import time

from runbooks.stage import Play

MANY = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
        " SELECT 'order', {key}, 'Happened', jsonb_build_object('n', n, 'text', repeat('x', 100)) FROM generate_series(1, {count}) n")
SUMS = ("claim_seconds_sum", "publish_seconds_sum", "settle_seconds_sum", "published_total")


def reading(relay):
    metrics = relay.metrics()
    values = {name: sum(value for sample, value in metrics.items() if sample.split("{")[0] == f"outbox_relay_{name}") for name in SUMS}
    return dict(values, cpu=metrics["process_cpu_seconds_total"], at=time.monotonic())


def window(play, seconds, what):
    """The rates over some seconds of each relay, as rate() of Prometheus has them."""
    before = [reading(relay) for relay in play.relays]
    time.sleep(seconds)
    for relay, old in zip(play.relays, before):
        new = reading(relay)
        rate = {name: (new[name] - old[name]) / (new["at"] - old["at"]) for name in (*SUMS, "cpu")}
        play.write(f"{what:26} {relay.name} claim {rate['claim_seconds_sum']:.2f} publish {rate['publish_seconds_sum']:.2f}"
                   f" settle {rate['settle_seconds_sum']:.2f} cpu {rate['cpu']:.2f} events {rate['published_total']:6.0f}/s"
                   f" depth {relay.metric('depth'):.0f} oldest {relay.metric('oldest_age_seconds'):.1f} s")


def stutter(broker, going):
    """A broker that has a tenth of the time."""
    while not going.is_set():
        broker.pause()
        time.sleep(0.9)
        broker.resume()
        time.sleep(0.1)


def main():
    with Play() as play:
        server, broker = play.postgres(), play.kafka()
        play.on(server, broker, outbox={"shards": 4})
        broker.create_topic("events.order", 4)
        play.relay().wait_ready()
        play.relay().process.wait_log(__import__("re").compile("ready: publishing"))
        time.sleep(3)
        play.mark("all is well: 2,000 events a second")
        with play.load(2000):
            window(play, 8, "well")
        play.mark("Kafka is slow: the broker gets a tenth of the time; 20,000 events a second")
        going = threading.Event()
        slow = threading.Thread(target=stutter, args=(broker, going), daemon=True)
        slow.start()
        with play.load(20000):
            time.sleep(4)
            window(play, 8, "slow Kafka")
            window(play, 8, "slow Kafka")
        going.set()
        slow.join()
        play.database.wait_empty(timeout=60)
        play.mark("one hot key: a million events of one key")
        play.database.execute(MANY.format(key="'hot'", count=1000000))
        window(play, 2.5, "one hot key")
        play.database.wait_empty(timeout=60)
        play.mark("more than the relays can: two million events of 10,000 keys")
        play.database.execute(MANY.format(key="'k' || n % 10000", count=2000000))
        window(play, 4, "more load")
        play.database.wait_empty(timeout=60)
        play.mark("an old snapshot, and an open transaction that has inserted an event; 5,000 events a second")
        with play.database.session(autocommit=False) as report, play.database.session(autocommit=False) as writer:
            report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox_events")
            writer.execute(MANY.format(key="'slow'", count=1))
            with play.load(5000):
                time.sleep(40)
                window(play, 10, "old snapshot")
                play.sql("SELECT n_live_tup, n_dead_tup, pg_size_pretty(pg_table_size(relid)) FROM pg_stat_user_tables"
                         " WHERE relname = 'outbox_events'")
                play.sql("SELECT a.pid, a.xact_start, a.state, left(a.query, 60) AS query FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                         " WHERE l.relation = 'outbox_events'::regclass AND l.mode IN ('RowExclusiveLock', 'AccessShareLock')"
                         " AND a.application_name NOT LIKE 'outbox-relay%' AND a.pid <> pg_backend_pid() ORDER BY a.xact_start LIMIT 3")
        play.sh("outbox-relay status -c relay1.conf")


if __name__ == "__main__":
    main()
