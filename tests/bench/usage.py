# SPDX-License-Identifier: ISC
"""What a process used, from /proc."""
import os
import re


def cpu_seconds(pid):
    """User and system time of all its threads so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family_cpu_seconds(pid):
    """The same of a process and its children, with those that have ended and were waited for: of a whole Postgres. Read
    again if a child ends meanwhile, which would be in neither sum."""
    while True:
        own, ended = _own_and_ended(pid)
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            try:
                running = sum(map(cpu_seconds, children.read().split()))
            except OSError:
                continue
        if ended == _own_and_ended(pid)[1]:
            return own + ended + running


def cpu_seconds_if_there(pid):
    """0 of one that has ended."""
    try:
        return cpu_seconds(pid)
    except OSError:
        return 0


def _own_and_ended(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = [int(field) for field in stat.read().rsplit(")", 1)[1].split()[11:15]]
    tick = os.sysconf("SC_CLK_TCK")
    return sum(fields[:2]) / tick, sum(fields[2:]) / tick


def fine_cpu_seconds(pid):
    """The same to the nanosecond, but without threads that ended."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as schedstat:
            total += int(schedstat.read().split()[0])
    return total / 1e9


def rss_mib(pid):
    return _status(pid, "VmRSS")


def peak_rss_mib(pid):
    return _status(pid, "VmHWM")


def _status(pid, name):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(rf"{name}:\s+(\d+) kB", status.read()).group(1)) / 1024
