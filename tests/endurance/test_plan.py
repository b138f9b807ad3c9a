# SPDX-License-Identifier: ISC
"""The plan of restarts, and the ids of events."""
from endurance.identity import event_id, identify
from endurance.plan import CALM, FIRST, KINDS, plan

HOUR = 3600


def test_a_seed_gives_the_same_plan():
    assert plan(7, HOUR) == plan(7, HOUR) != plan(8, HOUR)


def test_an_hour_has_each_kind_and_calm_at_both_ends():
    restarts = plan(7, HOUR)
    assert {restart.kind for restart in restarts} == set(KINDS)
    assert all(FIRST <= restart.at <= HOUR - CALM for restart in restarts)


def test_gaps_and_pauses_are_within_their_bounds():
    restarts = plan(7, HOUR, (60, 180))
    assert all(59.9 <= later.at - earlier.at <= 180.1 for earlier, later in zip(restarts, restarts[1:]))
    assert all(KINDS[r.kind][0] <= r.pause <= KINDS[r.kind][1] for r in restarts)


def test_each_kind_comes_once_before_any_comes_again():
    kinds = [restart.kind for restart in plan(7, HOUR)]
    assert set(kinds[:len(KINDS)]) == set(KINDS)


def test_an_id_says_which_event_it_is():
    text = event_id(7, 2 ** 40 + 5, 6)
    assert [len(part) for part in text.split("-")] == [8, 4, 4, 4, 12]
    assert identify(text) == (7, 2 ** 40 + 5, 6)
