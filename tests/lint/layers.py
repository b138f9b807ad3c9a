#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Each folder of relay/ uses only the folders below it, through their headers in include/, and the libraries it owns.

Also: no file-level circles but those of CIRCLES. A file uses another if it names a function that the other defines.
`layers.py --circles [FOLDER]` prints the circles of a tree.
"""
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Part -> the parts whose headers it may include besides its own: all of those below it.
BELOW = {
    "base": [],
    "config": ["base"],
    "core": ["base", "config"],
    "postgres": ["base"],
    "outbox": ["base", "config", "core", "postgres"],
    "kafka": ["base", "config", "core"],
    "http": ["base", "config", "core"],
    "commands": ["base", "config", "core", "postgres", "outbox", "kafka", "http"],
}

# Library header -> the parts that may include it, or one file.
LIBRARIES = {
    "libpq-fe.h": ["postgres", "outbox", "commands"],
    "openssl/": ["postgres/tls.c"],
    "librdkafka/": ["kafka"],
    "event2/": ["base/loop.c"],
    "libconfig.h": ["config"],
    "pcre2.h": ["core/rename.c"],
    "json-c/": ["core/json_tree.c"],
    "jansson.h": ["base/text.c", "http", "kafka/token.c", "commands"],
}

# Modules that do no I/O and read no clock, so that the simulator and exhaustive tests can run them.
PURE = ["core/*", "kafka/ledger_record.c", "outbox/claims.c", "outbox/group.c", "outbox/holds.c", "outbox/horizon.c", "outbox/idle.c",
        "outbox/passing.c", "outbox/position_model.c", "outbox/poll.c", "outbox/poll_claim.c", "outbox/poll_group.c",
        "outbox/purging.c", "outbox/rebalance.c", "outbox/writers.c",
        "base/backoff.c", "base/units.c", "commands/conf_text.c", "commands/import_jaas.c", "commands/import_notes.c",
        "commands/properties.c"]
NOT_PURE = ["core/process_metrics.c"]
# Libraries that compute, and nothing else.
COMPUTE = ["pcre2.h", "json-c/"]
IMPURE = [*(set(LIBRARIES) - set(COMPUTE)), "base/loop.h", "base/clock.h", "time.h", "sys/time.h", "sys/socket.h", "unistd.h", "poll.h",
          "pthread.h"]

# Files that use each other, and why they are allowed to.
CIRCLES = []

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
COMMENT = re.compile(r"/\*.*?\*/", re.S)
# A definition that other files can see: at the start of a line, and not static.
MACRO = re.compile(r"^#\s*define (\w+)((?:.*\\\n)*.*)", re.M)
DEFINED = re.compile(r"^(?!static\b)\w[\w\s\*]*?\b(\w+)\([^;{}]*\)\n\{", re.M)


def place(path):
    return str(path.relative_to(ROOT / "relay"))


def header(path, name):
    for candidate in (path.parent / name, ROOT / "include" / name):
        if candidate.exists():
            return candidate
    return None


def part_of(path):
    """The part that a file of relay/ or include/ belongs to."""
    return path.relative_to(ROOT).parts[1].removesuffix(".h")


def reached(path):
    """Every header that path sees, with the way to it."""
    seen, todo = {}, [(path, [])]
    while todo:
        at, way = todo.pop()
        for quote, name in INCLUDE.findall(at.read_text()):
            if name in seen:
                continue
            seen[name] = way
            found = header(at, name) if quote == '"' else None
            if found:
                todo.append((found, way + [name]))
    return seen


def fits(where, patterns):
    return any(where == p or where.startswith(p.rstrip("*") if p.endswith("*") else p + "/") for p in patterns)


def wrong_layers(path):
    for quote, name in INCLUDE.findall(path.read_text()):
        found = header(path, name) if quote == '"' else None
        if quote == '"' and not found:
            yield f"{path.relative_to(ROOT)}: includes {name}, which is neither beside it nor in include/"
        elif found and part_of(found) not in [part_of(path), *BELOW[part_of(path)]]:
            yield f"{path.relative_to(ROOT)}: includes {name}; {part_of(path)} may not use {part_of(found)}"


def wrong_libraries(path):
    where = place(path)
    pure = fits(where, PURE) and not fits(where, NOT_PURE)
    for name, way in sorted(reached(path).items()):
        if (path.parent / name).exists():  # beside it: outbox/poll.h is not the system's
            continue
        through = " through " + ", ".join(way) if way else ""
        if pure and any(name.startswith(i) for i in IMPURE):
            yield f"relay/{where}: is pure and includes {name}{through}"
        for library, owners in LIBRARIES.items():
            if name.startswith(library) and not fits(where, owners):
                yield f"relay/{where}: includes {name}{through}; only {', '.join(owners)} may"


def words(text, macros):
    """All that a text names, also through macros of headers."""
    seen, todo = set(), set(re.findall(r"\b\w+\b", text))
    while todo:
        seen |= todo
        todo = {w for name in todo if name in macros for w in re.findall(r"\b\w+\b", macros[name])} - seen
    return seen


def uses(files):
    """File -> the files that define functions which it names."""
    text = {f: COMMENT.sub("", f.read_text()) for f in files}
    headers = {h for f in files for top in (f.parent, ROOT / "include") for h in top.rglob("*.h")}
    macros = dict(m for h in headers for m in MACRO.findall(COMMENT.sub("", h.read_text())))
    home = {name: f for f in files for name in DEFINED.findall(text[f])}
    return {f: {home[w] for w in words(text[f], macros) if w in home} - {f} for f in files}


def reachable(edges, start):
    seen, todo = set(), [start]
    while todo:
        for other in edges[todo.pop()] - seen:
            seen.add(other)
            todo.append(other)
    return seen


def circles(files):
    """The groups of files each of which uses every other, directly or through others."""
    edges = uses(files)
    reach = {f: reachable(edges, f) for f in files}
    groups = collections.defaultdict(list)
    for f in files:
        if f in reach[f]:
            groups[frozenset(g for g in reach[f] if f in reach[g])].append(f)
    return sorted(sorted(group) for group in groups)


def main():
    if sys.argv[1:2] == ["--circles"]:
        top = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "relay")
        for group in circles(sorted(top.rglob("*.c"))):
            print(f"{len(group)} files:", *(f.relative_to(top) for f in group))
        return 0
    files = sorted((ROOT / "relay").rglob("*.c"))
    sources = files + sorted((ROOT / "relay").rglob("*.h")) + sorted((ROOT / "include").rglob("*.h"))
    problems = [p for f in sources for p in wrong_layers(f)]
    problems += [p for f in files for p in wrong_libraries(f)]
    for group in ([place(f) for f in group] for group in circles(files)):
        if group not in CIRCLES:
            problems.append("files that use each other: " + ", ".join(group))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"layers: {len(files)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
