# SPDX-License-Identifier: ISC
"""What the process takes from the machine and lets others see."""
import os
import re

import pytest

from harness.process import as_unprivileged, unprivileged


@pytest.fixture
def unprivileged_relay(database, new_relay):
    """A relay that is not root, as it should be."""
    relay = new_relay()
    relay.process.argv = as_unprivileged(relay.process.argv)
    return relay.start()


def test_no_core_dumps(unprivileged_relay):
    """Its memory holds the password and payloads: no core, and no other process of its user reads it."""
    proc = f"/proc/{unprivileged_relay.process.pid}"
    with open(f"{proc}/limits") as limits:
        assert re.search(r"Max core file size +0 +0 ", limits.read())
    # The kernel gives the files of a process that may not be dumped to root (prctl(2)).
    assert os.stat(f"{proc}/environ").st_uid == 0
    assert (unprivileged() or (os.geteuid(),))[0] != 0


def test_it_still_reads_its_own_figures(unprivileged_relay):
    metrics = unprivileged_relay.metrics()
    assert metrics["process_open_fds"] >= 5
    assert metrics["process_resident_memory_bytes"] > 1 << 20
    assert metrics["process_cpu_seconds_total"] > 0
    assert metrics["process_start_time_seconds"] > 1.6e9
