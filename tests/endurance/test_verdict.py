# SPDX-License-Identifier: ISC
"""The verdict on made-up runs: whatever is planted must be named, and a run without it is well."""
import json
from xml.etree import ElementTree

import pytest

from faults.history import Fault, History, Mark, Memory, Metrics, Process, Run

from endurance import plot, windows
from endurance.names import MACHINE, RESTARTED, STEADY
from endurance.verdict import BOUNDS, Kept, backlog, by_kind, growth, latency, problems, report
from endurance.windows import SECONDS, Windows

MINUTES = 20
LENGTH = 60 * MINUTES
WELL = {"problems": [], "scrapes": 120, "lost": 0, "phantoms": 0, "committed": 100, "first": 100, "again": 3, "reordered": []}


def of_each_window(**counts):
    return [(at, dict(counts), {"p50": 4.0, "p99": 20.0, "max": 30.0}) for at in range(0, LENGTH, SECONDS)]


@pytest.fixture
def kept():
    history = History(Run(0, {}, seed=1, note="made up"))
    history.add(Mark("load started", 0), Mark("load ended", LENGTH), Mark("drained", LENGTH + 1),
                Fault("relay killed", 300, 304), Fault("broker killed", 600, 620))
    for at in range(0, LENGTH, 5):
        history.add(Memory(STEADY + "#1", at, 16, 20, 6), Memory(f"{RESTARTED}#{1 + (at > 300)}", at, 15, 20, 6))
    history.add(Metrics(MACHINE, 10, {"load": 1.5}), Process(STEADY + "#1", 0, LENGTH, "stopped"))
    return Kept(history, of_each_window(first=10_000), of_each_window(events=10_000), dict(WELL))


def repeat(kept, at, count=5):
    next(counts for begin, counts, _ in kept.read if begin == at)["again"] = count


def test_a_run_without_fault_is_well(kept):
    repeat(kept, 305)
    assert problems(kept) == []
    assert report(kept).endswith("\nwell")


@pytest.mark.parametrize("change, said", [
    ({"lost": 2}, "2 committed events never arrived"),
    ({"phantoms": 1}, "1 events arrived that no committed transaction has"),
    ({"reordered": ["t/0 key k"]}, "out of order: t/0 key k"),
    ({"problems": ["the relay ended with 1"]}, "the relay ended with 1"),
])
def test_what_the_end_counts_is_a_problem(kept, change, said):
    kept.outcome.update(change)
    assert problems(kept) == [said]
    assert f"PROBLEM: {said}" in report(kept)


def test_an_outbox_that_is_never_empty_is_a_problem(kept):
    kept.history.marks[:] = [mark for mark in kept.history.marks if mark.name != "drained"]
    assert problems(kept) == ["the outbox was never seen empty after the load"]


def test_a_relay_that_ends_of_itself_is_a_problem(kept):
    kept.history.add(Process(RESTARTED + "#1", 0, 300, "died"))
    assert problems(kept) == [RESTARTED + "#1 ended of itself"]


@pytest.mark.parametrize("figure", BOUNDS)
def test_a_leak_is_found(kept, figure):
    """It grows evenly, by twice as much as may be between the middles of the first quarter and of the last."""
    def more(sample):
        return getattr(sample, figure) + 2 * BOUNDS[figure] / 0.75 * sample.at / LENGTH
    kept.history.memory[:] = [s._replace(**{figure: more(s)}) if s.process.startswith(STEADY) else s
                              for s in kept.history.memory]
    assert len(problems(kept)) == 1 and problems(kept)[0].startswith(f"{figure} of the relay")


def test_growth_of_a_relay_that_was_restarted_is_not_compared(kept):
    kept.history.memory[:] = [s._replace(mib=s.mib + s.at) if s.process.startswith(RESTARTED) else s
                              for s in kept.history.memory]
    assert problems(kept) == []


def test_what_is_high_after_a_restart_only_is_no_growth(kept):
    """Here for most of the last quarter."""
    kept.history.add(Fault("broker killed", LENGTH - 290, LENGTH - 120))
    kept.history.memory[:] = [s._replace(mib=100) if LENGTH - 290 <= s.at <= LENGTH - 90 else s for s in kept.history.memory]
    assert growth(kept)["mib"] == (16, 16)


def test_repeats_belong_to_the_restart_before_them(kept):
    repeat(kept, 305, 7)
    after, unexplained = by_kind(kept)
    assert after["relay killed"].repeats == 7 and unexplained == 0


@pytest.mark.parametrize("at", [100, 400, 625, 1000])
def test_repeats_without_a_restart_that_may_cause_them_are_a_problem(kept, at):
    """Before any, long after one, and after one of a broker."""
    repeat(kept, at)
    assert problems(kept) == ["5 repeats that no restart explains"]


def test_a_long_wait_belongs_to_its_restart_and_not_to_the_calm(kept):
    index = 610 // SECONDS
    kept.read[index] = (610, {"first": 1}, {"p50": 900.0, "p99": 9000.0, "max": 9500.0})
    assert by_kind(kept)[0]["broker killed"].wait == 9500
    assert latency(kept) == (4, 20)


def test_backlog_is_what_was_committed_and_has_not_arrived(kept):
    kept.read[3] = (15, {"first": 4_000}, None)
    kept.read[4] = (20, {"first": 16_000}, None)
    assert backlog(kept)[2:5] == [(15, 0), (20, 6_000), (25, 0)]


def test_windows_are_written_when_they_are_over(tmp_path):
    path = tmp_path / "windows"
    written = Windows(path)
    for at, ms in ((100.1, 3), (104.9, 1), (105, 7)):
        written.add(at, ms, first=1)
    assert windows.read(path) == [(100, {"first": 2}, {"p50": 1, "p99": 3, "max": 3})]
    written.add(111, again=1)
    written.flush()
    assert windows.read(path)[1:] == [(105, {"first": 1}, {"p50": 7, "p99": 7, "max": 7}), (110, {"again": 1}, None)]


def test_a_window_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "windows"
    path.write_text(json.dumps([0, {"first": 1}, None]) + "\n[5,{\"fi", encoding="ascii")
    assert windows.read(path) == [(0, {"first": 1}, None)]


def test_the_plot_is_one_small_file_that_knows_both_schemes(kept):
    text = plot.draw(kept)
    assert text == plot.draw(kept) and len(text) < 150_000
    assert "prefers-color-scheme: dark" in text
    names = [element.tag.split("}")[1] for element in ElementTree.fromstring(text).iter()]
    assert set(names) == {"svg", "style", "rect", "text", "tspan", "path", "title"}
    assert text.count('class="mark') == 2
    assert text.count('class="line') == 2 + 1 + 3 * 2 + 1


def test_a_line_breaks_where_a_relay_begins_anew_and_where_nothing_came(kept):
    kept.read[100:120] = []
    panels = plot.panels(kept)
    assert [len(plot.pieces(series)) for series in panels[0].series] == [2, 2]
    assert [len(plot.pieces(series)) for series in panels[2].series] == [2, 1]
