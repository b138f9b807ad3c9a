"""Real Kafka (KRaft) on 127.0.0.1: a node of a cluster, and a broker that is its own controller."""
import os
import re
import shutil
import subprocess

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from harness.ports import free_port
from harness.process import Process

HERE = os.path.dirname(os.path.abspath(__file__))
TEMPLATE = os.path.join(HERE, "..", "kafka", "server.properties")
SETUP = os.path.join(HERE, "..", "..", "setup.sh")
CLUSTER_ID = "b3V0Ym94LXJlbGF5LXRlc3Q"
JAVA = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info"]
STARTED = re.compile("Kafka Server started")


def java():
    """The command without a class."""
    jars = subprocess.check_output([SETUP, "kafka"], text=True).strip()
    return JAVA + ["-cp", os.path.join(jars, "*")]


class Node:
    """One process of Kafka. It keeps its ports and its data over stop and start. config: the text of its properties."""

    def __init__(self, name, directory, config):
        self.directory, self.java = directory, java()
        os.makedirs(directory)
        self.config = os.path.join(directory, "server.properties")
        with open(self.config, "w") as file:
            file.write(config)
        self.process = Process(name, self.java + ["kafka.Kafka", self.config], os.path.join(directory, "log"))

    def create(self):
        done = subprocess.run(self.java + ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID,
                                           "-c", self.config],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
        return self

    def begin(self):
        """Starts it unless it runs, without waiting."""
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


class Kafka(Node):
    """Broker and controller in one."""

    def __init__(self, directory, **properties):
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        with open(TEMPLATE) as template:
            config = template.read()
        for name, value in (("@PORT@", self.port), ("@CONTROLLER_PORT@", free_port()), ("@DIRECTORY@", directory)):
            config = config.replace(name, str(value))
        config += "".join(f"{name.replace('_', '.')}={value}\n" for name, value in properties.items())
        super().__init__("kafka", directory, config)
        self._admin = None

    @property
    def admin(self):
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 2})
        return self._admin

    def create_topic(self, name, partitions=4, **config):
        """config: the topic's, with _ for the dots."""
        topic = NewTopic(name, partitions, 1,
                         config={key.replace("_", "."): str(value) for key, value in config.items()})
        self.admin.create_topics([topic])[name].result(30)

    def configure_topic(self, name, **config):
        resource = ConfigResource(ConfigResource.Type.TOPIC, name,
                                  {key.replace("_", "."): str(value) for key, value in config.items()})
        for answer in self.admin.alter_configs([resource]).values():
            answer.result(30)

    def topics(self):
        try:
            return set(self.admin.list_topics(timeout=10).topics)
        except KafkaException:
            return set()

    def remove(self):
        self.process.forget()
        shutil.rmtree(self.directory, ignore_errors=True)
