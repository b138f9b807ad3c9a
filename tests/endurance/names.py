# SPDX-License-Identifier: ISC
"""What a run and those who read its files call things alike."""
HISTORY, READ, WRITTEN, ARRIVED, OUTCOME = ("history.jsonl", "read.jsonl", "written.jsonl", "arrived.json",
                                            "outcome.json")
MACHINE = "machine"                       # in a Metrics: what else ran
STEADY, RESTARTED = "steady", "restarted"  # the relays
