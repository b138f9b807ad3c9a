# SPDX-License-Identifier: ISC
"""The rules of conf/alerts.yml, tried by promtool on series made up for them: two services in one Prometheus, of which
one is in trouble."""
import json
import os
import re
import subprocess

import pytest

from harness.relay import ROOT

RULES = os.path.join(ROOT, "conf", "alerts.yml")
OUTBOX = "public.outbox_events"  # of both services: they differ by the database alone
MINUTES, TROUBLE = 120, 60  # so long is a story; its trouble begins then
PAGE = {"OutboxRelayDown", "OutboxRelayNone", "OutboxRelayNobodyServes", "OutboxRelayHalted", "OutboxRelayDisconnected",
        "OutboxRelayStuck", "OutboxRelayLagging", "OutboxRelayFreshnessBurnsFast", "OutboxRelayCanaryLost",
        "OutboxRelayPartitionsRunOut", "OutboxRelayUnconfirmed", "OutboxRelayInDoubt"}
GONE = "_"


def promtool(*argv):
    done = subprocess.run(["promtool", *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    return done.stdout


def healthy(owns):
    """What a relay says minute by minute: name and labels -> function of the minute. 100 events/s if it owns shards."""
    rate = 100 if owns else 0
    return {
        "build_info{version=1}": lambda t: 1,
        "depth": lambda t: 7 if owns and t % 2 else 0,
        "oldest_age_seconds": lambda t: 0.2 if owns and t % 2 else 0,
        "parked_keys": lambda t: 0,
        "held_keys": lambda t: 0,
        "parked_oldest_age_seconds": lambda t: 0,
        "dead_letters_by_reason{reason=headers}": lambda t: 0,
        "deferred_events": lambda t: 0,
        "partitions_ahead": lambda t: 4,
        "position_lag_seconds": lambda t: 0.3 if owns and t % 2 else 0,
        "dead_letters": lambda t: 0,
        "halted": lambda t: 0,
        "unconfirmed": lambda t: 0,
        "in_doubt": lambda t: 0,
        "producers_fenced_total": lambda t: 0,
        "paused": lambda t: 0,
        "connected{peer=database}": lambda t: 1,
        "connected{peer=kafka}": lambda t: 1,
        "shard_owned{shard=0}": lambda t: int(owns),
        "shard_owned{shard=1}": lambda t: int(owns),
        "batch_events_count": lambda t: rate * t,
        "latency_seconds_count": lambda t: 60 * rate * t,
        "latency_seconds_bucket{le=5}": lambda t: 60 * rate * t,
        "latency_seconds_bucket{le=10}": lambda t: 60 * rate * t,
        "latency_seconds_bucket{le=+Inf}": lambda t: 60 * rate * t,
        "retries_total{peer=database}": lambda t: 0,
        "retries_total{peer=kafka}": lambda t: 0,
    }


WORK = ("batch_events_count", "latency_seconds_count", "latency_seconds_bucket{le=5}", "latency_seconds_bucket{le=10}",
        "latency_seconds_bucket{le=+Inf}")


def since(begin, value, end=MINUTES):
    """A change of a series: value (or a function of the minutes since) from the minute begin until end."""
    return begin, end, value


def stops():
    """Counters of work stand still."""
    return {name: since(TROUBLE, healthy(True)[name](TROUBLE)) for name in WORK}


def waits():
    """Nothing moves and events wait."""
    return dict(stops(), depth=since(TROUBLE, lambda t: 6000 * t),
                oldest_age_seconds=since(TROUBLE, lambda t: 60 * t))


def everything(value, begin=TROUBLE, end=MINUTES):
    return {name: since(begin, value, end) for name in healthy(True)}


def owned(value):
    return {f"shard_owned{{shard={shard}}}": since(TROUBLE, value) for shard in (0, 1)}


def series(database, instance, relay, changes):
    """The series of a relay as promtool wants them."""
    for name, value in relay.items():
        begin, end, change = changes.get(name, (MINUTES, MINUTES, None))
        values = [str((change(t - begin) if callable(change) else change) if begin <= t < end else value(t))
                  for t in range(MINUTES)]
        labels = {"database": database, "outbox": OUTBOX, "instance": instance}
        labels.update(re.findall(r"(\w+)=([^,}]+)", name))
        text = ", ".join(f'{label}="{value}"' for label, value in labels.items())
        yield {"series": f"outbox_relay_{name.split('{')[0]}{{{text}}}", "values": " ".join(values)}


def story(owner=None, standby=None, more=()):
    """Two services with two relays each; the relays of billing with these changes, those of shop as always."""
    made = [("shop", "s1", healthy(True), {}), ("shop", "s2", healthy(False), {}),
            ("billing", "b1", healthy(True), owner or {}), ("billing", "b2", healthy(False), standby or {}), *more]
    return [one for relay in made for one in series(*relay)]


def samples(alerts):
    """The groups that firing asks for, of these alerts."""
    made = []
    for name, database, *others in alerts:
        labels = dict(zip(("peer", "instance", "topic", "reason", "code"), others), alertname=name,
                      severity="page" if name in PAGE else "ticket")
        labels.update({"database": database, "outbox": OUTBOX} if database else {})
        text = ", ".join(f'{label}="{value}"' for label, value in labels.items() if value)
        made.append({"labels": f"{{{text}}}", "value": 1})
    return made


def firing(tmp_path, input_series, expected, minute, interval="1m", before=None):
    """Asserts that at this minute exactly these alerts fire: {(name, database or None, *other labels)}. before: a minute
    at which none does."""
    grouped = "group by (alertname, severity, database, outbox, peer, instance, topic, reason, code)"
    asked = {minute: expected} if before is None else {before: set(), minute: expected}
    case = {"rule_files": [RULES], "evaluation_interval": interval, "tests": [{
        "interval": interval, "input_series": input_series,
        "promql_expr_test": [{"expr": f'{grouped} (ALERTS{{alertstate="firing"}})', "eval_time": f"{at}m",
                              "exp_samples": samples(alerts)} for at, alerts in asked.items()]}]}
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(case))  # JSON is YAML
    return promtool("test", "rules", path)


def test_promtool_takes_the_rules():
    promtool("check", "rules", RULES)


def alerts():
    """Name -> text of each alert."""
    text = open(RULES, encoding="utf-8").read()
    return {block.split("\n", 1)[0]: block for block in text.split("- alert: ")[1:]}


def test_each_alert_has_a_runbook_and_a_line():
    """The page that an alert names exists, for each peer if it is a peer's, and says when one comes to it. Each is in
    the table of docs/operations.md with its severity."""
    table = open(os.path.join(ROOT, "docs", "operations.md"), encoding="utf-8").read()
    for name, block in alerts().items():
        runbook, = re.findall(r"^\s*runbook: (\S+(?: \S+)*)$", block, re.M)
        severity, = re.findall(r"^\s*severity: (\S+)$", block, re.M)
        assert severity == ("page" if name in PAGE else "ticket")
        assert re.search(rf"^\| {name} \| {severity} \|", table, re.M), name
        for peer in ("database", "kafka"):
            path = os.path.join(ROOT, runbook.replace("{{ $labels.peer }}", peer))
            assert os.path.exists(path), path
            assert name in open(path, encoding="utf-8").read(), f"{path} does not mention {name}"


BURNS = ("OutboxRelayFreshnessBurnsFast", "billing")
LAGS = ("OutboxRelayLagging", "billing")
NO_SESSION = dict(stops(), **owned(0), **{"connected{peer=database}": since(TROUBLE, 0), "depth": since(TROUBLE, 0),
                                          "oldest_age_seconds": since(TROUBLE, 0)})
NO_KAFKA = {"connected{peer=kafka}": since(TROUBLE, 0)}
PARKED = {"parked_keys": since(TROUBLE, 2), "parked_oldest_age_seconds": since(TROUBLE, lambda t: 3600 + 60 * t)}
HELD = {"parked_keys": since(TROUBLE, 2), "held_keys": since(TROUBLE, 2)}  # behind events that cannot be removed


@pytest.mark.parametrize("owner, standby, expected", [
    pytest.param({"partitions_ahead": since(TROUBLE, 1)}, {},
                 {("OutboxRelayPartitionsRunOut", "billing")}, id="partitions run out"),
    pytest.param(dict(waits(), unconfirmed=since(TROUBLE, 1)), {}, {("OutboxRelayUnconfirmed", "billing"), LAGS, BURNS},
                 id="unconfirmed"),
    pytest.param(dict(waits(), in_doubt=since(TROUBLE, 1)), {}, {("OutboxRelayInDoubt", "billing"), LAGS, BURNS},
                 id="in doubt"),
    pytest.param(dict(waits(), halted=since(TROUBLE, 1)), {}, {("OutboxRelayHalted", "billing"), LAGS, BURNS}, id="halted"),
    pytest.param(dict(waits(), halted=since(TROUBLE, 1), **{"shard_owned{shard=1}": since(TROUBLE, 0)}), {},
                 {("OutboxRelayHalted", "billing"), ("OutboxRelayNobodyServes", "billing"), LAGS, BURNS},
                 id="halted, and another shard unowned"),
    pytest.param(dict(HELD, depth=since(TROUBLE, 2)), waits(),
                 {("OutboxRelayEventNotRemoved", "billing"), LAGS, BURNS}, id="one has held keys, the other one lags"),
    pytest.param(dict(waits(), **PARKED), {},
                 {("OutboxRelayParkedKeys", "billing"), ("OutboxRelayStuck", "billing"), LAGS, BURNS},
                 id="the one with parked keys is stuck"),
    pytest.param({"shard_owned{shard=1}": since(TROUBLE, 0)}, {}, {("OutboxRelayNobodyServes", "billing"), BURNS},
                 id="unowned"),
    pytest.param(NO_SESSION, NO_SESSION, {("OutboxRelayDisconnected", "billing", "database"), BURNS},
                 id="database"),
    pytest.param(dict(waits(), **NO_KAFKA), NO_KAFKA, {("OutboxRelayDisconnected", "billing", "kafka"), LAGS, BURNS},
                 id="kafka"),
    pytest.param(dict(stops(), **NO_KAFKA, **owned(0)), NO_KAFKA, {("OutboxRelayDisconnected", "billing", "kafka"), BURNS},
                 id="kafka since the start"),
    pytest.param(waits(), {}, {("OutboxRelayStuck", "billing"), LAGS, BURNS}, id="stuck"),
    pytest.param(everything(GONE), everything(GONE), {("OutboxRelayDown", "billing"), BURNS}, id="gone"),
])
def test_the_service_in_trouble_pages(tmp_path, owner, standby, expected):
    """Of two services in one Prometheus the one in trouble, by its labels, and not the other; before, none does."""
    firing(tmp_path, story(owner, standby), expected, TROUBLE + 20, before=TROUBLE - 1)


HANDED_OVER = {name: since(TROUBLE, healthy(False)[name](0)) for name in
               ("depth", "oldest_age_seconds", "shard_owned{shard=0}", "shard_owned{shard=1}")}
TAKEN = dict(owned(1), **{name: since(TROUBLE, lambda t: 6000 * t) for name in WORK})
PAUSED = dict(stops(), **owned(0), depth=since(TROUBLE, 0), oldest_age_seconds=since(TROUBLE, 0), paused=since(TROUBLE, 1))
LATER = {name: since(0, GONE, TROUBLE) for name in (*healthy(True), "shard_owned{shard=2}", "shard_owned{shard=3}")}
OWNS_LATER = {f"shard_owned{{shard={shard}}}": lambda t: int(t > TROUBLE) for shard in (0, 1)}
FAILS_OVER = {"connected{peer=database}": since(TROUBLE, 0, TROUBLE + 2)}
OWNER_FAILS_OVER = dict(FAILS_OVER, **{f"shard_owned{{shard={shard}}}": since(TROUBLE, 0, TROUBLE + 2) for shard in (0, 1)},
                        oldest_age_seconds=since(TROUBLE + 2, 95, TROUBLE + 3))
WAITING = {"shard_owned{shard=2}": lambda t: 0, "shard_owned{shard=3}": lambda t: 0}


@pytest.mark.parametrize("minute, owner, standby, more, expected", [
    pytest.param(20, {}, {}, [], set(), id="healthy"),
    pytest.param(3, everything(GONE, end=TROUBLE + 2), everything(GONE, TROUBLE + 1, TROUBLE + 3), [], set(),
                 id="restarts"),
    pytest.param(20, everything(GONE), TAKEN, [], set(), id="one of two relays is taken away"),
    pytest.param(20, dict(HANDED_OVER, **stops()), TAKEN, [], set(), id="handed over"),
    pytest.param(50, PAUSED, {"paused": since(TROUBLE, 1)}, [], set(), id="paused"),
    pytest.param(2, {"oldest_age_seconds": since(TROUBLE, 40, TROUBLE + 1)}, {}, [], set(), id="stale for a moment"),
    pytest.param(3, OWNER_FAILS_OVER, FAILS_OVER, [], set(), id="the database fails over"),
    pytest.param(50, {name: since(0, 0) for name in WORK}, {}, [], set(), id="no events"),
    pytest.param(20, {name: since(TROUBLE, healthy(True)[name]) for name in WORK}, {}, [], set(), id="counters begin anew"),
    pytest.param(4, everything(GONE, TROUBLE + 1), everything(GONE, TROUBLE + 3), [
        ("billing", "b3", dict(healthy(True), **OWNS_LATER), LATER), ("billing", "b4", healthy(False), LATER)], set(),
        id="each relay is replaced by another instance"),
    pytest.param(5, {}, NO_KAFKA, [], set(), id="a standby without Kafka"),
    pytest.param(20, {}, NO_KAFKA, [], {("OutboxRelayOneDisconnected", "billing", "kafka", "b2")},
                 id="a standby without Kafka for long"),
    pytest.param(20, {}, everything(GONE), [("billing", "b3", dict(healthy(False), **WAITING), LATER)], set(),
                 id="another number of shards"),
    pytest.param(20, {}, {}, [("new", "n1", dict(healthy(True), **OWNS_LATER), LATER)], set(), id="a new outbox"),
    pytest.param(20, dict(HELD, depth=since(TROUBLE, 2), oldest_age_seconds=since(TROUBLE, lambda t: 60 * t)), {}, [],
                 {("OutboxRelayEventNotRemoved", "billing")}, id="an event that cannot be removed"),
    pytest.param(20, PARKED, {}, [], {("OutboxRelayParkedKeys", "billing")}, id="parked keys"),
    pytest.param(20, {"deferred_events": since(TROUBLE, 7), "depth": since(TROUBLE, 7)}, {}, [],
                 {("OutboxRelayTopicOut", "billing")}, id="a topic is missing"),
    pytest.param(50, {"dead_letters": since(TROUBLE - 30, 3)}, {}, [], {("OutboxRelayDeadLetters", "billing")},
                 id="dead letters"),
    pytest.param(20, {"position_lag_seconds": since(TROUBLE, 7200)}, {}, [], {("OutboxRelayPositionHeldBack", "billing")},
                 id="an old transaction before positions"),
    pytest.param(2, {"in_doubt": since(TROUBLE, 1, TROUBLE + 1)}, {}, [], set(), id="in doubt for a moment"),
    pytest.param(20, {"producers_fenced_total": since(TROUBLE, 2)}, {}, [], set(), id="fenced when a relay came back"),
    pytest.param(20, {"producers_fenced_total": since(TROUBLE, lambda t: 10 * t)}, {}, [],
                 {("OutboxRelayFenced", "billing")}, id="fenced again and again"),
    pytest.param(30, {"retries_total{peer=kafka}": since(TROUBLE, lambda t: 20 * t)}, {}, [],
                 {("OutboxRelayRetrying", "billing", "kafka", "b1")}, id="retrying"),
])
def test_what_does_not_page(tmp_path, minute, owner, standby, more, expected):
    """Nothing but tickets, and those for the service that they are about."""
    assert not {name for name, *_ in expected} & PAGE
    firing(tmp_path, story(owner, standby, more), expected, TROUBLE + minute)


@pytest.mark.parametrize("alert, owner, words", [
    ("OutboxRelayParkedKeys", PARKED, ["2 keys of public.outbox_events (billing) wait", "The oldest is 1h 59m 0s old."]),
    ("OutboxRelayDeadLetters", {"dead_letters": since(TROUBLE - 30, 3), "dead_letters_by_reason{reason=headers}": since(0, 3)},
     ["3 events of public.outbox_events (billing) are", "Rejected as headers: 3; they are not"]),
])
def test_what_an_alert_says(tmp_path, alert, owner, words):
    """promtool compares whole annotations only: what it has got is in what it complains of."""
    case = {"rule_files": [RULES], "evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": story(owner), "alert_rule_test": [
            {"eval_time": f"{TROUBLE + 60}m", "alertname": alert, "exp_alerts": []}]}]}
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(case))
    done = subprocess.run(["promtool", "test", "rules", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert [each for each in words if each not in done.stdout] == [], done.stdout


def test_a_pause_is_a_ticket_after_an_hour(tmp_path):
    long = {name: (10, MINUTES, value) for name, (_, _, value) in PAUSED.items()}
    firing(tmp_path, story(long, {"paused": since(10, 1)}), {("OutboxRelayPaused", "billing")}, 75)


def test_relays_that_differ_for_long(tmp_path):
    more = [("billing", "b3", dict(healthy(False), **WAITING), {})]
    firing(tmp_path, story({}, {}, more), {("OutboxRelayLayoutsDiffer", "billing")}, 40)


def test_a_relay_that_was_hardly_there(tmp_path):
    """Gone within minutes of its first scrape."""
    made = list(series("billing", "b1", healthy(True), everything(GONE, begin=5)))
    firing(tmp_path, made, {("OutboxRelayDown", "billing"), BURNS}, 16)  # promtool looks back for 5 minutes


@pytest.mark.parametrize("known, scraped, stale", [
    ("1+0x60 _x20 1+0x20", "1+0x60 _x21 1+0x20", 0),  # Prometheus was away, and evaluates before its first scrape
    ("1+0x100", "1+0x76 _x24", 1),
])
def test_a_prometheus_that_was_away_blames_no_relay(tmp_path, known, scraped, stale):
    """promtool evaluates rules all the time, so this asks the rule's expression of what was recorded."""
    expr, = re.findall(r"record: database_outbox:relay_stale:bool\n +expr: \|\n((?: {10}.*\n)+)",
                       open(RULES, encoding="utf-8").read())
    labels = f'{{database="billing", outbox="{OUTBOX}"}}'
    case = {"rule_files": [], "tests": [{"interval": "1m", "input_series": [
        {"series": f"database_outbox:relay_known:group{labels}", "values": known},
        {"series": f"outbox_relay_build_info{labels}", "values": scraped}], "promql_expr_test": [
            {"expr": f"sum by (database, outbox) ({expr})", "eval_time": "81m", "exp_samples": [{"labels": labels, "value": stale}]}]}]}
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(case))
    promtool("test", "rules", path)


def test_no_relay_was_ever_there(tmp_path):
    firing(tmp_path, [], {("OutboxRelayNone", None)}, 10)


def late(per_minute):
    """So many of the 6000 events of a minute take longer than 5 s."""
    return {"latency_seconds_bucket{le=5}": since(TROUBLE, lambda t: 6000 * (TROUBLE + t) - per_minute * t)}


@pytest.mark.parametrize("bucket", ["5", "5.0"])  # as Prometheus 2 and 3 have it
@pytest.mark.parametrize("minute, per_minute, expected", [
    (20, 3000, {BURNS, ("OutboxRelaySlow", "billing")}),
    (20, 600, {BURNS, ("OutboxRelaySlow", "billing")}),
    (50, 6, set()),  # what the objective allows
    (8, 1, set()),
])
def test_late_events_burn_the_budget(tmp_path, minute, per_minute, expected, bucket):
    """14.4 times as fast as 0.1 % is paged for; 50 % within minutes."""
    made = [dict(one, series=one["series"].replace('le="5"', f'le="{bucket}"')) for one in story(late(per_minute))]
    firing(tmp_path, made, expected, TROUBLE + minute)


def test_few_events_wake_nobody(tmp_path):
    """One event in ten minutes, each late: below ten in an hour. It may wait for the morning."""
    few = {name: since(0, lambda t: t // 10) for name in WORK}
    firing(tmp_path, story(dict(few, **{"latency_seconds_bucket{le=5}": since(0, 0)})),
           {("OutboxRelayFreshnessBurnsSlowly", "billing")}, TROUBLE + 50)


def test_a_slow_burn_is_a_ticket(tmp_path):
    """0.2 % of the events for three days spend the budget of a month in fifteen."""
    text = {"count": "0+1000x1000", "le": "0+998x1000", "info": "1+0x1000"}
    labels = 'database="billing", outbox="public.outbox_events", instance="b1"'
    made = [{"series": f'outbox_relay_latency_seconds_bucket{{{labels}, le="5"}}', "values": text["le"]},
            {"series": f"outbox_relay_latency_seconds_count{{{labels}}}", "values": text["count"]},
            {"series": f"outbox_relay_build_info{{{labels}}}", "values": text["info"]}]
    firing(tmp_path, made, {("OutboxRelayFreshnessBurnsSlowly", "billing")}, 3 * 24 * 60, interval="5m")


REJECTED = f'outbox_relay_rejected_total{{database="billing", outbox="{OUTBOX}", instance="b1", topic="t", reason="headers"}}'
ALIVE = f'outbox_relay_build_info{{database="billing", outbox="{OUTBOX}", instance="b1"}}'


APPEARS = [
    ("_x30 1+0x30", True),  # a series begins with its first event: no 0 comes before the 1
    ("3+0x30 4+0x30", True),
    ("3+0x60", False),
    ("3+0x5 _x17 3+0x40", False),  # Prometheus did not scrape for a while
]


@pytest.mark.parametrize("values, rejecting", APPEARS)
def test_unknown_errors_are_told(tmp_path, values, rejecting):
    """Likewise: the series begins with the first error."""
    series = REJECTED.replace("rejected_total", "unknown_errors_total").replace('topic="t", reason="headers"', 'code="ERR_4711?"')
    firing(tmp_path, [{"series": series, "values": values}, {"series": ALIVE, "values": "1+0x60"}],
           {("OutboxRelayUnknownError", "billing", None, None, None, None, "ERR_4711?")} if rejecting else set(), 36)


@pytest.mark.parametrize("values, rejecting", APPEARS)
def test_rejects_are_told(tmp_path, values, rejecting):
    """The alert is there five minutes after the event, though it may be the first of its topic and reason."""
    firing(tmp_path, [{"series": REJECTED, "values": values}, {"series": ALIVE, "values": "1+0x60"}],
           {("OutboxRelayRejecting", "billing", None, None, "t", "headers")} if rejecting else set(), 36)


CANARY = f'outbox_relay_canary_up{{database="billing", outbox="{OUTBOX}", instance="c1"}}'


@pytest.mark.parametrize("paused, expected", [(0, {("OutboxRelayCanaryLost", "billing")}), (1, set())])
def test_a_lost_canary_is_told(tmp_path, paused, expected):
    """Unless the outbox is paused; its process counts as no relay."""
    pause = f'outbox_relay_paused{{database="billing", outbox="{OUTBOX}", instance="b1"}}'
    firing(tmp_path, [{"series": CANARY, "values": "1+0x20 0+0x20"}, {"series": pause, "values": f"{paused}+0x40"},
                      {"series": ALIVE, "values": "1+0x40"}], expected, 23)
