# SPDX-License-Identifier: ISC
"""docs/runbooks: events that Kafka or the database does not let go.
python3 -m runbooks.events topic|kept|refused|locked"""
import sys
import time

from harness.kafka import GuardedKafka
from runbooks.stage import Play

ONE = "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) VALUES ('{}', '{}', 'Placed', '{{\"n\": 1}}')"
HOLDERS = ("SELECT a.pid, now() - a.xact_start AS since, a.state, left(a.query, 60) AS query"
           " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
           " WHERE l.relation = 'outbox_events'::regclass AND l.mode IN ('RowShareLock', 'RowExclusiveLock')"
           " AND a.application_name NOT LIKE 'outbox-relay%' ORDER BY a.xact_start")


def start(play, broker, **settings):
    play.on(play.postgres(), broker, **settings)
    relay = play.relay()
    play.alerts()
    return relay


def status(play):
    play.sh("outbox-relay status -c relay1.conf | grep -E -A1 '^(depth|state|problems|parked|held)' | grep -v -e '^--' | cut -c1-300")


def topic(play):
    broker = play.kafka(auto_create_topics_enable="false")
    relay = start(play, broker)
    broker.create_topic("events.order", 4)
    play.insert(100)
    relay.wait_metric("published_total", 100)
    play.mark("an event for a topic that does not exist, then 100 others")
    play.database.execute(ONE.format("invoice", "i1"))
    play.insert(100)
    time.sleep(8)
    status(play)
    play.sh("outbox-relay check -c relay1.conf 2>&1 | grep -v ^ok")
    play.sql("SELECT id, event_id, aggregate_type, aggregate_id, created_at FROM outbox_events ORDER BY id LIMIT 1")
    play.wait_alert("OutboxRelay", timeout=400)
    time.sleep(30)
    play.mark("the topic is created")
    broker.create_topic("events.invoice", 4)
    play.database.wait_empty()
    relay.wait_metric("published_total", 201)
    play.until(lambda: relay.get("/readyz")[0] == 200, 20, "it to be ready")
    time.sleep(1)


def kept(play):
    relay = start(play, play.kafka(), outbox={"on_reject": "dead-letter"})
    play.mark("a row that another table refers to, a later event of its key, and 100 others")
    play.database.execute("CREATE TABLE mails (event bigint REFERENCES outbox_events (id))")
    with play.database.session(autocommit=False) as cursor:
        cursor.execute(ONE.format("order", "held"))
        cursor.execute("INSERT INTO mails SELECT id FROM outbox_events")
        cursor.execute(ONE.format("order", "held"))
        cursor.connection.commit()
    play.insert(100)
    relay.wait_metric("published_total", 100)
    time.sleep(3)
    status(play)
    play.sh("outbox-relay check -c relay1.conf 2>&1 | grep -v ^ok")
    play.sql("SELECT id, aggregate_id FROM outbox_events")
    play.mark("the row of mails is removed")
    play.database.execute("DELETE FROM mails")
    play.database.wait_empty()
    relay.wait_metric("published_total", 102)
    status(play)


def refused(play):
    broker = GuardedKafka(play.path("kafka"), ("relay",)).create().start()
    broker.create_topic("events.order", 4)
    broker.grant("relay", "idempotent_write", "cluster", "kafka-cluster")
    broker.grant("relay", "describe", "topic", "events.order")
    relay = start(play, broker, kafka={"bootstrap_servers": broker.sasl_bootstrap, "properties": broker.login("relay")})
    play.mark("relay may see the topic, and not write to it")
    with play.load(50):
        time.sleep(15)
        status(play)
        play.sh("outbox-relay check -c relay1.conf 2>&1 | grep -v ^ok")
        play.wait_alert("OutboxRelay")
        play.mark("the right to write is granted")
        broker.grant("relay", "write", "topic", "events.order")
        play.until(lambda: relay.metric("published_total") > 100, 30, "events to flow")
    play.database.wait_empty()
    status(play)
    play.sql("SELECT count(*) AS dead_letters FROM outbox_relay.dead_letters")


def locked(play):
    broker = play.kafka()
    relay = start(play, broker)
    broker.create_topic("events.order", 4)
    play.mark("a session locks the rows of one key and goes for lunch")
    with play.database.session(autocommit=False) as cursor:
        relay.stop()
        play.insert(100)
        cursor.execute("SELECT * FROM outbox_events WHERE aggregate_id = 'k7' FOR UPDATE")
        relay.start()
        play.insert(200)
        play.until(lambda: relay.metric("published_total") >= 297, 20, "the others")
        time.sleep(2)
        status(play)
        play.sql(HOLDERS)
        play.wait_alert("OutboxRelay", timeout=400)
        play.sql(HOLDERS.replace("SELECT a.pid, now() - a.xact_start AS since, a.state, left(a.query, 60) AS query",
                                 "SELECT pg_terminate_backend(a.pid)").replace(" ORDER BY a.xact_start", ""))
    play.mark("it is ended")
    play.database.wait_empty()
    relay.wait_metric("published_total", 300)
    status(play)
    time.sleep(2)


def main():
    with Play() as play:
        {"topic": topic, "kept": kept, "refused": refused, "locked": locked}[sys.argv[1]](play)


if __name__ == "__main__":
    main()
