# SPDX-License-Identifier: ISC
"""import-debezium: what it makes of a connector's configuration, what it says is lost, and what it refuses."""
import json
import os
import re

import pytest

from harness import golden
from harness.debezium import as_file, imported, properties, read_conf
from harness.relay import ROOT, run_relay

ROUTER = "io.debezium.transforms.outbox.EventRouter"
STRING = "org.apache.kafka.connect.storage.StringConverter"
JSON = "org.apache.kafka.connect.json.JsonConverter"
CONNECTOR = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1", "plugin.name": "pgoutput",
    "database.hostname": "db1", "database.port": "6432", "database.user": "debezium", "database.password": "hunter2",
    "database.dbname": "shop", "database.sslmode": "require", "topic.prefix": "shop", "slot.name": "outbox",
    "publication.name": "outbox", "publication.autocreate.mode": "filtered", "table.include.list": "public.outbox",
    "snapshot.mode": "no_data", "tombstones.on.delete": "false", "heartbeat.interval.ms": "0", "errors.tolerance": "none",
    "transforms": "outbox", "transforms.outbox.type": ROUTER,
    "transforms.outbox.route.topic.replacement": "shop.${routedByValue}.events",
    "transforms.outbox.table.fields.additional.placement": "type:header:eventType",
    "key.converter": STRING, "value.converter": JSON, "value.converter.schemas.enable": "false",
    "producer.override.bootstrap.servers": "kafka1:9092,kafka2:9092", "producer.override.linger.ms": "5",
}
PASSWORD = "database.password = (not shown): a password is not copied; write it into the file " \
    "/etc/outbox-relay/database-password, or change database.password_file\n"
GIVEN = ["--dsn", "host=127.0.0.1 port=1 dbname=shop user=outbox_relay", "--bootstrap", "127.0.0.1:1"]


def server(connector, **formats):
    """The same connector in Debezium Server."""
    options = {"debezium.sink.type": "kafka"}
    for name, value in connector.items():
        if name.startswith("producer.override."):
            name = name.replace("producer.override.", "debezium.sink.kafka.producer.")
        elif name.startswith("transforms"):
            name = f"debezium.{name}"
        elif "converter" in name:
            continue
        else:
            name = f"debezium.source.{name}"
        options[name] = value
    return options | {f"debezium.format.{name.replace('_', '.')}": value for name, value in formats.items()}


@pytest.fixture
def made(tmp_path):
    """Runs the command on a text or on options as a connector's JSON."""
    def make(what, *argv):
        path = tmp_path / "debezium"
        path.write_bytes(what if isinstance(what, bytes) else (what if isinstance(what, str) else json.dumps(what)).encode())
        return run_relay("import-debezium", path, *argv)
    return make


@pytest.fixture
def accepted(made, tmp_path):
    """What was made, as {path: value}; its file is right, and only the database cannot be reached."""
    def accept(what, *argv):
        done = made(what, *GIVEN, *argv)
        assert done.returncode == 0, done.stderr
        path = tmp_path / "outbox-relay.conf"
        path.write_text(done.stdout)
        checked = run_relay("status", "-c", path)
        assert checked.returncode == 1, (done.stdout, checked.stdout, checked.stderr)
        return read_conf(done.stdout), done.stderr
    return accept


def test_a_connector(made):
    """All of it, and the lines for what only the owner has."""
    done = made(CONNECTOR)
    assert (done.returncode, done.stderr) == (0, PASSWORD)
    assert read_conf(done.stdout) == {
        "database.dsn": '"host=db1 port=6432 dbname=shop user=debezium sslmode=require"',
        "database.password_file": '"/etc/outbox-relay/database-password"',
        "outbox.table": '"outbox"', "outbox.columns.id": '"relay_id"', "outbox.columns.event_id": '"id"',
        "outbox.columns.aggregate_type": '"aggregatetype"', "outbox.columns.aggregate_id": '"aggregateid"',
        "outbox.columns.event_type": '"type"', "outbox.columns.payload": '"payload"', "outbox.columns.headers": '""',
        "outbox.columns.created_at": '""', "outbox.settle": '"delete"', "outbox.on_reject": '"park"',
        "kafka.bootstrap_servers": '"kafka1:9092,kafka2:9092"',
        "kafka.properties": '( "compression.codec=lz4", "linger.ms=5" )',
        "route.topic": '"shop.${aggregate_type}.events"', "route.key": '"${aggregate_id}"',
        "route.headers": '( "id=${event_id}", "eventType=${event_type}" )',
        "encode.key": '"string"', "encode.value": '"json"', "encode.headers": '"simple"'}


def test_whatever_holds_the_options(made):
    """The bare map, what the REST API takes and answers, a manifest, properties of Kafka Connect standalone."""
    expected = made(CONNECTOR)
    rest = {key: value for key, value in CONNECTOR.items() if key != "connector.class"}
    for what in [
            {"name": "shop", "config": CONNECTOR},
            {"name": "shop", "config": CONNECTOR, "tasks": [{"connector": "shop", "task": 0}], "type": "source"},
            {"shop": {"info": {"name": "shop", "config": CONNECTOR, "tasks": []}, "status": {}}},
            {"apiVersion": "kafka.strimzi.io/v1beta2", "kind": "KafkaConnector",
             "spec": {"class": CONNECTOR["connector.class"], "tasksMax": 1, "config": rest}},
            "\ufeff" + json.dumps(CONNECTOR), properties(CONNECTOR, escape_dollar=False)]:
        done = made(what)
        assert (done.returncode, done.stdout, done.stderr) == (0, expected.stdout, expected.stderr), what
    assert made(CONNECTOR | {"tasks.max": 1, "value.converter.schemas.enable": False}).stdout == expected.stdout


def test_debezium_server(made):
    """The same configuration, with its own defaults."""
    connect = read_conf(made(CONNECTOR).stdout)
    done = made(properties(server(CONNECTOR, key="simplestring", value_schemas_enable="false")))
    assert (done.returncode, done.stderr) == (0, "debezium.source." + PASSWORD)
    assert read_conf(done.stdout) == connect | {"encode.headers": '"json-schema"'}


def test_standard_input(made):
    path = "/dev/stdin"
    assert run_relay("import-debezium", path).returncode == 2  # it is empty
    assert "is no configuration of Debezium" in run_relay("import-debezium", "-").stderr


def golden_configurations():
    """Those of the golden records, each as its runtime reads it; of Kafka Connect also as properties."""
    for name in golden.names():
        config = golden.load(name)["config"]
        yield pytest.param(as_file(config), id=name)
        if "connector.class" in config:
            yield pytest.param(properties(config, escape_dollar=False), id=f"{name}-properties")


ROUTED = "transforms.outbox.table.fields.additional.placement"
MADE = [
    ({"transforms.outbox.table.field.event.id": "uuid", "transforms.outbox.table.field.event.key": "key",
      "transforms.outbox.table.field.event.type": "kind", "transforms.outbox.table.field.event.payload": "body",
      "transforms.outbox.route.by.field": "topic"},
     {"outbox.columns.event_id": '"uuid"', "outbox.columns.aggregate_id": '"key"', "outbox.columns.event_type": '"kind"',
      "outbox.columns.payload": '"body"', "outbox.columns.aggregate_type": '"topic"',
      "route.topic": '"shop.${aggregate_type}.events"'}),
    ({"transforms.outbox.route.by.field": "type", "transforms.outbox.route.topic.regex": "([a-z]+)\\.(?<ev>.*)",
      "transforms.outbox.route.topic.replacement": "$1_${ev}"},
     {"route.topic": '"${event_type}"', "route.topic_regex": r'"([a-z]+)\\.(?<ev>.*)"',
      "route.topic_replacement": '"$1_${ev}"'}),
    ({ROUTED: "tenant:header,part:partition,type:envelope:kind"},
     {"route.headers": '( "id=${event_id}", "tenant=${tenant}" )', "route.partition": '"part"',
      "encode.envelope": '( "kind=${event_type}" )'}),
    ({ROUTED: "type:envelope", "value.converter.schemas.enable": "true",
      "transforms.outbox.table.field.event.schema.version": "version"},
     {"encode.value": '"json-schema"', "encode.schema_namespace": '"shop.public.outbox"', "encode.schema_version": '"version"',
      "route.topic": '"${aggregate_type}"', "route.topic_regex": '"(?<routedByValue>.*)"'}),
    ({"transforms.outbox.table.field.event.timestamp": "ts"},
     {"route.timestamp": '"ts"', "outbox.columns.created_at": '"ts"'}),
    ({"transforms.outbox.table.expand.json.payload": "TRUE", "transforms.outbox.table.json.payload.null.behavior": "optional_bytes",
      "transforms.outbox.table.json.payload.empty.array.behavior": "optional_string",
      "transforms.outbox.route.tombstone.on.empty.payload": "true"},
     {"encode.expand": "true", "encode.null_fields": '"keep"', "encode.empty_arrays": '"keep"',
      "encode.tombstone_on_empty": "true"}),
    ({"decimal.handling.mode": "double", "time.precision.mode": "connect", "binary.handling.mode": "hex",
      "interval.handling.mode": "STRING"},
     {"encode.decimal": '"double"', "encode.time": '"connect"', "encode.binary": '"hex"', "encode.interval": '"string"'}),
    ({"value.converter": "io.debezium.converters.BinaryDataConverter", "header.converter": STRING},
     {"encode.value": '"bytes"', "encode.headers": '"string"'}),
    ({"connector.class": "PostgresConnector", "transforms.outbox.type": "EventRouter", "key.converter": "Json",
      "key.converter.schemas.enable": " False", "value.converter": " JsonConverter ", "value.converter.schemas.enable": "true ",
      "header.converter": "Simple"},
     {"encode.key": '"json"', "encode.value": '"json-schema"', "encode.headers": '"simple"'}),
    ({"errors.tolerance": "all", "exactly.once.support": "required"},
     {"outbox.on_reject": '"dead-letter"', "kafka.delivery": '"exactly-once"'}),
    ({"producer.override.compression.type": "zstd", "producer.override.security.protocol": "SSL",
      "producer.override.ssl.truststore.type": "PEM", "producer.override.ssl.truststore.location": "/etc/ca.pem",
      "producer.override.max.request.size": "2000000", "producer.override.acks": "all"},
     {"kafka.properties": '( "linger.ms=5", "compression.codec=zstd", "security.protocol=ssl", "message.max.bytes=2000000", '
      '"ssl.ca.location=/etc/ca.pem" )'}),
    ({"skipped.operations": "u, d", "heartbeat.interval.ms": " 0 ", "signal.enabled.channels": "Source",
      "schema.include.list": "public", "snapshot.select.statement.overrides": "public.outbox", "offset.flush.interval.ms": "1"}, {}),
    ({"table.include.list": r"shop\.outbox"}, {"outbox.table": '"shop.outbox"'}),
    ({"table.include.list": "public.OutboxEvent"}, {"outbox.table": r'"\"OutboxEvent\""'}),
]


@pytest.mark.parametrize("changes, expected", MADE)
def test_what_options_become(accepted, changes, expected):
    """Each becomes this, nothing is lost, and the file is right."""
    found, lost = accepted(CONNECTOR | changes)
    assert lost == ""
    assert {path: found.get(path) for path in expected} == expected


@pytest.mark.parametrize("text", golden_configurations())
def test_golden_configurations(accepted, text):
    found, _ = accepted(text)
    assert found["route.headers"].startswith('( "id=${event_id}"')


LOST = [
    ({"heartbeat.interval.ms": "10000"}, "the relay has no slot"),
    ({"transforms": "outbox,mask", "transforms.mask.type": "x.Mask$Value"},
     'transforms.mask.type = "x.Mask$Value": the relay has no transforms; what this one does to records behind the router'),
    ({"transforms": "filter, outbox", "transforms.filter.type": "x.Filter"}, "to rows before the router"),
    ({"predicates": "isOutbox", "predicates.isOutbox.type": "x.TopicNameMatches"}, "every row of outbox.table is an event"),
    ({"transforms.outbox.predicate": "isOutbox"}, "every row of outbox.table is an event"),
    ({"value.converter": "io.confluent.connect.avro.AvroConverter"}, "CONSUMERS WOULD GET OTHER BYTES"),
    ({"key.converter": "org.apache.kafka.connect.converters.LongConverter"}, "CONSUMERS WOULD GET OTHER BYTES"),
    ({"value.converter": "io.debezium.converters.BinaryDataConverter",
      "value.converter.delegate.converter.type": JSON}, "the relay has no converter behind that for bytes"),
    ({"value.converter": "io.debezium.converters.BinaryDataConverter",
      "transforms.outbox.table.expand.json.payload": "true"}, 'payloads are not expanded with encode.value = "bytes"'),
    ({"value.converter.schema.registry.url": "http://registry"}, "an option of a converter that the relay does not have"),
    ({"value.converter.decimal.format": "NUMERIC"}, "as base64"),
    ({"time.precision.mode": "isostring"}, "the relay has no such value"),
    ({"table.include.list": "public.outbox,public.orders"}, "a relay publishes one table: outbox.table is set to outbox;"),
    ({"table.include.list": "public.outbox_.*"}, "name the right one by --table TABLE"),
    ({"transforms.outbox.table.op.invalid.behavior": "fatal"}, "the relay does not see updates"),
    ({"transforms.outbox.table.field.additional.missing": "ignore"}, "does not start if a column is missing"),
    ({"transforms.outbox.tracing.span.context.field": "trace"}, "the relay makes no spans"),
    ({ROUTED: "a:nowhere"}, 'placement = "a:nowhere": it is not column:placement'),
    ({"message.prefix.include.list": "outbox"}, "the relay reads rows"),
    ({"column.mask.with.10.chars": "public.outbox.payload"}, "publishes columns as they are"),
    ({"converters": "isbn"}, "it names classes of Java"),
    ({"skipped.operations": "c"}, "every row that is inserted"),
    ({"provide.transaction.metadata": "true"}, "no metadata of transactions"),
    ({"topic.creation.default.partitions": "8"}, "the relay creates no topics"),
    ({"producer.override.acks": "1"}, "always waits for all in-sync replicas"),
    ({"producer.override.partitioner.class": "x.Mine"}, "would go to other partitions"),
    ({"producer.override.ssl.truststore.location": "/a.jks"}, "librdkafka reads PEM"),
    ({"producer.override.batch.size": "0"}, "kafka.properties takes no batch.size like it"),
    ({"producer.override.sasl.mechanism": "AWS_MSK_IAM"}, "librdkafka logs in to MSK by OAUTHBEARER"),
    ({"producer.override.sasl.jaas.config": "nonsense"}, "sasl.jaas.config = (not shown): it is not read"),
    ({"producer.override.no.such": "1"}, "librdkafka has no property like it"),
    ({"heartbeat.intervall.ms": "1"}, "unknown to the relay, and no option of Debezium or Kafka Connect"),
    ({"my.own\x1b[31m": "a\nb\x07"}, 'my.own [31m = "a b ": unknown'),
]


@pytest.mark.parametrize("changes, words", LOST)
def test_what_is_lost(accepted, changes, words):
    """A line for it, with its name, its value, and what to do; and a configuration that is right without it."""
    _, lost = accepted(CONNECTOR | changes)
    assert words in lost and lost.count("\n") == 1, lost
    assert lost.startswith(tuple(re.sub(r"[\x00-\x1f]", " ", name) for name in changes)), lost


def test_what_debezium_server_ignores(accepted):
    """It sends neither partition nor time to Kafka, and so the relay does not; both are told."""
    options = server(CONNECTOR | {ROUTED: "part:partition", "transforms.outbox.table.field.event.timestamp": "ts"})
    found, lost = accepted(properties(options))
    assert "route.partition" not in found and "route.timestamp" not in found and lost.count("\n") == 2
    assert "Debezium Server ignores the placement of part as partition" in lost
    assert 'route.timestamp = "ts" would do what was meant' in lost


@pytest.mark.parametrize("changes, words", [
    ({"transforms.outbox.route.topic.replacement": "my topic"}, r'line \d+: route\.topic "my topic" has a character'),
    ({"transforms.outbox.route.topic.regex": "([a-z"}, r"line \d+: route\.topic_regex"),
    ({ROUTED: ",".join(f"c{n}:header" for n in range(40))}, r"line \d+: .* different fields"),
    ({"transforms.outbox.table.field.event.payload": "p" * 64}, r"line \d+: outbox\.columns\.payload has 64 bytes"),
])
def test_what_is_not_right_together(made, changes, words):
    """The file is written, and what the relay will say of it is said at once."""
    done = made(CONNECTOR | changes)
    assert done.returncode == 0 and done.stdout
    assert re.search("the configuration is not yet right: " + words, done.stderr), done.stderr


def test_what_the_worker_has(made):
    """Converters and brokers that a connector does not name are its worker's."""
    connector = {name: value for name, value in CONNECTOR.items() if "converter" not in name and "bootstrap" not in name}
    done = made(connector)
    found = read_conf(done.stdout)
    assert (found["encode.key"], found["encode.value"], found["encode.headers"]) == ('"json-schema"', '"json-schema"', '"simple"')
    assert found["kafka.bootstrap_servers"] == '"${env:KAFKA_BOOTSTRAP_SERVERS}"'
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "key.converter", "value.converter", "database.password = (not shown)", "bootstrap.servers"]


def test_wishes(made):
    """They win over the file, and nothing is said of what they replace."""
    done = made(CONNECTOR, "--dsn", "postgresql://u:hunter2@db2/other", "--bootstrap", "k:1", "--table", "a.b")
    found = read_conf(done.stdout)
    assert found["database.dsn"] == '"user=u dbname=other host=db2"' and found["kafka.bootstrap_servers"] == '"k:1"'
    assert found["outbox.table"] == '"a.b"' and "hunter2" not in done.stdout + done.stderr
    assert done.stderr == "--dsn: its password is not copied; write it into the file /etc/outbox-relay/database-password, " \
        "or change database.password_file\n"


def test_logins(made):
    """The user is carried over, the password is not."""
    login = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="relay" password="hunter2";'
    done = made(CONNECTOR | {"producer.override.sasl.jaas.config": login, "producer.override.sasl.mechanism": "SCRAM-SHA-512",
                             "producer.override.security.protocol": "SASL_SSL"})
    found = read_conf(done.stdout)
    assert '"sasl.mechanism=SCRAM-SHA-512", "sasl.username=relay"' in found["kafka.properties"]
    assert found["kafka.sasl_password_file"] == '"/etc/outbox-relay/kafka-password"'
    assert "sasl.jaas.config = (not shown): its password is not copied" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_references(made):
    """What stands elsewhere is referred to, or named if only Kafka Connect knows it."""
    done = made(CONNECTOR | {"database.hostname": "${file:/opt/shop.properties:host}", "database.user": "${env:DB_USER}",
                             "database.password": "${directory:/run/secrets:db}"})
    found = read_conf(done.stdout)
    assert found["database.dsn"].startswith('"host=${env:DATABASE_HOSTNAME} port=6432 dbname=shop user=${env:DB_USER}')
    assert found["database.password_file"] == '"/run/secrets/db"'
    assert done.stderr == 'database.hostname = "${file:/opt/shop.properties:host}": what it refers to is known to Kafka ' \
        "Connect only; set DATABASE_HOSTNAME in the environment of the relay, or write the value into the configuration\n"


def test_what_refers_to_itself(made):
    done = made(properties(server(CONNECTOR), escape_dollar=True) + "a=${b}\nb=${a}\ndebezium.source.database.dbname=${a}\n")
    assert done.returncode == 0 and 'debezium.source.database.dbname = "${a}": it refers to itself' in done.stderr


BROKEN = [
    (b"", 2, "is no configuration of Debezium: it has neither connector.class nor"),
    (b"\n# nothing\n", 2, "is no configuration of Debezium"),
    (b"\x7fELF\x02\x00\x01", 1, "cannot read .*: it holds a NUL byte, so it is no text"),
    (b"\xff\xfe{}", 2, "is no file of properties: line 1 is no UTF-8"),
    (b'{"connector.class": "\xff"}', 2, "is no JSON: line 1: unable to decode byte 0xff"),
    (json.dumps(CONNECTOR)[:-30].encode(), 2, "is no JSON: line 1: "),
    (b"[1]", 2, "is JSON, but no object of options"),
    (b"{}", 2, "holds no options of a connector"),
    (b"[" * 100000, 2, "is no JSON: line 1: maximum parsing depth reached"),
    (b"a=\\u12", 2, "line 1 has a "),
    (b'{"connector.class": "io.debezium.connector.mysql.MySqlConnector"}', 2, "publishes outboxes in PostgreSQL only"),
    (b'{"connector.class": "io.confluent.connect.s3.S3SinkConnector"}', 2, "which is not Debezium's for PostgreSQL"),
    (json.dumps({k: v for k, v in CONNECTOR.items() if k != "transforms"}).encode(), 2, "has no outbox event router"),
    (properties(server(CONNECTOR) | {"debezium.sink.type": "kinesis"}).encode(), 2, "publishes to the sink kinesis"),
    (b"apiVersion: kafka.strimzi.io/v1beta2\n", 2, "is a manifest of Kubernetes in YAML; give it as JSON"),
    (b"".join(b"a%d=b\n" % i for i in range(10001)), 2, "has 10001 options, more than any configuration of Debezium"),
    (b"x" * (16 * 1024 * 1024 + 1), 1, "it is larger than 16 MiB"),
]


@pytest.mark.parametrize("data, status, words", BROKEN, ids=range(len(BROKEN)))
def test_what_is_refused(made, data, status, words):
    done = made(data)
    assert (done.returncode, done.stdout) == (status, "")
    assert re.search(words, done.stderr) and done.stderr.count("\n") == 1, done.stderr


def test_a_file_that_is_not_there(tmp_path):
    done = run_relay("import-debezium", tmp_path / "none")
    assert done.returncode == 1 and "cannot read" in done.stderr and "No such file" in done.stderr
    assert run_relay("import-debezium", tmp_path).returncode == 1


def test_help():
    done = run_relay("import-debezium", "--help")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("Usage: outbox-relay import-debezium FILE")
    assert run_relay("import-debezium", "-h").stdout == done.stdout


@pytest.mark.parametrize("argv, words", [
    ([], "no FILE is given"), (["a", "b"], 'unexpected argument "b"'), (["a", "--dsn", "host"], "--dsn does not parse"),
    (["a", "--table", "a.b.c"], "table"), (["a", "--table", "outbox_relay.x"], "outbox_relay"), (["a", "--wrong"], "--help")])
def test_wrong_usage(argv, words):
    done = run_relay("import-debezium", *argv)
    assert (done.returncode, done.stdout) == (2, "") and words in done.stderr, done.stderr


@pytest.mark.parametrize("text", [
    json.dumps(CONNECTOR | {"database.initial.statements": "x" * 10_000_000}),
    properties(server(CONNECTOR)) + "debezium.source.database.dbname=" + "${" * 5_000_000,
    properties(server(CONNECTOR)) + "debezium.source.database.dbname=" + "\\\n" * 5_000_000], ids=["json", "references", "lines"])
def test_10_megabytes(made, text):
    done = made(text)
    assert done.returncode == 0 and len(done.stderr) < 2000


def test_the_last_of_several_counts(made):
    """As for Debezium; but it is told."""
    text = json.dumps(CONNECTOR)[:-1] + ', "database.dbname": "other"}'
    done = made(text)
    assert "dbname=other" in done.stdout and "JSON: line 1: duplicate object key" in done.stderr
    done = made(properties(server(CONNECTOR)) + "debezium.source.database.dbname other\n")
    assert "dbname=other" in done.stdout
    assert "debezium.source.database.dbname: it is in the file more than once; the last one counts" in done.stderr


def test_the_example():
    """The one in docs/debezium.md."""
    folder = os.path.join(ROOT, "docs", "examples", "debezium")
    done = run_relay("import-debezium", os.path.join(folder, "connector.json"), "--bootstrap", "kafka1:9092")
    with open(os.path.join(folder, "outbox-relay.conf")) as file:
        assert "# SPDX-License-Identifier: ISC\n" + done.stdout == file.read()
    with open(os.path.join(ROOT, "docs", "debezium.md")) as file:
        page = file.read()
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and lines[0] + "\n" == PASSWORD and f"    {lines[1]}\n" in page


def test_every_option_is_documented():
    """Each rule of the table has its row in docs/debezium.md, and the other way round."""
    with open(os.path.join(ROOT, "relay", "commands", "debezium_options.c")) as file:
        rules = set(re.findall(r'^\t(?:BY|CHOICE|TO|NOTHING|LOST)\("(?:router:|producer:)?([^"]+)"', file.read(), re.M))
    with open(os.path.join(ROOT, "docs", "debezium.md")) as file:
        rows = file.read().partition("### The connector")[2]
    cells = [line.split(" | ")[0] for line in rows.splitlines() if line.startswith("| `")]
    documented = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell) if "Converter" not in name}
    assert len(rules) > 200 and sorted(documented ^ rules) == []


def test_a_table_without_a_type(empty_database, kafka, prefix, directory, topic, migrate, new_relay, reader):
    """From the connector to the first event. Debezium needs no column `type`: every command says what to set, and with
    that it is published."""
    topic("order")
    empty_database.execute("CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL,"
                           " aggregateid varchar(255) NOT NULL, payload jsonb)")
    connector = {name: value for name, value in CONNECTOR.items() if "additional.placement" not in name}
    connector["transforms.outbox.route.topic.replacement"] = prefix + "${routedByValue}"
    made = imported(f"{directory}/connector.json", connector, "--dsn", empty_database.dsn("outbox_relay"),
                    "--bootstrap", kafka.bootstrap)
    done = migrate("--adopt", **made)
    assert 'adopting outbox: there is no column type; set outbox.columns.event_type = ""' in done.stderr, done.stderr
    assert 'event_type = "";' in done.stdout and "route" not in done.stdout, done.stdout
    relay = new_relay(**made)
    checked = relay.command("check")
    assert ('table outbox has no column type (outbox.columns.event_type): set outbox.columns.event_type = "" if there is'
            " none, or name the right one\n") in checked.stdout, checked.stdout
    relay.start(wait=False)
    assert relay.wait_exit() == 1 and relay.log_contains(r'has no column .*, or \\?"\\?" if there is none'), relay.log()

    relay.write_config(outbox={"columns": {"event_type": ""}})
    assert relay.command("check").returncode == 0, relay.command("check").stdout
    relay.start()
    empty_database.execute("INSERT INTO outbox VALUES ('00000000-0000-4000-8000-000000000001', 'order', 'o-1', '{\"a\": 1}')")
    record = reader("order").take(1)[0]
    assert (record.key, record.headers) == (b"o-1", [("id", b"00000000-0000-4000-8000-000000000001")])
    assert record.value == b'"{\\"a\\": 1}"'


def test_a_table_that_is_numbered(empty_database, kafka, prefix, directory, topic, migrate, new_relay, reader):
    """Debezium takes an id from a sequence as well as a uuid. Then that gives the order: no column is added, and migrate
    says which one to name. Of type char(n) a key and a payload are as long as they can be."""
    topic("order")
    empty_database.execute("CREATE TABLE outbox (id bigserial PRIMARY KEY, aggregatetype varchar(255) NOT NULL,"
                           " aggregateid char(5) NOT NULL, type varchar(255), payload char(4))")
    connector = CONNECTOR | {"transforms.outbox.route.topic.replacement": prefix + "${routedByValue}"}
    made = imported(f"{directory}/connector.json", connector, "--dsn", empty_database.dsn("outbox_relay"),
                    "--bootstrap", kafka.bootstrap)
    assert made["outbox"]["columns"]["id"] == "relay_id"
    done = migrate("--adopt", **made)
    assert 'adopting outbox: there is no column relay_id; set outbox.columns.id = "id" in the conf' in done.stderr, done.stderr
    assert empty_database.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'outbox'::regclass AND attnum > 0") == 5
    relay = new_relay(**made)
    assert 'has no column relay_id (outbox.columns.id)' in relay.command("check").stdout

    relay.write_config(outbox={"columns": {"id": "id"}})
    assert relay.command("check").returncode == 0, relay.command("check").stdout
    relay.start()
    empty_database.execute("INSERT INTO outbox (aggregatetype, aggregateid, type, payload) VALUES ('order', 'o-1', 'Made', '{}')")
    record = reader("order").take(1)[0]
    assert (record.key, record.value, record.headers) == (b"o-1  ", b'"{}  "', [("id", b"1"), ("eventType", b"Made")])


def test_a_type_that_nothing_needs(accepted, made):
    """The file says that there may be none, unless the connector names it."""
    plain = {name: value for name, value in CONNECTOR.items() if "additional.placement" not in name}
    said = '"" if there is no such column'
    assert said in made(plain).stdout and said not in made(CONNECTOR).stdout
    assert said not in made(plain | {"transforms.outbox.table.field.event.type": "kind"}).stdout
    assert said not in made(plain | {"transforms.outbox.route.by.field": "type"}).stdout
    accepted(plain)
