# SPDX-License-Identifier: ISC
"""Which event an event id is: the writer, the number of its transaction, and the place of the event in it.

A writer numbers its transactions from 1 and never uses a number again, and all events of a key are of one writer. So the
table of orders, a row for each committed transaction, tells which events there must be, and the ids in which order those
of a key come."""
MOST = 7  # events of a transaction; they fit into a byte


def event_id(writer, number, place):
    digits = f"{writer:08x}{number:016x}{place:08x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def identify(text):
    """(writer, number, place)."""
    digits = text.replace("-", "")
    return int(digits[:8], 16), int(digits[8:24], 16), int(digits[24:], 16)
