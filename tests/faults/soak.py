#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Rounds of faults against real servers, for a time or a number; every round judged by the checker.

    cd tests && /usr/bin/python3 -m faults.soak --minutes 60 [--seed S] [--only F11,F12] [--pairs] [--relays 3]
    cd tests && /usr/bin/python3 -m faults.soak --select ci
    cd tests && /usr/bin/python3 -m faults.soak --delivery exactly-once --minutes 60 [--kafka 3.9.1]
    cd tests && /usr/bin/python3 -m faults.soak --seed S --round 17     # that round alone, with the same options

Prints a line for each round, a table, and last "N passed, N failed". Status 1 if a round failed; its history,
logs and verdict are kept, and it is said where.
"""
import argparse
import gc
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time

import harness.relay
from harness import process

from faults import catalogs, rounds, tally
from faults.catalog import chosen
from faults.cluster import Cluster


def arguments(argv):
    parser = argparse.ArgumentParser(prog="faults.soak", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, help="go on for so long")
    parser.add_argument("--rounds", type=int, help="or for so many rounds; by default each fault once")
    parser.add_argument("--seed", type=int, help="of everything that is drawn; by default another each time, printed")
    parser.add_argument("--only", help="the faults with these numbers: F11,F12")
    parser.add_argument("--select", choices=("ci",), help="a list that is kept with the program")
    parser.add_argument("--pairs", action="store_true", help="two faults at a time")
    parser.add_argument("--round", type=int, help="only the one with this number")
    parser.add_argument("--relays", type=int, default=2)
    parser.add_argument("--settle", choices=("delete", "mark", "position"), help="in all rounds; by default as the seed has it")
    parser.add_argument("--publish-after", choices=("commit", "flush", "standby"), help="in all rounds")
    parser.add_argument("--delivery", choices=("at-least-once", "exactly-once"), default="at-least-once")
    parser.add_argument("--kafka", metavar="VERSION", help="of the brokers: 3.9.1; by default as in tests/system/kafka")
    parser.add_argument("--binary", help="the relay; by default OUTBOX_RELAY or build/outbox-relay")
    parser.add_argument("--keep", default=os.path.join(tempfile.gettempdir(), "outbox-relay-faults"),
                        help="where failed rounds are kept (%(default)s)")
    return parser.parse_args(argv)


def selection(options):
    """The entries to play."""
    if options.only:
        entries = chosen(options.only.split(","))
    else:
        entries = catalogs.ci(options.seed) if options.select else chosen()
    return [entry for entry in entries if options.delivery != "exactly-once" or not entry.at_least_once]


def planned(options, entries):
    """The plans of this run, and all of them even if time is short when it is by number."""
    plans = rounds.plans(options.seed, entries, options.pairs)
    if options.round:
        return itertools.islice(plans, options.round - 1, options.round)
    if options.minutes is None or options.rounds:
        return itertools.islice(plans, options.rounds or len(entries))
    return plans


class Soak:
    def __init__(self, options):
        self.options = options
        self.changes = {"outbox": {**({"settle": options.settle} if options.settle else {}),
                                   **rounds.publish_after(options.publish_after)},
                        **rounds.delivery(options.delivery)}
        self.tally = tally.Tally()
        self.cluster = None

    def run(self, plans):
        end = time.monotonic() + 60 * self.options.minutes if self.options.minutes else float("inf")
        try:
            for plan in plans:
                if time.monotonic() > end:
                    break
                self.one(plan)
        finally:
            self.discard()

    def one(self, plan):
        """A round that broke off may leave the servers in any state: the next one gets new ones."""
        if self.cluster is None:
            self.cluster = Cluster().__enter__()
        outcome, stage = rounds.play(self.cluster, plan, self.options.relays, self.changes)
        self.tally.add(outcome)
        print(tally.line(outcome), flush=True)
        if outcome.problems:
            self.keep(outcome, stage)
        if outcome.broke_off:
            self.discard()
        else:
            stage.forget()
            shutil.rmtree(stage.directory, ignore_errors=True)
        gc.collect()

    def keep(self, outcome, stage):
        """The history, the logs of relays and servers, and what the checker said."""
        kept = os.path.join(self.options.keep, f"{self.options.seed}-{outcome.plan.number}")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(stage.directory, kept)
        for started in process.everyone:
            if os.path.exists(started.log_path):
                shutil.copy(started.log_path, os.path.join(kept, f"{started.name}.log"))
        with open(os.path.join(kept, "verdict"), "w") as verdict:
            verdict.write(outcome.text + "\n")
        print(f"  kept in {kept}; again with --seed {self.options.seed} --round {outcome.plan.number}", flush=True)

    def discard(self):
        if self.cluster:
            self.cluster.remove()
            self.cluster = None


def main(argv):
    options = arguments(argv)
    if options.kafka:
        os.environ["KAFKA_VERSION"] = options.kafka  # harness.kafka asks tests/setup.sh
    if options.binary:
        harness.relay.BINARY = os.path.abspath(options.binary)
    if not os.access(harness.relay.BINARY, os.X_OK):
        print(f"there is no {harness.relay.BINARY}: build it, or name another with --binary", file=sys.stderr)
        return 2
    if options.seed is None:
        options.seed = random.SystemRandom().getrandbits(32)
    try:
        entries = selection(options)
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {options.seed}, {len(entries)} faults", flush=True)
    soak = Soak(options)
    soak.run(planned(options, entries))
    print(f"\n{soak.tally.table()}\n\nseed {options.seed}")
    print(f"{soak.tally.rounds - soak.tally.failed} passed, {soak.tally.failed} failed")
    return 1 if soak.tally.failed or not soak.tally.rounds else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
