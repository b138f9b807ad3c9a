# SPDX-License-Identifier: ISC
"""The relay's failpoints and planted errors (include/base/failpoints.h), as the tests use them."""
import os
import re

import harness.relay
from harness.relay import ROOT

SOURCE = os.path.join(ROOT, "relay", "base", "failpoints.c")


def _listed(table):
    with open(SOURCE) as source:
        text = source.read().split(f"{table}[] = {{")[1].split("NULL,\n")[0]
    return re.findall(r'"([a-z-]+)"', text)


def failpoints():
    return _listed("failpoints")


def exactly_once():
    """Failpoints of relays that deliver exactly once."""
    return _listed("exactly_once")


def errors():
    return _listed("errors")


def available():
    """Whether the relay under test is the test build."""
    try:
        with open(harness.relay.BINARY, "rb") as file:
            return b"OUTBOX_RELAY_FAILPOINT" in file.read()
    except FileNotFoundError:
        return False


def plant(relay, error):
    """From its next start on the relay makes this error; None: none."""
    _set(relay, "OUTBOX_RELAY_PLANT", error)


def fail_at(relay, failpoint, action, nth=1):
    """At its next start the relay is to be killed ("kill"), to stand still ("stop") or to leave ("exit") at the nth
    passing of the failpoint; None: nowhere."""
    _set(relay, "OUTBOX_RELAY_FAILPOINT", failpoint and f"{failpoint}={action}:{nth}")


def _set(relay, name, value):
    relay.process.env.pop(name, None)
    if value:
        relay.process.env[name] = value
