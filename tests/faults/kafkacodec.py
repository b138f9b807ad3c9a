# SPDX-License-Identifier: ISC
"""Kafka's primitive types, read and written, in the old encoding and the flexible one (KIP-482)."""
import struct


class Short(Exception):
    """There are not enough bytes."""


class Reader:
    """Reads on from `at`. flexible: compact strings and arrays, tagged fields."""

    def __init__(self, data, at=0, flexible=False):
        self.data, self.at, self.flexible = data, at, flexible

    def take(self, count):
        start = self.at
        self.at += count
        if self.at > len(self.data):
            raise Short()
        return bytes(self.data[start:self.at])

    def number(self, layout):
        return struct.unpack(">" + layout, self.take(struct.calcsize(layout)))[0]

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def string(self):
        """None for null."""
        length = self.uvarint() - 1 if self.flexible else self.number("h")
        return None if length < 0 else self.take(length).decode(errors="replace")

    def count(self):
        """Of the elements of an array that follows; -1 for null."""
        return self.uvarint() - 1 if self.flexible else self.number("i")

    def tags(self):
        if self.flexible:
            for _ in range(self.uvarint()):
                self.uvarint()
                self.take(self.uvarint())


class Writer:
    """The opposite."""

    def __init__(self, flexible=False):
        self.parts, self.flexible = [], flexible

    def number(self, layout, *values):
        self.parts.append(struct.pack(">" + layout, *values))
        return self

    def uvarint(self, value):
        while value > 127:
            self.parts.append(bytes([value & 127 | 128]))
            value >>= 7
        self.parts.append(bytes([value]))
        return self

    def string(self, text):
        raw = b"" if text is None else text.encode()
        if self.flexible:
            self.uvarint(0 if text is None else len(raw) + 1)
        else:
            self.number("h", -1 if text is None else len(raw))
        self.parts.append(raw)
        return self

    def count(self, count):
        return self.uvarint(count + 1) if self.flexible else self.number("i", count)

    def tags(self):
        return self.uvarint(0) if self.flexible else self

    def bytes(self):
        return b"".join(self.parts)

    def frame(self):
        """With its length before it, as it goes over the wire."""
        body = self.bytes()
        return struct.pack(">i", len(body)) + body
