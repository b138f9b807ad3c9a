# SPDX-License-Identifier: ISC
"""What the wires of all protocols share: named messages, and a stream cut at their borders.

A wire knows one connection. It reads the heads of messages only: whatever is behind a head passes unread.
"""


class Message:
    """A request, or what a server says unasked.

    names: by any of these a rule may call it. text: what more is known of it, for a rule that is a function.
    length: in bytes, where a protocol tells it. answer: how it was answered, None until then.
    """
    __slots__ = ("names", "text", "length", "answer", "facts")

    def __init__(self, names, text="", length=0, **facts):
        self.names = names
        self.text = text
        self.length = length
        self.answer = None
        self.facts = facts

    def __repr__(self):
        answer = f" -> {self.answer}" if self.answer is not None else ""
        return f"<{'/'.join(self.names)}{answer}>"


def is_called(at, message):
    """Whether `at` means this message: a name, a function of the message, or None for any."""
    if at is None or callable(at):
        return at is None or bool(at(message))
    return at in message.names


# What a mark stands at: the first byte of a request, or the byte that begins its answer.
SENT, ANSWERED = "sent", "answered"


class Splitter:
    """One direction of one connection, cut at the borders of messages.

    A head that has not arrived whole is kept back, so that a rule can always act before a message's first
    byte is forwarded. The rest of a message is forwarded as it comes, however large it is.
    """

    def __init__(self):
        self.left = 0      # bytes of the message under way that are yet to come
        self.carry = b""   # an incomplete head
        self.marks = []

    def feed(self, data):
        """(the bytes that may go on, [(offset in them, message, SENT or ANSWERED), ...])"""
        if self.carry:
            data = self.carry + data
        self.carry = b""
        self.marks = marks = []
        at, end = self.left, len(data)
        while at < end:
            length = self.parse(data, at)
            if length == 0:
                self.carry = data[at:]
                self.left = 0
                return data[:at], marks
            at += length
        self.left = at - end
        return data, marks

    def parse(self, data, at):
        """The length of the message (or of several that need no mark) at `at`; 0 if more of it is needed."""
        raise NotImplementedError

    def mark(self, at, message, what):
        self.marks.append((at, message, what))

    @property
    def at_border(self):
        """Whether what was fed so far ends where a message does."""
        return self.left == 0 and not self.carry


class _Raw(Splitter):
    def parse(self, data, at):
        return len(data) - at


class RawWire:
    """No protocol: bytes without borders, on which only rules without a message work."""

    def __init__(self, info):
        self.info = info
        self.up = _Raw()
        self.down = _Raw()
