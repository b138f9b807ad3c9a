# SPDX-License-Identifier: ISC
"""Objects of Kubernetes: checked by the schemas, and what they start done as processes here."""
import os
import re
import subprocess

import yaml

from harness.consumer import Reader
from harness.postgres import OWNER
from harness.relay import ROOT, Relay, run_relay

SETUP = os.path.join(ROOT, "tests", "setup.sh")
# Where conf/kubernetes has its peers.
DATABASE, BROKER = "host=postgres dbname=shop user=outbox_relay", "kafka:9092"


def version():
    with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as lists:
        return re.search(r"^project\(outbox-relay VERSION (\S+)", lists.read(), re.M).group(1)


def read(text):
    """The objects of a text, by kind and name."""
    return {f"{one['kind']} {one['metadata']['name']}": one for one in yaml.safe_load_all(text) if one}


def check(*paths):
    """What Kubernetes' schemas say of these files."""
    checker = subprocess.check_output([SETUP, "kubernetes"], text=True).strip()
    return subprocess.run([checker, "--strict", *map(str, paths)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=120, check=False)


def pod(workload):
    return workload["spec"]["template"]["spec"]


def relay_of(workload):
    """The container that runs the relay."""
    containers = pod(workload).get("initContainers", []) + pod(workload)["containers"]
    return next(one for one in containers if one["image"].startswith("outbox-relay"))


def assert_without_rights(name, workload):
    container, around = relay_of(workload), pod(workload)["securityContext"]
    rights = {**around, **container["securityContext"]}
    assert (rights["runAsUser"], rights["runAsGroup"], rights["runAsNonRoot"]) == (65532, 65532, True), name
    assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"], name
    assert rights["capabilities"] == {"drop": ["ALL"]}, name
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert rights["fsGroup"] == 65532, name
    assert all("subPath" not in mount for mount in container["volumeMounts"]), name


def prepare(workload, configuration, directory, database, bootstrap):
    """The relay that the workload starts, with the ConfigMap and the secret that it mounts; on peers of ours."""
    container = relay_of(workload)
    assert container["args"][:2] == ["run", "-c"]
    folder, file = os.path.split(container["args"][2])
    text = configuration["data"][file]
    secrets = os.path.dirname(re.search(r'password_file = "(.*)"', text).group(1))
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {folder, secrets}
    with open(os.path.join(directory, "database"), "w", encoding="utf-8") as secret:
        secret.write("unused")
    for theirs, ours in {DATABASE: database.dsn(OWNER), BROKER: bootstrap, secrets: directory,
                         "0.0.0.0:9464": "127.0.0.1:0"}.items():
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    relay = Relay(directory, {})
    with open(relay.config, "w", encoding="utf-8") as config:
        config.write(text)
    return relay


def probe(relay, workload, kind):
    """The answer that this probe gets."""
    return relay.get(relay_of(workload)[kind]["httpGet"]["path"])[0]


def migrate(job, relay, dsn, password="unused"):
    """As the job does it: by the relay's file, on the owner's DSN, with the secret in the environment."""
    args = list(relay_of(job)["args"])
    assert args[:2] == ["migrate", "-c"] and args[3] == "--dsn" and len(args) == 5
    secret, = (one["name"] for one in relay_of(job)["env"] if "valueFrom" in one)
    args[2], args[4] = relay.config, dsn
    return run_relay(*args, env={secret: password})


def publishes(database, bootstrap, topic):
    """The key of the record that an event with key k becomes, by the configuration's default route."""
    database.execute("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES (%s, 'k', 't', '{}')", topic)
    consumer = Reader(bootstrap, "events." + topic)
    try:
        return consumer.take(1)[0].key
    finally:
        consumer.close()
