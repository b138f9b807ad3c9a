#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Negative controls: a relay that makes an error is found out, and a healthy one passes the same run.

    cd tests && /usr/bin/python3 -m faults.negative [--required | ERROR...]

Needs the test build of the relay (cmake -DPLANTS=ON): build-plants/outbox-relay, unless OUTBOX_RELAY names another. Prints
a table; status 1 if an error passed, or a healthy relay did not. --required: only the errors that order and delivery
rest on most.
"""
import os
import signal
import sys
from typing import NamedTuple

# Before the harness reads it.
os.environ.setdefault("OUTBOX_RELAY", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..",
                                                   "build-plants", "outbox-relay"))

import harness.relay  # noqa: E402

from faults import plants  # noqa: E402
from faults.checker import report, violated  # noqa: E402
from faults.history import now  # noqa: E402
from faults.negative_runs import SCENARIOS, Servers, Trial  # noqa: E402


class Control(NamedTuple):
    """verdicts: the invariants that must be found violated; others may be besides. required: see above."""
    error: str
    scenario: str
    verdicts: set
    required: bool = False


CONTROLS = (
    Control("default-partitioner", "steady load", {"topic and partition"}, True),
    Control("claim-above-last", "steady load", {"no loss", "drained in time"}, True),
    Control("null-is-empty", "steady load", {"value bytes"}),
    Control("no-headers", "steady load", {"headers"}),
    Control("count-twice", "steady load", {"metrics are true"}),
    Control("floor-past-writers", "writers that take long", {"order per key"}, True),
    Control("leak", "large events", {"bounded memory"}),
    Control("two-owners", "two relays, one late", {"repeats have a cause"}, True),
    Control("pass-over-locked", "rows locked by others", {"order per key"}, True),
    Control("settle-before-ack", "Kafka silent, relay killed", {"no loss", "settled after published"}, True),
    Control("settle-on-stall", "Kafka silent, relay killed", {"no loss", "settled after published"}),
    Control("publishes-parked", "a key is parked", {"order per key"}),
    Control("passes-parked", "a key is parked", {"order per key"}),
    Control("forget-acknowledged", "session lost", {"repeats have a cause"}),
    Control("no-idempotence", "answers of Kafka lost", {"repeats have a cause"}),
    Control("abort-not-rebuilt", "once: a transaction is aborted", {"repeats have a cause"}),
    Control("acknowledged-settled", "once: a commit is lost", {"no loss"}, True),
    Control("unclean-trusted", "once: a commit comes late", {"repeats have a cause"}, True),
    Control("slot-unresolved", "once: killed in doubt", {"repeats have a cause"}, True),
    Control("owns-in-doubt", "once: killed in doubt", {"repeats have a cause"}),
    Control("settles-own-shards", "once: killed in doubt", {"repeats have a cause"}),
    Control("number-left-out", "once: the ledger's beginning goes", {"drained in time"}),
    Control("settles-up-to", "once: rows locked, killed", {"no loss"}),
    Control("ledger-before-fence", "once: fenced after a commit", {"repeats have a cause"}),
)
ROW = "{:<22}{:<30}{:<10}{}"


def judge(servers, scenario, error, verdicts):
    """Whether exactly a relay with an error was found out; prints a row."""
    began = now()
    history = Trial(servers, SCENARIOS[scenario], error).run()
    found = violated(history)
    right = verdicts <= found if error else not found
    print(ROW.format(error or "none", scenario, "right" if right else "WRONG", ", ".join(sorted(found)) or "all holds"),
          f" ({now() - began:.0f} s)", flush=True)
    if not right:
        print(f"expected: {', '.join(sorted(verdicts)) or 'all holds'}\n{report(history)[0]}", flush=True)
    return right


def run(controls):
    """All of these, and the healthy relay once in each of their runs."""
    print(ROW.format("planted error", "run", "", "violated"))
    right = True
    with Servers() as servers:
        for scenario in SCENARIOS:
            chosen = [control for control in controls if control.scenario == scenario]
            if chosen:
                right &= judge(servers, scenario, None, set())
            for control in chosen:
                right &= judge(servers, scenario, control.error, control.verdicts)
    return right


def main(argv):
    known = {control.error: control for control in CONTROLS}
    if argv == ["--required"]:
        controls = [control for control in CONTROLS if control.required]
    elif set(argv) <= set(known):
        controls = [known[error] for error in argv] or CONTROLS
    else:
        print(__doc__, "\nThe errors:", ", ".join(known), file=sys.stderr)
        return 2
    if not plants.available():
        print(f"{harness.relay.BINARY} is no test build: cmake -S . -B build-plants -DPLANTS=ON", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    return 0 if run(controls) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
