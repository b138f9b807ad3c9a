# SPDX-License-Identifier: ISC
"""conf/helm/outbox-relay: what helm makes of it in both modes is valid by the schemas of Kubernetes and of the Prometheus
operator, and does its work, as processes here on servers of the tests. Nothing is installed on a cluster."""
import itertools
import json
import os
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from harness.kubernetes import (BROKER, DATABASE, SETUP, assert_without_rights, check, migrate, pod, prepare, probe, publishes,
                                read, relay_of, version)
from harness.postgres import OWNER
from harness.relay import ROOT
from harness.waiting import until

CHART = os.path.join(ROOT, "conf", "helm", "outbox-relay")
CONFIG = f"""database = {{
  dsn = "{DATABASE}";
  password_file = "/run/secrets/outbox-relay/database";
}};
kafka = {{ bootstrap_servers = "{BROKER}"; }};
http = {{ listen = "0.0.0.0:9464"; }};
"""
LEAST = {"config": CONFIG, "migrate": {"dsn": "host=postgres dbname=shop user=shop_owner"},
         "secrets": [{"name": "outbox-relay", "mountPath": "/run/secrets/outbox-relay"}]}
MONITORED = {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
             "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}, "dashboard": {"enabled": True}}
EVERYTHING = {
    **LEAST, **MONITORED,
    "image": {"repository": "outbox-relay", "digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "extraEnv": [{"name": "LIMIT", "value": "1"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
    "replicas": 3, "podLabels": {"team": "shop"}, "podAnnotations": {"note": "yes"}, "serviceAccountName": "relay",
    "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "zone", "labelSelector": {"matchLabels": {"team": "shop"}}}]}},
    "fullnameOverride": "events"}
EVERYTHING["podMonitor"] = {"enabled": True, "metricRelabelings": [{"action": "labeldrop", "regex": "pod"}]}
NAME = "relay-outbox-relay"
pytestmark = pytest.mark.xdist_group("helm")  # on a new machine one process gets it, while the others go on


@pytest.fixture(scope="module", params=["helm-3", "helm-4"])
def helm(request, tmp_path_factory):
    """Runs helm, with its own files in a place of the tests."""
    program = os.path.join(subprocess.check_output([SETUP, "helm"], text=True).strip(), request.param)
    home = str(tmp_path_factory.mktemp("helm"))
    env = {**os.environ, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home}

    def run(*argv):
        return subprocess.run([program, *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=60, check=False, env=env)

    return run


@pytest.fixture
def template(helm, tmp_path):
    """Renders a chart: what helm does, and the file with what it writes."""
    numbers = itertools.count()

    def run(values, chart=CHART):
        out, given = tmp_path / f"{next(numbers)}.yaml", tmp_path / "values.yaml"
        given.write_text(yaml.safe_dump(values))
        done = helm("template", "relay", chart, "--kube-version", "1.31.0", "-f", given)
        out.write_text(done.stdout)
        return done, out

    return run


@pytest.fixture
def rendered(template):
    """The objects; by the schemas, too, which takes its time."""
    def run(values, chart=CHART, checked=False):
        done, out = template(values, chart)
        assert done.returncode == 0, done.stderr
        if checked:
            valid(out)
        return read(out.read_text())

    return run


def closed(schema):
    """The schema with nothing let through that it does not name, as `kubectl --validate=strict` has it."""
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    return schema


def definition(kind):
    """Of a resource of the operator; what all of Kubernetes has in metadata it leaves open."""
    directory = subprocess.check_output([SETUP, "operator"], text=True).strip()
    with open(os.path.join(directory, f"monitoring.coreos.com_{kind.lower()}s.yaml"), encoding="utf-8") as stream:
        versions = yaml.safe_load(stream)["spec"]["versions"]
    return closed(next(one for one in versions if one["name"] == "v1")["schema"]["openAPIV3Schema"])


def valid(path):
    objects = read(path.read_text())
    own = {name: one for name, one in objects.items() if not one["apiVersion"].startswith("monitoring.coreos.com/")}
    path.write_text(yaml.safe_dump_all(own.values()))
    done = check(path)
    assert done.returncode == 0, done.stdout
    path.write_text(yaml.safe_dump_all(objects.values()))
    for name in set(objects) - set(own):
        jsonschema.validate(objects[name], definition(objects[name]["kind"]))


def parent(helm, directory, **values):
    """A chart of an application that has the relay as a dependency, as docs/kubernetes.md says it."""
    templates = directory / "shop" / "templates"
    templates.mkdir(parents=True)
    (directory / "shop" / "Chart.yaml").write_text(yaml.safe_dump({
        "apiVersion": "v2", "name": "shop", "version": "1.0.0", "dependencies": [
            {"name": "outbox-relay", "version": version(), "repository": f"file://{CHART}"}]}))
    (directory / "shop" / "values.yaml").write_text(yaml.safe_dump({"outbox-relay": values}))
    (templates / "deployment.yaml").write_text(example("{{- $relay"))
    done = helm("dependency", "update", "--skip-refresh", directory / "shop")
    assert done.returncode == 0, done.stderr
    return directory / "shop"


def example(beginning):
    """The indented block of the page that begins so."""
    with open(os.path.join(ROOT, "docs", "kubernetes.md"), encoding="utf-8") as page:
        block = page.read().partition(f"\n    {beginning}")[2]
    assert block, f"docs/kubernetes.md has no block that begins with {beginning}"
    lines = itertools.takewhile(lambda line: line.startswith("    "), block.splitlines()[1:])
    return "\n".join([beginning + block.splitlines()[0], *(line[4:] for line in lines)]) + "\n"


def test_lint(helm, tmp_path):
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(EVERYTHING))
    done = helm("lint", "--strict", CHART, "-f", tmp_path / "values.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_versions():
    with open(os.path.join(CHART, "Chart.yaml"), encoding="utf-8") as stream:
        chart = yaml.safe_load(stream)
    assert (chart["version"], chart["appVersion"]) == (version(), version()), "one version for chart and program"


def test_values_and_schema_name_the_same():
    """The schema makes a misspelt value an error; so it must know all that values.yaml has, and no more."""
    with open(os.path.join(CHART, "values.yaml"), encoding="utf-8") as stream:
        values = yaml.safe_load(stream)
    with open(os.path.join(CHART, "values.schema.json"), encoding="utf-8") as stream:
        schema = json.load(stream)
    assert set(values) == set(schema["properties"]) - {"global"}
    for name, part in schema["properties"].items():
        if "properties" in part:
            assert set(values[name]) == set(part["properties"]) and part["additionalProperties"] is False, name


@pytest.mark.parametrize("values", [LEAST, {**LEAST, **MONITORED}, EVERYTHING,
                                    {"config": CONFIG, "migrate": {"enabled": False}}])
def test_a_deployment(rendered, values):
    objects = rendered(values, checked=True)
    name = values.get("fullnameOverride", NAME)
    expected = {f"ConfigMap {name}", f"Deployment {name}", f"PodDisruptionBudget {name}"}
    if "dsn" in values["migrate"]:
        expected |= {f"ConfigMap {name}-migrate", f"Job {name}-migrate"}
    if "dashboard" in values:
        expected |= {f"ConfigMap {name}-dashboard", f"PodMonitor {name}", f"PrometheusRule {name}"}
    assert set(objects) == expected
    for one in expected:
        if one.startswith(("Deployment", "Job")):
            assert_without_rights(one, objects[one])


def test_the_values_of_the_page(rendered):
    """With conf/kubernetes' configuration, which names the file of a secret."""
    with open(os.path.join(ROOT, "conf", "kubernetes", "configuration.yaml"), encoding="utf-8") as stream:
        text = read(stream.read())["ConfigMap outbox-relay"]["data"]["outbox-relay.conf"]
    objects = rendered({**yaml.safe_load(example("image: {")), "config": text})
    assert {f"Deployment {NAME}", f"PodMonitor {NAME}", f"Job {NAME}-migrate"} < set(objects)
    mounts = [mount["mountPath"] for mount in relay_of(objects[f"Deployment {NAME}"])["volumeMounts"]]
    assert mounts == ["/etc/outbox-relay", "/run/secrets/outbox-relay"]


def test_it_makes_what_the_manifests_make(rendered):
    """Names and labels are the release's."""
    objects = rendered(LEAST)
    with open(os.path.join(ROOT, "conf", "kubernetes", "deployment.yaml"), encoding="utf-8") as stream:
        plain = read(stream.read())["Deployment outbox-relay"]
    mine, theirs = objects[f"Deployment {NAME}"], plain
    for key in ("replicas", "strategy"):
        assert mine["spec"][key] == theirs["spec"][key], key
    for key in ("terminationGracePeriodSeconds", "automountServiceAccountToken"):
        assert pod(mine)[key] == pod(theirs)[key], key
    for key in ("image", "args", "resources"):
        assert relay_of(mine)[key] == relay_of(theirs)[key], key
    for key in ("livenessProbe", "readinessProbe"):
        assert relay_of(mine)[key]["httpGet"].pop("port") and relay_of(theirs)[key]["httpGet"].pop("port")
        assert relay_of(mine)[key] == relay_of(theirs)[key], key


def test_selectors_take_the_relays_and_not_the_job(rendered):
    objects = rendered({**LEAST, **MONITORED})
    deployment = objects[f"Deployment {NAME}"]
    relays = deployment["spec"]["template"]["metadata"]["labels"].items()
    job = objects[f"Job {NAME}-migrate"]["spec"]["template"]["metadata"]["labels"].items()
    spread, = pod(deployment)["topologySpreadConstraints"]
    for selector in (deployment["spec"]["selector"], objects[f"PodDisruptionBudget {NAME}"]["spec"]["selector"],
                     objects[f"PodMonitor {NAME}"]["spec"]["selector"], spread["labelSelector"]):
        assert selector["matchLabels"].items() <= relays and not selector["matchLabels"].items() <= job
    endpoint, = objects[f"PodMonitor {NAME}"]["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in relay_of(deployment)["ports"]}


def test_a_changed_configuration_replaces_the_relays(rendered):
    def annotations(text):
        return rendered({**LEAST, "config": text})[f"Deployment {NAME}"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations(CONFIG) == annotations(CONFIG) != annotations(CONFIG + "log = { level = \"debug\"; };\n")


def test_the_job_runs_before_the_rest_with_its_own_configuration(rendered):
    objects = rendered(LEAST)
    first, then = objects[f"ConfigMap {NAME}-migrate"], objects[f"Job {NAME}-migrate"]
    for one in (first, then):
        assert one["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    weights = [int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in (first, then)]
    assert weights[0] < weights[1]
    assert first["data"] == objects[f"ConfigMap {NAME}"]["data"]
    needs = {volume["configMap"]["name"] for volume in pod(then)["volumes"] if "configMap" in volume}
    assert needs == {first["metadata"]["name"]}


@pytest.mark.parametrize("packaged", [False, True])
def test_rules_and_dashboard_are_those_of_conf(helm, rendered, tmp_path, packaged):
    """The chart has links to them, which helm follows, also when it makes a package."""
    chart = CHART
    if packaged:
        done = helm("package", CHART, "-d", tmp_path)
        assert done.returncode == 0, done.stderr
        chart = tmp_path / f"outbox-relay-{version()}.tgz"
    objects = rendered({**LEAST, **MONITORED}, chart)
    with open(os.path.join(ROOT, "conf", "dashboard.json"), encoding="utf-8") as stream:
        assert json.loads(objects[f"ConfigMap {NAME}-dashboard"]["data"]["outbox-relay.json"]) == json.load(stream)
    spec = objects[f"PrometheusRule {NAME}"]["spec"]
    with open(os.path.join(ROOT, "conf", "alerts.yml"), encoding="utf-8") as stream:
        assert spec == yaml.safe_load(stream)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": spec["groups"]}))
    subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yml")], check=True, timeout=60)


def test_a_sidecar_in_the_chart_of_an_application(helm, rendered, tmp_path):
    values = {**LEAST, **MONITORED, "mode": "sidecar"}
    values["podMonitor"] = {"enabled": True, "matchLabels": {"app.kubernetes.io/name": "shop"}}
    objects = rendered({}, parent(helm, tmp_path, **values), checked=True)
    assert set(objects) == {"Deployment shop", f"ConfigMap {NAME}", f"ConfigMap {NAME}-migrate", f"Job {NAME}-migrate",
                            f"ConfigMap {NAME}-dashboard", f"PodMonitor {NAME}", f"PrometheusRule {NAME}"}
    shop = objects["Deployment shop"]
    sidecar, = pod(shop)["initContainers"]
    assert sidecar["restartPolicy"] == "Always" and "livenessProbe" in sidecar
    assert "readinessProbe" not in sidecar and "startupProbe" not in sidecar
    assert_without_rights("shop", shop)
    mounted = {mount["name"] for mount in sidecar["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod(shop)["volumes"]}
    template = shop["spec"]["template"]["metadata"]
    assert template["annotations"]["checksum/outbox-relay"]
    selector = objects[f"PodMonitor {NAME}"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= template["labels"].items()


@pytest.mark.parametrize("values, says", [
    ({}, "config: the text of outbox-relay.conf is missing"),
    ({"config": CONFIG}, "migrate.dsn: the DSN of the outbox table's owner is missing"),
    ({**LEAST, "config": CONFIG.replace("0.0.0.0", "127.0.0.1")}, 'config: http.listen must be "0.0.0.0:9464"'),
    ({**LEAST, "port": 9000}, 'config: http.listen must be "0.0.0.0:9000"'),
    ({**LEAST, "mode": "sidecar", "podMonitor": {"enabled": True}}, "podMonitor.matchLabels"),
    ({**LEAST, "replica": 3}, "'replica' not allowed"),
    ({**LEAST, "podMonitor": {"enable": True}}, "'enable' not allowed"),
    ({**LEAST, "mode": "daemonset"}, "at '/mode'"),
    ({**LEAST, "image": {"digest": "latest"}}, "at '/image/digest'"),
])
def test_a_wrong_value_is_named(template, values, says):
    done, _ = template(values)
    assert done.returncode != 0 and says in done.stderr, done.stderr


def test_what_is_wrong_is_found(template, tmp_path):
    """So that the checks by schemas mean something: in an object of Kubernetes, and in one of the operator."""
    for file, right in (("deployment.yaml", "maxUnavailable: 1"), ("monitoring.yaml", "podMetricsEndpoints")):
        chart = shutil.copytree(CHART, tmp_path / file)
        path = chart / "templates" / file
        text = path.read_text()
        assert right in text
        path.write_text(text.replace(right, "x" + right))
        done, out = template({**LEAST, **MONITORED}, chart)
        assert done.returncode == 0, done.stderr
        with pytest.raises((AssertionError, jsonschema.ValidationError), match="x" + right.split(":", maxsplit=1)[0]):
            valid(out)


def test_what_it_makes_migrates_and_publishes(rendered, empty_database, kafka, directory, prefix):
    objects = rendered(LEAST)
    deployment = objects[f"Deployment {NAME}"]
    relay = prepare(deployment, objects[f"ConfigMap {NAME}"], directory, empty_database, kafka.bootstrap)
    done = migrate(objects[f"Job {NAME}-migrate"], relay, empty_database.dsn(OWNER))
    assert done.returncode == 0, done.stderr
    relay.start()
    try:
        until(lambda: probe(relay, deployment, "readinessProbe") == 200, 20, "ready")
        assert publishes(empty_database, kafka.bootstrap, prefix + "thing") == b"k"
        assert relay.stop() == 0
    finally:
        relay.process.end()
        relay.process.forget()
