# SPDX-License-Identifier: ISC
"""The recipes of docs/secrets.md: their configurations are right, and what clouds' programs print logs the relay in."""
import os
import re
import time

import pytest

from harness.logins import secret as password_of
from harness.postgres import PASSWORD_ROLE
from harness.relay import ROOT
from harness.secret import Secret
from harness.writers import insert

ENTRA = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZWxheSIsImV4cCI6NDEwMjQ0NDgwMH0.c2lnbmF0dXJl"
RDS = ("shop.c1.eu-west-1.rds.amazonaws.com:5432/?Action=connect&DBUser=outbox_relay&X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIAEXAMPLE%2F20261128%2Feu-west-1%2Frds-db%2Faws4_request&X-Amz-Expires=900"
       "&X-Amz-SignedHeaders=host&X-Amz-Security-Token=" + "Ab1%2F" * 200 + "&X-Amz-Signature=0123456789abcdef")


def recipe(title):
    """The text below a heading of the page."""
    with open(os.path.join(ROOT, "docs", "secrets.md")) as page:
        return re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##)", page.read(), re.M | re.S).group(1)


def commands(title, option):
    """What the recipe sets the option to."""
    found = re.findall(rf'^ +{option} = "(.*)";$', recipe(title), re.M)
    assert found, f"{title} sets no {option}"
    return found


@pytest.mark.parametrize("title", ("Amazon RDS and Aurora: IAM", "Amazon MSK: IAM", "Azure Event Hubs: Microsoft Entra",
                                   "Azure Database for PostgreSQL: Microsoft Entra"))
def test_a_configuration(new_relay, title):
    """The relay takes it, as it stands on the page."""
    blocks = re.findall(r"^    ((?:database|kafka) = \{\n.*?^    \};)$", recipe(title), re.M | re.S)
    relay = new_relay()
    for block in blocks:
        group = block.split()[0]
        relay.write_config(**{group: None})
        with open(relay.config, "a") as config:
            config.write(block + "\n")
        done = relay.command("migrate", "--print")
        assert done.returncode == 0, done.stderr
    assert blocks


@pytest.fixture
def programs(directory):
    """programs(az="..."): programs that print this in place of the real ones; the environment that finds them.
    `curl` and `az` look whether they are told to ask for the right thing."""
    def make(**scripts):
        where = os.path.join(directory, "bin")
        os.makedirs(where, exist_ok=True)
        for name, script in scripts.items():
            with open(os.path.join(where, name), "w") as file:
                file.write(f"#!/bin/sh\n{script}\n")
            os.chmod(os.path.join(where, name), 0o755)
        return {"PATH": f"{where}:{os.environ['PATH']}"}
    return make


def expects(words, output):
    """A script that fails unless its arguments hold the words."""
    tests = "\n".join(f"case \"$*\" in *'{word}'*) ;; *) echo \"no {word} in: $*\" >&2; exit 2 ;; esac" for word in words)
    return f"{tests}\ncat <<'END'\n{output}\nEND"


IMDS = ('{"access_token":"%s","client_id":"c","expires_in":"86399","expires_on":"%d","ext_expires_in":"86399",'
        '"not_before":"1","resource":"r","token_type":"Bearer"}')
AZ = ('{\n  "accessToken": "%s",\n  "expiresOn": "2026-11-28 22:10:12.000000",\n  "expires_on": %d,\n'
      '  "subscription": "s",\n  "tenant": "t",\n  "tokenType": "Bearer"\n}')


@pytest.mark.parametrize("title, program, script, password", (
    ("Amazon RDS and Aurora: IAM", "aws", expects(("rds generate-db-auth-token", "--username outbox_relay"), RDS), RDS),
    ("Azure Database for PostgreSQL: Microsoft Entra", "curl",
     expects(("Metadata:true", "resource=https%3A%2F%2Fossrdbms-aad.database.windows.net"), IMDS % (ENTRA, 2)), ENTRA),
    ("Azure Database for PostgreSQL: Microsoft Entra", "az",
     expects(("get-access-token", "--resource-type oss-rdbms", "--output tsv"), ENTRA), ENTRA),
    ("HashiCorp Vault", "vault", expects(("read -field=password",), "A1a-'p\\q\"").rstrip(), "A1a-'p\\q\""),
))
def test_a_password_by_a_clouds_program(programs, database, new_relay, title, program, script, password):
    """The page's command, with a program that prints what the real one does."""
    command, = (c for c in commands(title, "password_command") if c.startswith(program))
    database.set_password(password)
    relay = new_relay(database={"dsn": database.dsn(PASSWORD_ROLE), "password_command": command})
    done = relay.command("status", env=programs(**{program: script}))
    assert done.returncode == 0, done.stderr
    done = relay.command("status", env=programs(**{program: "echo 'not logged in' >&2; exit 1"}))
    assert done.returncode == 1 and "not logged in" in done.stderr, done.stderr


@pytest.mark.xdist_group("kafka_secrets")
@pytest.mark.parametrize("program, shape", (("curl", IMDS), ("az", AZ)))
def test_a_token_by_a_clouds_program(programs, login_kafka, database, new_relay, program, shape):
    """As JSON, with the names that Azure gives its members."""
    command, = (c for c in commands("Azure Event Hubs: Microsoft Entra", "oauthbearer_token_command")
                if c.startswith(program))
    token = login_kafka.issuer.token("relay")
    script = expects(("shop.servicebus.windows.net",), shape % (token, time.time() + 600))
    relay = new_relay(kafka={"bootstrap_servers": login_kafka.at("SASL"), "oauthbearer_token_command": command,
                             "properties": ["security.protocol=SASL_SSL", "sasl.mechanism=OAUTHBEARER",
                                            f"ssl.ca.location={login_kafka.ca.certificate}"]})
    done = relay.command("check", env=programs(**{program: script}))
    assert done.returncode == 0, done.stdout
    assert token not in done.stdout + done.stderr and password_of("relay") not in done.stdout


def test_a_secret_of_kubernetes(database, new_relay, directory, reader):
    """As the kubelet does it: the directory's files are links through ..data, which is replaced as a whole."""
    mounted = os.path.join(directory, "secrets")

    def publish(number, password):
        where = os.path.join(mounted, f"..{number}")
        os.makedirs(where)
        Secret(os.path.join(where, "database")).write(password, end="")
        os.symlink(f"..{number}", os.path.join(mounted, "..data_tmp"))
        os.rename(os.path.join(mounted, "..data_tmp"), os.path.join(mounted, "..data"))
    publish(1, "first")
    os.symlink("..data/database", os.path.join(mounted, "database"))
    database.set_password("first")
    relay = new_relay(database={"dsn": database.dsn(PASSWORD_ROLE), "password_file": os.path.join(mounted, "database")})
    relay.start()
    database.set_password("second")
    publish(2, "second")
    assert database.end_relay_sessions(PASSWORD_ROLE) == 1
    insert(database, 1)
    assert len(reader().take(1)) == 1


def test_credentials_of_systemd(database, new_relay, directory):
    path, = re.findall(r'password_file = "(.*)";', recipe("systemd credentials"))
    Secret(os.path.join(directory, "database")).write("of systemd", end="")
    database.set_password("of systemd")
    relay = new_relay(database={"dsn": database.dsn(PASSWORD_ROLE), "password_file": path})
    done = relay.command("status", env={"CREDENTIALS_DIRECTORY": directory})
    assert done.returncode == 0, done.stderr
    done = relay.command("status", env={"CREDENTIALS_DIRECTORY": "/nowhere"})
    assert done.returncode == 1 and "database.password_file: cannot read /nowhere/database" in done.stderr
