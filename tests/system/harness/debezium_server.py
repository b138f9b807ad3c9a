# SPDX-License-Identifier: ISC
"""A real Debezium Server: it reads the log of a PostgreSQL by a slot, and publishes an outbox to Kafka."""
import functools
import os
import subprocess

from harness.debezium import properties
from harness.kafka import SETUP
from harness.process import Process
from harness.waiting import until

SERIALIZER = "org.apache.kafka.common.serialization.StringSerializer"


@functools.cache
def java():
    """The command."""
    home = subprocess.check_output([SETUP, "debezium"], text=True).strip()
    return [os.path.join(home, "java"), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-cp", os.path.join(home, "lib", "*"), "io.debezium.server.Main"]


def options(database, kafka, slot, user, **more):
    """The properties of a server that publishes public.outbox as this user. The slot's name is the publication's, too,
    which must be there. more: other options below debezium, with _ for the dots."""
    made = {
        "quarkus.http.port": "0",
        "quarkus.log.console.json": "false",
        "debezium.sink.type": "kafka",
        "debezium.sink.kafka.producer.bootstrap.servers": kafka.bootstrap,
        "debezium.sink.kafka.producer.key.serializer": SERIALIZER,
        "debezium.sink.kafka.producer.value.serializer": SERIALIZER,
        "debezium.source.connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "debezium.source.plugin.name": "pgoutput",
        "debezium.source.slot.name": slot,
        "debezium.source.publication.name": slot,
        "debezium.source.publication.autocreate.mode": "disabled",
        "debezium.source.database.hostname": "127.0.0.1",
        "debezium.source.database.port": str(database.server.port),
        "debezium.source.database.user": user,
        "debezium.source.database.dbname": database.name,
        "debezium.source.topic.prefix": "shop",
        "debezium.source.table.include.list": "public.outbox",
        "debezium.source.tombstones.on.delete": "false",
        "debezium.source.offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "debezium.transforms": "outbox",
        "debezium.transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
    }
    return made | {f"debezium.{name.replace('_', '.')}": value for name, value in more.items()}


class DebeziumServer:
    """Its directory has its properties, config/application.properties, and the offsets that it has come to, offsets.dat.
    Both may be changed between a stop and a start."""

    def __init__(self, database, directory, made):
        self.database, self.slot = database, made["debezium.source.slot.name"]
        self.config = os.path.join(directory, "config", "application.properties")
        self.offsets = os.path.join(directory, "offsets.dat")
        os.makedirs(os.path.dirname(self.config))
        self.options = made | {"debezium.source.offset.storage.file.filename": self.offsets}
        self.configure()
        self.process = Process("debezium", java(), os.path.join(directory, "debezium.log"), cwd=directory)

    def configure(self, more=None):
        """more: other properties."""
        self.options |= more or {}
        with open(self.config, "w") as file:
            file.write(properties(self.options))

    def start(self, timeout=120):
        """Returns when it streams: what it reads of the table itself is behind it then."""
        self.process.start()
        until(self._streams, timeout, "Debezium to stream")
        return self

    def _streams(self):
        assert self.process.alive, f"Debezium ended: {self.process.log()[-3000:]}"
        return self._holds_slot()

    def _holds_slot(self):
        return self.database.rows("SELECT FROM pg_replication_slots WHERE slot_name = %s AND active"
                                  " AND confirmed_flush_lsn IS NOT NULL", self.slot) != []

    def stop(self):
        """As an operator does."""
        assert self.process.end(timeout=60)
        self._wait_released()

    def kill(self):
        self.process.kill()
        self._wait_released()

    def _wait_released(self):
        """The server learns of its end a moment later, and a slot in use can neither be dropped nor its database."""
        until(lambda: not self._holds_slot(), 30, f"slot {self.slot} to be released")
