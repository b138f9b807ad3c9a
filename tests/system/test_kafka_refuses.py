# SPDX-License-Identifier: ISC
"""A broker that refuses everything: nothing is rejected, the reason is told, and it goes on when the broker does."""
import os
import re
import subprocess

import pytest
from confluent_kafka import Producer

from harness.kafka import GuardedKafka
from harness.waiting import until
from harness.writers import insert

pytestmark = pytest.mark.xdist_group("guarded")  # one such broker is enough
DEAD_LETTER = {"on_reject": "dead-letter"}
# Ninety minutes ahead, for whatever a program asks for the time.
AHEAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
enum { AHEAD = 90 * 60 };
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += AHEAD;
    return rc;
}
int gettimeofday(struct timeval *now, void *zone)
{
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int rc = real(now, zone);
    now->tv_sec += AHEAD;
    return rc;
}
"""


@pytest.fixture
def ahead(directory):
    """The environment of a program on a machine whose clock is 90 minutes ahead."""
    source, library = f"{directory}/ahead.c", f"{directory}/ahead.so"
    with open(source, "w") as file:
        file.write(AHEAD)
    subprocess.check_call(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"])
    return {"LD_PRELOAD": library}


def refused(relay, words):
    def told():
        status, page = relay.get("/readyz")
        return status == 503 and re.search(words, page)
    until(told, 20, f"readyz to say {words}")
    relay.wait_log(words)


def test_a_clock_that_is_ahead(database, new_relay, reader, topic, ahead):
    """Brokers accept an hour (log.message.timestamp.after.max.ms). The relay makes the time itself: no event is
    at fault."""
    topic()
    insert(database, 50)
    relay = new_relay(outbox=DEAD_LETTER)
    done = relay.command("check", env=ahead)
    assert done.returncode == 1
    assert re.search(r"error .*clock.* is 90 min ahead of the database server's", done.stdout), done.stdout
    relay.process.env = dict(os.environ, **ahead)
    relay.start(wait=False)
    refused(relay, r"INVALID_TIMESTAMP.*compare the clocks")
    relay.stop()
    assert database.value("SELECT count(*) FROM outbox_events") == 50
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0
    relay.process.env = dict(os.environ)
    relay.start()
    assert len(reader().take(50)) == 50
    done = relay.command("check")
    assert done.returncode == 0 and "ahead" not in done.stdout


def test_it_goes_on_when_the_clocks_agree(database, new_relay, reader, topic, kafka):
    """Without a restart."""
    name = topic(message_timestamp_before_max_ms=0)
    insert(database, 50)
    relay = new_relay(outbox=DEAD_LETTER).start(wait=False)
    refused(relay, r"INVALID_TIMESTAMP.*compare the clocks")
    kafka.configure_topic(name)
    assert len(reader().take(50)) == 50
    database.wait_empty()
    until(lambda: relay.get("/readyz") == (200, "ready\n"), 10, "readyz to be well again")
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0


@pytest.fixture(scope="module")
def guarded(world):
    kafka = GuardedKafka(os.path.join(world, "guarded"), ["reads", "writes"],
                         mechanisms=("PLAIN", "OAUTHBEARER")).create().start()
    yield kafka
    kafka.remove()


@pytest.fixture
def through(new_relay, guarded, prefix):
    """through(properties): a relay that comes by the guarded listener with these."""
    def make(properties, **changes):
        return new_relay(kafka={"bootstrap_servers": guarded.sasl_bootstrap, "properties": properties},
                         outbox=DEAD_LETTER, **changes)
    return make


def similar(relay, words):
    return len(re.findall(words, relay.log()))


def test_describe_is_not_enough(database, guarded, through, prefix):
    """The relay may see the topic and not write to it. Nothing is rejected, and the right can be granted later."""
    guarded.create_topic(prefix + "thing")
    guarded.grant("reads", "describe", "topic", prefix + "thing")
    insert(database, 20)
    relay = through(guarded.login("reads"))
    done = relay.command("check")
    assert done.returncode == 1
    assert re.search("error .*write to no topic: .*[Cc]luster authorization failed.*WRITE", done.stdout), done.stdout
    relay.start(wait=False)
    refused(relay, "[Cc]luster authorization failed.*; grant the relay WRITE")
    relay.wait_metric("retries_total", 4)
    assert similar(relay, "must be rebuilt") == 1
    guarded.grant("reads", "write", "topic", prefix + "thing")
    database.wait_empty(timeout=40)
    until(lambda: relay.get("/readyz") == (200, "ready\n"), 10, "readyz to be well again")
    assert relay.command("check").returncode == 0
    assert database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0


def test_write_on_another_topic(database, guarded, through, prefix):
    """So it gets a producer, and each record is refused."""
    for name in ("thing", "other"):
        guarded.create_topic(prefix + name)
    guarded.grant("writes", "describe", "topic", prefix + "thing")
    guarded.grant("writes", "write", "topic", prefix + "other")
    insert(database, 20)
    relay = through(guarded.login("writes")).start(wait=False)
    refused(relay, "TOPIC_AUTHORIZATION_FAILED.*grant the relay WRITE and DESCRIBE")
    relay.wait_metric("retries_total", 4, timeout=60)  # a denied right is tried after 4, 8, 16 s
    assert similar(relay, "must be rebuilt") <= 2
    guarded.grant("writes", "write", "topic", prefix + "thing")
    database.wait_empty(timeout=90)  # the next try is 32 s later
    # They wait there for the topic, and none was rejected.
    until(lambda: database.value("SELECT count(*) FROM outbox_relay.dead_letters") == 0, 60, "all to be published")
    assert relay.metric("rejected_total") == 0 and relay.metric("published_total") == 20


def test_verify_needs_read(database, guarded, through, prefix):
    """And no right on any group. What to grant is said."""
    guarded.create_topic(prefix + "thing")
    guarded.grant("reads", "describe", "topic", prefix + "thing")
    producer = Producer({"bootstrap.servers": guarded.bootstrap})
    producer.produce(prefix + "thing", value=b"{}", key="k", headers=[("id", "1")])
    assert producer.flush(30) == 0
    relay = through(guarded.login("reads"))
    done = relay.command("verify")
    assert done.returncode == 1
    assert re.search("cannot read partition .*TOPIC_AUTHORIZATION_FAILED.*; grant this user READ and DESCRIBE",
                     done.stderr), done.stderr
    guarded.grant("reads", "read", "topic", prefix + "thing")
    done = relay.command("verify")
    assert done.returncode == 0 and "records        1\n" in done.stdout, done.stderr
    done = through(guarded.login("reads", "wrong")).command("verify")
    assert done.returncode == 1 and re.search("refuse|[Aa]uthentication|password", done.stderr), done.stderr


def test_no_token_is_given(database, through):
    """The reason is in the log, in readyz and in check. test_kafka_not_let_in.py has what else keeps a relay out."""
    relay = through(["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=OAUTHBEARER"])
    relay.start(wait=False)
    refused(relay, "there is no token to log in with")
    done = relay.command("check")
    assert done.returncode == 1
    assert re.search("error .*there is no token to log in with.*sasl.oauthbearer.method", done.stdout), done.stdout
    assert "answered" not in done.stdout


def test_a_topic_that_may_not_be_created(database, guarded, through, prefix):
    guarded.grant("writes", "write", "topic", prefix + "other")
    insert(database, 1)
    relay = through(guarded.login("writes"))
    done = relay.command("check")
    assert done.returncode == 1
    assert re.search(r"error .*topic \S+thing.*AUTHORIZATION", done.stdout), done.stdout
    relay.start(wait=False)
    relay.wait_log(r"topic \S+thing. cannot be written: TOPIC_AUTHORIZATION_FAILED")
    relay.kill()


def test_an_unsecured_token_of_nobody(database, through):
    """librdkafka 2.0.2 would crash at its second try to make one."""
    relay = through(["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=OAUTHBEARER",
                     "enable.sasl.oauthbearer.unsecure.jwt=true"])
    relay.start(wait=False)
    assert relay.wait_exit() == 1
    words = "no token is given: .* needs sasl.oauthbearer.config"
    assert relay.log_contains(words)
    done = relay.command("check")
    assert done.returncode == 1 and re.search("error .*" + words, done.stdout), done.stdout
