# SPDX-License-Identifier: ISC
"""A PostgreSQL that takes connections over TLS only, but the tests' own: like a managed one, with an administrator who is
no superuser."""
import os
import shutil

from harness.certificates import Authority
from harness.postgres import OWNER, Database, Postgres
from harness.process import unprivileged

ADMIN = "administrator"  # owns the databases, may make roles, and is no superuser
PASSWORD = "right, isn't it"
ACCESS = f"""
host    all      {OWNER}         127.0.0.1/32 trust
hostssl all      by_certificate  127.0.0.1/32 cert
hostssl all      by_both         127.0.0.1/32 scram-sha-256 clientcert=verify-full
hostssl nowhere  not_listed      127.0.0.1/32 scram-sha-256
hostssl all      by_password,{ADMIN},no_such_role,limited 127.0.0.1/32 scram-sha-256
"""
ROLES = ("by_password", "by_certificate", "by_both", "not_listed", "limited")


class TlsPostgres:
    def __init__(self, directory):
        self.authority = Authority(os.path.join(directory, "ca"))
        self.stranger = Authority(os.path.join(directory, "stranger"), "stranger")
        sign = self.authority.sign
        self.certificates = {
            "right": sign("server", "localhost", "127.0.0.1"),
            "another host": sign("elsewhere", "elsewhere.example"),
            "expired": sign("old", "localhost", "127.0.0.1", expired=True)}
        self.clients = {
            "right": sign("by_certificate"), "both": sign("by_both"), "another role": sign("somebody"),
            "expired": sign("expired", common_name="by_certificate", expired=True),
            "stranger": self.stranger.sign("stranger_client", common_name="by_certificate")}
        for client in self.clients.values():
            os.chmod(client.key, 0o600)
        self.server = Postgres(os.path.join(directory, "server")).create()
        shutil.copy(self.authority.certificate, self._file("root.crt"))
        self._copy(self.certificates["right"])
        with open(self._file("pg_hba.conf"), "w") as file:
            file.write(ACCESS)
        with open(self._file("postgresql.auto.conf"), "a") as file:
            file.write("ssl = on\nssl_ca_file = 'root.crt'\nssl_min_protocol_version = 'TLSv1.2'\n")
        self.server.start()
        postgres = Database(self.server, "postgres")
        postgres.execute(f"CREATE ROLE {ADMIN} LOGIN CREATEROLE CREATEDB PASSWORD %s", PASSWORD)
        for role in ROLES:
            postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD %s", PASSWORD)

    def _file(self, name):
        return os.path.join(self.server.data, name)

    def _copy(self, certificate):
        for source, name in ((certificate.certificate, "server.crt"), (certificate.key, "server.key")):
            shutil.copy(source, self._file(name))
            os.chmod(self._file(name), 0o600)
            if unprivileged() is not None:
                os.chown(self._file(name), *unprivileged())

    def show(self, which):
        """The server's certificate from the next connection on."""
        self._copy(self.certificates[which])
        self.server.restart()

    def set(self, name, value):
        """A setting; "" is the default."""
        with open(self._file("postgresql.auto.conf"), "a") as file:
            file.write(f"{name} = '{value}'\n")
        self.server.restart()

    def dsn(self, database, user="by_password", password=PASSWORD, sslmode="verify-full", client=None, **more):
        """None leaves an option out."""
        certificate = self.clients.get(client)
        options = {"host": "127.0.0.1", "port": self.server.port, "dbname": database, "user": user,
                   "password": password, "sslmode": sslmode, "sslrootcert": self.authority.certificate,
                   "sslcert": certificate.certificate if certificate else "/nowhere/client.pem",
                   "sslkey": certificate.key if certificate else None, "passfile": "/nowhere/pass", **more}
        return " ".join("{}='{}'".format(name, str(value).replace("\\", r"\\").replace("'", r"\'"))
                        for name, value in options.items() if value is not None)

    def remove(self):
        self.server.remove()
