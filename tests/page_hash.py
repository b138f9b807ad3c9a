#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Writes the hashes of the status page's script and style into its Content-Security-Policy: after a change of either.

With --check it only compares.
"""
import base64
import hashlib
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).resolve().parents[1] / "relay/http/page/status.html"


def with_hashes(text):
    for tag in ("script", "style"):
        inside = re.search(f"<{tag}>(.*?)</{tag}>", text, re.S).group(1)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        text = re.sub(f"{tag}-src '[^']*'", f"{tag}-src 'sha256-{digest}'", text, count=1)
    return text


def main():
    text = PAGE.read_text()
    if "--check" in sys.argv:
        return text != with_hashes(text)
    PAGE.write_text(with_hashes(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
