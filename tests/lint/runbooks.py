#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The runbooks: each page has the same parts, says when and on what it was tried, is in the index, and names alerts and problems
that there are; each problem of a relay has its page."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "runbooks"
PARTS = ["What you see", "What it means", "What to do", "When it is over", "What not to do", "Tried"]
TRIED = re.compile(r"\d{4}-\d\d-\d\d")
VERSION = re.compile(r"outbox-relay \d+\.\d+\.\d+")


def parts(text):
    """Heading -> text of each part, in their order."""
    pieces = re.split(r"^## (.+)\n", text, flags=re.M)
    return dict(zip(pieces[1::2], pieces[2::2]))


def check_form(text):
    found = parts(text)
    if list(found) != PARTS:
        yield f"has the parts {list(found)}; the form is {PARTS}"
        return
    yield from (f'"{name}" is empty' for name, body in found.items() if not body.strip())
    tried = found["Tried"]
    if not TRIED.search(tried) or not VERSION.search(tried):
        yield '"Tried" has no date (2026-11-29), or no version (outbox-relay 0.1.0)'
    if "```console\n" not in tried:
        yield '"Tried" has no transcript (```console)'
    for script in re.findall(r"`(tests/[\w/]+\.py)`", tried):
        if not (ROOT / script).exists():
            yield f"{script} does not exist"


def check_names(text, alerts):
    for alert in sorted(set(re.findall(r"OutboxRelay[A-Z]\w+", text)) - alerts):
        yield f"no alert is called {alert}"


def problems(alerts):
    index = (PAGES / "README.md").read_text()
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text()
        found = list(check_names(text, alerts))
        if page.stem != "README":
            found += check_form(text)
            found += [] if f"]({page.name})" in index else ["is not in the index"]
        yield from (f"{page.relative_to(ROOT)}: {what}" for what in found)
    health = (ROOT / "include" / "core" / "health.h").read_text()
    for name, stem in re.findall(r'X\(\w+, "(\w+)", "([\w-]+)"\)', health):
        page = PAGES / f"{stem}.md"
        if not page.exists():
            yield f"problem {name}: there is no {stem}.md"
        elif f"`{name}`" not in page.read_text():
            yield f"docs/runbooks/{stem}.md: does not mention the problem `{name}`"


def main():
    alerts = set(re.findall(r"- alert: (\w+)", (ROOT / "conf" / "alerts.yml").read_text()))
    found = list(problems(alerts))
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"runbooks: {len(list(PAGES.glob('*.md'))) - 1} pages, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
