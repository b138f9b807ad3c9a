#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""One version: that of project() in CMakeLists.txt. What cannot be made from it says the same; nothing else says any.

`--version`, the metric build_info and the Debian package are made from it.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A file (a pattern: those that there are) and what in it is the version.
PLACES = [
    ("README.md", r"^Version (\S+?)[,.]? "),
    ("CHANGES.md", r"\A# .*?^## (\S+) \("),
    ("docs/outbox-relay.8", r"^\.Os outbox-relay (\S+)$"),
    ("docs/outbox-relay.conf.5", r"^\.Os outbox-relay (\S+)$"),
    ("conf/container/Dockerfile", r"^ARG VERSION=(\S+)$"),
    ("conf/helm/**/Chart.yaml", r"^appVersion: \"?([^\s\"]+)"),
]
SECTIONS = ["Security", "Features", "Fixes", "Upgrade notes"]
HEADING = re.compile(r"\d+\.\d+\.\d+ \((not yet released|\d{4}-\d\d-\d\d)\)$")


def check_places(version):
    for pattern, said in PLACES:
        for path in sorted(ROOT.glob(pattern)):
            found = re.search(said, path.read_text(), re.M | re.S)
            if not found:
                yield f"{path.relative_to(ROOT)}: no version; expected by {said}"
            elif found.group(1) != version:
                yield f"{path.relative_to(ROOT)}: {found.group(1)}; CMakeLists.txt has {version}"


def check_changes():
    """Each release of CHANGES.md has a version and a date, and sections in their order."""
    releases = re.split(r"^## ", (ROOT / "CHANGES.md").read_text(), flags=re.M)[1:]
    for number, release in enumerate(releases):
        heading = release.partition("\n")[0]
        sections = re.findall(r"^### (.*)$", release, re.M)
        if not HEADING.match(heading) or number and "not yet" in heading:
            yield f"CHANGES.md: \"## {heading}\" is no version with the date of its release; only the first has none yet"
        if sections != [name for name in SECTIONS if name in sections]:
            yield f"CHANGES.md: {heading}: sections {', '.join(sections)}; they are {', '.join(SECTIONS)}, in this order"


def main():
    version = re.search(r"^project\(outbox-relay VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.M).group(1)
    problems = [*check_places(version), *check_changes()]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"version: {version}, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
