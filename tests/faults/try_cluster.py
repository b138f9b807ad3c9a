#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Starts the cluster, says how long that took and what memory it needs, and does everything to it once.

    try_cluster.py [postgres] [kafka] [relay]
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from faults import try_kafka, try_postgres, try_relay  # noqa: E402  (found by the line above)
from faults.cluster import Cluster  # noqa: E402


def main():
    wanted = sys.argv[1:] or ["postgres", "kafka", "relay"]
    began = time.monotonic()
    cluster = Cluster()
    try:
        cluster.create()
        created = time.monotonic()
        cluster.start()
        print(f"made in {created - began:.1f} s, up {time.monotonic() - created:.1f} s later"
              f" (load {os.getloadavg()[0]:.1f})")
        memory = cluster.memory()
        print(", ".join(f"{name} {size:.0f}" for name, size in memory.items()),
              f"-> {sum(memory.values()):.0f} MiB resident", flush=True)
        if "postgres" in wanted:
            try_postgres.Trial(cluster.postgres).run()
        if "kafka" in wanted:
            try_kafka.Trial(cluster.kafka).run()
        if "relay" in wanted:
            try_relay.run(cluster)
        cluster.heal()
        print(f"all done after {time.monotonic() - began:.0f} s; {sum(cluster.memory().values()):.0f} MiB now")
    finally:
        cluster.remove()


if __name__ == "__main__":
    main()
