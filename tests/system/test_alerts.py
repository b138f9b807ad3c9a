"""The rules of conf/alerts.yml, tried by promtool on series made up for them."""
import json
import os
import re
import subprocess

import pytest

from harness.relay import ROOT

RULES = os.path.join(ROOT, "conf", "alerts.yml")
LABELS = {"topic": "t", "reason": "headers"}
REJECTED = 'outbox_relay_rejected_total{instance="a", topic="t", reason="headers"}'
ALERT = {"exp_labels": dict(LABELS, severity="ticket"),
         "exp_annotations": {"summary": "Events for t are rejected: headers",
                             "description": "The log names each event. The relay has halted, or the events are"
                                            " dead letters (outbox.on_reject).",
                             "runbook": "docs/runbooks/rejected-event.md"}}


def promtool(*argv):
    done = subprocess.run(["promtool", *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    assert done.returncode == 0, done.stdout


def test_promtool_takes_the_rules():
    promtool("check", "rules", RULES)


def test_each_alert_has_a_runbook():
    """The page that an alert names exists, for each peer if it is a peer's."""
    text = open(RULES, encoding="utf-8").read()
    runbooks = re.findall(r"^\s*runbook: (\S+(?: \S+)*)$", text, re.M)
    assert len(runbooks) == text.count("- alert: ")
    for runbook in runbooks:
        for peer in ("database", "kafka"):
            path = runbook.replace("{{ $labels.peer }}", peer)
            assert os.path.exists(os.path.join(ROOT, path)), path


@pytest.mark.parametrize("values, alerts", [
    ("_x30 1+0x30", [ALERT]),  # a series begins with its first event: no 0 comes before the 1
    ("3+0x30 4+0x30", [ALERT]),
    ("3+0x60", []),
])
def test_rejects_are_told(tmp_path, values, alerts):
    """The alert is there five minutes after the event, though it may be the first of its topic and reason."""
    case = {"rule_files": [RULES], "evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": [{"series": REJECTED, "values": values}],
        "alert_rule_test": [{"eval_time": "36m", "alertname": "OutboxRelayRejecting", "exp_alerts": alerts}]}]}
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(case))  # JSON is YAML
    promtool("test", "rules", path)
