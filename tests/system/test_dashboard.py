# SPDX-License-Identifier: ISC
"""conf/dashboard.json, conf/alerts.yml and conf/prometheus.yml on a real Prometheus, which scrapes two services: one with
two relays, one with a single one, which publishes by positions from partitions."""
import json
import os
import re

import pytest

from harness.fleet import wait_spread_for_good
from harness.postgres import Database
from harness.prometheus import ENVIRONMENT, Prometheus
from harness.relay import ROOT
from harness.waiting import until
from harness.writers import insert

OUTBOX = "public.outbox_events"
with open(os.path.join(ROOT, "conf", "dashboard.json"), encoding="utf-8") as dashboard:
    PANELS = {panel["title"]: panel["targets"] for panel in json.load(dashboard)["panels"]}
OF_POSITIONS = ("Partitions ahead", "Position lag")  # only the second service has them
REFUSED = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
           " VALUES ('no topic!', 'bad', 'Bad', '{}')")


@pytest.fixture
def services(database, postgres, number, migrate, new_relay, topic, prefix):
    """Two databases, and the relays at work on them: two share the shards of the first."""
    topic()
    other = Database(postgres, f"test{number}other").create()
    migrate("--dsn", other.dsn(), "--partition-by", "id:1000", outbox={"settle": "position"})
    outbox = {"stall_timeout": "1s", "on_reject": "dead-letter"}
    relays = [new_relay(outbox=dict(outbox, shards=2)).start(wait=False) for _ in range(2)]
    relays.append(new_relay(outbox=dict(outbox, settle="position"), database={"dsn": other.dsn("outbox_relay")}).start())
    wait_spread_for_good(relays[:2], 1, 1)
    yield (database, other), relays
    for relay in relays:
        relay.stop()
    other.drop()


class Grafana:
    """What Grafana makes of the dashboard's queries."""

    def __init__(self, prometheus, databases):
        self.prometheus = prometheus
        self.names = [f"{ENVIRONMENT}/{database.name}" for database in databases]

    def ask(self, title, database=".*", time=None):
        """The answers of a panel, a list for each of its queries."""
        answers = []
        for target in PANELS[title]:
            expr = target["expr"]
            for name, value in (("$database", database), ("$outbox", ".*"), ("$__rate_interval", "1m"), ("$__range", "5m")):
                expr = expr.replace(name, value)
            assert "$" not in expr
            answers.append(self.prometheus.query(expr, time))
        return answers

    def values(self, title, query=0):
        """What a panel's query says of the first database and of the other one, None where it has no answer: sums over
        what else tells series apart."""
        found = {}
        for labels, value in self.ask(title)[query]:
            found[labels["database"]] = found.get(labels["database"], 0) + value
        return [found.get(name) for name in self.names]


def wait_values(grafana, title, expected):
    until(lambda: grafana.values(title) == expected, 40, f"{title} {expected}", every=0.3)


def test_the_dashboard(services, kafka, directory):
    """Each query answers for both services, and for a single one only for that; what all relays of an outbox report is
    not doubled, and what each reports adds up."""
    databases, relays = services
    for database, count in zip(databases, (40, 20)):
        insert(database, count)
    # Before the first scrape: between them one would see some, and for a minute there would be a rate.
    until(lambda: sum(relay.metric("published_total") for relay in relays) == 60, 20, "the first events")
    prometheus = Prometheus(directory, relays)
    try:
        grafana = Grafana(prometheus, databases)
        wait_values(grafana, "Published events", [0, 0])  # seen once: from here on there are rates
        kafka.pause()
        for database, count in zip(databases, (300, 123)):
            insert(database, count)
        wait_values(grafana, "Backlog", [300, 123])
        until(lambda: all((age or 0) > 1 for age in grafana.values("Age of the oldest event")), 20, "ages", every=0.3)
        kafka.resume()
        for database in databases:
            database.execute(REFUSED)
        wait_values(grafana, "Backlog", [0, 0])
        until(lambda: grafana.values("Dead letters") == [1, 1], 20, "the dead letters", every=0.3)
        for database in databases:
            insert(database, 10)  # in a batch that is none of the outage, nor has a reject
        # Once the slope of the last minutes is down.
        until(lambda: grafana.values("Time to empty") == [0, 0], 40, "the time to empty", every=0.3)
        check_queries(grafana)
        check_sums(grafana, prometheus)
        rules = [rule for group in json.loads(prometheus.get("/api/v1/rules"))["data"]["groups"] for rule in group["rules"]]
        assert len(rules) > 30 and [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    finally:
        prometheus.end()


def check_queries(grafana):
    for title, targets in PANELS.items():
        names = grafana.names[title in OF_POSITIONS:]
        for target, answer in zip(targets, grafana.ask(title)):
            assert {labels["database"] for labels, _ in answer} == set(names), (title, target["expr"], answer)
            assert {labels["outbox"] for labels, _ in answer} == {OUTBOX}
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert label == "topic" or all(label in labels for labels, _ in answer), (title, label)
        for target, answer in zip(targets, grafana.ask(title, database=names[0])):
            assert {labels["database"] for labels, _ in answer} == {names[0]}, (title, target["expr"])


def check_sums(grafana, prometheus):
    """At one moment, since rates go on."""
    now = prometheus.query("vector(time())")[0][1]
    total, = grafana.ask("Published events", time=now)
    by_topic, = grafana.ask("Published events by topic", time=now)
    parts = prometheus.query('rate(outbox_relay_published_total{topic!=""}[1m])', now)
    assert len(parts) == 3 and all(value > 0 for _, value in parts)
    for labels, value in total:
        for others in (by_topic, parts):
            same = [part for other, part in others if other["database"] == labels["database"]]
            assert value == pytest.approx(sum(same))
    counted = prometheus.query("sum by (database) (outbox_relay_published_total)")
    assert {labels["database"]: value for labels, value in counted} == dict(zip(grafana.names, (350, 153)))
    assert grafana.values("Connected", 0) == [2, 2] and grafana.values("Connected", 1) == [4, 2]  # both peers
    assert grafana.values("Shards of each relay") == [2, 1]
    assert sorted(value for labels, value in grafana.ask("Shards of each relay")[0]) == [1, 1, 1]
    assert grafana.values("Stops", 0) == grafana.values("Stops", 1) == grafana.values("Stops", 2) == [0, 0]
