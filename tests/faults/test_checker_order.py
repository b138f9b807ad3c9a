# SPDX-License-Identifier: ISC
"""The checker on made-up histories: order of first arrivals, repeats, and what excuses them."""
import pytest

from faults.checker import violated
from faults.history import SCATTER, Fault, Mark
from faults.made_up import Story

ORDER, SHAPE, CAUSE = "order per key", "repeats are contiguous", "repeats have a cause"


@pytest.fixture
def story():
    return Story()


# Order.

def test_swapped_neighbours(story):
    a, b, c, d = story.events(4)
    story.publish(a, c, b, d)
    assert violated(story.finish()) == {ORDER}


def test_first_comes_last(story):
    a, *rest = story.events(4)
    story.publish(*rest, a)
    assert violated(story.finish()) == {ORDER}


def test_writers_that_overlap_have_no_order(story):
    """2 and 3 were inserted while 1 was open: any order will do. 4 was inserted after all had committed."""
    a, b, c = story.event(), story.event(after=0), story.event(after=0)
    d = story.event()
    story.publish(c, a, b, d)
    assert violated(story.finish()) == set()


def test_writers_that_overlap_have_the_order_they_have(story):
    a, b = story.event(), story.event(after=0)
    c = story.event(after=1)
    story.publish(c, b, a)
    assert violated(story.finish()) == {ORDER}


def test_order_is_that_of_first_arrivals(story):
    """After a kill an event comes again behind later ones."""
    events = story.events(3)
    story.publish(*events, seen=False)
    story.kill()
    story.publish(*events)
    assert violated(story.finish()) == set()


# Repeats.

def test_replay_goes_on_with_new_events(story):
    events = story.events(4)
    story.publish(*events)
    story.kill()
    events += story.events(2)
    story.publish(*events[2:])
    assert violated(story.finish()) == set()


def test_replay_that_was_killed_itself(story):
    events = story.events(4)
    story.publish(*events)
    story.kill()
    story.publish(*events[1:3])
    story.kill()
    story.publish(*events[1:])
    assert violated(story.finish()) == set()


@pytest.mark.parametrize("again", [[3], [0], [1, 2, 3], [2, 3]])
def test_repeat_without_cause(story, again):
    events = story.events(4)
    story.publish(*events, *(events[i] for i in again), *story.events(1))
    assert CAUSE in violated(story.finish())


def test_two_replays_of_one_kill(story):
    events = story.events(3)
    story.publish(*events)
    story.kill()
    story.publish(*events, *events)
    assert violated(story.finish()) == {CAUSE}


def test_kill_long_before_is_no_cause(story):
    story.kill()
    story.tick(60)
    events = story.events(3)
    story.publish(*events, *events)
    assert violated(story.finish()) == {CAUSE}


def test_kill_long_after_is_no_cause(story):
    events = story.events(3)
    story.publish(*events, *events)
    story.tick(60)
    story.kill()
    assert violated(story.finish(final=False)) == {CAUSE}


def test_fault_that_excuses_nothing_is_no_cause(story):
    events = story.events(3)
    story.publish(*events)
    story.history.add(Fault("postgres restart", story.tick(1), story.tick(1)))
    story.publish(*events)
    assert violated(story.finish()) == {CAUSE}


@pytest.mark.parametrize("again", [[1, 3], [2, 1, 3], [0, 2, 3], [1, 2]])
def test_replay_with_a_gap(story, again):
    """Left out in the middle, in another order, or ended before the newest."""
    events = story.events(4)
    story.publish(*events)
    story.kill()
    story.publish(*(events[i] for i in again), *story.events(1))
    assert SHAPE in violated(story.finish())


def test_scattered_repeats_after_deletes_were_lost(story):
    events = story.events(6)
    story.publish(*events)
    begin = story.tick(1)
    story.publish(events[1], events[4], *story.events(1), events[2])
    story.history.add(Fault("failover", begin, story.tick(), [SCATTER]))
    assert violated(story.finish()) == set()


def test_scattered_repeats_until_the_outbox_is_empty(story):
    """Rows that came back may wait long after the failover is over, but no longer than there are any."""
    events = story.events(6)
    story.publish(*events)
    story.history.add(Fault("failover", story.tick(1), story.tick(1), [SCATTER]))
    story.tick(60)
    story.publish(*story.events(3), events[4])
    story.history.add(Mark("drained", story.tick()))
    story.tick(60)
    more = story.events(2)
    story.publish(*more)
    assert violated(story.finish()) == set()
    story.publish(more[0])
    assert violated(story.history) == {CAUSE}


def test_repeats_of_overlapping_writers(story):
    """No order to hold them against; a cause there must be."""
    a, b = story.event(), story.event(after=0)
    story.publish(b, a)
    story.kill()
    story.publish(a, b)
    assert violated(story.finish()) == set()


def test_repeats_of_overlapping_writers_without_cause(story):
    a, b = story.event(), story.event(after=0)
    story.publish(b, a, b)
    assert violated(story.finish()) == {CAUSE}
