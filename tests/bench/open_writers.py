#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What writers that do not end, or not well, cost a relay that publishes by positions: beside a steady stream a
transaction that is idle for the whole run, ids of which 100,000 are rolled back, a thousand transactions open at a time,
and one of a million rows that stays open for ten minutes.

    tests/bench/open_writers.py --rate 2000 --minutes 60 --json FILE
"""
import argparse
import json
import os
import random
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial

import horizon
import outbox
from rig import Rig, relay_binary

ROLLED_BACK, MANY, LARGE = 100_000, 1000, 1_000_000
KEYS, SEED = 10_000, 1
INSERT = """INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)
            VALUES ('bench', %s, 'BenchEvent', jsonb_build_object('n', lpad(%s, 10, '0'), 't', ''))"""


class Extra:
    """Events beside the stream, of numbers of their own."""

    def __init__(self, first):
        self.next = first

    def take(self, count):
        first, self.next = self.next, self.next + count
        return {"seed": SEED, "keys": KEYS, "first": first, "last": first + count - 1}


def fill(cursor, numbers):
    cursor.execute(outbox.FILL.format(table="outbox_events"), numbers)


@contextmanager
def beside(work):
    """In a thread, which ends by itself."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def idle(stack, sides):
    """From now on to the end of the stack. What it has inserted is of no number that anybody waits for."""
    side, = sides
    cursor = stack.enter_context(side.rig.database.session(autocommit=False))
    cursor.execute(INSERT, ("idle", "0"))
    side.gone += 1
    yield


@contextmanager
def rolled_back(extra, sides):
    side, = sides
    with side.rig.database.session(autocommit=False) as cursor:
        fill(cursor, extra.take(ROLLED_BACK))
    side.gone += ROLLED_BACK
    yield


@contextmanager
def many(extra, seconds, sides):
    """Each is open for a third of the time, with an event of its own."""
    side, = sides
    chance = random.Random(SEED)
    numbers = extra.take(MANY)

    def write():
        with ExitStack() as stack:
            open_now = []
            for n in range(numbers["first"], numbers["last"] + 1):
                connection = stack.enter_context(side.rig.database.session(autocommit=False))
                connection.execute(INSERT, (f"many-{chance.randrange(KEYS)}", str(n)))
                open_now.append(connection)
            time.sleep(seconds / 3)
            chance.shuffle(open_now)
            for cursor in open_now:
                cursor.connection.commit()
    with beside(write):
        yield


@contextmanager
def large(extra, seconds, sides):
    """It commits when the step is over."""
    side, = sides

    def write():
        began = time.monotonic()
        with side.rig.database.session(autocommit=False) as cursor:
            fill(cursor, extra.take(LARGE))
            time.sleep(max(0, seconds - (time.monotonic() - began)))
            cursor.connection.commit()
    with beside(write):
        yield


def schedule(options, stack):
    """[(name, seconds, what goes on meanwhile)]"""
    extra = Extra(int(options.rate * options.minutes * 60))
    steps = [("quiet", 120, horizon.reading),
             ("idle writer", 120, partial(idle, stack)),
             (f"{ROLLED_BACK} ids rolled back", 120, partial(rolled_back, extra)),
             (f"{MANY} writers open", 240, partial(many, extra, 240)),
             (f"{LARGE} rows open", options.large_minutes * 60, partial(large, extra, options.large_minutes * 60)),
             ("committed", 180, horizon.reading)]
    rest = options.minutes * 60 - sum(seconds for _, seconds, _ in steps)
    return [*steps, ("idle writer still", max(0, rest), horizon.reading)]


def memory(found):
    """The most that the relay took in each step, MiB."""
    (seen,), ends = found["modes"].values(), [at for at, _ in found["phases"][1:]] + [float("inf")]
    for (begin, name), end in zip(found["phases"], ends):
        most = max(s["rss"] for s in seen["samples"] if begin <= s["at"] < end)
        print(f"{name:34} RSS at most {most:.1f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rate", type=int, default=2000, help="events/s of the stream, one in each transaction")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--large-minutes", type=float, default=10)
    parser.add_argument("--every", type=float, default=5, help="seconds between samples")
    parser.add_argument("--json", help="keeps everything there")
    options = parser.parse_args()
    options.modes, options.per_transaction = ["position"], 1
    if not os.access(relay_binary(), os.X_OK):
        parser.error(f"no {relay_binary()}; build it, or name another in OUTBOX_RELAY")
    with ExitStack() as stack:
        rig = stack.enter_context(Rig())
        rig.sql(f"ALTER SYSTEM SET max_connections = {MANY + 200}")
        rig.postgres.restart()
        found = horizon.run(options, [rig], schedule(options, stack), extra=MANY + LARGE + ROLLED_BACK)
    if options.json:
        with open(options.json, "w") as kept:
            json.dump(found, kept)
    horizon.summary(found)
    memory(found)


if __name__ == "__main__":
    sys.exit(main())
