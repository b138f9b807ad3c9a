# SPDX-License-Identifier: ISC
"""Where and with what a run was made."""
import os
import platform
import re
import subprocess

import confluent_kafka

import rig as rig_module

POM = os.path.join(rig_module.HERE, "..", "system", "kafka", "pom.xml")


def _find(path, pattern):
    with open(path) as text:
        found = re.search(pattern, text.read(), re.M)
    return found.group(1).strip() if found else "unknown"


def _relay():
    said = subprocess.run([rig_module.relay_binary(), "--version"], stdout=subprocess.PIPE, text=True,
                          timeout=10, check=True)
    return said.stdout.splitlines()[0]


def describe(rig, with_relay):
    memory = int(_find("/proc/meminfo", r"MemTotal:\s+(\d+) kB")) / 1024 / 1024
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _find("/proc/cpuinfo", r"model name\s*:\s*(.*)"),
        "memory_gib": round(memory, 1),
        "load": round(os.getloadavg()[0], 2),  # of others, when we began
        "kernel": platform.release(),
        "postgres": rig.value("SHOW server_version"),
        "kafka": _find(POM, r"<version>(.*)</version>"),
        "librdkafka": confluent_kafka.libversion()[0],
        "relay": _relay() if with_relay else "none",
    }
