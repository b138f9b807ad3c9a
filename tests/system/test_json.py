# SPDX-License-Identifier: ISC
"""What is not UTF-8 is in the JSON all the same, with U+FFFD for each byte that is not."""
import json
import os
import subprocess

from harness.postgres import Database
from harness.relay import BINARY
from harness.waiting import limit


def run(config, *argv):
    return subprocess.run([BINARY.encode(), *(a.encode() for a in argv), b"-c", config, b"--json"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit(60))


def test_a_file_whose_name_is_not_utf8(database, new_relay, directory, topic):
    topic()
    relay = new_relay()
    config = os.path.join(directory.encode(), b"caf\xe9.conf")
    os.symlink(relay.config.encode(), config)
    findings = json.loads(run(config, "check").stdout)
    assert findings[0]["what"] == f"{directory}/caf\ufffd.conf is valid"


def test_a_table_whose_name_is_not_utf8(postgres, number, new_relay, directory, kafka):
    """In a database without an encoding."""
    ascii = Database(postgres, f"ascii{number}")
    Database(postgres, "postgres").execute(f"CREATE DATABASE {ascii.name} TEMPLATE template0 ENCODING 'SQL_ASCII'"
                                           " LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        relay = new_relay(database={"dsn": ascii.dsn()}, outbox={"table": "caf@"})
        with open(relay.config, "rb") as plain:
            text = plain.read().replace(b'"caf@"', b'"caf\xe9"')
        with open(relay.config, "wb") as config:
            config.write(text)
        done = subprocess.run([BINARY, "migrate", "-c", relay.config], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr
        status = json.loads(run(relay.config.encode(), "status").stdout)
        assert status["outbox"] == "caf\ufffd" and status["depth"] == 0
        found = [finding["what"] for finding in json.loads(run(relay.config.encode(), "check").stdout)]
        assert "the bell of caf\ufffd is in place" in found
        assert json.loads(run(relay.config.encode(), "pause").stdout)["outbox"] == "caf\ufffd"
    finally:
        ascii.drop()
