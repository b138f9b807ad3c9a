# SPDX-License-Identifier: ISC
"""A broker with a listener for every way to log in, ACLs, and what its clients need."""
import os
import subprocess

from harness.certificates import Authority
from harness.issuer import AUDIENCE, Issuer
from harness.kafka import Kafka, java
from harness.ports import free_port
from harness.slowlink import SlowLink
from harness.waiting import limit

HOST = "127.0.0.1"
USERS = ("relay", "limited")  # limited may do nothing until a test grants it something
SESSION_S = 5
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
# Of each listener: its protocol, the certificate, the SASL mechanisms. TLS asks for no certificate of the client's,
# MTLS requires one. What comes by PLAINTEXT may do everything. At SHORT clients must log in again after SESSION_S.
# Before BEHIND there is a link that tests redirect.
LISTENERS = {
    "PLAINTEXT": ("PLAINTEXT", None, ()),
    "TLS": ("SSL", "server", ()),
    "MTLS": ("SSL", "server", ()),
    "SASL": ("SASL_SSL", "server", (*SCRAM, "PLAIN", "OAUTHBEARER")),
    "CLEAR": ("SASL_PLAINTEXT", None, (*SCRAM, "OAUTHBEARER")),
    "SHORT": ("SASL_SSL", "server", (*SCRAM, "PLAIN", "OAUTHBEARER")),
    "EXPIRED": ("SASL_SSL", "expired", ("PLAIN",)),
    "ELSEWHERE": ("SASL_SSL", "elsewhere", ("PLAIN",)),
    "BEHIND": ("SSL", "server", ()),
}
MODULES = {
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule required "
             + " ".join(f'user_{user}="{user}-secret"' for user in USERS)
             + ' user_blanks=" around it ";',
    "OAUTHBEARER": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
}
VALIDATOR = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"


def secret(user):
    return f"{user}-secret"


def without(properties, *names):
    return [line for line in properties if line.split("=")[0] not in names]


class LoginKafka(Kafka):
    """at(listener) is its address; tls, mutual_tls, sasl and oidc are the properties of a relay that logs in."""

    def __init__(self, directory):
        made = f"{directory}-certificates"
        self.ca = Authority(made)
        self.other_ca = Authority(made, "other-ca")
        self.certificates = {
            "server": self.ca.sign("server", "localhost", HOST),
            "expired": self.ca.sign("expired", "localhost", HOST, expired=True),
            "elsewhere": self.ca.sign("elsewhere", "kafka.elsewhere.example"),
        }
        self.client = self.ca.sign("client", common_name="relay")
        self.stranger = self.other_ca.sign("stranger", common_name="relay")
        self.issuer = Issuer(made, {user: secret(user) for user in USERS})
        self.ports = {name: free_port() for name in LISTENERS}
        self.link = SlowLink(self.ports["BEHIND"], rate=1 << 30)
        self.at = {name: f"{HOST}:{port}" for name, port in
                   {**self.ports, "BEHIND": self.link.port}.items()}.__getitem__
        command = java()
        command = [command[0], *(f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.{what}={value}" for what, value in (
            ("urls", f"file://{self.issuer.key_set}"), ("files", self.issuer.key_set))), *command[1:]]
        super().__init__(directory, command)
        self.port = self.ports["PLAINTEXT"]
        self.bootstrap = self.at("PLAINTEXT")
        self._write_listeners()

    def _write_listeners(self):
        with open(self.config) as file:
            lines = file.read().splitlines()
        controller = next(entry for line in lines if line.startswith("listeners=")
                          for entry in line.split(",") if entry.startswith("CONTROLLER://"))
        ours = [f"{name}://{HOST}:{port}" for name, port in self.ports.items()]
        told = [f"{name}://{self.at(name)}" for name in LISTENERS]
        lines = [line for line in lines if not line.startswith(("listeners=", "advertised.listeners="))]
        lines += [f"listeners={','.join([*ours, controller])}", f"advertised.listeners={','.join(told)}",
                  "listener.security.protocol.map=CONTROLLER:PLAINTEXT,"
                  + ",".join(f"{name}:{protocol}" for name, (protocol, _, _) in LISTENERS.items()),
                  "super.users=User:ANONYMOUS;User:relay",
                  "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                  "ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/"]
        for name in LISTENERS:
            lines += [f"listener.name.{name.lower()}.{line}" for line in self._of_listener(name)]
        with open(self.config, "w") as file:
            file.write("\n".join(lines) + "\n")

    def _of_listener(self, name):
        _, certificate, mechanisms = LISTENERS[name]
        if certificate:
            yield "ssl.keystore.type=PEM"
            yield f"ssl.keystore.location={self.certificates[certificate].both}"
        if name == "MTLS":
            yield "ssl.client.auth=required"
            yield "ssl.truststore.type=PEM"
            yield f"ssl.truststore.location={self.ca.certificate}"
        if name == "SHORT":
            yield f"connections.max.reauth.ms={SESSION_S * 1000}"
        if mechanisms:
            yield f"sasl.enabled.mechanisms={','.join(mechanisms)}"
        for mechanism in mechanisms:
            yield f"{mechanism.lower()}.sasl.jaas.config={MODULES[mechanism]}"
        if "OAUTHBEARER" in mechanisms:
            yield f"oauthbearer.sasl.server.callback.handler.class={VALIDATOR}"
            yield f"sasl.oauthbearer.jwks.endpoint.url=file://{self.issuer.key_set}"
            yield f"sasl.oauthbearer.expected.audience={AUDIENCE}"

    def create(self):
        """SCRAM's passwords are in the cluster's metadata from its beginning."""
        options = []
        for user in USERS:
            for mechanism in SCRAM:
                options += ["--add-scram", f"{mechanism}=[name={user},password={secret(user)}]"]
        return super().create(*options)

    def send_to(self, listener):
        """Where who connects to BEHIND comes to from now on."""
        self.link.redirect(self.ports[listener])

    def remove(self):
        self.issuer.close()
        self.link.close()
        super().remove()

    def set_password(self, mechanism, user, password):
        """SCRAM's, while it runs."""
        done = subprocess.run([*java(), "kafka.admin.ConfigCommand", "--bootstrap-server", self.bootstrap, "--alter",
                               "--add-config", f"{mechanism}=[password={password}]",
                               "--entity-type", "users", "--entity-name", user],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit(120),
                              env=dict(os.environ, LC_ALL="C.UTF-8"))
        assert done.returncode == 0, done.stdout

    def write(self, name, text):
        """A file for a relay; its path."""
        path = f"{self.directory}-{name}"
        with open(path, "w") as file:
            file.write(text)
        return path

    # What a relay needs to log in.

    def tls(self, ca=None):
        return ["security.protocol=SSL", f"ssl.ca.location={(ca or self.ca).certificate}"]

    def mutual_tls(self, client=None):
        client = client or self.client
        return [*self.tls(), f"ssl.certificate.location={client.certificate}", f"ssl.key.location={client.key}"]

    def sasl(self, mechanism, user="relay", password=None, ca=None):
        """For the listeners SASL, SHORT, EXPIRED and ELSEWHERE."""
        return ["security.protocol=SASL_SSL", f"ssl.ca.location={(ca or self.ca).certificate}",
                f"sasl.mechanism={mechanism}", f"sasl.username={user}",
                f"sasl.password={password or secret(user)}"]

    def clear_sasl(self, mechanism, user="relay", password=None):
        """For the listener CLEAR."""
        return ["security.protocol=SASL_PLAINTEXT", f"sasl.mechanism={mechanism}", f"sasl.username={user}",
                f"sasl.password={password or secret(user)}"]

    def oidc(self, user="relay", password=None):
        """The token comes from the issuer."""
        return ["security.protocol=SASL_SSL", f"ssl.ca.location={self.ca.certificate}", "sasl.mechanism=OAUTHBEARER",
                "sasl.oauthbearer.method=oidc", f"sasl.oauthbearer.client.id={user}",
                f"sasl.oauthbearer.client.secret={password or secret(user)}",
                f"sasl.oauthbearer.token.endpoint.url={self.issuer.url}"]
