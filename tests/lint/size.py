#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Files of at most 600 lines, functions of at most 80; prints the median and the longest functions.

Counts on the layout that clang-format keeps: a function ends with a brace in the first column, and so does nothing else
but a type or a table, which have no parameter list.
"""
import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("relay", "include", "tests/unit", "tests/sim", "tests/fuzz", "tests/bench")
FILE_LIMIT = 600
FUNCTION_LIMIT = 80

# From a line that starts with a name up to the brace on a line of its own.
HEAD = re.compile(r"^(\w[^;{}#]*?\b(\w+)\([^;{}]*\)[^;{}=]*)\n\{\n", re.M)


def functions(path):
    """(lines, name, line number) of each function, from its first line to its last."""
    text = path.read_text()
    for head in HEAD.finditer(text):
        end = text.index("\n}", head.end() - 1)
        first = text.count("\n", 0, head.start()) + 1
        last = text.count("\n", 0, end) + 2
        yield last - first + 1, head.group(2), first


def main():
    files = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.[ch]"))
    found, problems = [], []
    for path in files:
        name = path.relative_to(ROOT)
        lines = len(path.read_text().splitlines())
        if lines > FILE_LIMIT:
            problems.append(f"{name}: {lines} lines; at most {FILE_LIMIT}")
        for length, function, first in functions(path):
            found.append((length, f"{function} ({name}:{first})", name.parts[0] == "relay"))
            if length > FUNCTION_LIMIT:
                problems.append(f"{name}:{first}: {function} has {length} lines; at most {FUNCTION_LIMIT}")
    relay = sorted(((length, where) for length, where, ours in found if ours), reverse=True)
    if len(relay) < 50:
        sys.exit("size: the functions of relay/ were not understood")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"size: {len(files)} files, {len(found)} functions; in relay/ {len(relay)}, median "
          f"{statistics.median(length for length, _ in relay):g} lines; the longest:")
    for length, where in relay[:5]:
        print(f"  {length:3} {where}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
