# SPDX-License-Identifier: ISC
"""Plans come back from their seed, and a round is counted as its history tells it."""
from itertools import islice

import pytest

from faults import catalogs
from faults.catalog import ENTRIES, chosen
from faults.made_up import Story
from faults.rounds import Plan, judge, plans
from faults.tally import Tally, line


@pytest.fixture
def story():
    return Story()


def outcome(story, tmp_path, number=1):
    path = tmp_path / "history"
    story.finish().save(path)
    return judge(Plan(number, 7, tuple(ENTRIES[:1])), path)


def first(seed, count, pairs=False):
    return list(islice(plans(seed, ENTRIES, pairs), count))


def test_a_seed_gives_the_same_plans():
    assert first(5, 100, pairs=True) == first(5, 100, pairs=True) != first(6, 100, pairs=True)


def test_every_fault_has_its_turn():
    assert {plan.label + plan.title for plan in first(5, len(ENTRIES))} == {e.number + e.title for e in ENTRIES}


def test_pairs_are_done_to_different_things():
    assert all(one.on != other.on for one, other in (plan.entries for plan in first(5, 100, pairs=True)))


def test_names_are_known():
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert [entry.number for entry in catalogs.ci(1)] == sorted(catalogs.CI)
    with pytest.raises(ValueError, match="there is no fault F99"):
        chosen(["F99"])


def test_a_good_round(story, tmp_path):
    events = story.events(5)
    story.publish(*events[:3], seen=False)
    story.kill()
    story.publish(*events)
    good = outcome(story, tmp_path)
    assert (good.events, good.repeated, good.unexcused, good.problems) == (5, 3, 0, ())
    assert line(good).endswith(": ok")


def test_lost_reordered_and_repeated_are_counted(story, tmp_path):
    events = story.events(6)
    story.publish(events[0], events[2], events[1], events[3], events[4], events[4])
    bad = outcome(story, tmp_path)
    assert (bad.lost, bad.reordered, bad.repeated, bad.unexcused) == (1, 1, 1, 1)
    assert {"no loss", "order per key", "repeats have a cause"} <= set(bad.problems)
    tally = Tally()
    tally.add(bad)
    assert tally.failed == tally.rounds == 1 and "| 1 (0) |" in tally.table()


def test_a_broken_off_round_fails(tmp_path):
    broken = judge(Plan(1, 7, tuple(ENTRIES[:1])), tmp_path / "none", "Traceback\nTimedOut: waited")
    assert broken.broke_off and broken.problems == ("TimedOut: waited",)
