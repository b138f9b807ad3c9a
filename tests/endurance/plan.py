# SPDX-License-Identifier: ISC
"""What is restarted and when, drawn from a seed."""
import random
from typing import NamedTuple

FIRST = 60   # seconds before the first restart
CALM = 60    # and after the last one
KINDS = {    # and the seconds that it stays away, from and to
    "relay stopped": (0, 5),
    "relay killed": (0, 5),
    "PostgreSQL fast": (0, 5),
    "PostgreSQL immediate": (0, 5),
    "broker stopped": (2, 20),
    "broker killed": (2, 20),
    "database sessions cut": (0, 0),
    "Kafka connections cut": (0, 0),
}


class Restart(NamedTuple):
    """at: seconds from the beginning. seed: of what else is drawn, such as which broker."""
    at: float
    kind: str
    pause: float
    seed: int


def plan(seed, seconds, gap=(60, 180)):
    """[Restart]: each kind once in a random order, then all again in another. gap: seconds from one to the next."""
    rng = random.Random(seed)
    restarts, kinds = [], []
    at = min(FIRST, gap[1])
    while at < seconds - CALM:
        kinds = kinds or rng.sample(sorted(KINDS), len(KINDS))
        kind = kinds.pop()
        restarts.append(Restart(round(at, 1), kind, round(rng.uniform(*KINDS[kind]), 1), rng.getrandbits(32)))
        at += rng.uniform(*gap)
    return restarts
