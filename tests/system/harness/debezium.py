# SPDX-License-Identifier: ISC
"""Configurations of Debezium as files, and what import-debezium makes of them."""
import importlib.util
import json
import os
import re

from harness.relay import ROOT, run_relay


def read_conf(text):
    """A configuration as {path: value as it is written}."""
    spec = importlib.util.spec_from_file_location("options", os.path.join(ROOT, "tests", "lint", "options.py"))
    options = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(options)
    return options.read_conf(text)


def _value(written):
    """A value as Python has it: libconfig's strings are JSON's as far as they are made here."""
    return json.loads(re.sub(r"^\( ?(.*?) ?\)$", r"[\1]", written))


def settings(text):
    """A configuration as the harness has it: {group: {name: value}}."""
    made = {}
    for path, written in read_conf(text).items():
        *groups, name = path.split(".")
        group = made
        for part in groups:
            group = group.setdefault(part, {})
        group[name] = _value(written)
    return made


def escaped(text, characters=""):
    """As a file of properties has it."""
    return "".join("\\" + c if c == "\\" or c in characters else c for c in text)


def properties(options, escape_dollar=True):
    """Debezium Server takes ${NAME} for itself, unless it is escaped; Kafka Connect does not."""
    shown = (lambda value: value.replace("${", "\\${")) if escape_dollar else (lambda value: value)
    return "".join(f"{escaped(name, ':= ')} = {escaped(shown(value))}\n" for name, value in options.items())


def as_file(options):
    """What Kafka Connect or Debezium Server reads: which of them it is, the options say."""
    return json.dumps(options) if "connector.class" in options else properties(options)


def imported(path, options, *argv):
    """What import-debezium makes of these options; the file is written to path."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(as_file(options))
    done = run_relay("import-debezium", path, *argv)
    assert done.returncode == 0, done.stderr
    return settings(done.stdout)
