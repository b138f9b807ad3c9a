# SPDX-License-Identifier: ISC
"""A Prometheus of a test's own, with conf/prometheus.yml and conf/alerts.yml as they are shipped, or hurried."""
import json
import os
import urllib.parse
import urllib.request

from harness.ports import free_port
from harness.process import Process
from harness.relay import LISTENS, ROOT
from harness.waiting import until

ENVIRONMENT = "production"  # of conf/prometheus.yml, which puts it before the database's name


def shipped(name, *changes):
    """The text of a file of conf/ with these changes, each of which has something to change."""
    with open(os.path.join(ROOT, "conf", name), encoding="utf-8") as file:
        text = file.read()
    for old, new in changes:
        assert old in text, f"{name} has no {old}"
        text = text.replace(old, new)
    return text


class Prometheus:
    """Scrapes these relays and evaluates its rules every second, or as the files have it."""

    def __init__(self, directory, relays, hurried=True):
        self.directory = os.path.join(directory, "prometheus")
        os.mkdir(self.directory)
        targets = [relay.process.wait_log(LISTENS).group(1) for relay in relays]
        ours = ('["relay1:9464", "relay2:9464"]', json.dumps(targets))
        if hurried:
            self.write("prometheus.yml", "global: { evaluation_interval: 1s }\n" +
                       shipped("prometheus.yml", ours, ("15s", "1s")))
            # A relay is known from ten minutes after its first scrape.
            self.write("alerts.yml", shipped("alerts.yml", ("offset 10m", "offset 1s")))
        else:
            self.write("prometheus.yml", shipped("prometheus.yml", ours))
            self.write("alerts.yml", shipped("alerts.yml"))
        self.port = free_port()
        self.process = Process("prometheus", [
            "prometheus", f"--config.file={self.directory}/prometheus.yml",
            f"--storage.tsdb.path={self.directory}/data", f"--web.listen-address=127.0.0.1:{self.port}"],
            os.path.join(self.directory, "log")).start()
        until(self.is_ready, 30, "Prometheus to be ready", every=0.1)

    def write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
            file.write(text)

    def get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    def is_ready(self):
        assert self.process.alive, self.process.log()
        try:
            return self.get("/-/ready")
        except OSError:
            return False

    def query(self, expr, time=None):
        """[(labels, value)] of an instant query; an error of Prometheus is an exception."""
        answer = json.loads(self.get("/api/v1/query", query=expr, **({"time": time} if time else {})))
        return [(sample["metric"], float(sample["value"][1])) for sample in answer["data"]["result"]]

    def end(self):
        self.process.end()
        self.process.forget()
