# SPDX-License-Identifier: ISC
"""Postgres' protocol 3: names for requests, and which answer is whose (manual: Message Flow, Message Formats).

A request is called by its statement's name and by the first word of its text: "commit" and "COMMIT". It
begins at its Bind (or Query), is executed when its CommandComplete or ErrorResponse comes, and any number
of requests may be outstanding (Pipelining). Other names: Startup, PREPARE, "PREPARE claim", Sync, Cancel,
Terminate, and from the server NOTIFY.
"""
import re
import struct
from collections import deque

from faults.wire import ANSWERED, SENT, Message, Splitter

INT = struct.Struct(">i")
CANCEL, SSL, GSS = 80877102, 80877103, 80877104
FIRST_WORD = re.compile(r"\s*(\w+)")
TEXT_SEEN, NAME_SEEN = 1024, 256  # so much of a head is waited for
# kinds of what an answer is awaited to
EXECUTE, QUERY, SYNC = "execute", "query", "sync"


def word_of(text):
    found = FIRST_WORD.match(text)
    return found.group(1).upper() if found else ""


def strings(data, at, end, count):
    """The first `count` zero-terminated strings; what was cut off counts as it is."""
    parts = bytes(data[at:end]).split(b"\0", count)
    parts += [b""] * (count - len(parts))
    return [part.decode(errors="replace") for part in parts[:count]]


class PgWire:
    """One session. info gets what the startup packet says: user, database, application_name, ..."""

    def __init__(self, info):
        self.info = info
        self.statements = {}    # name -> (names, text)
        self.portals = {}       # name -> Message
        self.pending = deque()  # [(kind, Message)], oldest first
        self.negotiating = False  # the server owes the one byte that answers SSLRequest
        self.encrypted = False  # nothing can be read any more
        self.up = _Requests(self)
        self.down = _Answers(self)

    def expect(self, kind, message):
        self.pending.append((kind, message))


class _Requests(Splitter):
    """From the client."""

    def __init__(self, wire):
        super().__init__()
        self.wire = wire
        self.started = False

    def parse(self, data, at):
        if self.wire.encrypted:
            return len(data) - at
        if not self.started:
            return self.first(data, at)
        have = len(data) - at
        if have < 5:
            return 0
        kind, length = data[at:at + 1], 1 + INT.unpack_from(data, at + 1)[0]
        reader = READERS.get(kind)
        if reader is None:
            return length
        wanted = min(length, TEXT_SEEN if kind in b"PQ" else NAME_SEEN)
        if have < wanted:
            return 0
        reader(self, data, at, at + wanted)
        return length

    def first(self, data, at):
        """The packets without a type: a startup, or what may come before it (SSLRequest, GSSENCRequest)."""
        if len(data) - at < 8:
            return 0
        length, code = struct.unpack_from(">ii", data, at)
        if len(data) - at < length:
            return 0
        if code in (SSL, GSS):
            self.wire.negotiating = True
        elif code == CANCEL:
            self.mark(at, Message(("Cancel",)), SENT)
        else:
            self.startup(data, at, length)
        return length

    def startup(self, data, at, length):
        words = bytes(data[at + 8:at + length]).split(b"\0")
        pairs = zip(words[0::2], words[1::2])
        self.wire.info.update({k.decode(): v.decode() for k, v in pairs if k})
        self.started = True
        message = Message(("Startup",))
        self.wire.expect(SYNC, message)  # ends with a ReadyForQuery, as Sync does
        self.mark(at, message, SENT)

    def on_query(self, data, at, end):
        text, = strings(data, at + 5, end, 1)
        message = Message((word_of(text),), text)
        self.wire.expect(QUERY, message)
        self.mark(at, message, SENT)

    def on_parse(self, data, at, end):
        """A named statement is a message; an unnamed one belongs to the Bind that follows it."""
        name, text = strings(data, at + 5, end, 2)
        names = (name, word_of(text)) if name else (word_of(text),)
        self.wire.statements[name] = (names, text)
        if name:
            self.mark(at, Message(("PREPARE", f"PREPARE {name}"), text), SENT)

    def on_bind(self, data, at, end):
        portal, statement = strings(data, at + 5, end, 2)
        names, text = self.wire.statements.get(statement, ((statement,), ""))
        message = Message(names, text)
        self.wire.portals[portal] = message
        self.mark(at, message, SENT)

    def on_execute(self, data, at, end):
        portal, = strings(data, at + 5, end, 1)
        self.wire.expect(EXECUTE, self.wire.portals.get(portal) or Message((portal,)))

    def on_sync(self, data, at, end):
        message = Message(("Sync",))
        self.wire.expect(SYNC, message)
        self.mark(at, message, SENT)

    def on_terminate(self, data, at, end):
        self.mark(at, Message(("Terminate",)), SENT)


READERS = {b"Q": _Requests.on_query, b"P": _Requests.on_parse, b"B": _Requests.on_bind,
           b"E": _Requests.on_execute, b"S": _Requests.on_sync, b"X": _Requests.on_terminate}
ROW = ord("D")


class _Answers(Splitter):
    """From the server."""

    def __init__(self, wire):
        super().__init__()
        self.wire = wire

    def parse(self, data, at):
        wire, end = self.wire, len(data)
        if wire.encrypted:
            return end - at
        if wire.negotiating:
            wire.negotiating = False
            wire.encrypted = data[at:at + 1] in (b"S", b"G")
            return 1
        rows = self.rows(data, at, end)
        if rows > 0:
            return rows
        if end - at < 5:
            return 0
        kind, length = data[at:at + 1], 1 + INT.unpack_from(data, at + 1)[0]
        reader = ANSWERS.get(kind)
        if reader is None:
            return length
        wanted = min(length, NAME_SEEN)
        if end - at < wanted:
            return 0
        reader(self, data, at, at + wanted)
        return length

    @staticmethod
    def rows(data, at, end):
        """How long a run of DataRows is: they are by far the most of what comes, and mean nothing here."""
        start, last, unpack = at, end - 5, INT.unpack_from
        while at <= last and data[at] == ROW:
            at += 1 + unpack(data, at + 1)[0]
        return at - start

    def answered(self, at, message, how):
        message.answer = how
        self.mark(at, message, ANSWERED)

    def on_complete(self, data, at, end):
        tag = strings(data, at + 5, end, 1)[0] if data[at:at + 1] == b"C" else ""
        if not self.wire.pending:
            return
        kind, message = self.wire.pending[0]
        if kind == EXECUTE:
            self.wire.pending.popleft()
        if kind == EXECUTE or (kind == QUERY and message.answer is None):
            self.answered(at, message, tag)

    def on_error(self, data, at, end):
        """The server skips what else is asked before the next Sync: on_ready forgets that."""
        fields = bytes(data[at + 5:end]).split(b"\0")
        state = next((f[1:].decode() for f in fields if f[:1] == b"C"), "")
        if self.wire.pending:
            kind, message = self.wire.pending[0]
            if kind == EXECUTE:
                self.wire.pending.popleft()
            if kind != SYNC and message.answer is None:
                self.answered(at, message, f"ERROR {state}")

    def on_ready(self, data, at, end):
        """Ends a Sync, a Query or the startup."""
        while self.wire.pending:
            kind, message = self.wire.pending.popleft()
            if kind == SYNC:
                self.answered(at, message, "ready")
            if kind != EXECUTE:
                return

    def on_notify(self, data, at, end):
        channel, payload = strings(data, at + 9, end, 2)
        self.mark(at, Message(("NOTIFY",), f"{channel} {payload}"), SENT)


ANSWERS = {b"C": _Answers.on_complete, b"I": _Answers.on_complete, b"s": _Answers.on_complete,
           b"E": _Answers.on_error, b"Z": _Answers.on_ready, b"A": _Answers.on_notify}
