# SPDX-License-Identifier: ISC
"""conf/kubernetes: valid by the schemas of Kubernetes, and what the manifests start does its work, as processes here on
servers of the tests."""
import glob
import os

import pytest

from harness.kubernetes import assert_without_rights, check, migrate, prepare, probe, publishes, read, relay_of, version
from harness.postgres import OWNER, PASSWORD_ROLE
from harness.relay import ROOT
from harness.waiting import until

DIRECTORY = os.path.join(ROOT, "conf", "kubernetes")
RELAY = {"Deployment outbox-relay", "Deployment shop", "Job outbox-relay-migrate"}


@pytest.fixture(scope="module")
def manifests():
    """By kind and name."""
    found = {}
    for path in glob.glob(os.path.join(DIRECTORY, "*.yaml")):
        with open(path) as stream:
            found.update(read(stream))
    return found


def test_valid():
    done = check(*sorted(glob.glob(os.path.join(DIRECTORY, "*.yaml"))))
    assert done.returncode == 0, done.stdout


def test_what_is_wrong_is_found(tmp_path):
    """So that the test above means something."""
    with open(os.path.join(DIRECTORY, "deployment.yaml")) as whole:
        text = whole.read()
    (tmp_path / "wrong.yaml").write_text(text.replace("failureThreshold", "failureTreshold"))
    done = check(tmp_path / "wrong.yaml")
    assert done.returncode != 0 and "failureTreshold" in done.stdout


def test_without_rights(manifests):
    assert RELAY < set(manifests)
    for name in RELAY:
        assert_without_rights(name, manifests[name])


def test_the_image_has_this_version(manifests):
    assert {relay_of(manifests[name])["image"] for name in RELAY} == {f"outbox-relay:{version()}"}


def test_a_sidecar_takes_no_application_out_of_service(manifests):
    sidecar = relay_of(manifests["Deployment shop"])
    assert "readinessProbe" not in sidecar and "startupProbe" not in sidecar
    assert sidecar["restartPolicy"] == "Always"
    alone = relay_of(manifests["Deployment outbox-relay"])
    assert sidecar["livenessProbe"] == alone["livenessProbe"] and sidecar["args"] == alone["args"]


@pytest.fixture
def made(manifests, empty_database, directory):
    """Makes the relay of a workload, and what it needs in the database by the job."""
    def make(name, bootstrap):
        relay = prepare(manifests[name], manifests["ConfigMap outbox-relay"], directory, empty_database, bootstrap)
        done = migrate(manifests["Job outbox-relay-migrate"], relay, empty_database.dsn(OWNER))
        assert done.returncode == 0, done.stderr
        relays.append(relay)
        return relay

    relays = []
    yield make
    for relay in relays:
        relay.process.end()
        relay.process.forget()


def test_the_job_passes_the_password_by_its_environment(manifests, made, empty_database, kafka):
    relay, job = made("Deployment outbox-relay", kafka.bootstrap), manifests["Job outbox-relay-migrate"]
    empty_database.set_password("right")
    refusal = "password authentication failed"
    assert refusal in migrate(job, relay, empty_database.dsn(PASSWORD_ROLE), "wrong").stderr
    assert refusal not in migrate(job, relay, empty_database.dsn(PASSWORD_ROLE), "right").stderr


def test_the_deployment_publishes(manifests, made, empty_database, kafka, prefix):
    deployment = manifests["Deployment outbox-relay"]
    relay = made("Deployment outbox-relay", kafka.bootstrap).start()
    until(lambda: probe(relay, deployment, "readinessProbe") == 200, 20, "ready")
    assert probe(relay, deployment, "livenessProbe") == 200
    assert publishes(empty_database, kafka.bootstrap, prefix + "thing") == b"k"
    assert relay.stop() == 0


def test_a_sidecar_lives_without_kafka(manifests, made):
    """Alive, although /readyz says 503, which as a probe would take the application out of service."""
    relay = made("Deployment shop", "127.0.0.1:1")
    relay.start(wait=False)
    until(lambda: relay.metrics().get('outbox_relay_connected{peer="database"}') == 1, 20, "the database")
    assert relay.get("/readyz")[0] == 503
    assert probe(relay, manifests["Deployment shop"], "livenessProbe") == 200
