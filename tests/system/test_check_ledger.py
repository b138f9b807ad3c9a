# SPDX-License-Identifier: ISC
"""What `check` says of kafka.delivery = "exactly-once": the ledger's settings, and the rights that it takes. It leaves
nothing in the ledger."""
import pytest
from confluent_kafka import Consumer, TopicPartition

PARTITIONS = 64
GOOD = {"cleanup_policy": "compact", "min_compaction_lag_ms": 3600000, "unclean_leader_election_enable": "false"}


@pytest.fixture
def check(database, new_relay, topic, prefix):
    """check(kafka): the lines that name the ledger or transactional ids, of a relay that delivers exactly once."""
    topic()

    def run(**options):
        relay = new_relay(kafka={"delivery": "exactly-once", "ledger_topic": prefix + "ledger", **options})
        out = relay.command("check").stdout
        return [line for line in out.splitlines() if prefix + "ledger" in line or "transaction" in line]
    return run


def said(lines, level, *words):
    return any(line.startswith(level) and all(word in line for word in words) for line in lines)


def ends(kafka, name):
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "none"})
    found = [consumer.get_watermark_offsets(TopicPartition(name, number), timeout=30)[1]
             for number in range(PARTITIONS)]
    consumer.close()
    return found


def test_a_ledger_that_is_well(kafka, check, prefix):
    kafka.create_topic(prefix + "ledger", PARTITIONS, **GOOD)
    lines = check()
    assert not any(line.startswith("error") for line in lines), lines
    assert said(lines, "ok", f"ledger topic {prefix}ledger: 64 partitions")
    assert said(lines, "ok", "give the relay transactional ids")
    assert ends(kafka, prefix + "ledger") == [0] * PARTITIONS


@pytest.mark.parametrize("level, words, changes", [
    ("error", "cleanup.policy=delete", {"cleanup_policy": "delete"}),
    ("error", "cleanup.policy=compact,delete", {"cleanup_policy": "compact,delete"}),
    ("error", "allows unclean leader elections", {"unclean_leader_election_enable": "true"}),
    ("warn", "for 60 s before it compacts", {"min_compaction_lag_ms": 60000}),
])
def test_a_ledger_with_another_setting(kafka, check, prefix, level, words, changes):
    kafka.create_topic(prefix + "ledger", PARTITIONS, **{**GOOD, **changes})
    lines = check()
    assert said(lines, level, words), lines
    assert ends(kafka, prefix + "ledger") == [0] * PARTITIONS


def test_a_ledger_with_too_few_partitions(kafka, check, prefix):
    kafka.create_topic(prefix + "ledger", 4, **GOOD)
    assert said(check(), "error", f"ledger topic {prefix}ledger has 4 partitions")


def test_no_ledger(kafka, check, prefix):
    lines = check()
    assert said(lines, "error", f"ledger topic {prefix}ledger does not exist"), lines
    assert prefix + "ledger" not in kafka.topics()


@pytest.mark.xdist_group("logins")
def test_the_rights_it_takes(login_kafka, database, check, prefix):
    kafka, ledger = login_kafka, prefix + "ledger"
    kafka.create_topic(ledger, PARTITIONS, **GOOD)
    uuid = database.value("SELECT producers FROM outbox_relay.outboxes")
    rights = {"write": ("limited", "write", "topic", ledger), "read": ("limited", "read", "topic", ledger),
              "id": ("limited", "write", "transactional_id", f"outbox-relay.{uuid}.{PARTITIONS}")}
    seen = [("limited", operation, "topic", ledger) for operation in ("describe", "describe_configs")]

    def errors():
        lines = check(bootstrap_servers=kafka.at("SASL"), properties=kafka.sasl("PLAIN", "limited"))
        return {"write": said(lines, "error", "cannot be written", "TOPIC_AUTHORIZATION_FAILED", "grant the relay WRITE"),
                "read": said(lines, "error", "cannot be read", "TOPIC_AUTHORIZATION_FAILED", "grant the relay READ"),
                "id": said(lines, "error", f"no transactional id of outbox-relay.{uuid}",
                           "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "with the prefix outbox-relay.")}
    for right in seen:
        kafka.grant(*right)
    try:
        assert errors() == {"write": True, "read": True, "id": True}
        for name, right in rights.items():
            kafka.grant(*right)
            assert not errors()[name], name
        assert errors() == {"write": False, "read": False, "id": False}
    finally:
        for right in [*seen, *rights.values()]:
            kafka.revoke(*right)
