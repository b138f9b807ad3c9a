# SPDX-License-Identifier: ISC
"""The faults by their numbers: each a function that does the fault to a stage and mends it.

    @fault("F11", "Postgres stopped at once, and started again", on="postgres", excuses=[REPLAY], times=2)
    def immediate_stop(stage, rng):
        stage.postgres.primary.restart("immediate")

The round calls it `times` times, each at a random moment under load, and notes in the history when it began
and when it was mended, with what it excuses. A function returns when all it did is undone, also when it fails.
"""
from typing import Callable, NamedTuple, Optional

RELAY, POSTGRES, KAFKA, TABLE = "relay", "postgres", "kafka", "table"


# Settings of a fault that there is only where relays deliver exactly once. Each round has a ledger of its own.
EXACTLY_ONCE = {"kafka": {"delivery": "exactly-once", "ledger_topic": "ledger"}}


class Entry(NamedTuple):
    """on: what it is done to; faults of a pair are done to two different things. excuses: see history. settings: of
    the relays, beside the usual. mix: of the load. relays: how many it needs at least. topics: settings of the
    round's. limit: seconds until the outbox is empty after it was mended, None for the usual. survives: with these of
    publish_after no event is published that the fault takes out of the database. at_least_once: there is none where
    relays deliver exactly once."""
    number: str
    title: str
    function: Callable
    on: str
    excuses: tuple = ()
    times: int = 1
    settings: dict = {}
    mix: dict = {}
    relays: int = 1
    limit: Optional[float] = None
    topics: dict = {}
    survives: tuple = ()
    at_least_once: bool = False

    @property
    def name(self):
        return f"{self.number} {self.title}"


ENTRIES = []


def fault(number, title, on, excuses=(), **more):
    """Registers the function below as a fault; a number may have several, told apart by their titles."""
    def register(function):
        ENTRIES.append(Entry(number, title, function, on, tuple(excuses), **more))
        return function
    return register


def chosen(only=None):
    """The entries with these numbers, or all, in order of their numbers."""
    known = {entry.number for entry in ENTRIES}
    for number in only or ():
        if number not in known:
            raise ValueError(f"there is no fault {number}; there are {', '.join(sorted(known))}")
    return sorted((e for e in ENTRIES if only is None or e.number in only), key=lambda e: e.number)
