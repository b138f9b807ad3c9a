# SPDX-License-Identifier: ISC
"""The command verify, and what it has found."""
import json

FINDINGS = ("missing", "repeated", "out_of_order", "misplaced", "wrong_key")


def verify(relay, *argv, code=None):
    """Its JSON. code: the exit status that it must have; None: 0 or 1."""
    done = relay.command("verify", "--json", *argv)
    assert done.returncode in ((0, 1) if code is None else (code,)), done.stderr + done.stdout
    found = json.loads(done.stdout)
    for name in FINDINGS:
        assert len(found[name]) == min(found[name + "_count"], 100)
    assert found["good"] is (done.returncode == 0)
    return found


def counts(found):
    """The findings that there are, and how many."""
    return {name: found[name + "_count"] for name in FINDINGS if found[name + "_count"]}
