# SPDX-License-Identifier: ISC
"""Bytes as text that compares as the bytes do: what a history holds in place of keys, values and headers.

Payloads of a megabyte would make a history of gigabytes, so a long value becomes its length, a digest and
its beginning. Two values are equal exactly if their tokens are.
"""
import hashlib
import json

INLINE = 48  # bytes up to which a value stands in the history as it is
SHOWN = 24   # bytes of a longer one


def text(data):
    """Bytes as text; what is not UTF-8 survives as lone surrogates. None stays None."""
    return None if data is None else data.decode("utf-8", "surrogateescape")


def raw(token):
    """The bytes again."""
    return None if token is None else token.encode("utf-8", "surrogateescape")


def value(data):
    """A record's value: None for a tombstone, which is not the empty value "="."""
    if data is None:
        return None
    if len(data) <= INLINE:
        return "=" + text(data)
    return f"{len(data)}:{hashlib.sha256(data).hexdigest()[:32]}:{text(data[:SHOWN])}"


def headers(pairs):
    """A list of (name, text or None), in order."""
    return json.dumps(pairs, separators=(",", ":"))


def without_id(pairs):
    """Of a record's headers, (name, bytes or None): the first `id` as text or None, and a token of the rest."""
    event_id, rest = None, []
    for name, data in pairs or ():
        if name == "id" and event_id is None:
            event_id = text(data)
        else:
            rest.append((name, text(data)))
    return event_id, headers(rest)
