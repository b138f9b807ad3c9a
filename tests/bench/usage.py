# SPDX-License-Identifier: ISC
"""What a process used, from /proc."""
import os
import re


def cpu_seconds(pid):
    """User and system time of all its threads so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
