# SPDX-License-Identifier: ISC
"""What the rounds of a run came to, for each fault, as a table."""
HEAD = ("fault", "title", "rounds", "events", "lost", "reordered", "repeated (excused)", "other", "failed",
        "longest drain")


class Row:
    def __init__(self, plan):
        self.label, self.title = plan.label, plan.title
        self.rounds = self.events = self.lost = self.reordered = 0
        self.repeated = self.excused = self.failed = self.phantoms = 0
        self.drain = 0.0

    def add(self, outcome):
        self.rounds += 1
        self.events += outcome.events
        self.lost += outcome.lost
        self.reordered += outcome.reordered
        self.repeated += outcome.repeated
        self.excused += max(0, outcome.repeated - outcome.unexcused)
        self.phantoms += outcome.phantoms
        self.failed += bool(outcome.problems)
        self.drain = max(self.drain, outcome.drain)

    def cells(self):
        return (self.label, self.title, self.rounds, f"{self.events:,}", self.lost, self.reordered,
                f"{self.repeated:,} ({self.excused:,})",
                f"{self.phantoms:,} phantoms" if self.phantoms else "", self.failed, f"{self.drain:.1f} s")


class Tally:
    """Rows by fault, each variant of a number its own; a pair is a row."""

    def __init__(self):
        self.rows = {}

    def add(self, outcome):
        plan = outcome.plan
        self.rows.setdefault((plan.label, plan.title), Row(plan)).add(outcome)

    @property
    def rounds(self):
        return sum(row.rounds for row in self.rows.values())

    @property
    def failed(self):
        return sum(row.failed for row in self.rows.values())

    def table(self):
        lines = [HEAD, ["---"] * 2 + ["---:"] * (len(HEAD) - 2)]
        lines += [row.cells() for _, row in sorted(self.rows.items())]
        return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in lines)


def line(outcome):
    """One round in a line."""
    plan = outcome.plan
    words = [f"{outcome.events:,} events"]
    for count, what in ((outcome.lost, "LOST"), (outcome.reordered, "REORDERED"), (outcome.repeated, "repeated"),
                        (outcome.unexcused, "NOT EXCUSED"), (outcome.phantoms, "phantoms")):
        if count:
            words.append(f"{count:,} {what}")
    words.append(f"drained in {outcome.drain:.1f} s")
    end = f"FAILED: {', '.join(outcome.problems)}" if outcome.problems else "ok"
    return f"round {plan.number} {plan.label} {plan.title}: {', '.join(words)}: {end}"
