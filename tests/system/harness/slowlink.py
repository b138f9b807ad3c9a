# SPDX-License-Identifier: ISC
"""A slow network between a relay and Postgres: a TCP proxy that passes so many bytes a second on, for each
connection and direction, and reads no faster than that."""
import socket
import threading
import time

PIECE = 16384


class SlowLink:
    """Listens on port. Ends with close()."""

    def __init__(self, port, rate):
        self.target, self.rate = ("127.0.0.1", port), rate
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets = [self.listener]
        self._run(self._accept)

    @staticmethod
    def _run(function, *args):
        threading.Thread(target=function, args=args, daemon=True).start()

    def _accept(self):
        try:
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection(self.target)
                self.sockets += [client, server]
                # As a link's: what the kernels keep beyond it would be a faster network.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * PIECE)
                self._run(self._pass_on, client, server)
                self._run(self._pass_on, server, client)
        except OSError:
            pass  # closed

    def _pass_on(self, source, target):
        due = time.monotonic()
        try:
            while data := source.recv(PIECE):
                target.sendall(data)
                due = max(due, time.monotonic()) + len(data) / self.rate
                time.sleep(max(0, due - time.monotonic()))
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def redirect(self, port):
        """To another server; the connections to the old one are cut."""
        self.target = ("127.0.0.1", port)
        for one in self.sockets[1:]:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # cut already

    def close(self):
        for one in self.sockets:
            one.close()
