#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The benchmark: one run on one machine. README.md tells what each figure means."""
import argparse
import dataclasses
import json
import os
import signal
import sys
import time
import traceback

import confirmed
import dead_rows
import delivery
import drain
import idle
import inserts
import latency
import machine
import memory
import modes
import outbox
import scale
import takeover
from plan import Plan
from rig import Rig, relay_binary

SECTIONS = {"drain": drain, "latency": latency, "inserts": inserts, "dead": dead_rows, "idle": idle,
            "memory": memory, "scale": scale, "takeover": takeover, "modes": modes, "delivery": delivery,
            "confirmed": confirmed}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short and small: does everything work?")
    parser.add_argument("--only", metavar="NAME,...", type=lambda names: names.split(","),
                        default=list(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, metavar="N")
    parser.add_argument("--events", type=int, metavar="N", help="in a drain")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="writes all figures of all rounds there")
    parser.add_argument("--against", metavar="BINARY", type=os.path.abspath,
                        help="another relay, measured in turns with ours in drain and latency")
    parser.add_argument("--settle", choices=("delete", "mark", "position"), default="delete",
                        help="of latency, inserts, idle and takeover")
    parser.add_argument("--checksums", action="store_true",
                        help="with data checksums: then the first look at a fresh row is written to the WAL, too")
    parser.add_argument("--without-relay", action="store_true",
                        help="only what the machine gives without it")
    given = parser.parse_args()
    unknown = [name for name in given.only if name not in SECTIONS]
    if unknown:
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if not given.without_relay and not os.access(relay_binary(), os.X_OK):
        parser.error(f"no {relay_binary()}; build it, or name another in OUTBOX_RELAY")
    if given.against and not os.access(given.against, os.X_OK):
        parser.error(f"no {given.against}")
    return given


def plan_of(given):
    plan = Plan.quick() if given.quick else Plan()
    changes = {name: getattr(given, name) for name in ("rounds", "events", "seed")
               if getattr(given, name) is not None}
    return dataclasses.replace(plan, **changes)


def say(text):
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def measure(rig, given, plan):
    """The whole run as one dictionary; prints each section as it ends. A failed section does not end it."""
    with_relay = not given.without_relay
    rig.settle = given.settle
    outbox.migrate(rig, "outbox_events", rig.settle)
    outbox.migrate(rig, "outbox_marked", "mark")
    outbox.migrate(rig, "outbox_positions", "position")
    about = {**machine.describe(rig, with_relay), "seed": plan.seed}
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    results = {"machine": about, "plan": dataclasses.asdict(plan), "sections": {}, "failed": {}}
    for name in given.only:
        try:
            table = SECTIONS[name].measure(rig, plan, with_relay, say)
        except Exception as failure:  # pylint: disable=broad-except
            traceback.print_exc()
            print(rig.kill_relays(), file=sys.stderr)
            results["failed"][name] = str(failure)
            continue
        if table.rows:
            print(f"\n{table}", flush=True)
        results["sections"][name] = table.as_json()
    return results


def main():
    # So that the servers are taken down when somebody stops us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    given = arguments()
    with Rig(given.against, checksums=given.checksums) as rig:
        results = measure(rig, given, plan_of(given))
    if given.json:
        with open(given.json, "w") as out:
            json.dump(results, out, indent=2)
    for name, why in results["failed"].items():
        print(f"section {name} failed: {why}", file=sys.stderr)
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
