#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Every metric is documented, and nothing else is: docs, alerts and the dashboard against the table in metrics.c. Whatever
is aggregated stays apart by database and outbox, and what a query reads of the rules' own series is recorded."""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROW = re.compile(r'^\s*\{\s*"([a-z_]+)",\s*(GAUGE|COUNTER|HISTOGRAM),', re.M)
DOCUMENTED = re.compile(r"^\|\s*`((?:outbox_relay|process)_[a-z_]+)`", re.M)
MENTIONED = re.compile(r"\b(?:outbox_relay|process)_[a-z_]+\b")


def declared():
    """Name -> kind, from the tables METRICS and CANARY_METRICS."""
    tables = (ROOT / "relay/core/metrics.c").read_text().split("METRICS[] = {")[1:]
    return dict(row for table in tables for row in ROW.findall(table[:table.index("\n};")]))


def series(metrics):
    """The names that a query may use."""
    names = set()
    for name, kind in metrics.items():
        names |= {name + end for end in ("_bucket", "_sum", "_count")} if kind == "HISTOGRAM" else {name}
    return names


def rules(path):
    """(name of what is recorded, or None, expression) of each rule. YAML by its layout: the lint needs no library."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M)
    for rule in re.split(r"^ {6}- ", text, flags=re.M)[1:]:
        record = re.match(r"record: (\S+)", rule)
        expr = re.search(r"^ *expr:(.*(?:\n {10}.*)*)", rule, re.M)
        yield record and record.group(1), expr.group(1)


def expressions(path):
    """What is handed to Prometheus: the expr of rules and panels."""
    if path.suffix == ".json":
        panels = json.loads(path.read_text())["panels"]
        return [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [expr for _, expr in rules(path)]


def blind(expr):
    """Where a query would mix outboxes up, or match one with another."""
    yield from (found.group() for found in re.finditer(r"\b(?:by|on|without|ignoring) *\(([^)]*)\)", expr)
                if found.group().startswith(("without", "ignoring")) or not found.group(1).startswith("database, outbox"))
    yield from (found.group() for found in re.finditer(
        r"\b(?:sum|max|min|avg|count|group|count_values|topk) *\(", expr))


def main():
    metrics = declared()
    if len(metrics) < 10:
        sys.exit("metrics: the table in relay/core/metrics.c was not understood")
    page = ROOT / "docs/metrics.md"
    documented = DOCUMENTED.findall(page.read_text()) if page.exists() else []
    problems = [f"docs/metrics.md: {name} is not documented" for name in metrics if name not in documented]
    problems += [f"docs/metrics.md: {name} does not exist" for name in documented if name not in metrics]
    problems += [f"docs/metrics.md: {name} is there twice" for name in set(documented) if documented.count(name) > 1]
    recorded = [name for name, _ in rules(ROOT / "conf/alerts.yml") if name]
    for path in (ROOT / "conf/alerts.yml", ROOT / "conf/dashboard.json"):
        used = [name for expr in expressions(path) for name in MENTIONED.findall(expr)]
        if not used:
            problems.append(f"{path.relative_to(ROOT)}: no metric is used there")
        problems += [f"{path.relative_to(ROOT)}: {name} does not exist" for name in used if name not in series(metrics)]
        problems += [f"{path.relative_to(ROOT)}: {words} mixes outboxes" for expr in expressions(path) for words in blind(expr)]
        own = [name for expr in expressions(path) for name in re.findall(r"\bdatabase_outbox:[a-z0-9_:]+", expr)]
        problems += [f"{path.relative_to(ROOT)}: {name} is not recorded" for name in own if name not in recorded]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"metrics: {len(metrics)} metrics, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
