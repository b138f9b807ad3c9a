# SPDX-License-Identifier: ISC
"""The checker on made-up histories: what holds is let pass, and each wrong is called by its name, and by no other.
Order and repeats: test_checker_order.py. One wrong at random: test_mutations.py."""
import pytest

from faults import tokens
from faults.checker import violated
from faults.history import (LOSS, LOST, REJECT, ROLLED_BACK, SAVEPOINT, UNKNOWN, Fault, Memory, Metrics, Partitions,
                            Process, Snapshot)
from faults.made_up import TOPIC, Story

NO_LOSS, NO_PHANTOM, SETTLED, DRAINED = "no loss", "no phantom", "settled after published", "drained in time"
VALUE, KEY, HEADERS, IDENTITY = "value bytes", "key bytes", "headers", "header id"
PLACE, MEMORY, ALIVE = "topic and partition", "bounded memory", "relays live"
METRICS, DATABASE = "metrics are true", "database kept commits"


@pytest.fixture
def story():
    return Story()


# Loss and phantoms.

def test_all_holds(story):
    for key in "abc":
        story.publish(*story.events(5, key))
    assert violated(story.finish()) == set()


def test_nothing_at_all_holds(story):
    assert violated(story.finish()) == set()


@pytest.mark.parametrize("lost", [0, 2, 4])
def test_lost_event(story, lost):
    """The first, one in the middle, the last. What left the outbox unpublished was also deleted too early."""
    events = story.events(5)
    story.publish(*events[:lost], *events[lost + 1:])
    assert violated(story.finish()) == {NO_LOSS, SETTLED}


def test_lost_key(story):
    story.events(1, "never")
    story.publish(*story.events(2, "k"))
    assert violated(story.finish()) == {NO_LOSS, SETTLED}


def test_event_that_waits_is_not_deleted_but_not_drained(story):
    *events, last = story.events(5)
    story.publish(*events)
    assert violated(story.finish(waiting=[last])) == {NO_LOSS, DRAINED}


@pytest.mark.parametrize("state", [ROLLED_BACK, SAVEPOINT, UNKNOWN])
def test_phantom(story, state):
    story.publish(story.event(), story.event(state=state), story.event())
    assert violated(story.finish()) == {NO_PHANTOM}


def test_phantom_never_written(story):
    first, second = story.events(2)
    story.publish(first)
    story.publish(second._replace(event_id="nobody", value="=made up"))
    story.publish(second)
    assert violated(story.finish()) == {NO_PHANTOM}


# What a record holds.

@pytest.mark.parametrize("wanted, got", [
    (b"abc", b"abd"), (None, b""), (b"", None), (b"{}", b"{ }"), (b"x" * 1000, b"x" * 999 + b"y"),
    (b"x" * 1000, b"x" * 999), (b"\xff", b"\xfe"), ("ü".encode(), b"u")])
def test_changed_value(story, wanted, got):
    story.publish(story.event(value=wanted), value=tokens.value(got))
    assert violated(story.finish()) == {VALUE}


@pytest.mark.parametrize("key, got", [("k", "K"), ("k", None), ("", None), ("k", "k\0")])
def test_changed_key(story, key, got):
    story.publish(story.event(key), key=got)
    assert violated(story.finish()) == {KEY}


@pytest.mark.parametrize("got", [[], [("type", "Other")], [("type", None)], [("type", "Happened"), ("more", "1")]])
def test_changed_headers(story, got):
    story.publish(story.event(), headers=tokens.headers(got))
    assert violated(story.finish()) == {HEADERS}


@pytest.mark.parametrize("got", ["another", None])
def test_changed_id(story, got):
    story.publish(story.event(), event_id=got)
    assert violated(story.finish()) == {IDENTITY}


def test_wrong_partition(story):
    event = story.event()
    story.publish(event)
    record = story.history.arrivals[-1]
    story.history.arrivals[-1] = record._replace(partition=(record.partition + 1) % 3)
    assert violated(story.finish()) == {PLACE}


@pytest.mark.parametrize("told", [True, False])
def test_partitions_added(story, told):
    """From then on a key may be in another partition; without being told that is wrong."""
    story.publish(*story.events(3, "a"))
    if told:
        story.history.add(Partitions(TOPIC, 5, story.tick()))
    story.partitions = 5
    story.ends += [0, 0]
    story.publish(*story.events(3, "a"))
    assert violated(story.finish()) == (set() if told else {PLACE})


def test_wrong_topic(story):
    story.publish(story.event()._replace(topic="events.other"))
    story.history.metrics.clear()
    assert PLACE in violated(story.finish())


# The outbox, the database, the relay.

def test_deleted_before_it_was_published(story):
    """At the end all is well, but there was a moment when a row was gone and its record not there yet."""
    story.publish(*story.events(2))
    gone = story.event()
    ends = list(story.ends)
    story.history.add(Snapshot(story.tick(), [], {TOPIC: ends}))
    story.publish(gone)
    assert violated(story.finish()) == {SETTLED}


def test_waits_while_it_is_not_published(story):
    story.publish(*story.events(2))
    waits = story.event()
    story.history.add(Snapshot(story.tick(), [waits.event_id], {TOPIC: list(story.ends)}))
    story.publish(waits)
    assert violated(story.finish()) == set()


def test_not_drained(story):
    story.publish(*story.events(2))
    history = story.finish()
    history.marks.pop()
    assert violated(history) == {DRAINED}


def test_drained_late(story):
    story.publish(*story.events(2))
    story.history.add(Fault("kafka restart", story.time - 30, story.time - 20))
    history = story.finish()
    assert violated(history) == set()
    history.marks[-1] = history.marks[-1]._replace(at=story.time + 60)
    assert violated(history) == {DRAINED}


def test_a_drain_held_up_by_the_proxies(story):
    story.publish(*story.events(2))
    history = story.finish()
    drained = history.marks.pop()
    history.marks.append(drained._replace(at=drained.at + 60, late=59.5))
    assert violated(history) == set()
    history.marks[-1] = history.marks[-1]._replace(late=20)
    assert violated(history) == {DRAINED}


def test_a_backlog_has_its_time(story):
    """Which writers faster than the relays left: 10,000 events may take 400 s, and no longer."""
    story.publish(*story.events(2))
    history = story.finish()
    history.marks[-2] = history.marks[-2]._replace(waiting=10000)
    history.marks[-1] = history.marks[-1]._replace(at=history.marks[-2].at + 409)
    assert violated(history) == set()
    history.marks[-1] = history.marks[-1]._replace(at=history.marks[-2].at + 411)
    assert violated(history) == {DRAINED}


def test_memory(story):
    story.history.add(Memory("relay-1", story.tick(), 41.0))
    assert violated(story.finish()) == {MEMORY}


def test_memory_was_not_measured(story):
    history = story.finish()
    history.memory.clear()
    assert violated(history) == {MEMORY}


def test_relay_died(story):
    story.history.add(Process("relay-9", 1.0, 2.0, "died"))
    assert violated(story.finish()) == {ALIVE}


def scrape(**samples):
    return {f"outbox_relay_{name}": value for name, value in samples.items()}


def test_published_too_much(story):
    story.publish(*story.events(3))
    story.published += 1
    assert violated(story.finish()) == {METRICS}


def test_published_too_little(story):
    story.publish(*story.events(3))
    story.published -= 1
    assert violated(story.finish()) == {METRICS}


def test_killed_relay_may_know_less(story):
    story.publish(*story.events(3), seen=False)
    story.kill()
    story.tick(1)
    story.publish(*story.events(3))
    assert violated(story.finish()) == set()


@pytest.mark.parametrize("by_ledger,verdict", [(1, set()), (0, {METRICS})])
def test_what_the_ledger_has_shown_is_counted_apart(story, by_ledger, verdict):
    story.publish(*story.events(3))
    story.published -= 1
    history = story.finish()
    last = history.metrics[-1]
    history.add(last._replace(at=last.at + 1, samples={**last.samples, **scrape(settled_by_ledger_total=by_ledger)}))
    assert violated(history) == verdict


@pytest.mark.parametrize("samples", [scrape(rejected_total=1), scrape(depth=2)])
def test_not_at_rest(story, samples):
    history = story.finish()
    history.add(Metrics(history.processes[-1].name, story.tick(), samples))
    assert violated(history) == {METRICS}


def test_answered_commit_is_gone(story):
    story.event(state=LOST)
    assert violated(story.finish()) == {DATABASE}


def test_a_fault_that_relays_halt_at_excuses_that_they_count_it(story):
    history = story.finish()
    history.add(Fault("halt", story.tick(), story.tick(), [REJECT]))
    history.add(Metrics(history.processes[-1].name, story.tick(), scrape(rejected_total=1)))
    assert violated(history) == set()


@pytest.mark.parametrize("state", [LOST, UNKNOWN])
def test_failover_excuses_what_it_took(story, state):
    """It may have arrived, once or twice, or not; others it does not excuse."""
    events = story.events(2)
    gone, other = story.event(state=state), story.event(state=state)
    story.publish(*events, gone, gone)
    story.history.add(Fault("failover", story.tick(), story.tick(), [LOSS]))
    story.publish(*story.events(1))
    assert violated(story.finish()) == set() and other


def test_failover_excuses_no_rollback(story):
    story.history.add(Fault("failover", story.tick(), story.tick(), [LOSS]))
    story.publish(story.event(state=ROLLED_BACK))
    assert violated(story.finish()) == {NO_PHANTOM}


@pytest.mark.parametrize("state", [LOST, UNKNOWN])
def test_failover_excuses_nothing_of_relays_that_wait_for_what_survives(story, state):
    """What it took must not have arrived."""
    story.history.run = story.history.run._replace(survives=True)
    story.history.add(Fault("failover", story.tick(), story.tick(), [LOSS]))
    story.event(state=state)
    assert violated(story.finish()) == set()
    story.publish(story.event(state=state))
    assert violated(story.finish()) == {NO_PHANTOM}
