"""One node of a Kafka cluster: the controller, or a broker with a listener of its own for the proxy."""
import base64
import os
import re
import subprocess
import uuid

from harness.kafka import CLUSTER_ID, JAVA, SETUP
from harness.ports import free_port
from harness.process import Process

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
broker.heartbeat.interval.ms=500
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
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
group.initial.rebalance.delay.ms=0
replica.lag.time.max.ms=3000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=4194304
"""
STARTED = re.compile("Kafka Server started")


def java():
    """The command without a class."""
    jars = subprocess.check_output([SETUP, "kafka"], text=True).strip()
    return JAVA + ["-cp", os.path.join(jars, "*")]


class Node:
    """It keeps its ports and its data over stop and start."""

    def __init__(self, java_command, directory, number, template, properties=(), **facts):
        self.id, self.directory = number, directory
        self.java, self.facts = java_command, facts
        os.makedirs(directory)
        self.config = os.path.join(directory, "server.properties")
        with open(self.config, "w") as config:
            config.write((COMMON + template).format(
                id=number, controller_id=CONTROLLER_ID, directory=directory, **facts))
            config.writelines(f"{name}={value}\n" for name, value in dict(properties).items())
        self.process = Process(f"kafka{number}", self.java + ["kafka.Kafka", self.config],
                               os.path.join(directory, "log"))

    def format(self):
        done = subprocess.run(self.java + ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID,
                                           "-c", self.config],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout

    def format_quickly(self):
        """What the tool writes for a broker, without starting a JVM for it."""
        data = os.path.join(self.directory, "data")
        os.makedirs(data)
        directory_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        with open(os.path.join(data, "meta.properties"), "w") as meta:
            meta.write(f"version=1\ncluster.id={CLUSTER_ID}\nnode.id={self.id}\n"
                       f"directory.id={directory_id}\n")

    def begin(self):
        """Starts it without waiting."""
        if not self.process.alive:
            self.process.start()

    def serves(self, timeout=120):
        self.process.wait_log(STARTED, timeout)

    def start(self):
        """Starts it unless it runs, and returns when it serves."""
        self.begin()
        self.serves()
        return self

    def stop(self):
        """As an operator does: a broker hands its leaderships over first."""
        self.process.end(timeout=60)

    def kill(self):
        self.process.kill()

    def pause(self):
        self.process.pause()

    def resume(self):
        self.process.resume()


class Controller(Node):
    def __init__(self, java_command, directory, properties=()):
        super().__init__(java_command, directory, CONTROLLER_ID, CONTROLLER, properties,
                         controller_port=free_port())


class Broker(Node):
    """port: for consumers, administration and the other brokers; proxied_port: for its proxy, whose address
    proxy_port it gives to the clients that come that way."""

    def __init__(self, java_command, directory, number, controller, proxy_port, properties=()):
        self.port, self.proxied_port = free_port(), free_port()
        super().__init__(java_command, directory, number, BROKER, properties, port=self.port,
                         proxied_port=self.proxied_port, proxy_port=proxy_port, **controller.facts)
