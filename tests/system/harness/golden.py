# SPDX-License-Identifier: ISC
"""What a real Debezium published for rows of an outbox (../shared/golden), and the configuration that publishes it too."""
import base64
import json
import pathlib
import re
from typing import NamedTuple, Optional

FOLDER = pathlib.Path(__file__).resolve().parents[4] / "shared" / "golden"
ROUTER = "transforms.outbox."
DEFAULT_REGEX = "(?<routedByValue>.*)"
FORMATS = {"simplestring": "string", "binary": "bytes"}
CONVERTERS = {"StringConverter": "string", "SimpleHeaderConverter": "simple", "JsonConverter": "json",
              "ByteArrayConverter": "bytes", "BinaryDataConverter": "bytes"}


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


def _plain(config):
    """Without what Debezium Server puts in front."""
    return {re.sub(r"^debezium\.(source\.)?", "", name): value for name, value in config.items()}


def _placements(config):
    """(column, placement, alias) of each, but a payload that is placed as a header: templates do not have it."""
    text = config.get(ROUTER + "table.fields.additional.placement", "")
    for item in filter(None, (part.strip() for part in text.split(","))):
        parts = [part.strip() for part in item.split(":")]
        if (parts[0], parts[1].lower()) != ("payload", "header"):
            yield parts[0], parts[1].lower(), parts[2] if len(parts) > 2 else parts[0]


def _field(column, config):
    """A column as a template; its id is our event id."""
    return "${event_id}" if column == config.get(ROUTER + "table.field.event.id", "id") else f"${{{column}}}"


def _format(config, part, server):
    """Of "key", "value" or "header"."""
    if server:
        word = config.get(f"format.{part}", "json")
        if word == "clientprovided":
            word = CONVERTERS[config[f"format.{part}.class"].rsplit(".", 1)[1]]
        word = {**FORMATS, "jsonbytearray": "json"}.get(word, word)
        schemas = config.get(f"format.{part}.schemas.enable", "true")
    else:
        default = "org.apache.kafka.connect.storage.SimpleHeaderConverter"
        word = CONVERTERS[config.get(f"{part}.converter", default).rsplit(".", 1)[1]]
        schemas = config.get(f"{part}.converter.schemas.enable", "true")
    return "json-schema" if word == "json" and schemas == "true" else word


def settings(case, table):
    """The groups outbox, route and encode of a configuration for this table."""
    config = _plain(case["config"])
    server = case["runtime"].startswith("Debezium Server")
    option = lambda name, default="": config.get(ROUTER + name, default)  # noqa: E731
    placed = list(_placements(config))
    envelope = [f"{alias}={_field(column, config)}" for column, place, alias in placed if place == "envelope"]
    value = _format(config, "value", server)
    route = {
        "topic": "${%s}" % option("route.by.field", "aggregatetype"),
        "topic_regex": option("route.topic.regex", DEFAULT_REGEX),
        "topic_replacement": option("route.topic.replacement", "outbox.event.${routedByValue}"),
        "key": "${%s}" % option("table.field.event.key", "aggregateid"),
        "headers": ["id=${event_id}"] + [f"{alias}={_field(column, config)}" for column, place, alias in placed
                                         if place == "header"],
    }
    # Debezium Server's sink leaves both out.
    if not server:
        route["timestamp"] = option("table.field.event.timestamp")
        route["partition"] = next((column for column, place, _ in placed if place == "partition"), "")
    encode = {
        "key": _format(config, "key", server), "value": value, "headers": _format(config, "header", server),
        "envelope": envelope, "expand": option("table.expand.json.payload") == "true",
        "null_fields": {"optional_bytes": "keep"}.get(option("table.json.payload.null.behavior"), "drop"),
        "tombstone_on_empty": option("route.tombstone.on.empty.payload") == "true",
        "decimal": config.get("decimal.handling.mode", "precise"),
        "time": config.get("time.precision.mode", "adaptive"),
        "binary": config.get("binary.handling.mode", "bytes"),
        "interval": config.get("interval.handling.mode", "numeric"),
    }
    if envelope and value == "json-schema":
        encode["schema_namespace"] = f"{config['topic.prefix']}.public.{table}"
        encode["schema_version"] = option("table.field.event.schema.version")
    columns = {"id": "relay_id", "event_id": "id", "aggregate_type": "aggregatetype", "aggregate_id": "aggregateid",
               "event_type": "type", "payload": "payload", "headers": "", "created_at": ""}
    return {"outbox": {"table": table, "columns": columns}, "route": route, "encode": encode}
