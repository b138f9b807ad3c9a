# SPDX-License-Identifier: ISC
"""All that a fault is done to: a pair of Postgres servers and three brokers, behind proxies."""
import os
import shutil
import tempfile

from faults.kafkacluster import KafkaCluster
from faults.pgpair import PgPair


def resident(pid):
    """MiB that a process has in memory, of which some is shared."""
    try:
        with open(f"/proc/{pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


class Cluster:
    """cluster.postgres, cluster.kafka; a context manager that leaves nothing behind."""

    def __init__(self, **kafka_properties):
        self.directory = tempfile.mkdtemp(prefix="outbox-relay-faults-")
        os.chmod(self.directory, 0o755)
        self.postgres = PgPair(os.path.join(self.directory, "postgres"))
        self.kafka = KafkaCluster(os.path.join(self.directory, "kafka"), **kafka_properties)

    def create(self):
        try:
            self.kafka.create()
            self.postgres.create()
        except BaseException:
            self.remove()
            raise
        return self

    def start(self):
        for node in self.kafka.nodes:  # these take longest
            node.begin()
        self.postgres.start()
        self.kafka.start()
        return self

    def heal(self):
        """Everything runs again and nothing is in between; what was lost stays lost."""
        self.postgres.heal()
        self.kafka.heal()
        return self

    def memory(self):
        """{name: MiB resident}"""
        sums = {node.name: sum(map(resident, node.pids)) for node in self.postgres.nodes}
        for node in self.kafka.nodes:
            sums[node.process.name] = resident(node.process.pid) if node.process.alive else 0.0
        return sums

    def remove(self):
        self.kafka.remove()
        self.postgres.remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        try:
            return self.create().start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_):
        self.remove()
