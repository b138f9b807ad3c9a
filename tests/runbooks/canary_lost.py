# SPDX-License-Identifier: ISC
"""docs/runbooks/canary-lost.md: a canary finds that nothing is published any more; its relay is started again."""
from harness.process import Process
from harness.relay import BINARY
from runbooks.stage import Play


def main():
    with Play() as play:
        broker = play.kafka()
        play.on(play.postgres(), broker)
        broker.create_topic("events.outbox-relay-canary", 4)
        relay = play.relay().wait_ready()
        canary = play.relay(start=False)
        canary.name = "canary"
        canary.process = Process("canary", [
            BINARY, "verify", "--continuous", "-c", canary.config, "--dsn", play.database.dsn(), "--interval", "5s",
            "--timeout", "10s", "--listen", canary.settings["http"]["listen"]], play.path("canary.log")).start()
        canary.wait_metric("canary_round_trip_seconds_count", 2)
        play.sh(f"curl -s http://{canary.settings['http']['listen']}/metrics | grep -v '^#' | grep -v bucket")
        play.alerts(ready=[relay])
        play.mark("the relay is killed")
        relay.kill()
        play.wait_alert("OutboxRelayCanaryLost")
        play.sh("outbox-relay status -c relay1.conf")
        play.mark("the relay is started")
        relay.start()
        play.wait_alert("OutboxRelayCanaryLost", fires=False)
        play.sh("outbox-relay verify -c relay1.conf")


if __name__ == "__main__":
    main()
