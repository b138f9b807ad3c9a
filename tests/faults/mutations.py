# SPDX-License-Identifier: ISC
"""One wrong put into a history in which all held. Each kind names the invariant that must be found violated.

A kind is a function of a history and a random source that changes the history, and returns whether it could.
"""
from faults.history import COMMITTED, ROLLED_BACK, SAVEPOINT, Memory, Snapshot
from faults.made_up import LOOSE

KINDS = []  # (function, name of the invariant)


def breaks(invariant):
    def register(function):
        KINDS.append((function, invariant))
        return function
    return register


def _choose(rng, candidates):
    candidates = list(candidates)
    return rng.choice(candidates) if candidates else None


def _by_id(history):
    return {event.event_id: event for event in history.events}


def _serial(history):
    """Indices of the records of keys whose writers took turns."""
    return [i for i, arrival in enumerate(history.arrivals) if arrival.key != LOOSE]


def _of_key(history, key):
    return [i for i, arrival in enumerate(history.arrivals) if arrival.key == key]


def _again(history, indices):
    """Of these records those that are not the first of their event."""
    seen, again = set(), []
    for index in indices:
        event_id = history.arrivals[index].event_id
        if event_id in seen:
            again.append(index)
        seen.add(event_id)
    return again


def _change(history, index, **members):
    history.arrivals[index] = history.arrivals[index]._replace(**members)
    return True


def _drop_event(history, event_id):
    history.arrivals[:] = [a for a in history.arrivals if a.event_id != event_id]
    return True


@breaks("no loss")
def lose_any(history, rng):
    return _drop_event(history, rng.choice(history.arrivals).event_id)


@breaks("no loss")
def lose_last_of_key(history, rng):
    key = rng.choice(history.arrivals).key
    return _drop_event(history, history.arrivals[_of_key(history, key)[-1]].event_id)


@breaks("settled after published")
def lose_first(history, _rng):
    return _drop_event(history, history.arrivals[0].event_id)


@breaks("drained in time")
def leave_one_waiting(history, rng):
    final = history.snapshots[-1]
    history.snapshots[-1] = final._replace(waiting=[rng.choice(history.arrivals).event_id])
    return True


@breaks("settled after published")
def delete_early(history, rng):
    """A look at the outbox when a row had gone and its record was not there yet."""
    record = rng.choice(history.arrivals)
    event = _by_id(history)[record.event_id]
    first = min(a.offset for a in history.arrivals
                if a.event_id == record.event_id and a.partition == record.partition)
    ends = [1 << 40] * 3
    ends[record.partition] = first
    waiting = [e.event_id for e in history.events if e.event_id != event.event_id]
    history.add(Snapshot(event.acked + 0.001, waiting, {record.topic: ends}))
    return True


def _publish_aborted(history, rng, state):
    """Puts a record of an event that was rolled back where it would have come."""
    event = _choose(rng, (e for e in history.events if e.state == state and _of_key(history, e.key)))
    if event is None:
        return False
    index = rng.choice(_of_key(history, event.key))
    return _insert(history, index, event_id=event.event_id, value=event.value, headers=event.headers)


def _insert(history, index, **members):
    """A record after this one, the later ones of its partition moved on."""
    record = history.arrivals[index]
    history.arrivals[:] = [a._replace(offset=a.offset + 1) if a[:2] == record[:2] and a.offset > record.offset
                           else a for a in history.arrivals]
    history.arrivals.insert(index + 1, record._replace(offset=record.offset + 1, **members))
    return True


@breaks("no phantom")
def publish_rolled_back(history, rng):
    return _publish_aborted(history, rng, ROLLED_BACK)


@breaks("no phantom")
def publish_savepoint(history, rng):
    return _publish_aborted(history, rng, SAVEPOINT)


@breaks("no phantom")
def publish_stranger(history, rng):
    return _insert(history, rng.randrange(len(history.arrivals)), event_id="nobody", value="=nothing")


def _swap(history, i, j):
    """Exchanges what two records of a partition hold, but for place and time."""
    a, b = history.arrivals[i], history.arrivals[j]
    history.arrivals[i], history.arrivals[j] = a._replace(**_what(b)), b._replace(**_what(a))
    return True


def _what(record):
    return {"key": record.key, "value": record.value, "event_id": record.event_id, "headers": record.headers}


def _firsts(history, key):
    indices = _of_key(history, key)
    again = set(_again(history, indices))
    return [i for i in indices if i not in again]


@breaks("order per key")
def swap_neighbours(history, rng):
    """The first arrivals of two events of a key that follow each other, where neither was repeated."""
    key = history.arrivals[rng.choice(_serial(history))].key
    once = [i for i in _firsts(history, key)
            if sum(a.event_id == history.arrivals[i].event_id for a in history.arrivals) == 1]
    pair = _choose(rng, zip(once, once[1:]))
    return pair is not None and _swap(history, *pair)


@breaks("repeats have a cause")
def repeat_at_once(history, rng):
    """A record twice in a row, far from any fault."""
    index = rng.choice(_serial(history))
    at = history.arrivals[index].timestamp / 1000 - history.run.wall_offset
    if any(abs(fault.at - at) < 2 or abs(fault.until - at) < 2 for fault in history.faults):
        return False
    return _insert(history, index)


@breaks("repeats have a cause")
def forget_the_kills(history, _rng):
    if not _again(history, range(len(history.arrivals))):
        return False
    history.faults.clear()
    return True


@breaks("repeats are contiguous")
def gap_in_a_replay(history, rng):
    """Takes a repeat out of the middle of a replay."""
    candidates = []
    for key in {a.key for a in history.arrivals if a.key != LOOSE}:
        indices = _of_key(history, key)
        again = _again(history, indices)
        for index in again:
            where = indices.index(index)
            if index in again and 0 < where < len(indices) - 1 and indices[where - 1] in again \
                    and _follow(history, indices[where - 1:where + 2]):
                candidates.append(index)
    index = _choose(rng, candidates)
    if index is None:
        return False
    del history.arrivals[index]
    return True


def _follow(history, indices):
    events = _by_id(history)
    a, b, c = (events[history.arrivals[i].event_id].number for i in indices)
    return a + 1 == b and b + 1 == c


@breaks("value bytes")
def change_a_byte(history, rng):
    index = _choose(rng, (i for i, a in enumerate(history.arrivals) if a.value and len(a.value) > 1))
    value = history.arrivals[index].value
    at = rng.randrange(1, len(value))
    return _change(history, index, value=value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1:])


@breaks("value bytes")
def null_for_empty(history, rng):
    index = _choose(rng, (i for i, a in enumerate(history.arrivals) if a.value in (None, "=")))
    return index is not None and _change(history, index, value="=" if history.arrivals[index].value is None else None)


@breaks("value bytes")
def exchange_values(history, rng):
    i, j = rng.sample(range(len(history.arrivals)), 2)
    a, b = history.arrivals[i].value, history.arrivals[j].value
    return a != b and _change(history, i, value=b) and _change(history, j, value=a)


@breaks("key bytes")
def change_key(history, rng):
    index = rng.randrange(len(history.arrivals))
    return _change(history, index, key=history.arrivals[index].key + "'")


@breaks("headers")
def drop_headers(history, rng):
    return _change(history, rng.randrange(len(history.arrivals)), headers="[]")


@breaks("header id")
def change_id(history, rng):
    """Of an event that can be told by its value, and came once."""
    once = [i for i, a in enumerate(history.arrivals) if a.value and a.event_id[:8] in a.value
            and sum(b.event_id == a.event_id for b in history.arrivals) == 1]
    index = _choose(rng, once)
    return _change(history, index, event_id=history.arrivals[index].event_id[:-1] + "x")


@breaks("topic and partition")
def move_a_record(history, rng):
    index = rng.randrange(len(history.arrivals))
    return _change(history, index, partition=(history.arrivals[index].partition + 1) % 3, offset=1 << 40)


@breaks("bounded memory")
def grow(history, rng):
    history.add(Memory(rng.choice(history.processes).name, 100.0, rng.uniform(40.1, 1000)))
    return True


@breaks("relays live")
def die(history, rng):
    index = rng.randrange(len(history.processes))
    history.processes[index] = history.processes[index]._replace(how="died")
    return True


@breaks("metrics are true")
def boast(history, rng):
    scrape = rng.choice(history.metrics)
    for name in scrape.samples:
        if "published" in name:
            scrape.samples[name] += len(history.arrivals)
    return True


@breaks("metrics are true")
def be_modest(history, _rng):
    """The last relay tells less than what arrived when only it lived."""
    last = history.processes[-1]
    only = {a.event_id for a in history.arrivals if a.timestamp / 1000 - history.run.wall_offset
            > last.started + 1} - {a.event_id for a in history.arrivals
                                   if a.timestamp / 1000 - history.run.wall_offset <= last.started + 1}
    if not only:
        return False
    for name in history.metrics[-1].samples:
        history.metrics[-1].samples[name] = 0
    return True


@breaks("database kept commits")
def lose_a_commit(history, rng):
    index = _choose(rng, (i for i, e in enumerate(history.events) if e.state == COMMITTED))
    history.events[index] = history.events[index]._replace(state="lost")
    return True
