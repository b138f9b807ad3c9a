"""A real Kafka broker (KRaft, broker and controller in one) on 127.0.0.1."""
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


class Kafka:
    """One broker. It keeps its ports and its data over stop and start."""

    def __init__(self, directory, **properties):
        jars = subprocess.check_output([SETUP, "kafka"], text=True).strip()
        self.directory = directory
        os.makedirs(directory)
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.config = os.path.join(directory, "server.properties")
        self.java = JAVA + ["-cp", os.path.join(jars, "*")]
        self._write_config(properties)
        self.process = Process("kafka", self.java + ["kafka.Kafka", self.config],
                               os.path.join(directory, "log"))
        self._admin = None

    def _write_config(self, properties):
        with open(TEMPLATE) as template:
            text = template.read()
        for name, value in (("@PORT@", self.port), ("@CONTROLLER_PORT@", free_port()),
                            ("@DIRECTORY@", self.directory)):
            text = text.replace(name, str(value))
        text += "".join(f"{name.replace('_', '.')}={value}\n" for name, value in properties.items())
        with open(self.config, "w") as config:
            config.write(text)

    def create(self):
        done = subprocess.run(self.java + ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID,
                                           "-c", self.config],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
        return self

    def start(self):
        """Starts it unless it runs, and returns when it serves."""
        if not self.process.alive:
            self.process.start()
            self.process.wait_log(re.compile("Kafka Server started"), timeout=60)
        return self

    def stop(self):
        self.process.end(timeout=30)

    def kill(self):
        self.process.kill()

    def pause(self):
        self.process.pause()

    def resume(self):
        self.process.resume()

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
