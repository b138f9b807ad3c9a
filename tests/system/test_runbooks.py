# SPDX-License-Identifier: ISC
"""The runbooks' commands are commands, and their SQL runs."""
import glob
import os
import re

import pytest

from harness.relay import ROOT, run_relay

PAGES = sorted(glob.glob(os.path.join(ROOT, "docs", "runbooks", "*.md")))
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
# What an operator puts in: the first is a session that there is not.
VALUES = {"PID": "0", "EVENT_ID": "b4f3d1f2-6c1b-4f43-93c5-4b8a0a0b0c01", "ID": "1"}


def code(text):
    """Every line of code in a page, and every code in its prose."""
    for _, block in FENCE.findall(text):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())
    rest = FENCE.sub("", text)
    yield from re.findall(r"^    (.*)$", rest, re.M)
    yield from (" ".join(inline.split()) for inline in re.findall(r"`([^`]+)`", rest))


def commands(text):
    """(command, [option]) of each run of outbox-relay in a page."""
    for line in code(text):
        found = re.match(r"(?:\$ )?(?:sudo (?:-u \w+ )?)?outbox-relay ([a-z][a-z-]*)(?![\w:-])([^|>;]*)", line)
        if found:
            yield found.group(1), re.findall(r"(?<![\w-])--?[a-z][a-z-]*", found.group(2))


def statements():
    for path in PAGES:
        with open(path, encoding="utf-8") as page:
            blocks = [block for kind, block in FENCE.findall(page.read()) if kind == "sql"]
        yield from (pytest.param(block, id=f"{os.path.basename(path)[:-3]}-{n}") for n, block in enumerate(blocks, 1))


def test_commands():
    """Each is in the list of --help, and each of its options in the command's own."""
    known = run_relay("--help").stdout
    seen = set()
    for path in PAGES:
        with open(path, encoding="utf-8") as page:
            seen |= set((os.path.basename(path), name, *options) for name, options in commands(page.read()))
    assert seen, "no page has a command"
    for page, name, *options in sorted(seen):
        assert re.search(rf"^\s+{name}\b", known, re.M), f"{page}: no command {name}"
        said = run_relay(name, "--help").stdout
        for option in options:
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", said), f"{page}: {name} has no option {option}"


@pytest.mark.parametrize("sql", statements())
def test_statements(database, sql):
    """Each block of SQL, with an operator's values, on a database with an outbox; then all of it is taken back."""
    for name, value in VALUES.items():
        sql = re.sub(rf"\b{name}\b", value, sql)
    with database.session(autocommit=False) as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        cursor.execute(sql)
