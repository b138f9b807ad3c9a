# SPDX-License-Identifier: ISC
"""What was committed arrived, nothing else did, and a row leaves the outbox only once its event arrived."""
from faults.history import COMMITTED, LOST, ROLLED_BACK, SAVEPOINT, UNKNOWN
from faults.verdict import Verdict

REASONS = {ROLLED_BACK: "its transaction was rolled back", SAVEPOINT: "it was rolled back to a savepoint",
           LOST: "it is not in the database, though its commit was answered",
           UNKNOWN: "its commit was never answered and it is not in the database"}


def _key(event):
    return event.topic, event.key


def _name(event):
    return f"event {event.number} of key {event.key!r} ({event.event_id}, transaction {event.txn})"


def no_loss(facts):
    verdict = Verdict("no loss", "committed events")
    verdict.judged = sum(map(len, facts.committed.values()))
    for event in facts.missing:
        verdict.blame(f"{_name(event)} was committed and never arrived", _key(event), event=event)
    return verdict


def no_phantom(facts):
    verdict = Verdict("no phantom", "records")
    for index, (arrival, event, _) in enumerate(facts.places):
        verdict.judged += 1
        if event is None:
            verdict.blame(f"the record at {arrival.topic}/{arrival.partition}@{arrival.offset} with id "
                          f"{arrival.event_id} was never written by anybody", index=index)
        elif event.state != COMMITTED and not facts.excused(event):
            verdict.blame(f"{_name(event)} arrived, but {REASONS[event.state]}", _key(event), index)
    return verdict


def settled(facts):
    """Deleted implies published: at every snapshot, what had committed and does not wait has arrived."""
    verdict = Verdict("settled after published", "looks at the outbox")
    if not facts.history.snapshots:
        verdict.blame("the outbox was never looked at")
    for snapshot in facts.history.snapshots:
        verdict.judged += 1
        waiting = set(snapshot.waiting)
        for event in _not_arrived(facts, snapshot):
            if event.event_id not in waiting:
                verdict.blame(f"at {snapshot.at:.3f} {_name(event)} had left the outbox and not arrived",
                              _key(event), event=event)
    return verdict


def _not_arrived(facts, snapshot):
    """Events that had committed by then and were in no partition when its ends were read."""
    if snapshot.final:
        return facts.missing
    return (event for event in facts.all_committed()
            if event.acked is not None and event.acked < snapshot.at and not _arrived_by(facts, event, snapshot))


def _arrived_by(facts, event, snapshot):
    index = facts.first.get(event.event_id)
    if index is None:
        return False
    arrival = facts.places[index].arrival
    ends = snapshot.ends.get(arrival.topic, ())
    return arrival.partition < len(ends) and arrival.offset < ends[arrival.partition]


def database(facts):
    """The database itself kept what it answered for. If not, the relay is not to blame, but the run is void."""
    verdict = Verdict("database kept commits", "events")
    for event in facts.history.events:
        verdict.judged += 1
        if event.state == LOST and not facts.loses:
            verdict.blame(f"{_name(event)}: its commit was answered, it is not in the database, and no failover "
                          "explains that", event=event)
    for snapshot in facts.history.snapshots:
        for event_id in snapshot.waiting if snapshot.final else ():
            event = facts.by_id.get(event_id)
            if event is None or event.state != COMMITTED:
                verdict.blame(f"the outbox holds {event_id}, which is not in truth")
    return verdict
