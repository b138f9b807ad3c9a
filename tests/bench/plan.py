# SPDX-License-Identifier: ISC
"""How much of everything a run does."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    rounds: int = 3
    seed: int = 1
    events: int = 300_000         # in a drain
    keys: int = 10_000
    rates: tuple = (10, 500, 2000)
    latency_seconds: int = 20
    insert_seconds: int = 15
    dead_rows: int = 1_000_000
    idle_seconds: int = 20
    memory_events: int = 1_000_000  # three times
    kills: int = 20               # of one of two relays
    linger_ms: str = "0"          # of librdkafka alone; the relay's

    @classmethod
    def quick(cls):
        """To see that everything works; too short for figures."""
        return cls(rounds=1, events=50_000, latency_seconds=4, insert_seconds=4, dead_rows=100_000,
                   idle_seconds=5, memory_events=100_000, kills=3)
