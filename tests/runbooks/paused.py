# SPDX-License-Identifier: ISC
"""docs/runbooks/paused.md: a pause that was forgotten."""
from runbooks.stage import Play


def main():
    with Play() as play:
        play.on(play.postgres(), play.kafka())
        relay = play.relay().wait_ready()
        play.mark("a colleague pauses the outbox and goes home; events come in")
        play.sh("outbox-relay pause -c relay1.conf")
        play.insert(250)
        play.sh("outbox-relay status -c relay1.conf", lines=20)
        play.sh("outbox-relay resume -c relay1.conf")
        play.database.wait_empty()
        relay.wait_metric("published_total", 250)
        play.sh("outbox-relay status -c relay1.conf", lines=20)


if __name__ == "__main__":
    main()
