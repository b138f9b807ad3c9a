#!/usr/bin/python3
"""Each library is known to one layer only, and the pure modules know of none.

What a file includes counts, and what it gets through the project's own headers.
"""
import fnmatch
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Library header (pattern) -> the files of relay/ that may see it.
OWNERS = {
    "libpq-fe.h": ["pg*.c", "outbox*.c", "cmd_*.c"],
    "librdkafka/*": ["kafka*.c"],
    "event2/*": ["loop.c"],
    "libconfig.h": ["config*.c"],
    "jansson.h": ["json_text.c", "pages.c", "cmd_*.c"],
    "systemd/*": ["daemon.c"],
}

PURE = ["engine.c", "engine_session.c", "engine_refused.c", "outbox_holds.c", "waker.c", "horizon.c", "writers.c", "batch.c", "event.c", "route.c", "template.c",
        "headers.c", "verdict.c", "backoff.c", "units.c", "worker.c", "worker_source.c",
        "spread.c", "shards.c", "histogram.c"]
IMPURE = list(OWNERS) + ["loop.h", "clock.h", "time.h", "sys/time.h", "sys/socket.h", "unistd.h", "poll.h", "pthread.h"]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def includes(path):
    return INCLUDE.findall(path.read_text())


def project_header(name):
    for folder in ("include", "relay"):
        path = ROOT / folder / name
        if path.exists():
            return path
    return None


def reached(path):
    """Every header that path sees, with the way to it."""
    seen = {}
    todo = [(path, [])]
    while todo:
        at, way = todo.pop()
        for quote, name in includes(at):
            if name in seen:
                continue
            seen[name] = way
            header = project_header(name) if quote == '"' else None
            if header:
                todo.append((header, way + [name]))
    return seen


def matches(name, patterns):
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def problems_of(path):
    for name, way in sorted(reached(path).items()):
        through = " through " + ", ".join(way) if way else ""
        if path.name in PURE and matches(name, IMPURE):
            yield f"{path.relative_to(ROOT)}: is a pure module and includes {name}{through}"
        for library, owners in OWNERS.items():
            if fnmatch.fnmatch(name, library) and not matches(path.name, owners):
                yield f"{path.relative_to(ROOT)}: includes {name}{through}; only {', '.join(owners)} may"


def main():
    files = sorted((ROOT / "relay").glob("*.c"))
    missing = set(PURE) - {f.name for f in files}
    problems = [f"relay/{name}: a pure module by this lint, and not there" for name in sorted(missing)]
    problems += [p for f in files for p in problems_of(f)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"layers: {len(files)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
