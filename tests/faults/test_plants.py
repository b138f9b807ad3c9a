# SPDX-License-Identifier: ISC
"""The names of the planted errors and failpoints: in the table, in the relay's code, in the controls."""
import pathlib
import re

import pytest

from harness.relay import BINARY, ROOT

from faults import plants
from faults.checker import check
from faults.made_up import good
from faults.negative import CONTROLS
from faults.negative_runs import SCENARIOS


def used(macro):
    names = []
    for path in pathlib.Path(ROOT, "relay").rglob("*.c"):
        names += re.findall(macro + r'\("([^"]*)"\)', path.read_text())
    return sorted(names)


def test_every_error_stands_at_a_place_of_the_code_and_has_a_control():
    assert sorted(set(used("PLANTED"))) == sorted(plants.errors())
    assert sorted(control.error for control in CONTROLS) == sorted(plants.errors())


def test_every_failpoint_stands_at_one_place():
    assert used("FAILPOINT") == sorted(plants.failpoints() + plants.exactly_once())


def test_controls_name_runs_and_invariants_there_are():
    invariants = {verdict.name for verdict in check(good(1))[1]}
    for control in CONTROLS:
        assert control.scenario in SCENARIOS
        assert control.verdicts and control.verdicts <= invariants


def test_a_normal_build_has_nothing_of_it():
    if "plants" in BINARY:
        pytest.skip("this is the test build")
    assert not plants.available()
