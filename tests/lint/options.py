#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Every option of relay/config/table.c is in docs/configuration.md and in conf/outbox-relay.conf, with the
same default, and nothing else is; every refused librdkafka property is documented too."""
import pathlib
import re
import sys

TYPES = {"STRING": "string", "STRINGS": "list", "CHOICE": "choice", "NUMBER": "number", "BOOL": "boolean",
         "DURATION": "duration", "SIZE": "size"}
STRING = r'"(?:[^"\\]|\\.)*"'


def read_table(text):
    """The rows of config/table.c: path -> {field: text as in C}."""
    body = text[text.index("const struct option options[]"):text.index("const size_t option_count")]
    rows = {}
    for kind, path, rest in re.findall(r"^\t\{([A-Z]+)\(([\w.]+)(.*?)\},$", body, re.S | re.M):
        rows[path] = {"type": kind, **dict(re.findall(r"\.(\w+) = (%s|[^,\"]+)" % STRING, rest))}
    if len(re.findall(r"^\t\{", body, re.M)) != len(rows):
        sys.exit("options.py: cannot read all rows of the table")
    return rows


def as_written(row):
    """The default as it stands in a configuration; None where a value is required."""
    if "fallback" not in row:
        return None
    kind = row["type"]
    if kind in ("NUMBER", "BOOL"):
        return row["fallback"].strip('"')
    if kind == "STRINGS":
        items = row["fallback"].strip('"').split("\\n")
        if items == [""]:
            return "( )"
        return "( %s )" % ", ".join(f'"{item}"' for item in items)
    return row["fallback"]


def read_conf(text):
    """path -> value as written, of a file in libconfig's syntax (what the sample uses of it)."""
    tokens = re.findall(r"#[^\n]*|%s|[\w.+-]+|[{}()=;,]" % STRING, text)
    tokens = [t for t in tokens if not t.startswith("#")]
    values, groups, at = {}, [], 0
    while at < len(tokens):
        token = tokens[at]
        if token == "}":
            groups.pop()
            at += 1
        elif token == ";":
            at += 1
        elif tokens[at + 2] == "{":
            groups.append(token)
            at += 3
        else:
            end = tokens.index(";", at)
            value = " ".join(tokens[at + 2:end]).replace(" ,", ",")
            values[".".join(groups + [token])] = value
            at = end + 1
    return values


def check_conf(rows, conf):
    for path, row in rows.items():
        if path not in conf:
            yield f"conf/outbox-relay.conf: {path} is not shown"
        elif as_written(row) not in (None, conf[path]):
            yield f"conf/outbox-relay.conf: {path} is {conf[path]}; its default is {as_written(row)}"
    for path in conf.keys() - rows.keys():
        yield f"conf/outbox-relay.conf: there is no option {path}"


def check_section(path, row, section):
    facts = [fact.strip() for fact in section.strip().splitlines()[0].split("·")]
    default = as_written(row)
    wanted = [TYPES[row["type"]],
              "reloaded by SIGHUP" if "reloadable" in row else "not reloaded"]
    if default is not None:
        wanted.append(f"default `{default}`")
    elif not any(fact.startswith("required") for fact in facts):
        yield f"docs/configuration.md: {path}: not said to be required"
    for fact in wanted:
        if fact not in facts:
            yield f"docs/configuration.md: {path}: its first line lacks: {fact}"
    if not re.search(r"^    .*\b%s\b =" % path.rsplit(".", 1)[-1], section, re.M):
        yield f"docs/configuration.md: {path}: no example"


def check_docs(rows, docs):
    parts = re.split(r"^### `(.*)`\n|^## .*\n", docs, flags=re.M)
    sections = {name: text for name, text in zip(parts[1::2], parts[2::2]) if name}
    for path, row in rows.items():
        if path in sections:
            yield from check_section(path, row, sections[path])
        else:
            yield f"docs/configuration.md: {path} has no section"
    for path in sections.keys() - rows.keys():
        yield f"docs/configuration.md: there is no option {path}"


def check_properties(source, docs):
    for pattern in re.findall(r'^    \{"([^"]+)", \w+\}', source, re.M):
        if f"`{pattern}`" not in docs:
            yield f"docs/configuration.md: kafka.properties: {pattern} is refused, and not listed"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])
    rows = read_table((root / "relay/config/table.c").read_text())
    docs = (root / "docs/configuration.md").read_text()
    found = list(check_conf(rows, read_conf((root / "conf/outbox-relay.conf").read_text())))
    found += check_docs(rows, docs)
    found += check_properties((root / "relay/config/check.c").read_text(), docs)
    print("\n".join(found) if found else f"options: {len(rows)} documented and in the sample")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
