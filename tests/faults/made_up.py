# SPDX-License-Identifier: ISC
"""Made-up histories for the tests of the checker: a small database, a relay that works, and time."""
import random
import uuid

from harness.murmur2 import partition

from faults import tokens
from faults.history import (COMMITTED, REPLAY, ROLLED_BACK, SAVEPOINT, UNKNOWN, Arrival, Event, Fault, History, Mark,
                            Memory, Metrics, Process, Run, Snapshot)

TOPIC = "events.thing"
WALL = 1_700_000_000.0


class Story:
    """Writes a history as it would have been written. Time passes by itself, a little for each thing told."""

    def __init__(self, seed=1, partitions=3):
        self.rng = random.Random(seed)
        self.history = History(Run(WALL, {TOPIC: partitions}, seed, drain_limit=10.0, memory_limit=40.0))
        self.partitions = partitions
        self.time = 100.0
        self.ends = [0] * partitions
        self.numbers = {}
        self.relay = None
        self.published = 0
        self.relays = 0
        self.start()

    def tick(self, seconds=0.05):
        self.time += seconds
        return self.time

    # The relay.

    def start(self):
        self.relays += 1
        self.relay, self.published = (f"relay-{self.relays}", self.tick(1)), 0

    def end(self, how, final=False):
        name, started = self.relay
        self.history.add(Process(name, started, self.tick(), how, final),
                         Metrics(name, self.tick(), {
                             f'outbox_relay_published_total{{topic="{TOPIC}"}}': self.published,
                             "outbox_relay_depth": 0}),
                         Memory(name, self.time, 20.0 + self.rng.random()))

    def kill(self):
        begin = self.tick(2)
        self.end("killed")
        self.start()
        self.history.add(Fault("kill", begin, self.time, [REPLAY]))
        self.tick(2)

    # Events.

    def event(self, key="k", state=COMMITTED, after=None, value=..., number=None):
        """Inserts one, with a value of its own unless told."""
        if number is None:
            number = self.numbers.get(key, 0) + 1
        if state == COMMITTED:
            self.numbers[key] = max(number, self.numbers.get(key, 0))
        event_id = str(uuid.UUID(int=self.rng.getrandbits(128)))
        if value is ...:
            value = f'{{"id": "{event_id}"}}'.encode()
        made = Event(state, event_id, TOPIC, key, number, number - 1 if after is None else after,
                     f"t{number}", tokens.value(value), tokens.headers([("type", "Happened")]),
                     len(self.history.events) + 1, self.tick() if state == COMMITTED else None)
        self.history.add(made)
        return made

    def events(self, count, key="k"):
        return [self.event(key) for _ in range(count)]

    def publish(self, *events, seen=True, **changes):
        """Appends records for these events, with members changed. seen: the relay heard of it."""
        for event in events:
            where = partition(tokens.raw(event.key), self.partitions)
            record = Arrival(event.topic, where, self.ends[where], self.stamp(), event.key, event.value,
                             event.event_id, event.headers)
            self.ends[where] += 1
            self.published += seen
            self.history.add(record._replace(**changes))

    def stamp(self):
        return round((self.tick() + WALL) * 1000)

    # Its end.

    def finish(self, waiting=(), final=True):
        """The history. waiting: events left in the outbox."""
        self.history.add(Mark("load ended", self.tick()))
        self.history.add(Mark("drained", self.tick(1)))
        self.end("alive", final)
        self.history.add(Snapshot(self.tick(), [event.event_id for event in waiting], {TOPIC: self.ends}, True))
        return self.history


LOOSE = "key-0"  # of a good history: the key whose writers overlap


def good(seed, keys=5, events=60, kills=2):
    """A random history in which all holds: batches over several keys, relays killed within a batch, writers that
    take turns but for one key, transactions rolled back."""
    story = Story(seed)
    rng, backlog = story.rng, []
    kill_at = set(rng.sample(range(10, events - 10), kills))
    for number in range(events):
        backlog.append(_random_event(story, f"key-{rng.randrange(keys)}"))
        if number in kill_at:
            story.publish(*backlog[:rng.randint(1, len(backlog))], seen=False)
            story.kill()
        elif rng.random() < 0.3:
            story.publish(*backlog)
            backlog = []
    story.publish(*backlog)
    return story.finish()


def _random_event(story, key):
    rng = story.rng
    if rng.random() < 0.1:
        story.event(key, state=rng.choice([ROLLED_BACK, SAVEPOINT, UNKNOWN]))
    after = max(0, story.numbers.get(key, 0) - rng.randrange(3)) if key == LOOSE else None
    return story.event(key, value=rng.choice([..., ..., ..., ..., None, b"", b"{}", b"x" * 100]), after=after)
