# SPDX-License-Identifier: ISC
"""The record of one run: what was committed, what was consumed, what was done to whom and when.

A history is a file of JSON lines, one fact a line: its kind, then its members. It is written while the run
goes on, by several threads, so that a run that dies leaves what it knew; and it is read whole by the checker,
so that a run can be judged again without its servers. Times are seconds of the monotonic clock; only a
record's timestamp is as Kafka has it, and Run.wall_offset leads from one to the other.
"""
import json
import threading
import time
from typing import NamedTuple, Optional

now = time.monotonic

# What became of an event's transaction.
COMMITTED = "committed"      # it is in the table truth
ROLLED_BACK = "rolled back"
SAVEPOINT = "savepoint"      # rolled back to a savepoint, the rest of the transaction may have committed
LOST = "lost"                # COMMIT was answered, and it is not in truth
UNKNOWN = "unknown"          # COMMIT was not answered, and it is not in truth

# What a fault excuses.
REPLAY = "replay"    # one contiguous replay per key: the relay was killed, the producer rebuilt
SCATTER = "scatter"  # repeats without such a shape, until the outbox is next seen empty ("drained"): deletes were
                     # lost, a relay came back late
LOSS = "loss"        # commits that were answered may be gone from the database
REJECT = "reject"    # relays may halt at events, and count them, which are published later


# Events a second that relays publish at the least: on a machine with ten times the work that it can do, 34 were seen in
# batches of 30, each of which took a second and more. Writers may be faster, and leave a backlog that no fault has made.
DRAIN_RATE = 25


class Run(NamedTuple):
    """What the run was about. wall_offset: wall clock minus monotonic clock."""
    kind = "run"
    wall_offset: float
    topics: dict                            # {name: partitions}
    seed: Optional[int] = None
    drain_limit: Optional[float] = None     # seconds from the last fault to an empty outbox, beside its backlog's
    memory_limit: Optional[float] = None    # MiB a relay may have resident
    settle: str = "delete"
    note: str = ""
    once: bool = False                      # relays deliver exactly once: nothing excuses a repeat
    survives: bool = False                  # relays publish nothing that the faults can take out of the database


class Event(NamedTuple):
    """One event that was inserted, or that was going to be. key, value and headers are tokens (tokens.py);
    headers are all but `id`, as they must arrive. after: every event of the key with this number or a lower
    one had committed, or was rolled back for good, or belongs to the same transaction, when the insert of
    this one began."""
    kind = "event"
    state: str
    event_id: str
    topic: Optional[str]
    key: Optional[str]
    number: int
    after: int
    txn: str
    value: Optional[str]
    headers: Optional[str]
    id: Optional[int] = None
    acked: Optional[float] = None   # when COMMIT was answered


class Arrival(NamedTuple):
    """One record of a topic. event_id: its first header `id`; headers: the others."""
    kind = "arrival"
    topic: str
    partition: int
    offset: int
    timestamp: int  # ms since 1970, as the relay's client set it
    key: Optional[str]
    value: Optional[str]
    event_id: Optional[str]
    headers: str
    came: Optional[float] = None  # when the collector had it


class Fault(NamedTuple):
    """Something that was done, or that befell a relay; from `at` until it was mended."""
    kind = "fault"
    name: str
    at: float
    until: float
    excuses: list = ()
    detail: str = ""


class Process(NamedTuple):
    """The life of one relay process. how: "killed" by the run, "stopped" by a signal to stop, "alive" at the
    end, or "died" of itself. final: its metrics were read when nothing was left to do."""
    kind = "process"
    name: str
    started: float
    ended: float
    how: str
    final: bool = False


class Metrics(NamedTuple):
    """What /metrics of a process said: {'name{labels}': value}."""
    kind = "metrics"
    process: str
    at: float
    samples: dict


class Snapshot(NamedTuple):
    """The ids (event_id) that waited in the outbox, and then, read later, the end of every partition. final:
    at the end of the run, when nothing moved any more. `at` is before the outbox was read."""
    kind = "snapshot"
    at: float
    waiting: list
    ends: dict  # {topic: [offset after the last record, by partition]}
    final: bool = False


class Partitions(NamedTuple):
    """From now on a topic has more partitions, of which a relay may not know for a while."""
    kind = "partitions"
    topic: str
    partitions: int
    at: float


class Memory(NamedTuple):
    """MiB resident, open descriptors and threads of a process at a time."""
    kind = "memory"
    process: str
    at: float
    mib: float
    descriptors: int = 0
    threads: int = 0


class Mark(NamedTuple):
    """A moment: "load started", "load ended", "backlog", "drained" (the outbox was seen empty; as often
    as it was)."""
    kind = "mark"
    name: str
    at: float
    waiting: int = 0  # events in the outbox when the load had ended, of "backlog"
    late: float = 0   # seconds for which the proxies stood still since the load had ended, of "drained"


KINDS = {cls.kind: cls for cls in (Run, Event, Arrival, Fault, Process, Metrics, Snapshot, Memory, Mark,
                                 Partitions)}


def line(fact):
    return json.dumps((fact.kind, *fact), separators=(",", ":")) + "\n"


def this_run(topics, **more):
    """A Run that begins now."""
    return Run(time.time() - now(), topics, **more)


class Recorder:
    """Appends facts to a file. For all threads."""

    def __init__(self, path):
        self.path = path
        self._file = open(path, "w", encoding="ascii")
        self._lock = threading.Lock()

    def add(self, *facts):
        lines = "".join(map(line, facts))
        with self._lock:
            self._file.write(lines)

    def flush(self):
        """So that a run that is killed leaves what it has."""
        with self._lock:
            self._file.flush()

    def close(self):
        with self._lock:
            self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class History:
    """All facts of a run, by kind: history.events, .arrivals, .faults, .processes, ... and .run."""

    def __init__(self, run=None):
        self.run = run
        self.events, self.arrivals, self.faults = [], [], []
        self.processes, self.metrics, self.snapshots = [], [], []
        self.memory, self.marks, self.partitions = [], [], []
        self._lists = {Event: self.events, Arrival: self.arrivals, Fault: self.faults,
                       Process: self.processes, Metrics: self.metrics, Snapshot: self.snapshots,
                       Memory: self.memory, Mark: self.marks, Partitions: self.partitions}

    def add(self, *facts):
        for fact in facts:
            if isinstance(fact, Run):
                self.run = fact
            else:
                self._lists[type(fact)].append(fact)

    def mark(self, name):
        """The last time of that name, or None."""
        times = [mark.at for mark in self.marks if mark.name == name]
        return max(times) if times else None

    def drain_limit(self):
        """How long the drain may take: the run's limit, what the backlog takes, and what the proxies held up."""
        waiting = max((mark.waiting for mark in self.marks), default=0)
        late = max((mark.late for mark in self.marks), default=0)
        return self.run.drain_limit + waiting / DRAIN_RATE + late

    def all(self):
        yield self.run
        for facts in self._lists.values():
            yield from facts

    def save(self, path):
        with Recorder(path) as recorder:
            for fact in self.all():
                recorder.add(fact)


def read(path):
    """The history in a file. A last line that was cut off, since the run died, is left out."""
    history = History()
    with open(path, encoding="ascii") as file:
        for text in file:
            if not text.endswith("\n"):
                break
            kind, *members = json.loads(text)
            history.add(KINDS[kind](*members))
    if history.run is None:
        raise ValueError(f"{path} holds no run: its first line must be of that kind")
    return history
