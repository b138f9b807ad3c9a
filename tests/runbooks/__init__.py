# SPDX-License-Identifier: ISC
"""Plays: what each page of docs/runbooks tells of, done to real servers, with a transcript. By hand, from tests/:
/usr/bin/python3 -m runbooks.paused; OUTBOX_RELAY=path picks a binary."""
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
for _path in (os.path.join(_HERE, ".."), os.path.join(_HERE, "..", "system")):
    if _path not in sys.path:
        sys.path.append(_path)
