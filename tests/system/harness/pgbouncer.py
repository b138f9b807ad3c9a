# SPDX-License-Identifier: ISC
"""A PgBouncer in front of a private Postgres; PGBOUNCER names another program than Debian's."""
import os
import re

import psycopg2

from harness.ports import free_port
from harness.process import Process, as_unprivileged

CONFIG = """
[databases]
* = host=127.0.0.1 port={server_port} {options}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
admin_users = owner
pool_mode = {mode}
{more}
"""


class PgBouncer:
    def __init__(self, directory, server, mode="transaction", more="", options=""):
        self.port = free_port()
        self.server = server
        self.options = options  # of every database
        self.users = os.path.join(directory, "users.txt")
        with open(self.users, "w") as file:
            file.write('"outbox_relay" ""\n"owner" ""\n')
        self.config = os.path.join(directory, "pgbouncer.ini")
        self.write_config(mode, more)
        self.process = Process("pgbouncer", as_unprivileged([os.environ.get("PGBOUNCER", "/usr/sbin/pgbouncer"), self.config]),
                               os.path.join(directory, "pgbouncer.log"), cwd="/")

    def write_config(self, mode, more=""):
        with open(self.config, "w") as file:
            file.write(CONFIG.format(server_port=self.server.port, options=self.options, port=self.port,
                                     users=self.users, mode=mode, more=more))

    def start(self):
        self.process.start()
        self.process.wait_log(re.compile("process up"))
        return self

    def admin(self, command):
        """A command of the console: RELOAD, PAUSE ...; its rows, or None."""
        connection = psycopg2.connect(self.dsn("pgbouncer", "owner"))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(command)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def paused(self, database):
        """SHOW DATABASES has it, as the last but one of its first columns; found by its name."""
        connection = psycopg2.connect(self.dsn("pgbouncer", "owner"))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute("SHOW DATABASES")
                names = [column.name for column in cursor.description]
                return any(dict(zip(names, row))["name"] == database and dict(zip(names, row))["paused"]
                           for row in cursor.fetchall())
        finally:
            connection.close()

    def set_mode(self, mode, more=""):
        self.write_config(mode, more)
        self.admin("RELOAD")

    def dsn(self, database, user="outbox_relay"):
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user}"
