# SPDX-License-Identifier: ISC
"""The block for the configuration that `migrate --adopt` prints."""
import re


def block(text):
    """It as a dictionary, as settings of a relay are given."""
    groups = [{}]
    for line in text.splitlines():
        opened = re.match(r"\s*(\w+) = \{$", line)
        value = re.match(r'\s*(\w+) = "((?:[^"\\]|\\.)*)";$', line)
        items = re.match(r"\s*(\w+) = \( (.*) \);$", line)
        if opened:
            group = {}
            groups[-1][opened.group(1)] = group
            groups.append(group)
        elif value:
            groups[-1][value.group(1)] = value.group(2).replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
        elif items:
            groups[-1][items.group(1)] = re.findall(r'"((?:[^"\\]|\\.)*)"', items.group(2))
        elif line.strip() == "};":
            groups.pop()
    return groups[0]
