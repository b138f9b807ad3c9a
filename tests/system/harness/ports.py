# SPDX-License-Identifier: ISC
"""Free TCP ports on 127.0.0.1 for servers that cannot be told to take any port."""
import random
import socket

# Below the range from which the kernel takes the ports of outgoing connections, so that a server that
# is stopped for a while finds its port free when it comes back.
FIRST, LAST = 10_000, 32_000
_given = set()


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """A port nobody listens on and that was not given out before by this process."""
    while True:
        port = random.randint(FIRST, LAST)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
