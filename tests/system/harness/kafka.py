# SPDX-License-Identifier: ISC
"""Real Kafka (KRaft) on 127.0.0.1: a node of a cluster, and a broker that is its own controller."""
import fcntl
import functools
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from harness.ports import free_port
from harness.process import Process
from harness.waiting import limit, until

HERE = os.path.dirname(os.path.abspath(__file__))
TEMPLATE = os.path.join(HERE, "..", "kafka", "server.properties")
SETUP = os.path.join(HERE, "..", "..", "setup.sh")
CLUSTER_ID = "b3V0Ym94LXJlbGF5LXRlc3Q"
# A broker lives for minutes: what it does often enough is compiled at once, and no better than it takes.
JAVA = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:-UsePerfData",
        "-XX:TieredStopAtLevel=1", "-XX:CompileThresholdScaling=0.1",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info"]
# org.apache.kafka.common.resource.ResourceType, org.apache.kafka.common.acl.AclOperation
RESOURCES = {"topic": 2, "cluster": 4, "transactional_id": 5}
OPERATIONS = {"read": 3, "write": 4, "create": 5, "describe": 8, "describe_configs": 10, "idempotent_write": 12}
STARTED = re.compile("Kafka Server started")


def jars():
    """The directory they are in."""
    return subprocess.check_output([SETUP, "kafka"], text=True).strip()


def archive(directory):
    """The classes that a broker has loaded once it serves, as the JVM takes them over: it starts in half the time.
    Made once, beside the jars."""
    path = os.path.join(directory, "broker.jsa")
    with open(directory + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            with tempfile.TemporaryDirectory(prefix="outbox-relay-archive-") as scratch:
                broker = Kafka(os.path.join(scratch, "kafka"), [*JAVA, "-cp", os.path.join(directory, "*")]).create()
                broker.process.argv.insert(1, f"-XX:ArchiveClassesAtExit={path}.new")
                broker.start().stop()
                broker.remove()
            os.rename(f"{path}.new", path)
    return path


@functools.cache
def java():
    """The command without a class."""
    directory = jars()
    return [*JAVA, f"-XX:SharedArchiveFile={archive(directory)}", "-cp", os.path.join(directory, "*")]


class Node:
    """One process of Kafka. It keeps its ports and its data over stop and start. config: the text of its properties."""

    def __init__(self, name, directory, config, command=None):
        self.directory, self.java = directory, command or java()
        os.makedirs(directory)
        self.config = os.path.join(directory, "server.properties")
        with open(self.config, "w") as file:
            file.write(config)
        self.process = Process(name, self.java + ["kafka.Kafka", self.config], os.path.join(directory, "log"))

    def create(self, *options):
        """options: more of the tool that formats the storage."""
        done = subprocess.run(self.java + ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID,
                                           "-c", self.config, *options],
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

    def __init__(self, directory, command=None, **properties):
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        with open(TEMPLATE) as template:
            config = template.read()
        for name, value in (("@PORT@", self.port), ("@CONTROLLER_PORT@", free_port()), ("@DIRECTORY@", directory)):
            config = config.replace(name, str(value))
        config += "".join(f"{name.replace('_', '.')}={value}\n" for name, value in properties.items())
        super().__init__("kafka", directory, config, command)
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

        def created():
            """The controller takes no topic while it has not heard of the broker for broker.session.timeout.ms."""
            try:
                self.admin.create_topics([topic])[name].result(limit(30))
            except KafkaException as failure:
                if failure.args[0].code() != KafkaError.INVALID_REPLICATION_FACTOR:
                    raise
                return False
            return True
        until(created, 30, f"topic {name} to be made", every=0.2)

    def delete_topic(self, name):
        self.admin.delete_topics([name])[name].result(limit(30))
        until(lambda: name not in self.topics(), 30, f"topic {name} to be gone")

    def configure_topic(self, name, **config):
        """Until the broker has it from the controller, which answers first."""
        wanted = {key.replace("_", "."): str(value) for key, value in config.items()}
        for answer in self.admin.alter_configs([ConfigResource(ConfigResource.Type.TOPIC, name, wanted)]).values():
            answer.result(limit(30))
        until(lambda: wanted.items() <= self._configuration(name).items(), 30, f"topic {name} to have {wanted}")

    def _configuration(self, topic):
        answer, = self.admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
        return {entry: found.value for entry, found in answer.result(limit(30)).items()}

    def topics(self):
        try:
            return set(self.admin.list_topics(timeout=limit(10)).topics)
        except KafkaException:
            return set()

    def grant(self, user, operation, resource, name):
        """For a broker with ACLs. CreateAcls, version 1: Debian's confluent_kafka does not have it."""
        self._change_acl(30, user, operation, resource, name)

    def revoke(self, user, operation, resource, name):
        """DeleteAcls, version 1, whose filter looks as what CreateAcls makes."""
        self._change_acl(31, user, operation, resource, name)

    def _change_acl(self, api, user, operation, resource, name):
        def text(value):
            return struct.pack(">h", len(value)) + value.encode()
        literal, allow = 3, 3
        entry = (struct.pack(">b", RESOURCES[resource]) + text(name) + struct.pack(">b", literal) + text(f"User:{user}")
                 + text("*") + struct.pack(">bb", OPERATIONS[operation], allow))
        answer = self._ask(api, struct.pack(">i", 1) + entry)
        assert answer[16:18] == b"\0\0", answer  # after size, correlation, throttle time and count
        until(lambda: self._has_acl(entry) is (api == 30), 30, "the broker to hear of the right")

    def _has_acl(self, entry):
        """The controller takes a change, and tells the broker then. DescribeAcls, version 1, whose filter looks likewise."""
        answer = self._ask(29, entry)
        assert answer[12:14] == b"\0\0", answer  # after size, correlation and throttle time
        return answer[16:20] != b"\0\0\0\0"  # after error and no words: how many there are

    def _ask(self, api, body):
        """The answer to a request of version 1."""
        body = struct.pack(">hhih", api, 1, 1, -1) + body
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            return connection.recv(4096)

    def delete_records(self, name, partitions=4, before=None):
        """What the topic holds, as retention does: all of it, or of some partitions what is before these offsets
        ({number: offset}). DeleteRecords, version 1: likewise."""
        body = struct.pack(">hhih", 21, 1, 1, -1) + struct.pack(">ih", 1, len(name)) + name.encode()
        body += struct.pack(">i", partitions)
        offsets = {**dict.fromkeys(range(partitions), -1), **(before or {})}
        body += b"".join(struct.pack(">iq", *pair) for pair in offsets.items()) + struct.pack(">i", 30000)
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = connection.recv(4096)
        at = 4 + 4 + 4 + 4 + 2 + len(name) + 4  # size, correlation, throttle time, count, name, count
        errors = [struct.unpack(">iqh", answer[at + 14 * n:at + 14 * n + 14])[2] for n in range(partitions)]
        assert errors == [0] * partitions, answer

    def remove(self):
        self.process.forget()
        shutil.rmtree(self.directory, ignore_errors=True)


class GuardedKafka(Kafka):
    """A broker with ACLs and, beside the plain one, a listener for SASL. Who comes by the plain one may do all."""

    def __init__(self, directory, users, mechanisms=("PLAIN",), **properties):
        self.sasl_port = free_port()
        self.sasl_bootstrap = f"127.0.0.1:{self.sasl_port}"
        super().__init__(directory, super_users="User:ANONYMOUS", sasl_enabled_mechanisms=",".join(mechanisms),
                         authorizer_class_name="org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                         **properties)
        logins = " ".join(f'user_{name}="{name}-secret"' for name in users)
        with open(self.config) as file:
            config = file.read()
        for option in ("listeners", "advertised.listeners"):
            config = config.replace(f"\n{option}=", f"\n{option}=SASL_PLAINTEXT://{self.sasl_bootstrap},")
        with open(self.config, "w") as file:
            file.write(config)
            file.write("listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,PLAINTEXT:PLAINTEXT,"
                       "CONTROLLER:PLAINTEXT\n")
            file.write("listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security."
                       "oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";\n")
            file.write("listener.name.sasl_plaintext.plain.sasl.jaas.config="
                       f"org.apache.kafka.common.security.plain.PlainLoginModule required {logins};\n")

    @staticmethod
    def login(user, password=None):
        """The properties of a relay that comes as this user."""
        return ["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", f"sasl.username={user}",
                f"sasl.password={password or user + '-secret'}"]
