"""A connection pooler between the relay and Postgres would tear its session apart: it is found out."""
import pytest

from harness.pgbouncer import PgBouncer


@pytest.fixture
def pooled(postgres, directory, database):
    """pooled(mode): the dsn of this test's database through a PgBouncer."""
    made = []

    def start(mode):
        made.append(PgBouncer(directory, postgres, mode,
                              "ignore_startup_parameters = extra_float_digits, options").start())
        return made[-1].dsn(database.name)
    yield start
    for bouncer in made:
        bouncer.process.forget()


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pooler_is_refused(new_relay, pooled, kafka, mode):
    """`check` says what is in between and what to do, and `run` says it too and publishes nothing."""
    relay = new_relay(database={"dsn": pooled(mode)})
    done = relay.command("check")
    told = "there is a connection pooler between the relay and Postgres"
    assert done.returncode == 1 and told in done.stdout and "point database.dsn at" in done.stdout
    relay.start(wait=False)
    relay.wait_log(told)
    assert relay.wait_exit() == 1
