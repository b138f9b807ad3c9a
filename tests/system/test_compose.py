# SPDX-License-Identifier: ISC
"""conf/container/compose.yml: valid by the library that docker compose reads such files with, and its parts do what they
are there for, on servers of the tests in place of its images."""
import json
import os
import re
import subprocess

import pytest

from harness.consumer import Reader
from harness.postgres import OWNER, Database, Postgres
from harness.process import Process
from harness.relay import ROOT, Relay, run_relay
from harness.waiting import until

DIRECTORY = os.path.join(ROOT, "conf", "container")
SETUP = os.path.join(ROOT, "tests", "setup.sh")


def read(path):
    """The file as compose understands it, or what it says against it."""
    program = os.path.join(subprocess.check_output([SETUP, "compose"], text=True).strip(), "cmd")
    return subprocess.run([program, "-format", "json", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60, check=False, cwd=os.path.dirname(path))


@pytest.fixture(scope="module")
def services():
    done = read(os.path.join(DIRECTORY, "compose.yml"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


def test_what_is_wrong_is_found(tmp_path):
    """So that the other tests of the file mean something."""
    with open(os.path.join(DIRECTORY, "compose.yml")) as whole:
        (tmp_path / "compose.yml").write_text(whole.read().replace("stop_grace_period", "stop_grace"))
    done = read(str(tmp_path / "compose.yml"))
    assert done.returncode != 0 and "stop_grace" in done.stderr


def test_what_is_mounted_is_there(services):
    sources = [volume["source"] for service in services.values() for volume in service.get("volumes", [])]
    assert len(sources) > 8
    assert [source for source in sources if not os.path.isfile(source)] == []
    assert [name for name, service in services.items() for volume in service.get("volumes", [])
            if not volume["read_only"]] == []


def test_nothing_listens_for_others(services):
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3 and {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_images_have_versions(services):
    """To the minor one. The relay's is built here."""
    assert [service["image"] for service in services.values()
            if not re.search(r":v?[0-9]+\.[0-9.]+$", service["image"]) and service["image"] != "outbox-relay"] == []


@pytest.fixture
def shop(world, request):
    """The server of the service postgres, as its roles.sql makes it."""
    server = Postgres(os.path.join(world, request.node.name)).create().start()
    database = Database(server, "shop").create()
    psql(database, OWNER, "demo/roles.sql").wait(20)
    yield database
    server.stop("immediate")


def psql(database, user, script):
    return Process(f"psql {script}", ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", os.path.join(DIRECTORY, script),
                                      database.dsn(user)], os.path.join(database.server.directory, "psql.log")).start()


def test_its_parts(services, shop, kafka, directory):
    """migrate, two relays by the demo's file, the application's SQL, and the orders arrive."""
    here = {"host=postgres": f"host=127.0.0.1 port={shop.server.port}", "kafka:9092": kafka.bootstrap,
            "0.0.0.0:9464": "127.0.0.1:0", "user=postgres": f"user={OWNER}"}

    def local(text):
        for theirs, ours in here.items():
            text = text.replace(theirs, ours)
        return text
    with open(os.path.join(DIRECTORY, "demo", "relay.conf")) as conf:
        text = local(conf.read())
    relays = [Relay(directory, {}, f"relay{n}", services["relay1"]["environment"]) for n in (1, 2)]
    for relay in relays:
        with open(relay.config, "w") as conf:
            conf.write(text)
    done = run_relay(*map(local, services["migrate"]["command"]), "-c", relays[0].config,
                     env=services["migrate"]["environment"])
    assert done.returncode == 0, done.stderr
    application = psql(shop, services["producer"]["environment"]["PGUSER"], "demo/orders.sql")
    try:
        for relay in relays:
            relay.start(wait=False)
        until(lambda: [relay.metric("shard_owned") for relay in relays] == [2, 2], 30, "two shards each")
        consumer = Reader(kafka.bootstrap, "events.order")
        assert b'"item"' in consumer.take(3)[0].value
        consumer.close()
    finally:
        for started in [application] + [relay.process for relay in relays]:
            started.end()
            started.forget()
