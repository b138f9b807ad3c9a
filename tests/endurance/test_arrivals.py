# SPDX-License-Identifier: ISC
"""What arrived against what was committed: loss, repeats and disorder must be seen."""
import pytest

from endurance.arrivals import SHOWN, Arrivals, compare

TOPIC, KEY = "t", b"k"
ORDERS = [(0, 1, 3), (0, 2, 1), (1, 1, 7)]
ALL = [(writer, number, place) for writer, number, events in ORDERS for place in range(events)]


@pytest.fixture
def arrivals():
    return Arrivals()


def add(arrivals, identities, partition=0, key=None):
    for identity in identities:
        arrivals.add(TOPIC, partition, key or b"of %d" % identity[0], identity)
    return arrivals


def test_all_once_in_order_is_well(arrivals):
    add(arrivals, ALL)
    assert (arrivals.first, arrivals.again, arrivals.reordered) == (11, 0, [])
    assert compare(arrivals.seen, ORDERS) == (0, 0, 11)


@pytest.mark.parametrize("lost", ALL)
def test_a_lost_event_is_found(arrivals, lost):
    add(arrivals, [event for event in ALL if event != lost])
    assert compare(arrivals.seen, ORDERS) == (1, 0, 11)


def test_a_writer_of_which_nothing_came_is_found(arrivals):
    add(arrivals, [event for event in ALL if event[0] == 0])
    assert compare(arrivals.seen, ORDERS) == (7, 0, 11)


def test_an_event_of_no_transaction_is_found(arrivals):
    add(arrivals, ALL + [(0, 2, 1), (0, 3, 0), (5, 1, 0)])
    assert compare(arrivals.seen, ORDERS) == (0, 3, 11)


def test_repeats_are_counted_and_are_no_disorder(arrivals):
    add(arrivals, ALL[:4] + ALL[1:4] + ALL[4:])
    assert (arrivals.first, arrivals.again, arrivals.reordered) == (11, 3, [])


def test_first_arrivals_of_a_key_out_of_order_are_found(arrivals):
    add(arrivals, [ALL[0], ALL[2], ALL[1]])
    assert arrivals.reordered == ["t/0 key b'of 0': event 1.1 came first after 1.2 in partition 0"]


def test_other_keys_have_no_order_with_it(arrivals):
    add(arrivals, [ALL[2]], key=b"a")
    add(arrivals, [ALL[1]], key=b"b")
    assert not arrivals.reordered


def test_a_key_in_two_partitions_is_found(arrivals):
    add(arrivals, [ALL[0]], partition=0)
    add(arrivals, [ALL[1]], partition=1)
    assert len(arrivals.reordered) == 1


def test_of_much_disorder_some_is_shown(arrivals):
    add(arrivals, [(0, number, 0) for number in range(100, 0, -1)])
    assert len(arrivals.reordered) == SHOWN and arrivals.reordered[-1] == "and more"
