# SPDX-License-Identifier: ISC
"""One node of a Kafka cluster: the controller, or a broker with a listener of its own for the proxy."""
import base64
import os
import uuid

from harness.kafka import CLUSTER_ID, Node
from harness.ports import free_port

CONTROLLER_ID = 100
COMMON = """
controller.quorum.voters={controller_id}@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,DIRECT:PLAINTEXT,PROXIED:PLAINTEXT
node.id={id}
log.dirs={directory}/data
num.partitions=4
default.replication.factor=3
min.insync.replicas=2
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
metadata.max.idle.interval.ms=60000
initial.broker.registration.timeout.ms=600000
"""
CONTROLLER = """
process.roles=controller
listeners=CONTROLLER://127.0.0.1:{controller_port}
"""
BROKER = """
process.roles=broker
listeners=DIRECT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxied_port}
advertised.listeners=DIRECT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy_port}
inter.broker.listener.name=DIRECT
auto.create.topics.enable=true
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=3
transaction.abort.timed.out.transaction.cleanup.interval.ms=2000
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
group.initial.rebalance.delay.ms=0
replica.lag.time.max.ms=3000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=4194304
"""
def _config(directory, number, template, properties, facts):
    text = (COMMON + template).format(id=number, controller_id=CONTROLLER_ID, directory=directory, **facts)
    return text + "".join(f"{name}={value}\n" for name, value in dict(properties).items())


class Controller(Node):
    def __init__(self, directory, properties=()):
        self.facts = {"controller_port": free_port()}
        super().__init__(f"kafka{CONTROLLER_ID}", directory,
                         _config(directory, CONTROLLER_ID, CONTROLLER, properties, self.facts))


class Broker(Node):
    """port: for consumers, administration and the other brokers; proxied_port: for its proxy, whose address
    proxy_port it gives to the clients that come that way."""

    def __init__(self, directory, number, controller, proxy_port, properties=()):
        self.id, self.port, self.proxied_port = number, free_port(), free_port()
        facts = dict(controller.facts, port=self.port, proxied_port=self.proxied_port, proxy_port=proxy_port)
        super().__init__(f"kafka{number}", directory, _config(directory, number, BROKER, properties, facts))

    def create(self):
        """What the tool writes for a broker, without starting a JVM for it."""
        data = os.path.join(self.directory, "data")
        os.makedirs(data)
        directory_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        with open(os.path.join(data, "meta.properties"), "w") as meta:
            meta.write(f"version=1\ncluster.id={CLUSTER_ID}\nnode.id={self.id}\n"
                       f"directory.id={directory_id}\n")
        return self
