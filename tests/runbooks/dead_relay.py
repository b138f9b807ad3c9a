# SPDX-License-Identifier: ISC
"""docs/runbooks/dead-relay.md: of three relays one is killed, one hangs, one has no network any more. In a network of its own, as root:
unshare -n sh -c 'ip link set lo up; exec /usr/bin/python3 -m runbooks.dead_relay'"""
import json
import os
import subprocess
import time

from runbooks.stage import Play

OTHER_USER = 65534
CUT = [["iptables", "{}", "OUTPUT", "-m", "owner", "--uid-owner", str(OTHER_USER), "-p", "tcp", "-j", "DROP"]]


def cut(what):
    for rule in CUT:
        subprocess.run([what if word == "{}" else word for word in rule], check=True)


def owners(play):
    """{name of the session: its shards}, read from the locks."""
    shards = {}
    for shard in json.loads(play.relays[0].command("status", "--json").stdout)["shards"]:
        shards.setdefault(shard["owner"] and shard["owner"]["pid"], []).append(shard["shard"])
    return shards


def spread(play, *counts):
    play.until(lambda: sorted(len(own) for pid, own in owners(play).items() if pid) == sorted(counts), 60, f"shards {counts}")
    play.note(f"shards are spread {' '.join(map(str, counts))}")


def main():
    with Play() as play:
        play.on(play.postgres(), play.kafka(), outbox={"shards": 6})
        play.relay().wait_ready()
        play.relay()
        play.relay(start=False)
        third = play.relays[2]
        third.process.argv = ["setpriv", f"--reuid={OTHER_USER}", "--clear-groups", "--", *third.process.argv]
        os.chmod(play.directory, 0o755)
        third.process.start()
        spread(play, 2, 2, 2)
        play.alerts()
        with play.load(200):
            play.sh("outbox-relay status -c relay1.conf | grep -E '^(shard|relays| +outbox)'")
            play.mark("kill -9 of relay 2")
            play.relays[1].kill()
            spread(play, 3, 3)
            play.sh("outbox-relay status -c relay1.conf | grep -E '^(shard|relays| +outbox)'")
            play.mark("it is started again")
            play.relays[1].start(wait=False)
            spread(play, 2, 2, 2)
            play.mark("relay 2 hangs (kill -STOP)")
            play.relays[1].process.pause()
            spread(play, 3, 3)
            play.sh("outbox-relay status -c relay1.conf | grep -E '^(relays| +outbox)'")
            time.sleep(5)
            play.mark("it is continued (kill -CONT)")
            play.relays[1].process.resume()
            spread(play, 2, 2, 2)
            play.mark("nothing that relay 3 sends arrives any more (iptables -j DROP)")
            cut("-A")
            spread(play, 3, 3)
            time.sleep(5)
            play.mark("its network is there again")
            cut("-D")
            spread(play, 2, 2, 2)
            time.sleep(1)
            play.mark("relay 2 is taken away for good; nothing pages: the others have its shards")
            play.relays[1].stop()
            spread(play, 3, 3)
            play.sh("outbox-relay status -c relay1.conf | sed -n '2,3p;9,11p'")


if __name__ == "__main__":
    main()
