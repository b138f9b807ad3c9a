#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The documentation: lines of at most 100 columns outside of tables and code, links and anchors that lead somewhere, the
field's words, code quoted from files, and messages of the log as the code has them."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
WIDTH = 100

# What is not written, and what is written instead. Prose only: code and quoted messages are as the program has them.
WORDS = {
    r"for ever|forever": "indefinitely", r"somebody( else)?|somebody's|nobody else's?": "another session, another process",
    r"mend(s|ed|ing)?": "fix", r"set(s|ting)? aside": "dead-lettered", r"stand(s|ing)? by": "standby", r"stood by": "standby",
    r"(is|are|was) away": "is unreachable", r"fleets?": "group", r"in company|with company|have company": "other relays",
    r"abstain(s|ed|ing|er|ers)?": "unavailable", r"ceiling": "high watermark", r"the floor|a floor": "low watermark",
    r"at once": "immediately", r"withdraw(s|n|ing)?": "roll back", r"deaf": "unresponsive", r"the waker": "idle scheduler",
    r"lingers?|lingering": "short polling", r"lanes?": "first-record gate", r"truths?": "boolean", r"bury|graves?": "background destroy",
    r"(a|each|every|one|the next|two|four|its|short) looks?": "poll", r"tells? (which|who|what|how)": "report",
    r"other than lost|since ever|as it is there|vouch(es|ed)?": "plainer words",
}

CODE = re.compile(r"`[^`]*`")
QUOTE = re.compile(r"^```[a-z]+ (\S+)\n(.*?)\n```$", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"|^\[[^\]]+\]: (\S+)", re.M)


def pages():
    """The pages that are written for people."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGES.md")]
    return top + sorted((ROOT / "docs").rglob("*.md"))


def comments():
    """(file, number, line) of manuals, comments of samples and texts of alerts."""
    for path in sorted((ROOT / "docs").glob("*.[0-9]")) + sorted(filter(pathlib.Path.is_file, (ROOT / "conf").iterdir())):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if path.parent.name == "docs" or re.match(r"\s*#|\s*(- )?(summary|description):|\s*[A-Z][a-z ]", line):
                yield path, number, line


def prose(text):
    """(number, line) of each line that is neither code nor in a fence."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield number, line


def anchors(page):
    """The anchors of a page, as GitHub makes them of its headings."""
    found = set()
    for _, line in prose(page.read_text()):
        if line.startswith("#"):
            title = re.sub(r"[`*]|\[|\]\([^)]*\)", "", line.lstrip("#").strip()).lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


def check_width(lines):
    for number, line in lines:
        if len(line) > WIDTH and not line.startswith("|") and " " in line[:WIDTH].strip():
            yield number, f"{len(line)} columns; at most {WIDTH}"


def check_links(page, text):
    plain = "\n".join(line for _, line in prose(text))
    for groups in LINK.findall(CODE.sub("", plain)):
        target = "".join(groups)
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists():
            yield 0, f"link to {target}, which does not exist"
        elif anchor and anchor not in anchors(there):
            yield 0, f"link to {target}: no such heading"


def check_quotes(page, text):
    """Code that is said to be from a file (```python examples/python/shop.py) is there word for word."""
    for name, code in QUOTE.findall(text):
        path = page.parent / name
        source = path.read_text() if path.exists() else ""
        lines, quoted = source.splitlines(), code.splitlines()
        if not any(lines[at:at + len(quoted)] == quoted for at in range(len(lines))):
            yield 0, f"{name} has no such lines as those that begin: {quoted[0]}"


def check_words(lines):
    for number, line in lines:
        line = CODE.sub("", line)
        for pattern, instead in WORDS.items():
            found = re.search(rf"\b(?:{pattern})\b", line, re.I)
            if found:
                yield number, f'"{found.group()}"; write: {instead}'


def strings():
    """The strings of the sources, cut where a value goes, one a line."""
    sources = "".join(path.read_text() for folder in ("relay", "include") for path in (ROOT / folder).rglob("*.[ch]"))
    sources = re.sub(r'"\s*(?:PRI\w+\s*)?"', "", re.sub(r"/\*.*?\*/", "", sources, flags=re.S))
    found = re.findall(r'"((?:[^"\\\n]|\\.)*)"', sources)
    cut = (piece.strip() for text in found for piece in re.split(r"%[-+ .*0-9]*[hlzj]*[a-zA-Z]", text.replace('\\"', '"')))
    return "\n" + "\n".join(cut) + "\n"


def is_said(words, sources, before=""):
    """Whether the words are in the sources, or put together there: the end of one string, the beginning of another."""
    if before + " ".join(words) in sources:
        return True
    return any(before + " ".join(words[:end]) + "\n" in sources and is_said(words[end:], sources, "\n")
               for end in range(1, len(words)))


def check_messages(page):
    """Each message in the first column of logs.md, in the parts between its values, is said by the sources."""
    sources = strings()
    for number, line in prose(page.read_text()):
        for message in CODE.findall(line.split(" | ")[0]) if line.startswith("| `") else ():
            for part in re.split(r"\.\.\.|\b(?:in |for )?(?:[A-Z]+|[0-9]+)\b|[`\":;,()]", message):
                if len(part.split()) > 1 and not is_said(part.split(), sources):
                    yield number, f'no message has "{part.strip()}"'


def check_codes(text):
    """Every code and field of a line in the sources is in the tables of logs.md, and the other way round."""
    sources = "".join(path.read_text() for path in (ROOT / "relay").rglob("*.c"))
    said = set(re.findall(r'log_fact\([^;"]*"(\w+)"', sources)) | set(re.findall(r'field_\w+\("(\w+)"', sources))
    rows = [line.split("|")[1:3] for line in text.partition("## Codes and fields")[2].splitlines() if line.startswith("|")]
    documented = {name for row in rows for cell in row for name in re.findall(r"`([a-z_]+)`", cell)}
    yield from ((0, f"`{name}` is not documented") for name in sorted(said - documented))
    yield from ((0, f"no line has `{name}`") for name in sorted(documented) if f'"{name}"' not in sources)


def main():
    problems = []
    for page in pages():
        text = page.read_text()
        lines = list(prose(text))
        found = [*check_width(lines), *check_links(page, text), *check_words(lines), *check_quotes(page, text)]
        if page.name == "logs.md":
            found += [*check_messages(page), *check_codes(text)]
        problems += [f"{page.relative_to(ROOT)}:{number}: {what}" for number, what in found]
    beside = [page for folder in ("relay", "tests") for page in sorted((ROOT / folder).rglob("README.md"))]
    for page in beside:
        problems += [f"{page.relative_to(ROOT)}: {what}" for _, what in check_links(page, page.read_text())]
    for path, number, line in comments():
        problems += [f"{path.relative_to(ROOT)}:{number}: {what}"
                     for _, what in [*check_width([(number, line)]), *check_words([(number, line)])]]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"docs: {len(pages())} pages, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
