# SPDX-License-Identifier: ISC
"""docs/runbooks/no-relay.md: the only relay is killed; its configuration is broken when it is started again."""
from runbooks.stage import Play


def main():
    with Play() as play:
        play.on(play.postgres(), play.kafka())
        relay = play.relay().wait_ready()
        play.insert(100)
        play.database.wait_empty()
        play.mark("kill -9 of the only relay; 500 events come in")
        relay.kill()
        play.insert(500)
        play.sh("outbox-relay status -c relay1.conf")
        play.mark("it is started with a configuration that has a mistake, and ends")
        play.sh("sed 's/table/tabel/' relay1.conf >broken.conf; outbox-relay run -c broken.conf")
        play.mark("it is started with the right one")
        relay.start()
        play.database.wait_empty()
        relay.wait_metric("published_total", 500)
        play.note("the backlog is published")
        play.sh("outbox-relay status -c relay1.conf | sed -n '2,5p'")


if __name__ == "__main__":
    main()
