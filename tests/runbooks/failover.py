# SPDX-License-Identifier: ISC
"""docs/runbooks/database-failover.md: a primary dies, and its asynchronous or synchronous standby takes over; a synchronous standby
that is not there. python3 -m runbooks.failover async|sync|nostandby"""
import sys
import time

import psycopg2.extras

from faults.pgpair import PgPair
from harness.consumer import Reader
from harness.postgres import Database
from runbooks.stage import Play

IDS = ("SELECT last_value AS last_id, (SELECT count(*) FROM outbox_events) AS waiting, (SELECT count(*) FROM orders) AS orders"
       " FROM outbox_events_id_seq")
ORDER = ("WITH made AS (INSERT INTO orders SELECT FROM generate_series(1, 10) RETURNING id)"
         " INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload)"
         " SELECT id, 'order', id, 'Placed', '{}' FROM made RETURNING event_id::text")


class Shop:
    """An application: for each order a row and an event, in transactions of ten; what it was told is committed."""

    def __init__(self, play):
        self.play, self.told = play, []

    def orders(self, seconds):
        end = time.monotonic() + seconds
        with self.play.database.session(autocommit=False) as cursor:
            while time.monotonic() < end:
                cursor.execute(ORDER)
                ids = [event for (event,) in cursor.fetchall()]
                cursor.connection.commit()
                self.told += ids
                time.sleep(0.02)


def judge(play, broker, shop):
    """What came of it, by an independent consumer and the database as it is now."""
    reader = Reader(broker.bootstrap, "events.order")
    ids = [record.event_id for record in reader.rest()]
    reader.close()
    orders = {order for (order,) in play.database.rows("SELECT id::text FROM orders")}
    play.write(f"# the application was told of {len(shop.told)} orders; the database has {len(orders)}"
               f"\n# the topic has {len(set(ids))} events, {len(ids) - len(set(ids))} of them twice;"
               f" {len(set(ids) - orders)} of orders that the database does not have; {len(orders - set(ids))} are missing")


def published(play):
    """A page's way to see them: ids of the topic beside the application's rows."""
    play.sh(f"kcat -C -q -e -b {play.settings['kafka']['bootstrap_servers']} -t events.order -f '%h\\n'"
            " | sed 's/.*\\bid=\\([^,]*\\).*/\\1/' >published.txt; wc -l published.txt")
    play.sh(f'''psql -q -X "{play.database.dsn()}" -c "CREATE TEMP TABLE published (event_id uuid)"'''
            ''' -c "\\copy published FROM published.txt"'''
            ''' -c "SELECT count(DISTINCT event_id) FROM published p LEFT JOIN orders o ON o.id = p.event_id WHERE o.id IS NULL"''')


def main():
    kind = sys.argv[1]
    psycopg2.extras.register_uuid()
    with Play() as play:
        pair = PgPair(play.path("pair")).create().start()
        broker = play.kafka()
        ports = ",".join(str(node.port) for node in pair.nodes)
        play.on(pair.primary, broker, database={"dsn": f"host=127.0.0.1,127.0.0.1 port={ports} dbname=shop user=outbox_relay"
                                                       " target_session_attrs=read-write"})
        broker.create_topic("events.order", 4)
        play.database.execute("CREATE TABLE orders (id uuid PRIMARY KEY DEFAULT gen_random_uuid())")
        if kind != "async":
            Database(pair.primary, "postgres").execute("ALTER SYSTEM SET synchronous_standby_names = 'beta'")
            Database(pair.primary, "postgres").execute("SELECT pg_reload_conf()")
        relay = play.relay(outbox={"stall_timeout": "10s"} if kind == "nostandby" else {}).wait_ready()
        play.alerts()
        play.write(f"$ grep dsn relay1.conf\n  dsn = \"{play.settings['database']['dsn']}\";")
        shop = Shop(play)
        play.sql("SELECT application_name, state, sync_state FROM pg_stat_replication", Database(pair.primary, "postgres"))
        shop.orders(3)
        if kind == "nostandby":
            return without(play, pair, relay)
        if kind == "async":
            play.note("replication falls behind for 2 seconds")
            pair.fall_behind()
            shop.orders(2)
            relay.wait_metric("published_total", len(shop.told))
            time.sleep(0.2)
        play.sql(IDS)
        play.mark("the primary dies (kill -9); the standby is promoted")
        pair.failover()
        play.database = pair.database("shop")
        play.sql(IDS)
        play.until(lambda: relay.metrics()['outbox_relay_connected{peer="database"}'] == 1, 30, "the relay to be back")
        shop.orders(2)
        play.database.wait_empty()
        time.sleep(0.5)
        play.sql(IDS)
        play.sh("outbox-relay status -c relay1.conf")
        judge(play, broker, shop)
        published(play)


def without(play, pair, relay):
    play.mark("the synchronous standby dies (kill -9)")
    pair.standby.crash()
    with play.load(50):
        time.sleep(45)
        play.sh("outbox-relay status -c relay1.conf")
        play.sql("SELECT pid, application_name, wait_event, now() - state_change AS since, left(query, 30) AS query"
                 " FROM pg_stat_activity WHERE wait_event = 'SyncRep' ORDER BY since DESC LIMIT 5")
        play.wait_alert("OutboxRelay", timeout=400)
        play.mark("the standby is started again")
        pair.standby.start()
        play.until(lambda: relay.get("/readyz")[0] == 200 and relay.metric("depth") < 100, 60, "it to go on")
        time.sleep(2)
        play.sh("outbox-relay status -c relay1.conf | tail -8")


if __name__ == "__main__":
    main()
