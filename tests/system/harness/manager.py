# SPDX-License-Identifier: ISC
"""A service manager as systemd is one: a socket on which the relay says how it is."""
import os
import socket

from harness.waiting import until


class Manager:
    """env is what its services find in their environment."""

    def __init__(self, directory, watchdog_s):
        self.path = os.path.join(directory, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.setblocking(False)
        self.env = {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}
        self.heard = []

    def listen(self):
        """What it has heard so far."""
        while True:
            try:
                self.heard.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def forget(self):
        self.listen()
        self.heard = []

    def wait(self, state, times=1, timeout=10):
        until(lambda: self.listen().count(state) >= times, timeout, f"the relay tells {state} {times} times")
