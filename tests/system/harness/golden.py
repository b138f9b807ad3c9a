# SPDX-License-Identifier: ISC
"""What a real Debezium published for rows of an outbox (../shared/golden), and the configuration that publishes it too."""
import base64
import json
import pathlib
import re
import tempfile
from typing import NamedTuple, Optional

from harness.debezium import imported

FOLDER = pathlib.Path(__file__).resolve().parents[4] / "shared" / "golden"


class Golden(NamedTuple):
    """A record as the file has it. partition: None where the producer chose by itself; the same of timestamp."""
    topic: str
    partition: Optional[int]
    key: Optional[bytes]
    value: Optional[bytes]
    headers: list
    timestamp: Optional[int]
    unstable: frozenset


def names():
    """Of all cases: the files' paths below the folder, without .json."""
    return sorted(str(path.relative_to(FOLDER))[:-5] for path in FOLDER.rglob("*.json"))


def load(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def _bytes(value):
    return None if value is None else base64.b64decode(value["base64"])


def record(data):
    unstable = frozenset(data.get("unstable", ()))
    return Golden(data["topic"], None if "partition" in unstable else data["partition"], _bytes(data["key"]),
                  _bytes(data["value"]), [(h["name"], _bytes(h["value"])) for h in data["headers"]],
                  data["timestamp_ms"] if data["timestamp_source"] == "row" else None, unstable)


def records(case):
    return [record(data) for step in case["steps"] for data in step["records"]]


def tables(case):
    return re.findall(r"CREATE TABLE (\w+)", " ".join(case["ddl"]))


def settings(case, table):
    """The groups outbox, route and encode of the configuration that import-debezium makes for this table."""
    with tempfile.TemporaryDirectory() as directory:
        made = imported(f"{directory}/debezium", case["config"], "--table", table, "--dsn", "host=db1", "--bootstrap", "kafka1")
    return {group: made[group] for group in ("outbox", "route", "encode")}
