# SPDX-License-Identifier: ISC
"""Postgres messages as bytes, for the tests of what reads them."""
import struct


def typed(kind, body=b""):
    return kind + struct.pack(">i", len(body) + 4) + body


def z(*texts):
    return b"".join(text.encode() + b"\0" for text in texts)


def untyped(code, body=b""):
    return struct.pack(">ii", len(body) + 8, code) + body


def startup(**params):
    return untyped(196608, b"".join(z(name, value) for name, value in params.items()) + b"\0")


def query(text):
    return typed(b"Q", z(text))


def prepare(name, text):
    return typed(b"P", z(name, text) + b"\0\0")


def run(statement, params=b"\0\0\0\0\0\0"):
    """What PQsendQueryPrepared sends."""
    return typed(b"B", z("", statement) + params) + typed(b"D", b"P\0") + typed(b"E", b"\0\0\0\0\0")


SYNC = typed(b"S")
READY = typed(b"Z", b"I")
PREPARED, BOUND, NO_DATA = typed(b"1"), typed(b"2"), typed(b"n")


def done(tag):
    return typed(b"C", z(tag))


def answer(tag):
    """To run()."""
    return BOUND + NO_DATA + done(tag)


def error(state):
    return typed(b"E", z("SERROR", "C" + state, "Mwhy") + b"\0")


def row(size):
    return typed(b"D", b"x" * size)


def notify(channel, payload):
    return typed(b"A", b"\0\0\0\7" + z(channel, payload))
