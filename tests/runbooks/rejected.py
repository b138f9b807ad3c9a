# SPDX-License-Identifier: ISC
"""docs/runbooks/rejected-event.md: a poison event parks its key, is retried in vain, edited, and goes with those behind it; one
becomes a dead letter; one halts the relay.
python3 -m runbooks.rejected"""
import re
import signal
import time

from runbooks.stage import Play

POISON = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers)"
          " VALUES ('order', '{0}', 'Placed', '{{\"n\": 1}}', '{{\"trace\": {{\"id\": 7}}}}'),"
          " ('order', '{0}', 'Paid', '{{\"n\": 2}}', NULL), ('order', 'other', 'Placed', '{{\"n\": 3}}', NULL)")


def topic(play):
    play.sh(f"kcat -C -q -e -b {play.settings['kafka']['bootstrap_servers']} -t events.order -f '%k %s\\n'")


def dlq(play, command):
    play.sh(f"outbox-relay dlq {command} -c relay1.conf")


def reload(play, relay, policy):
    relay.write_config(outbox={"on_reject": policy})
    relay.process.send(signal.SIGHUP)
    play.until(lambda: relay.log_contains("reload: outbox.on_reject has changed"), 20, "the reload")
    time.sleep(1)


def parked(play):
    play.mark("a poison event of key poison, a later one of it, and one of another key")
    play.database.execute(POISON.format("poison"))
    play.database.wait_empty()
    play.wait_alert("OutboxRelayRejecting")
    topic(play)
    dlq(play, "list")
    play.sh("outbox-relay status -c relay1.conf | grep -E -A1 '^(dead letters|problems)'")
    dlq(play, "show --id 1 --payload")
    play.mark("retried in vain; then with other headers, and a third event of the key arrives meanwhile")
    dlq(play, "retry --key poison")
    play.database.execute(POISON.format("poison").split(", ('order', 'poison', 'Paid'", maxsplit=1)[0].replace('{"id": 7}', '7'))
    dlq(play, "edit --id 1 --headers '{\"trace\": \"7\"}'")
    dlq(play, "retry --key poison --dry-run")
    dlq(play, "retry --key poison")
    topic(play)


def dead_letter(play, relay):
    play.mark("on_reject = \"dead-letter\" and SIGHUP; the same again with key toxic")
    reload(play, relay, "dead-letter")
    play.database.execute(POISON.format("toxic"))
    play.database.wait_empty()
    play.until(lambda: relay.metric("dead_letters") == 1, 20, "the dead letter")
    dlq(play, "list")
    dlq(play, "discard --key toxic")
    play.sh("outbox-relay status -c relay1.conf | grep -E '^(dead|operators)' -A1")


def halted(play, relay):
    play.mark("on_reject = \"halt\" and SIGHUP; the same again with key venom")
    reload(play, relay, "halt")
    play.database.execute(POISON.format("venom"))
    play.wait_alert("OutboxRelayHalted")
    statement = re.search(r"UPDATE \"public\".*?';", relay.get("/readyz")[1]).group(0)
    play.mark("the second statement of the log, run as the owner")
    play.sql(statement)
    play.database.wait_empty()
    play.wait_alert("OutboxRelayHalted", fires=False)


def main():
    with Play() as play:
        broker = play.kafka()
        play.on(play.postgres(), broker)
        broker.create_topic("events.order", 1)
        relay = play.relay()
        play.alerts()
        parked(play)
        dead_letter(play, relay)
        halted(play, relay)


if __name__ == "__main__":
    main()
