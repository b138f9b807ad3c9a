#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Every file that can hold a comment says its licence in its first line, or in the second after `#!`. `--add` adds it.

Without: pages (*.md), what its tool writes or has no comments (JSON, go.sum), and what tests read byte by byte (corpora,
golden files).
"""
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINE = "SPDX-License-Identifier: ISC"
# By the end of a file's name, or all of it.
COMMENT = {
    "# {}": "py sh cmake txt yml yaml toml conf service timer supp properties preinst postinst prerm postrm run clang-format "
            "clang-tidy editorconfig gitignore dockerignore helmignore Dockerfile control rules lintian-overrides",
    "/* {} */": "c h css",
    "// {}": "go mod js java",
    "-- {}": "sql",
    "<!-- {} -->": "xml svg html",
    '.\\" {}': "5 8",
    "{{{{- /* {} */ -}}}}": "tpl",
}
STYLE = {kind: style for style, kinds in COMMENT.items() for kind in kinds.split()}
FIRST = ("#!", "<?xml", "<!doctype", "<!DOCTYPE", "# syntax=")  # must be a file's first line
WITHOUT = re.compile(r"\.(md|json|sum|png)$|(^|/)(LICENSE|NOTES\.txt|README\.Debian|changelog(\.in)?|conffiles|copyright)$|/(corpus|golden)/")
NOT_OURS = re.compile(r"(\./build[^/]*|.*/(\.git|__pycache__|\.pytest_cache))$")  # .gitignore


def files():
    """Those of the project, in a clone or in an unpacked tarball."""
    for folder, folders, names in os.walk("."):
        folders[:] = sorted(name for name in folders if not NOT_OURS.match(f"{folder}/{name}"))
        yield from (pathlib.Path(folder, name) for name in sorted(names) if not NOT_OURS.match(f"{folder}/{name}"))


def check(path, name, add):
    """What is wrong with the file, or nothing."""
    kind = path.name.rpartition(".")[2]
    if WITHOUT.search(name):
        return None
    if kind not in STYLE:
        return "how does it hold a comment? Say it in tests/lint/licence.py"
    lines = path.read_text().splitlines(keepends=True)
    at = 1 if lines and lines[0].startswith(FIRST) else 0
    wanted = STYLE[kind].format(LINE) + "\n"
    if lines[at:at + 1] == [wanted]:
        return None
    if add:
        path.write_text("".join(lines[:at] + [wanted] + lines[at:]))
        return None
    return f"line {at + 1} is not '{wanted.strip()}'; tests/lint/licence.py --add adds it"


def main():
    os.chdir(ROOT)
    found = [(path, path.as_posix()) for path in files()]
    problems = [f"{name}: {what}" for path, name in found if (what := check(path, name, sys.argv[1:] == ["--add"]))]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"licence: {len(found)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
