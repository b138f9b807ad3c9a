# SPDX-License-Identifier: ISC
"""A connection pooler between the relay and Postgres would tear its session apart: it is found out."""
import pytest

from harness.pgbouncer import PgBouncer

TOLD = "there is a connection pooler between the relay and Postgres"
# Whether it drops the start-up options that the relay sends, or refuses them.
DROPS = "ignore_startup_parameters = extra_float_digits, options"


@pytest.fixture
def pooled(postgres, directory, database):
    """pooled(mode, more): the dsn of this test's database through a PgBouncer."""
    made = []

    def start(mode, more):
        made.append(PgBouncer(directory, postgres, mode, more).start())
        return made[-1].dsn(database.name)
    yield start
    for bouncer in made:
        bouncer.process.forget()


@pytest.mark.parametrize("more", [DROPS, ""], ids=["drops", "refuses"])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pooler_is_refused(new_relay, pooled, kafka, mode, more):
    """Every command says what is in between and what to do, and `run` publishes nothing."""
    relay = new_relay(database={"dsn": pooled(mode, more)})
    done = relay.command("check")
    assert done.returncode == 1 and TOLD in done.stdout and "point database.dsn at" in done.stdout
    for command in ("status", "pause", "migrate"):
        done = relay.command(command)
        assert done.returncode == 1 and TOLD in done.stderr and "point database.dsn at" in done.stderr
    relay.start(wait=False)
    relay.wait_log(TOLD)
    assert relay.wait_exit() == 1
