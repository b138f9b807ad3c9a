# SPDX-License-Identifier: ISC
"""What events look like: payloads from nothing to nearly too large, headers of every kind, keys of every kind.

What must arrive is told beforehand, from what was written, and never asked of Postgres: text for jsonb is
written the way jsonb prints it.
"""
import json
import string

from faults import tokens

PAD = (string.ascii_letters + string.digits) * 20_000  # over a megabyte, cut to size
EVENT_TYPES = ("Placed", "Paid", "Gone", "Überwiesen")
ODD_KEYS = ("", " ", "ключ-1", "日本", "a" * 300, 'quo"te\\', "tab\there")


def keys(count):
    """Names of so many keys, odd ones first."""
    return [*ODD_KEYS[:count], *(f"key-{n}" for n in range(count - len(ODD_KEYS)))]


def _jsonb(members):
    """As jsonb prints an object: shorter names first."""
    ordered = {name: members[name] for name in sorted(members, key=lambda n: (len(n.encode()), n.encode()))}
    return json.dumps(ordered, ensure_ascii=False)


class Maker:
    """Makes payloads and headers for a column type: jsonb, json, text or bytea. largest: bytes of the largest
    payload. Shares are of all events."""

    def __init__(self, rng, column="jsonb", largest=100_000, null=0.05, empty=0.05, large=0.01,
                 wide=0.0):
        assert 200 <= largest <= len(PAD), "the largest payload must be 200 bytes to a megabyte"
        self.rng, self.column, self.largest = rng, column, largest
        self.null, self.empty, self.large, self.wide = null, empty, large, wide

    def payload(self, event_id, number):
        """The parameter for the column, as str, bytes or None."""
        share = self.rng.random()
        if share < self.null:
            return None
        if share < self.null + self.empty:
            return self._native("{}" if self.column in ("json", "jsonb") else "")
        large = share > 1 - self.large
        pad = self.largest if large else int(self.rng.paretovariate(1) * 20)
        body = {"n": number, "id": event_id, "pad": "", "ünï": "→"}
        room = min(pad, self.largest - len(_jsonb(body).encode()))
        start = self.rng.randrange(1000)
        body["pad"] = PAD[start:start + room] if start + room <= len(PAD) else PAD[:room]
        return self._native(_jsonb(body))

    def _native(self, text):
        if self.column == "bytea":
            return text.encode() + (b"\x00\xff" if self.rng.random() < 0.1 and text else b"")
        return text

    def headers(self, number, txn):
        """(the text for the column or None, pairs that must arrive)."""
        if self.rng.random() < 0.2:
            return None, []
        members = {"n": number, "txn": txn}
        for name, values in (("trace", ("00-ab-01", "")), ("flag", (True, False)), ("none", (None,)),
                             ("ünï", ("→",)), ("type", ("once more",))):
            if self.rng.random() < 0.2:
                members[name] = self.rng.choice(values)
        if self.rng.random() < self.wide:
            members.update((f"h{n}", ODD_KEYS[n % len(ODD_KEYS)]) for n in range(900))
        pairs = json.loads(_jsonb(members), object_pairs_hook=list)
        return _jsonb(members), [(name, _printed(value)) for name, value in pairs]


def _printed(value):
    """A member as the text of a header."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def token(payload):
    return tokens.value(payload.encode() if isinstance(payload, str) else payload)
