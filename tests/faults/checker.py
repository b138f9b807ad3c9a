#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Judges a history: a verdict for each invariant. Reads a file and nothing else.

    cd tests && /usr/bin/python3 -m faults.checker FILE

Prints a table, then for each violation the records that tell it. Status 1 if an invariant is violated, 2 if the
file cannot be judged.
"""
import gc
import sys

from faults import content, order, presence, state
from faults.facts import Facts
from faults.history import LOST, read
from faults.verdict import excerpt

SHOWN = 5  # violations of an invariant that are printed


def check(history):
    """(facts, verdicts)."""
    facts = Facts(history)
    verdicts = [presence.no_loss(facts), presence.no_phantom(facts), order.order(facts), *order.repeats(facts),
                content.value_bytes(facts), content.key_bytes(facts), content.header_list(facts),
                content.identity(facts), content.place(facts), presence.settled(facts),
                state.drained(facts), state.memory(facts), state.alive(facts), state.metrics(facts),
                presence.database(facts)]
    return facts, verdicts


def violated(history):
    """The names of the invariants that do not hold."""
    return {verdict.name for verdict in check(history)[1] if not verdict.holds}


def table(verdicts):
    lines = [f"{'invariant':<26}{'':<10}{'violations':>10}  judged"]
    for verdict in verdicts:
        outcome = "VIOLATED" if not verdict.holds else "-" if verdict.skipped else "holds"
        judged = verdict.skipped if verdict.skipped else f"{verdict.judged:,} {verdict.what}"
        lines.append(f"{verdict.name:<26}{outcome:<10}{verdict.count:>10}  {judged}")
    return "\n".join(lines)


def telling(facts, verdict):
    """The first violations, each with its records; one for each key first."""
    lines = [f"\n{verdict.name}: {verdict.count} violations"]
    chosen, keys = [], set()
    for violation in verdict.violations:
        if violation.key is None or violation.key not in keys:
            keys.add(violation.key)
            chosen.append(violation)
    for violation in chosen[:SHOWN]:
        lines.append(f"- {violation.text}")
        lines += excerpt(facts, violation)
    return "\n".join(lines)


def summary(facts):
    history = facts.history
    known = sum(event is not None for _, event, _ in facts.places)
    lost = [event for event in history.events if event.state == LOST]
    parts = [f"{sum(map(len, facts.committed.values())):,} events committed", f"{len(facts.places):,} records",
             f"{known - len(facts.first):,} of them repeats", f"{len(facts.committed):,} keys",
             f"{len(history.processes)} relay processes", f"{len(history.faults)} faults"]
    if lost:
        came = sum(event.event_id in facts.first for event in lost)
        parts.append(f"{len(lost):,} events lost by the database, of which {came:,} had arrived")
    names = sorted({fault.name for fault in history.faults})
    return ", ".join(parts) + "".join(f"\n  fault: {name}" for name in names)


def report(history):
    """(text, whether all holds)."""
    facts, verdicts = check(history)
    bad = [verdict for verdict in verdicts if not verdict.holds]
    parts = [summary(facts), table(verdicts)] + [telling(facts, verdict) for verdict in bad]
    return "\n".join(parts), not bad


def main(argv):
    if len(argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    gc.disable()  # millions of tuples and no cycles
    try:
        history = read(argv[1])
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"cannot read {argv[1]}: {error}", file=sys.stderr)
        return 2
    text, holds = report(history)
    print(text)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
