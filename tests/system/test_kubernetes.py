# SPDX-License-Identifier: ISC
"""conf/kubernetes: valid by the schemas of Kubernetes, and what the manifests start does its work, as processes here on
servers of the tests."""
import glob
import os
import re
import subprocess

import pytest
import yaml

from harness.consumer import Reader
from harness.postgres import OWNER
from harness.relay import ROOT, Relay, run_relay
from harness.waiting import until

DIRECTORY = os.path.join(ROOT, "conf", "kubernetes")
SETUP = os.path.join(ROOT, "tests", "setup.sh")
RELAY = {"Deployment outbox-relay", "Deployment shop", "Job outbox-relay-migrate"}


@pytest.fixture(scope="module")
def checker():
    return subprocess.check_output([SETUP, "kubernetes"], text=True).strip()


@pytest.fixture(scope="module")
def manifests():
    """By kind and name."""
    found = {}
    for path in glob.glob(os.path.join(DIRECTORY, "*.yaml")):
        with open(path) as stream:
            found.update({f"{one['kind']} {one['metadata']['name']}": one for one in yaml.safe_load_all(stream)})
    return found


def check(checker, *paths):
    return subprocess.run([checker, "--strict", *paths], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120, check=False)


def pod(manifest):
    return manifest["spec"]["template"]["spec"]


def relay_of(manifest):
    """The container that runs the relay."""
    containers = pod(manifest).get("initContainers", []) + pod(manifest)["containers"]
    return next(one for one in containers if one["image"].startswith("outbox-relay:"))


def test_valid(checker):
    done = check(checker, *sorted(glob.glob(os.path.join(DIRECTORY, "*.yaml"))))
    assert done.returncode == 0, done.stdout


def test_what_is_wrong_is_found(checker, tmp_path):
    """So that the test above means something."""
    with open(os.path.join(DIRECTORY, "deployment.yaml")) as whole:
        text = whole.read()
    (tmp_path / "wrong.yaml").write_text(text.replace("failureThreshold", "failureTreshold"))
    done = check(checker, str(tmp_path / "wrong.yaml"))
    assert done.returncode != 0 and "failureTreshold" in done.stdout


def test_without_rights(manifests):
    assert RELAY < set(manifests)
    for name in RELAY:
        container, around = relay_of(manifests[name]), pod(manifests[name])["securityContext"]
        rights = {**around, **container["securityContext"]}
        assert (rights["runAsUser"], rights["runAsGroup"], rights["runAsNonRoot"]) == (65532, 65532, True), name
        assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"], name
        assert rights["capabilities"] == {"drop": ["ALL"]}, name
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert all("subPath" not in mount for mount in container["volumeMounts"]), name


def test_the_image_has_this_version(manifests):
    with open(os.path.join(ROOT, "CMakeLists.txt")) as lists:
        version = re.search(r"^project\(outbox-relay VERSION (\S+)", lists.read(), re.M).group(1)
    assert {relay_of(manifests[name])["image"] for name in RELAY} == {f"outbox-relay:{version}"}


def test_a_sidecar_takes_no_application_out_of_service(manifests):
    sidecar = relay_of(manifests["Deployment shop"])
    assert "readinessProbe" not in sidecar and "startupProbe" not in sidecar
    assert sidecar["restartPolicy"] == "Always"
    alone = relay_of(manifests["Deployment outbox-relay"])
    assert sidecar["livenessProbe"] == alone["livenessProbe"] and sidecar["args"] == alone["args"]


def prepare(manifests, name, directory, here):
    """The relay that this manifest starts, with the files that it mounts."""
    container = relay_of(manifests[name])
    text = manifests["ConfigMap outbox-relay"]["data"]["outbox-relay.conf"]
    assert container["args"][:2] == ["run", "-c"]
    folder, file = os.path.split(container["args"][2])
    assert file in manifests["ConfigMap outbox-relay"]["data"]
    secrets = os.path.dirname(re.search(r'password_file = "(.*)"', text).group(1))
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {folder, secrets}
    with open(os.path.join(directory, "database"), "w") as secret:
        secret.write("unused")
    for theirs, ours in {**here, secrets: directory, "0.0.0.0:9464": "127.0.0.1:0"}.items():
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    relay = Relay(directory, {})
    with open(relay.config, "w") as config:
        config.write(text)
    return relay


def probe(relay, manifests, name, kind):
    return relay.get(relay_of(manifests[name])[kind]["httpGet"]["path"])[0]


def local(database, bootstrap):
    return {"host=postgres dbname=shop user=outbox_relay": database.dsn(OWNER), "kafka:9092": bootstrap}


def migrate(manifests, database, relay):
    """As the job does it: by the relay's file, on the owner's DSN."""
    args = relay_of(manifests["Job outbox-relay-migrate"])["args"]
    of_relay = relay_of(manifests["Deployment outbox-relay"])["args"]
    here = {of_relay[2]: relay.config, "$(OWNER_DSN)": database.dsn(OWNER)}
    assert set(here) < set(args)
    done = run_relay(*(here.get(arg, arg) for arg in args))
    assert done.returncode == 0, done.stderr


def test_the_deployment_publishes(manifests, empty_database, kafka, directory, prefix):
    name = "Deployment outbox-relay"
    relay = prepare(manifests, name, directory, local(empty_database, kafka.bootstrap))
    migrate(manifests, empty_database, relay)
    relay.start()
    try:
        until(lambda: probe(relay, manifests, name, "readinessProbe") == 200, 20, "ready")
        assert probe(relay, manifests, name, "livenessProbe") == 200
        topic = prefix + "thing"
        empty_database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                               " VALUES (%s, 'k', 't', '{}')", topic)
        consumer = Reader(kafka.bootstrap, "events." + topic)
        assert consumer.take(1)[0].key == b"k"
        consumer.close()
        assert relay.stop() == 0
    finally:
        relay.process.end()
        relay.process.forget()


def test_a_sidecar_lives_without_kafka(manifests, empty_database, directory):
    """Alive, although /readyz says 503, which as a probe would take the application out of service."""
    relay = prepare(manifests, "Deployment shop", directory, local(empty_database, "127.0.0.1:1"))
    migrate(manifests, empty_database, relay)
    relay.start(wait=False)
    try:
        until(lambda: relay.metrics().get('outbox_relay_connected{peer="database"}') == 1, 20, "the database")
        assert relay.get("/readyz")[0] == 503
        assert probe(relay, manifests, "Deployment shop", "livenessProbe") == 200
    finally:
        relay.process.end()
        relay.process.forget()
