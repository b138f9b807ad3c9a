"""A PgBouncer in front of a private Postgres."""
import os
import re

from harness.ports import free_port
from harness.process import Process, as_unprivileged

CONFIG = """
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
{more}
"""


class PgBouncer:
    def __init__(self, directory, server, mode="transaction", more=""):
        self.port = free_port()
        users = os.path.join(directory, "users.txt")
        with open(users, "w") as file:
            file.write('"outbox_relay" ""\n"owner" ""\n')
        config = os.path.join(directory, "pgbouncer.ini")
        with open(config, "w") as file:
            file.write(CONFIG.format(server_port=server.port, port=self.port, users=users, mode=mode,
                                     more=more))
        self.process = Process("pgbouncer", as_unprivileged(["/usr/sbin/pgbouncer", config]),
                               os.path.join(directory, "pgbouncer.log"), cwd="/")

    def start(self):
        self.process.start()
        self.process.wait_log(re.compile("process up"))
        return self

    def dsn(self, database, user="outbox_relay"):
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user}"
