# SPDX-License-Identifier: ISC
"""Rules without a message on in-process peers: what passes, what does not, and what comes after a release."""
import socket
import struct
import threading
import time

import pytest

from faults import kafkabytes as kafka
from faults import pgbytes as pg
from faults.kafkawire import KafkaWire
from faults.peers import World, is_reset, receive, silent, take
from faults.pgwire import PgWire
from faults.wire import RawWire


def test_passes_both_ways_and_the_ends(raw):
    client, server = raw.connect()
    client.sendall(b"hello")
    take(server, b"hello")
    server.sendall(b"you")
    server.close()
    take(client, b"you")
    assert client.recv(1) == b""


def test_reset_is_passed_on(raw):
    client, server = raw.connect()
    client.sendall(b"unread")
    client.close()
    take(server, b"unread")
    assert server.recv(1) == b""


@pytest.mark.parametrize("wire", [RawWire, PgWire, KafkaWire])
def test_throughput_without_rules(thread, wire):
    """Measured to be seen; what is asserted is that everything arrives."""
    world = World(wire, thread)
    client, server = world.connect()
    if wire is PgWire:
        one = pg.row(1000)
    else:
        one = kafka.produced(7, 1, ("thing", 0, 0)) + kafka.response(2, b"x" * 2000)
    block = one * (8_000_000 // len(one))
    total, began = 5 * len(block), time.monotonic()
    sender = threading.Thread(target=lambda: [server.sendall(block) for _ in range(5)])
    sender.start()
    buffer = bytearray(1 << 20)
    left = total
    while left:
        left -= client.recv_into(buffer, min(left, 1 << 20))
    print(f"{wire.__name__}: {total / (time.monotonic() - began) / 1e6:.0f} MB/s")
    sender.join()
    world.close()


def test_hold_at_once_and_release(raw):
    client, server = raw.connect()
    with raw.proxy.hold():
        client.sendall(b"up")
        server.sendall(b"down")
        assert silent(client) and silent(server)
        other, its_server = raw.connect()
        other.sendall(b"new")
        assert silent(its_server)
    take(server, b"up")
    take(client, b"down")
    take(its_server, b"new")


def test_hold_one_direction(raw):
    client, server = raw.connect()
    with raw.proxy.hold(direction="down"):
        server.sendall(b"down")
        client.sendall(b"up")
        take(server, b"up")
        assert silent(client)
    take(client, b"down")


def test_a_held_connection_hides_its_end(raw):
    client, server = raw.connect()
    with raw.proxy.hold():
        client.sendall(b"last words")
        client.close()
        assert silent(server)
    take(server, b"last words")
    assert server.recv(1) == b""


def test_what_is_held_outlives_a_reset_of_its_sender(raw):
    client, server = raw.connect()
    with raw.proxy.hold(direction="up"):
        server.sendall(b"unread")
        client.sendall(b"last words")
        assert silent(server)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert silent(server)
    take(server, b"last words")
    assert server.recv(1) == b""


def test_a_held_pipe_stops_reading(raw):
    client, server = raw.connect()
    sent = 0
    with raw.proxy.hold():
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while sent < 100 << 20:
                sent += client.send(b"x" * 65536)
    receive(server, sent)


def test_cut_at_once(raw):
    client, server = raw.connect()
    client.sendall(b"a")
    take(server, b"a")  # only now both halves are joined in the proxy: the kernel accepts before it knows
    raw.proxy.cut("fin")
    assert client.recv(1) == b"" and server.recv(1) == b""
    client, server = raw.connect()
    raw.proxy.cut()
    assert is_reset(client) and is_reset(server)
    raw.connect()


def test_refuse(raw):
    client, server = raw.connect()
    with raw.proxy.refuse():
        with pytest.raises(ConnectionRefusedError):
            raw.connect()
        client.sendall(b"lives on")
        take(server, b"lives on")
    raw.connect()


def test_no_server(raw):
    raw.listener.close()
    with pytest.raises(ConnectionResetError):
        socket.create_connection(("127.0.0.1", raw.proxy.port), timeout=10).recv(1)


def test_another_target(raw):
    with socket.create_server(("127.0.0.1", 0)) as other:
        raw.proxy.target = other.getsockname()
        with socket.create_connection(("127.0.0.1", raw.proxy.port)) as client:
            server, _ = other.accept()
            client.sendall(b"x")
            take(server, b"x")
            server.close()


def test_delay(raw):
    client, server = raw.connect()
    with raw.proxy.delay(80, direction="up"):
        began = time.monotonic()
        client.sendall(b"x")
        take(server, b"x")
        assert time.monotonic() - began >= 0.08
    client.sendall(b"y")
    take(server, b"y")


def test_throttle(raw):
    client, server = raw.connect()
    with raw.proxy.throttle(1_000_000, direction="up"):
        began = time.monotonic()
        client.sendall(b"x" * 200_000)
        receive(server, 200_000)
        assert time.monotonic() - began >= 0.1
    client.sendall(b"y")
    take(server, b"y")
