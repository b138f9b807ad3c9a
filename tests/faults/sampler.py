# SPDX-License-Identifier: ISC
"""Looks at the relays now and then: memory, descriptors, threads."""
import os
import re
import threading

from faults.history import Memory, now


def sample(name, pid):
    """A Memory, or None if the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            status = file.read()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    numbers = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE))
    if "VmRSS" not in numbers:
        return None  # a zombie
    return Memory(name, now(), int(numbers["VmRSS"]) / 1024, descriptors, int(numbers["Threads"]))


class Sampler:
    """processes(): [(name, pid)] of the relays that live now."""

    def __init__(self, recorder, processes, every=0.5):
        self.recorder, self.processes, self.every = recorder, processes, every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="sampler")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()

    def _run(self):
        while not self._stopping.wait(self.every):
            for name, pid in self.processes():
                taken = sample(name, pid)
                if taken is not None:
                    self.recorder.add(taken)
