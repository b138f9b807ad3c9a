# SPDX-License-Identifier: ISC
"""docs/runbooks/unknown-error.md: brokers answer with an error that no version of outbox-relay knows, until they are as before.
python3 -m runbooks.unknown_error"""
import time

from harness.strangers import ERROR, Stranger
from runbooks.stage import Play

ERROR.setdefault("NEW_AND_UNHEARD_OF", 4711)


def main():
    with Play() as play:
        broker = play.kafka()
        play.on(play.postgres(), broker)
        broker.create_topic("events.order", 4)
        proxy = Stranger(("127.0.0.1", broker.port), refuses={"Produce": "NEW_AND_UNHEARD_OF"})
        relay = play.relay(kafka={"bootstrap_servers": proxy.bootstrap})
        relay.wait_ready()
        play.alerts(ready=[relay])
        play.mark("100 events; the brokers answer every record with error 4711")
        play.insert(100)
        play.wait_alert("OutboxRelayUnknownError")
        play.sh("outbox-relay status -c relay1.conf | grep -E '^(depth|state|problems)'")
        play.mark("they do so no longer")
        proxy.refuses.clear()
        play.database.wait_empty()
        time.sleep(1)
        play.sh("outbox-relay status -c relay1.conf | grep -E '^(depth|dead|state|problems)'")
        proxy.close()


if __name__ == "__main__":
    main()
