# SPDX-License-Identifier: ISC
"""Two ends of a proxy in the test's own thread, and what may be seen at them."""
import socket

from faults import pgbytes as pg
from faults.proxy import Proxy


class World:
    """A proxy, a listening peer, and connections from one to the other."""

    def __init__(self, wire, thread):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.proxy = Proxy(self.listener.getsockname(), wire, thread=thread)
        self.sockets = []

    def connect(self):
        """(client's socket, server's socket)"""
        client = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=10)
        server, _ = self.listener.accept()
        server.settimeout(10)
        self.sockets += [client, server]
        return client, server

    def session(self, name="relay"):
        """A Postgres session with a prepared statement commit."""
        client, server = self.connect()
        hello = pg.startup(user="a", application_name=name) + pg.prepare("commit", "COMMIT") + pg.SYNC
        client.sendall(hello)
        take(server, hello)
        server.sendall(pg.READY + pg.PREPARED + pg.READY)
        take(client, pg.READY + pg.PREPARED + pg.READY)
        return client, server

    def close(self):
        self.proxy.close()
        for each in self.sockets + [self.listener]:
            each.close()


def receive(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        assert part, f"closed after {data!r}"
        data += part
    return data


def take(sock, expected):
    assert receive(sock, len(expected)) == expected


def silent(sock, seconds=0.05):
    """Nothing comes, and the connection is open."""
    sock.settimeout(seconds)
    try:
        return sock.recv(1) is None
    except TimeoutError:
        return True
    finally:
        sock.settimeout(10)


def is_reset(sock):
    """Whether it ends, after what came before, with a reset."""
    try:
        while sock.recv(100):
            pass
        return False
    except ConnectionResetError:
        return True


COMMIT = pg.run("commit") + pg.SYNC
COMMITTED = pg.answer("COMMIT") + pg.READY
