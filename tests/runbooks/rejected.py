# SPDX-License-Identifier: ISC
"""docs/runbooks/rejected-event.md: a poison event halts the relay and is repaired; then one becomes a dead letter and is sent again.
python3 -m runbooks.rejected"""
import re
import signal
import time

from runbooks.stage import Play

POISON = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
          " VALUES ('order', '{0}', 'Placed', '{{\"n\": 1}}', '{{\"trace\": {{\"id\": 7}}}}'),"
          " ('order', '{0}', 'Paid', '{{\"n\": 2}}', NULL), ('order', 'other', 'Placed', '{{\"n\": 3}}', NULL)")
DEAD = ("SELECT id, left(event_id, 8) AS event_id, aggregate_id, reason, error, attempts FROM outbox_relay.dead_letters"
        " ORDER BY dead_at")
BACK = """
WITH back AS (DELETE FROM outbox_relay.dead_letters WHERE event_id = '{}' RETURNING *)
INSERT INTO outbox_events (event_id, aggregate_type, aggregate_id, event_type, payload, headers, created_at)
SELECT event_id::uuid, aggregate_type, aggregate_id, event_type, coalesce(convert_from(payload, 'UTF8')::jsonb, extra->'payload'),
       '{{"trace": "7"}}', created_at FROM back"""


def topic(play):
    play.sh(f"kcat -C -q -e -b {play.settings['kafka']['bootstrap_servers']} -t events.order -f '%k %s\\n'")


def main():
    with Play() as play:
        broker = play.kafka()
        play.on(play.postgres(), broker)
        broker.create_topic("events.order", 1)
        relay = play.relay()
        play.alerts()
        play.mark("a poison event of key poison, a later one of it, and one of another key")
        play.database.execute(POISON.format("poison"))
        play.wait_alert("OutboxRelayHalted")
        play.sh("outbox-relay status -c relay1.conf")
        topic(play)
        statement = re.search(r"UPDATE \"public\".*?';", relay.get("/readyz")[1]).group(0)
        play.mark("the second statement of the log, run as the owner")
        play.sql(statement)
        play.database.wait_empty()
        play.wait_alert("OutboxRelayHalted", fires=False)
        topic(play)
        play.mark("on_reject = \"dead-letter\" and SIGHUP; the same again with key toxic")
        relay.write_config(outbox={"on_reject": "dead-letter"})
        relay.process.send(signal.SIGHUP)
        time.sleep(1)
        play.database.execute(POISON.format("toxic"))
        play.database.wait_empty()
        play.sql(DEAD)
        play.sh("outbox-relay status -c relay1.conf | grep -A1 -E '^(dead|problems)'")
        play.mark("sent again, with its headers repaired")
        dead = play.database.value("SELECT event_id FROM outbox_relay.dead_letters")
        play.database.execute(BACK.format(dead))
        play.database.wait_empty()
        relay.wait_metric("published_total", 6)
        topic(play)
        play.sql("SELECT count(*) FROM outbox_relay.dead_letters")


if __name__ == "__main__":
    main()
