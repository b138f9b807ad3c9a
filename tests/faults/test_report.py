# SPDX-License-Identifier: ISC
"""What the checker says, and the file it reads."""
import os
import subprocess
import sys

import pytest

from faults.checker import report
from faults.history import read
from faults.made_up import Story


@pytest.fixture
def story():
    return Story()


def test_report_shows_the_records_around(story):
    events = story.events(20)
    story.publish(*events[:9], events[10], events[9], *events[11:])
    text, holds = report(story.finish())
    assert not holds
    shown = [line for line in text.splitlines() if "key='k'" in line]
    assert len(shown) == 7 and sum(line.startswith("  >") for line in shown) == 1
    assert "event 10 of key 'k' had committed before the insert of 11 began" in text


def test_report_shows_the_faults_between(story):
    event = story.event()
    story.publish(event)
    story.kill()
    story.publish(event, event)
    text, _ = report(story.finish())
    assert "---- kill at" in text


def test_file_says_the_same(story, tmp_path):
    story.publish(*story.events(3), story.event(value=b"\xff\xfe"), story.event(value=None))
    history = story.finish()
    path = tmp_path / "history"
    history.save(path)
    assert list(map(repr, read(path).all())) == list(map(repr, history.all()))


def test_command(story, tmp_path):
    path = tmp_path / "history"
    story.publish(*story.events(3))
    story.finish().save(path)
    assert run(path).returncode == 0
    with open(path, "a", encoding="ascii") as file:
        file.write('["event","committed","cut off')
    assert run(path).returncode == 0
    story.event()
    story.history.save(path)
    done = run(path)
    assert done.returncode == 1 and "no loss" in done.stdout
    assert run(tmp_path / "nothing").returncode == 2


def run(path):
    tests = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    return subprocess.run([sys.executable, "-m", "faults.checker", str(path)], cwd=tests, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
