# SPDX-License-Identifier: ISC
"""The checker finds what it is there to find: each test plants one error. And murmur2 is Java's."""
from harness.checker import Arrival, Event, problems, repeats
from harness.murmur2 import murmur2


def events(*numbers, key="k"):
    return [Event(f"{key}-{n}", key, n) for n in numbers]


def arrived(*numbers, key="k", partition=0):
    return [Arrival(partition, offset, Event(f"{key}-{n}", key, n)) for offset, n in enumerate(numbers)]


def only(found, words):
    assert len(found) == 1 and words in found[0], found


def test_all_in_order_is_fine():
    assert problems(events(1, 2, 3), arrived(1, 2, 3)) == []


def test_order_between_keys_is_free():
    both = arrived(1, 2) + arrived(1, 2, key="other", partition=1)
    assert problems(events(1, 2) + events(1, 2, key="other"), both) == []


def test_a_lost_event_is_found():
    assert any("never arrived" in p for p in problems(events(1, 2, 3), arrived(1, 2)))


def test_a_lost_event_is_found_amid_a_key():
    found = problems(events(1, 2, 3), arrived(1, 3))
    assert any("never arrived" in p for p in found) and any("overtook" in p for p in found)


def test_an_event_never_committed_is_found():
    only(problems(events(1, 2), arrived(1, 2, 3)), "never committed")


def test_an_event_with_another_identity_is_found():
    stranger = Arrival(0, 2, Event("somebody else", "k", 2))
    assert any("never committed" in p for p in problems(events(1, 2), arrived(1, 2) + [stranger]))


def test_overtaking_is_found():
    assert any("overtook" in p for p in problems(events(1, 2, 3), arrived(1, 3, 2)))


def test_overtaking_is_found_even_if_kills_are_allowed():
    assert any("overtook" in p for p in problems(events(1, 2, 3), arrived(1, 3, 2, 3), kills=9))


def test_the_order_is_by_offset_whatever_order_they_were_read_in():
    assert problems(events(1, 2, 3), list(reversed(arrived(1, 2, 3)))) == []


def test_a_key_in_two_partitions_is_found():
    both = arrived(1) + [Arrival(1, 0, Event("k-2", "k", 2))]
    only(problems(events(1, 2), both), "partitions [0, 1]")


def test_a_repeat_without_a_kill_is_found():
    only(problems(events(1, 2), arrived(1, 2, 2)), "again after")


def test_a_replay_after_a_kill_is_fine():
    assert problems(events(1, 2, 3, 4), arrived(1, 2, 3, 2, 3, 4), kills=1) == []


def test_a_replay_cut_short_by_another_kill_is_fine():
    assert problems(events(1, 2, 3, 4), arrived(1, 2, 3, 2, 1, 2, 3, 4), kills=2) == []


def test_more_replays_than_kills_are_found():
    only(problems(events(1, 2, 3), arrived(1, 2, 1, 2, 1, 2, 3), kills=1), "again after")


def test_a_replay_with_a_gap_is_found():
    only(problems(events(1, 2, 3), arrived(1, 2, 3, 1, 3), kills=1), "with a gap")


def test_repeats_are_counted():
    assert repeats(arrived(1, 2, 3, 2, 3, 4)) == 2


def test_murmur2_gives_the_numbers_of_kafkas_own_test():
    expected = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536,
                b"a-little-bit-longer-string": -1486304829,
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, b"abc": 479470107}
    for data, number in expected.items():
        assert murmur2(data) == number & 0xFFFFFFFF
